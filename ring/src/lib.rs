//! Carries commands out of a process or a virtual machine to one that executes them, through shared memory.
//!
//! A *client* (any number of threads) writes commands into a ring; a *worker* (one thread) in another process consumes
//! them and gives replies, raises fences and sends events. The memory is a sealed memfd between processes, or the shared
//! BAR of a PCI function between a guest and its host. The crate knows nothing of what the commands mean: they are bytes.
//!
//! ```
//! use ringbar::layout::Sizes;
//! use ringbar::link::{self, Options};
//! use ringbar::region::Terms;
//! use ringbar::reply::Ticket;
//! use ringbar::worker::Next;
//!
//! // Both ends in one process; `examples/02-two-processes.rs` has them in two.
//! let (client, mut worker) = link::pair(Sizes::default(), Terms::default(), Options::default())?;
//!
//! let executor = std::thread::spawn(move || {
//!     let completions = worker.completions().clone();
//!     loop {
//!         match worker.next()? {
//!             Next::Command(record) => {
//!                 let sum: u32 = record.bytes.iter().map(|&b| u32::from(b)).sum();
//!                 if let Some(slot) = record.reply_slot {
//!                     let ticket = Ticket { slot, position: record.position };
//!                     completions.reply(ticket, &sum.to_le_bytes());
//!                 }
//!             }
//!             Next::Idle => {}
//!             Next::ClientGone => return Ok::<_, ringbar::Error>(()),
//!         }
//!     }
//! });
//!
//! client.post(b"no answer wanted")?;             // a few nanoseconds, no system call
//! let mut caller = client.caller()?;             // leases a reply slot for this thread
//! assert_eq!(caller.call(&[1, 2, 3])?, 6_u32.to_le_bytes());
//! client.close();
//! executor.join().expect("the executor ends")?;
//! # Ok::<(), ringbar::Error>(())
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
//! | put a channel between two processes | [`link`], [`handshake`] |
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
#[cfg(not(ringbar_loom))]
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
