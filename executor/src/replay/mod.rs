//! Replays recorded calls over a transport, and measures what they cost.
//!
//! A recording becomes a [plan](crate::recording::Plan); its steps are played by as many threads as were recorded, in the
//! recorded order, over one of four transports. Calls that the recording classes as local are counted and cost nothing
//! else. All others keep the recorded class: what was synchronous is waited for, also where a shim would answer it from
//! its own state (queries), so that every transport carries the same calls.
//!
//! | transport | a call is |
//! |---|---|
//! | `ring` | a record in the ring to a worker process; posted calls are not waited for |
//! | `doorbell` | a request in shared memory and an eventfd to a worker process, an eventfd back, every call waits |
//! | `socket` | a message on a unix socket to a worker process; posted calls are not answered |
//! | `direct` | executed by the mock in this process: no transport, the upper bound |
//!
//! # What is checked, and when
//!
//! The first round is never timed: in it the worker digests every command ([`probe`]), this side everything that came
//! back, and both with the device's memory at its end make the *digest*, which must be the same over every transport.
//! After the last round the device's memory must be what the same number of rounds leave without any transport: every
//! kernel folds its parameters into it, so a lost, changed or reordered call of the timed rounds shows itself there.

mod args;
mod copy_rate;
mod direct;
mod error;
mod job;
mod launch;
mod link;
mod local;
mod measure;
mod old;
mod order;
mod pace;
mod player;
pub mod probe;
mod report;
mod ring;
mod run;
mod scene;

#[cfg(test)]
mod tests;

pub use args::{Pace, ReplayArgs, ReplayWorkerArgs, Transport, command, worker};
pub use error::ReplayError;
pub use job::main_job;

/// The hidden subcommand that makes a process the worker of one of the old ways.
pub const WORKER_SUBCOMMAND: &str = "replay-worker";
