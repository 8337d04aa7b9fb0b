//! What can go wrong in a session.

use ringbar::error::ChannelError;
use ringbar::guest::GuestError;
use ringbar::handshake::TransportError;
use ringbar::spsc::Violation;
use ringbar_vocabulary::{DecodeError, FactsError, Status};
use std::sync::Arc;
use thiserror::Error;

/// Why a call of a session failed.
#[derive(Clone, Debug, Error)]
pub enum SessionError {
    /// The channel is over, for this call and every later one.
    #[error("the session is over: {0}")]
    Lost(ChannelError),
    /// This one request failed; the channel works on.
    #[error(transparent)]
    Channel(ChannelError),
    /// No executor could be reached, or it refused.
    #[error("no session: {0}")]
    Handshake(Arc<TransportError>),
    /// This virtual machine has no channel to its host's executor.
    #[error("no session: {0}")]
    Guest(Arc<GuestError>),
    /// The executor answered a call with an error of its own.
    #[error("{function}: {status}")]
    Status {
        /// The function's name in the vocabulary.
        function: &'static str,
        /// The answer.
        status: Status,
    },
    /// A posted command failed earlier; this is the first of this session.
    #[error(
        "the command posted at position {position} failed: {status}; it is reported now because posts are not waited for \
         (strict mode reports each at once)"
    )]
    PostFailed {
        /// The command's position in the ring, as `post` returned it.
        position: u64,
        /// Its status.
        status: Status,
    },
    /// Further posted commands failed after the first one was reported.
    #[error(
        "{count} more posted commands failed since the last report; a channel keeps only the first failure's position and \
         status; try strict mode to see each"
    )]
    MorePostsFailed {
        /// How many, since the last report.
        count: u64,
    },
    /// A reply that no honest worker gives.
    #[error("the reply to {function} makes no sense: {error}")]
    Reply {
        /// The function's name in the vocabulary.
        function: &'static str,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// Device facts that no honest worker gives.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// Every fence word is in use by another stream.
    #[error(
        "all {limit} fence words of the channel are taken by streams; destroy streams, or ask for more fence words when \
         connecting"
    )]
    FenceWords {
        /// Fence words of the channel.
        limit: u32,
    },
    /// The staging area stood still, and the arena had no room for anything else.
    #[error(
        "no room for {len} bytes in the staging area within {limit:?}, and none in the arena; likely cause: copies wait for a \
         stream that does not move; try: a larger --client-memory, or pinned memory"
    )]
    NoRoom {
        /// Bytes.
        len: u64,
        /// How long was waited.
        limit: std::time::Duration,
    },
    /// The session has given out every number of that kind.
    #[error("all 2,147,483,647 {kind} ids of this session were used; reattach to begin anew")]
    Ids {
        /// What the ids name.
        kind: &'static str,
    },
    /// A place outside a pinned block.
    #[error("{len} bytes at {at} of a pinned block of {limit}: expected a place inside it")]
    OutsideBlock {
        /// First byte.
        at: u64,
        /// Bytes.
        len: u64,
        /// Bytes of the block.
        limit: u64,
    },
    /// Pinned memory is not at the same address on both sides.
    #[error(
        "this session's arena lies at different addresses in client and worker, so a pointer into it means nothing to the \
         device; likely cause: an executor whose channels have no fixed arena address, or an address that was taken here; \
         try pageable memory"
    )]
    NoSharedAddress,
    /// The session was made from a client of this process, so nobody can be asked for a new generation.
    #[error(
        "this session was not made by `connect`, so there is no executor to attach to again; make a new client instead"
    )]
    NotConnected,
}

impl From<ChannelError> for SessionError {
    fn from(error: ChannelError) -> Self {
        if error.is_final() { Self::Lost(error) } else { Self::Channel(error) }
    }
}

impl From<Violation> for SessionError {
    fn from(violation: Violation) -> Self {
        Self::Channel(violation.into())
    }
}

impl From<TransportError> for SessionError {
    fn from(error: TransportError) -> Self {
        Self::Handshake(Arc::new(error))
    }
}

impl From<GuestError> for SessionError {
    fn from(error: GuestError) -> Self {
        Self::Guest(Arc::new(error))
    }
}

impl SessionError {
    /// True if the worker is gone, so that only [`crate::Session::reattach`] helps.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_))
    }

    /// The executor's status, if this is one.
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Status { status, .. } | Self::PostFailed { status, .. } => Some(*status),
            _ => None,
        }
    }
}
