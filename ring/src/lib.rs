//! Carries commands out of a process or a virtual machine to one that executes them, through shared memory.
//!
//! A *client* (any number of threads) writes commands into a ring; a *worker* (one thread) in another process consumes
//! them and gives replies, raises fences and sends events. The memory is a sealed memfd between processes, or the shared
//! BAR of a PCI function between a guest and its host. The crate knows nothing of what the commands mean: they are bytes.
//!
//! ```standalone_crate
//! use bytemuck::{Pod, Zeroable};
//! use ringbar::handshake::{Connection, Deadline, Hello, Listener};
//! use ringbar::link::Options;
//! use ringbar::rendezvous::{self, Hosted};
//! use ringbar::reply::Ticket;
//! use ringbar::worker::Next;
//! use std::{error::Error, path::Path, process::Command, time::Duration};
//!
//! /// A command of your own: 16 bytes, little-endian, no padding.
//! #[derive(Clone, Copy, Pod, Zeroable)]
//! #[repr(C)]
//! struct Add { counter: u64, amount: u64 }
//!
//! /// Names that vocabulary; whoever speaks another is refused. Change it with the commands.
//! const VOCABULARY: u64 = 0x636f_756e_7465_7201;
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//!     match std::env::var_os("EXAMPLE_SOCKET") {
//!         Some(socket) => client(Path::new(&socket)),
//!         None => executor(),
//!     }
//! }
//!
//! fn executor() -> Result<(), Box<dyn Error>> {
//!     let socket = std::env::temp_dir().join(format!("ringbar-doc-{}.sock", std::process::id()));
//!     let listener = Listener::bind(&socket)?;
//!     // The other process is this program, started again.
//!     let mut other = Command::new(std::env::current_exe()?).env("EXAMPLE_SOCKET", &socket).spawn()?;
//!     let soon = Deadline::after(Duration::from_secs(60));
//!     let connection = listener.accept(soon)?;
//!     // A sealed memfd and two doorbells go over the socket; from here on everything is in shared memory.
//!     let Hosted { mut worker, .. } = rendezvous::host(connection, VOCABULARY, Options::default(), soon)?;
//!     let completions = worker.completions().clone();
//!     let mut counters = [0_u64; 8];
//!     loop {
//!         match worker.next()? {
//!             Next::Command(record) => {
//!                 // The bytes are the client's choice: decode them as you would a stranger's.
//!                 let add: Add = bytemuck::try_pod_read_unaligned(record.bytes).map_err(|_| "no Add")?;
//!                 let counter = counters.get_mut(add.counter as usize).ok_or("no such counter")?;
//!                 *counter = counter.wrapping_add(add.amount);
//!                 if let Some(slot) = record.reply_slot {
//!                     let ticket = Ticket { slot, position: record.position };
//!                     completions.reply(ticket, &counter.to_le_bytes());
//!                 }
//!             }
//!             Next::Idle => {}
//!             Next::ClientGone => break,
//!         }
//!     }
//!     assert!(other.wait()?.success());
//!     Ok(())
//! }
//!
//! fn client(socket: &Path) -> Result<(), Box<dyn Error>> {
//!     let soon = Deadline::after(Duration::from_secs(60));
//!     let connection = Connection::connect(socket, soon)?;
//!     let hello = Hello::new(VOCABULARY, "the example");
//!     let joined = rendezvous::join(connection, &hello, Options::default(), soon)?;
//!     for _ in 0..1000 {
//!         // A few tens of nanoseconds, no system call while the executor is awake.
//!         joined.client.post(bytemuck::bytes_of(&Add { counter: 3, amount: 2 }))?;
//!     }
//!     let mut caller = joined.client.caller()?; // a place of this thread's own for replies
//!     let reply = caller.call(bytemuck::bytes_of(&Add { counter: 3, amount: 0 }))?;
//!     assert_eq!(reply, 2000_u64.to_le_bytes());
//!     joined.client.close();
//!     Ok(())
//! }
//! ```
//!
//! # The contract
//!
//! - **Order.** One ring, one order. Two posts of which one happens before the other, in one thread or in two that
//!   synchronise with each other, are consumed in that order. A batch becomes visible at once.
//! - **What a post promises.** When [`Client::post`](client::Client::post) returns, the command is in shared memory and
//!   will be consumed unless the channel ends first. It promises nothing about its execution: for that there are replies,
//!   [`Client::wait_executed`](client::Client::wait_executed), fences, and the first latched error.
//! - **What a reply promises.** It answers exactly the command that was sent; a reply for anything else is detected.
//! - **Waiting.** Posting waits only for room, calling only for its reply. Nobody waits while holding a lock that another
//!   thread needs. A waiter polls for up to 200 us, as long as that has paid off lately, then blocks. Every wait ends when
//!   the peer dies (within 100 ms where a socket or pidfd tells), when the peer closes or is poisoned, when it has been
//!   silent for longer than a limit, or at the caller's deadline.
//! - **Doorbells.** Rung only for a peer that said it sleeps, at most once for each sleep. While both sides are awake no
//!   system call is made.
//! - **Trust.** Neither side trusts the other with its memory or its time. What a peer writes is loaded once, checked,
//!   and used from the private copy; what no honest peer can have written ends the channel with a typed
//!   [`Violation`](spsc::Violation), once. The bytes of a command are the peer's own choice: decode them accordingly.
//!   Whoever can map a region can read and change all of it: isolation is between regions.
//! - **Allocation.** Posting, calling and consuming allocate nothing.
//!
//! What it does not do: it does not encrypt, does not cross machines, does not retry (work on a device is never replayed
//! silently), and does not run on anything but Linux. A client is not fork-safe: use it in the process that attached it.
//!
//! # Where to look
//!
//! | to | see |
//! |---|---|
//! | put a channel between two processes | [`rendezvous`]; its parts are [`link`], [`handshake`] |
//! | reach the host of a virtual machine | [`guest`] |
//! | send commands | [`client`] |
//! | execute commands | [`worker`] |
//! | move bulk bytes | [`arena`], [`Client::stage`](client::Client::stage), [`Client::pin`](client::Client::pin) |
//! | use the bare ring, over memory of your own | [`spsc`], [`lines`] |
//! | know what is in the shared memory | `PROTOCOL.md` beside the crate, [`layout`], [`tag`] |
//! | count | [`counters`] |
//!
//! Unsafe code lives in `lines` (words of shared memory), `arena` (bulk copies) and `os` (mappings and system calls).

#[cfg(not(target_os = "linux"))]
compile_error!("ringbar needs Linux: memfd seals, eventfd, pidfd");

#[cfg(not(ringbar_loom))]
pub mod arena;
#[cfg(not(ringbar_loom))]
pub mod client;
#[cfg(not(ringbar_loom))]
pub mod counters;
pub mod directory;
#[cfg(not(ringbar_loom))]
pub mod error;
#[cfg(not(ringbar_loom))]
pub mod guest;
#[cfg(not(ringbar_loom))]
pub mod handshake;
#[cfg(not(ringbar_loom))]
mod heart;
pub mod hub;
pub mod layout;
pub mod lines;
#[cfg(not(ringbar_loom))]
pub mod link;
#[cfg(not(ringbar_loom))]
pub mod os;
#[cfg(not(ringbar_loom))]
pub mod park;
pub mod progress;
#[cfg(not(ringbar_loom))]
pub mod region;
#[cfg(not(ringbar_loom))]
pub mod rendezvous;
pub mod reply;
pub mod spin;
pub mod spsc;
pub mod sync;
pub mod tag;
#[cfg(all(test, not(ringbar_loom)))]
mod testing;
pub mod untrusted;
pub mod wake;
#[cfg(not(ringbar_loom))]
pub mod worker;

#[cfg(not(ringbar_loom))]
pub use error::ChannelError as Error;
