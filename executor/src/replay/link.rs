//! What a replay needs of a transport.

use super::error::ReplayError;
use ringbar_vocabulary::{DevicePtr, PostCommand, StreamId, SyncCommand};

/// One application thread's end of a transport.
pub trait Link: Send {
    /// Sends a command that needs no answer.
    fn post<C: PostCommand>(&mut self, command: &C) -> Result<(), ReplayError>;

    /// Sends a command that needs no answer, and waits until it was executed.
    fn post_and_wait<C: PostCommand>(&mut self, command: &C) -> Result<(), ReplayError>;

    /// Sends a command and waits for its reply.
    fn call<C: SyncCommand>(&mut self, command: &C) -> Result<C::Reply, ReplayError>;

    /// Copies to the device; returns when the source may be reused.
    fn htod(&mut self, dst: DevicePtr, bytes: &[u8], stream: StreamId) -> Result<(), ReplayError>;

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
    ) -> Result<(), ReplayError>;

    /// Waits until all work posted to `stream` so far is done, and reports a failure of any post.
    fn synchronise(&mut self, stream: StreamId) -> Result<(), ReplayError>;

    /// Creates a stream under a number of the replay's.
    fn create_stream(&mut self, stream: StreamId) -> Result<(), ReplayError>;

    /// Destroys it.
    fn destroy_stream(&mut self, stream: StreamId) -> Result<(), ReplayError>;

    /// Allocates a pinned host block under a number of the replay's.
    fn pin(&mut self, block: u32, bytes: u64) -> Result<(), ReplayError>;

    /// Gives it back.
    fn unpin(&mut self, block: u32) -> Result<(), ReplayError>;

    /// How often a post of any thread had to wait for room so far.
    fn full_waits(&self) -> u64;
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
