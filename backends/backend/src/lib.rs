//! What a worker executes commands on.
//!
//! A [`Backend`] has one method for each row of the vocabulary that it implements (through
//! [`ringbar_vocabulary::Handler`]) and gets, with each command, a [`Context`]: checked access to
//! the client's arena, fences, the latch for the first error, and holds on arena bytes. All of
//! these are [`Services`] that a ring provides (feature `ring`) and a test can fake (feature `testing`).
//! [`execute`] is the one road from bytes to a backend. Feature `conformance` brings the suite
//! that every backend passes.
//!
//! Three kinds of failure are kept apart:
//! - a posted command fails: its status is latched with the command's position, the first wins;
//! - a synchronous command fails: its reply carries the status;
//! - a client breaks the protocol ([`Violation`]: bytes that are no command, an arena block or a
//!   fence that is not its own): the session ends.

#![forbid(unsafe_code)]

#[cfg(feature = "conformance")]
pub mod conformance;
mod context;
mod execute;
mod holds;
#[cfg(feature = "ring")]
pub mod ring;
mod services;
pub mod table;
#[cfg(feature = "testing")]
pub mod testing;

pub use context::{Context, Ticket};
pub use execute::{Backend, Executed, Violation, execute};
pub use holds::{Hold, HoldSet};
pub use services::{
    ArenaFault, ErrorLatch, FenceFault, Fences, Holds, HostMemory, Mapped, Services,
};
