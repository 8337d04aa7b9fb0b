//! What a worker offers to a backend: the client's arena, fences, the error latch, holds.

use ringbar_vocabulary::{ArenaRef, ClientOrigin, Status};
use std::sync::Arc;
use thiserror::Error;

/// Checked access to the client's arena.
///
/// The client can change the bytes at any time, so they are only ever copied, never lent.
pub trait HostMemory: Send + Sync {
    /// Whether the block lies wholly inside the arena, without touching it.
    ///
    /// # Errors
    /// [`ArenaFault`] if it does not.
    fn check(&self, at: ArenaRef) -> Result<(), ArenaFault>;

    /// Copies a block out. `into` is exactly as long as the block.
    ///
    /// # Errors
    /// [`ArenaFault`] if the block is not inside the arena or the lengths differ; then nothing
    /// was copied.
    fn read(&self, at: ArenaRef, into: &mut [u8]) -> Result<(), ArenaFault>;

    /// Copies a block in. `from` is exactly as long as the block.
    ///
    /// # Errors
    /// As [`HostMemory::read`].
    fn write(&self, at: ArenaRef, from: &[u8]) -> Result<(), ArenaFault>;

    /// Where this process has a segment mapped; `None` if there is no such segment, or it has no address.
    ///
    /// The client has it at the same address (or its pinned blocks are no device memory), so that an address inside a
    /// pinned block means the same on both sides. For registration with a device and for arithmetic, never to be
    /// dereferenced.
    fn mapped(&self, _segment: u16) -> Option<Mapped> {
        None
    }
}

/// Where memory lies in this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapped {
    /// The address of the first byte.
    pub address: u64,
    /// How many bytes there are.
    pub bytes: u64,
}

/// The fence words, through which a client learns that work is done.
pub trait Fences: Send + Sync {
    /// How many there are; a fence's index is below that.
    fn count(&self) -> u32;

    /// Stores a value and wakes the client if it waits.
    ///
    /// # Errors
    /// [`FenceFault`] if there is no fence of that index; then nothing was stored.
    fn write(&self, index: u32, value: u64) -> Result<(), FenceFault>;

    /// Where this process has the fence words mapped: whole pages with nothing else in them, 8 bytes a word. `None` if
    /// no device can write them.
    fn mapped(&self) -> Option<Mapped> {
        None
    }

    /// The value that a fence word has, for words that a device writes by itself; 0 where no device can, or if there is
    /// no fence of that index.
    fn value(&self, _index: u32) -> u64 {
        0
    }

    /// Whether the client sleeps and has to be woken by [`Fences::landed`] when a fence lands: a hint of the moment.
    fn is_slept_on(&self) -> bool {
        true
    }

    /// Says that a device has written a fence word by itself: wakes the client if it waits.
    fn landed(&self) {}
}

/// Where the first failure of a posted command is kept for the client.
pub trait ErrorLatch: Send + Sync {
    /// Publishes the failure of the command at `position` unless one was published before.
    /// Later ones are only counted.
    fn latch(&self, position: u64, status: Status);

    /// The failure of that number among all, the first being 0: position and status. `None` if there are not so many, or
    /// it is no longer remembered.
    fn failure(&self, _number: u64) -> Option<(u64, Status)> {
        None
    }
}

/// Who still uses the arena bytes of which command.
pub trait Holds: Send + Sync {
    /// The command at `position` goes on using its arena bytes after it was executed.
    fn begin(&self, position: u64);
    /// It no longer does. Called exactly once for each [`Holds::begin`].
    fn end(&self, position: u64);
}

/// Everything a worker offers, shared by the worker's thread and a backend's own threads.
#[derive(Clone)]
pub struct Services {
    /// The client's arena.
    pub arena: Arc<dyn HostMemory>,
    /// The fence words.
    pub fences: Arc<dyn Fences>,
    /// The latch for the first error.
    pub errors: Arc<dyn ErrorLatch>,
    /// The holds on arena bytes.
    pub holds: Arc<dyn Holds>,
    /// Where the client runs, which decides what it may do.
    pub origin: ClientOrigin,
}

/// A block that is not one of the client's arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ArenaFault {
    /// The segment does not exist.
    #[error(
        "arena segment {found} does not exist: expected below {expected}; likely cause: a block of another session, or a segment that was never announced"
    )]
    Segment {
        /// The segment asked for.
        found: u16,
        /// How many segments there are.
        expected: u16,
    },
    /// The block reaches outside its segment.
    #[error(
        "arena block of {len} bytes at {offset}: expected it inside the segment's {expected} bytes; likely cause: an overflow in the client, or a client that attacks"
    )]
    Outside {
        /// Where the block starts.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// The segment's size in bytes.
        expected: u64,
    },
    /// The worker's own buffer is of another length than the block.
    #[error(
        "a buffer of {found} bytes for an arena block of {expected}: the two must be equal; likely cause: a defect in the backend"
    )]
    BufferLength {
        /// The buffer's length in bytes.
        found: usize,
        /// The block's length in bytes.
        expected: u64,
    },
}

/// A fence that does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "fence {found} does not exist: expected below {expected}; likely cause: a client that counts fences differently"
)]
pub struct FenceFault {
    /// The index asked for.
    pub found: u32,
    /// How many fences there are.
    pub expected: u32,
}
