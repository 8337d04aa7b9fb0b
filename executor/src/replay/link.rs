//! What a replay needs of a transport.

use super::error::ReplayError;
use ringbar_vocabulary::{
    ContextId, DevicePtr, MemcpyHtoD, PostCommand, StreamCreate, StreamDestroy, StreamId,
    SyncCommand, Tail,
};

/// One application thread's end of a transport.
pub trait Link: Send {
    /// Sends a command that needs no answer.
    fn post<C: PostCommand>(&mut self, command: &C) -> Result<(), ReplayError>;

    /// Sends a command that needs no answer, and waits until it was executed.
    fn post_and_wait<C: PostCommand>(&mut self, command: &C) -> Result<(), ReplayError>;

    /// Sends a command and waits for its reply.
    fn call<C: SyncCommand>(&mut self, command: &C) -> Result<C::Reply, ReplayError>;

    /// Copies to the device; returns when the source may be reused. The bytes travel in the commands, if a transport has no
    /// better way.
    fn htod(&mut self, dst: DevicePtr, bytes: &[u8], stream: StreamId) -> Result<(), ReplayError> {
        pieces(bytes.len()).try_for_each(|(at, piece)| {
            let data = Tail::Inline(&bytes[at..at + piece]);
            self.post(&MemcpyHtoD { dst: dst.offset(at as u64), stream, data })
        })
    }

    /// Copies from the device, and waits for the bytes.
    fn dtoh(
        &mut self,
        into: &mut [u8],
        src: DevicePtr,
        stream: StreamId,
    ) -> Result<(), ReplayError>;

    /// Copies from the device into pinned memory without waiting, where the transport can; else as [`Link::dtoh`].
    fn dtoh_posted(
        &mut self,
        into: &mut [u8],
        src: DevicePtr,
        stream: StreamId,
    ) -> Result<(), ReplayError> {
        self.dtoh(into, src, stream)
    }

    /// Waits until all work posted to `stream` so far is done, and reports a failure of any post.
    fn synchronise(&mut self, stream: StreamId) -> Result<(), ReplayError>;

    /// Creates a stream under a number of the replay's.
    fn create_stream(&mut self, stream: StreamId) -> Result<(), ReplayError> {
        self.post(&StreamCreate { context: ContextId::FIRST, stream, flags: 0, priority: 0 })
    }

    /// Destroys it.
    fn destroy_stream(&mut self, stream: StreamId) -> Result<(), ReplayError> {
        self.post(&StreamDestroy { stream })
    }

    /// Allocates a pinned host block under a number of the replay's.
    fn pin(&mut self, block: u32, bytes: u64) -> Result<(), ReplayError>;

    /// Gives it back.
    fn unpin(&mut self, block: u32) -> Result<(), ReplayError>;

    /// How often a post of any thread had to wait for room so far.
    fn full_waits(&self) -> u64 {
        0
    }
}

/// Bytes of one piece of a copy: it is still in the second-level cache when the mock reads it.
pub const PIECE_BYTES: usize = 128 << 10;

/// Start and length of each piece of a copy; one of no bytes for a copy of none.
pub fn pieces(len: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = len.div_ceil(PIECE_BYTES).max(1);
    (0..count).map(move |piece| {
        let at = piece * PIECE_BYTES;
        (at, PIECE_BYTES.min(len - at))
    })
}

/// What crossed a transport so far, beside the commands themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Wake-ups of the worker.
    pub worker_bells: u64,
    /// Wake-ups of the client.
    pub client_bells: u64,
    /// Messages of the transport's own: records, or datagrams, or ring-ups.
    pub messages: u64,
    /// Waits for room.
    pub full_waits: u64,
}

impl std::ops::Sub for Traffic {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            worker_bells: self.worker_bells - before.worker_bells,
            client_bells: self.client_bells - before.client_bells,
            messages: self.messages - before.messages,
            full_waits: self.full_waits - before.full_waits,
        }
    }
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, more: Self) {
        self.worker_bells += more.worker_bells;
        self.client_bells += more.client_bells;
        self.messages += more.messages;
        self.full_waits += more.full_waits;
    }
}

/// A transport, with its worker if it has one.
pub trait Road {
    /// One thread's end.
    type Link: Link;

    /// An end for one more thread.
    fn link(&self) -> Result<Self::Link, ReplayError>;

    /// What crossed so far.
    fn traffic(&self) -> Traffic;

    /// Whether the worker is another process.
    fn has_worker(&self) -> bool;
}
