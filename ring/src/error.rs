//! Why a channel no longer works.

use crate::arena::alloc::AllocError;
use crate::region::RegionError;
use crate::spsc::Violation;
use core::time::Duration;
use std::sync::Arc;
use thiserror::Error;

/// What ended a channel, or one wait on it. The first error that ends a channel is the one that every later call gets.
#[derive(Clone, Debug, Error)]
pub enum ChannelError {
    /// The peer broke the protocol; this side poisoned the channel.
    #[error("the channel is poisoned: {0}")]
    Violation(#[from] Violation),
    /// The peer found that this side broke the protocol.
    #[error(
        "the peer poisoned the channel: {reason} (code {code}, detail {detail}); \
         likely cause: this process wrote into the region past the ring's own code, or runs another version"
    )]
    Poisoned {
        /// Name of the violation that the peer reports.
        reason: &'static str,
        /// Its code.
        code: u32,
        /// Its detail.
        detail: u32,
    },
    /// The peer's process is gone.
    #[error(
        "the peer died with {in_flight} commands in flight, which are lost; \
         attach again for a new generation (work on a device is never replayed silently)"
    )]
    PeerDied {
        /// Commands submitted and not known to be executed.
        in_flight: u64,
    },
    /// The device of a virtual machine was taken away.
    #[error(
        "the device was unplugged from this virtual machine, with all that was in flight; plug it in again and attach anew"
    )]
    Unplugged,
    /// The process that has the device's interrupts for all programs of a virtual machine ended.
    #[error(
        "`ringbar vm hold` of this virtual machine ended: its kernel turned the device's memory off for a moment, what was \
         written meanwhile is lost, and no interrupt comes any more; likely cause: it was killed; try: end all programs, \
         start it anew, then attach anew"
    )]
    HolderEnded,
    /// The peer left in order.
    #[error("the peer closed the channel")]
    Closed,
    /// The peer lives but has been silent for longer than the limit.
    #[error(
        "the peer is alive but has been silent for {silent:?}; likely cause: it is stopped, in a debugger, or its \
         machine is paused; raise the limit to wait longer"
    )]
    Stalled {
        /// Time without a heartbeat.
        silent: Duration,
    },
    /// The caller's own deadline passed.
    #[error(
        "no answer within the {limit:?} that the caller allowed; the command may still be executed"
    )]
    Deadline {
        /// The limit.
        limit: Duration,
    },
    /// A record that can never fit.
    #[error(
        "a record of {bytes} bytes exceeds this ring's {limit}; put the payload into the arena"
    )]
    TooLong {
        /// Bytes of the record.
        bytes: usize,
        /// Most bytes a record may have.
        limit: usize,
    },
    /// The arena cannot hold the block.
    #[error(
        "the arena cannot hold a block of {wanted} bytes ({capacity} in all, {free} free); grow it, or send smaller pieces"
    )]
    ArenaFull {
        /// Bytes wanted.
        wanted: u64,
        /// Bytes free now.
        free: u64,
        /// Bytes in all.
        capacity: u64,
    },
    /// The arena's allocator refused a block for another reason than lack of room.
    #[error("no block of the arena: {0}")]
    Arena(#[from] AllocError),
    /// Something else lies where both sides are to map the arena.
    #[error(
        "the arena of {bytes} bytes cannot be mapped at {address:#x}, where both sides must have it: the address is \
         taken; likely cause: another library reserved that range; try: connect again, since each session gets an \
         address of its own"
    )]
    ArenaAddress {
        /// The agreed address.
        address: u64,
        /// Bytes to be mapped there.
        bytes: u64,
    },
    /// The region is not one to attach to.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// The operating system refused something.
    #[error("{what}: {error}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// What the system said.
        error: Arc<std::io::Error>,
    },
}

impl ChannelError {
    /// A call of the operating system that failed, and what it was for.
    pub fn io(what: &'static str, error: impl Into<std::io::Error>) -> Self {
        Self::Io { what, error: Arc::new(error.into()) }
    }

    /// True if the channel is over, false if only this one request failed.
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::Deadline { .. }
                | Self::TooLong { .. }
                | Self::ArenaFull { .. }
                | Self::Arena(_)
                | Self::Io { .. }
        )
    }
}
