//! Why a replay failed.

use crate::recording::RecordingError;
use ringbar::handshake::TransportError;
use ringbar_backend::Violation;
use ringbar_mock::MockError;
use ringbar_session::SessionError;
use ringbar_vocabulary::Status;
use std::io;
use thiserror::Error;

/// Why a replay failed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The recording could not be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// A call over the ring failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The mock refused bytes that the replay itself encoded.
    #[error("the replay broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// No mock GPU.
    #[error(transparent)]
    Mock(#[from] MockError),
    /// A call was answered with an error.
    #[error("{function}: {status}")]
    Status {
        /// The function's name in the vocabulary.
        function: &'static str,
        /// The answer.
        status: Status,
    },
    /// A posted command failed.
    #[error("a posted command failed: {status}")]
    PostFailed {
        /// Its status.
        status: Status,
    },
    /// An answer that makes no sense.
    #[error(
        "the worker's answer to {function} makes no sense; likely cause: another version of the program"
    )]
    Answer {
        /// The function's name in the vocabulary.
        function: &'static str,
    },
    /// The worker process is gone.
    #[error("the worker process is gone: {0}")]
    WorkerGone(String),
    /// The worker process could not be started.
    #[error("the worker process could not be started: {0}")]
    Start(String),
    /// Handing descriptors to the worker failed.
    #[error(transparent)]
    Handing(#[from] TransportError),
    /// A system call failed.
    #[error("{action}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another thread of the replay failed first.
    #[error("another thread of the replay failed")]
    OtherThread,
    /// The device's memory is not what the same rounds leave without any transport.
    #[error(
        "after {rounds} rounds over {transport} the device's memory is not what the same rounds leave without transport: \
         {found:#018x}, expected {expected:#018x}; commands were lost, changed or reordered"
    )]
    Memory {
        /// The transport.
        transport: &'static str,
        /// Rounds replayed.
        rounds: u64,
        /// Digest found.
        found: u64,
        /// Digest expected.
        expected: u64,
    },
    /// Two transports gave different digests.
    #[error(
        "the digest over {transport} is {found:#018x}, expected {expected:#018x} as over the others"
    )]
    Digest {
        /// The transport.
        transport: &'static str,
        /// Digest found.
        found: u64,
        /// Digest expected.
        expected: u64,
    },
    /// A worker of this program's own gave no digest.
    #[error(
        "the worker over {transport} gave no digest, so nothing is known of what reached it; likely cause: --worker-program \
         names another version"
    )]
    NoDigest {
        /// The transport.
        transport: &'static str,
    },
    /// A recording cannot be executed on a real GPU.
    #[error(
        "a recording cannot be replayed on a real GPU: it holds each call's name, size and time, and no kernels, no data and no \
         library handles, so there is nothing to execute and no result to check; the mock folds the bytes of every call instead. \
         Try `ringbar run --backend cuda --stats -- PROGRAM` for the program itself on the GPU, or `--backend mock`"
    )]
    NoKernels,
    /// A combination of options that has no meaning.
    #[error("{0}")]
    Usage(String),
}

impl ReplayError {
    /// For `map_err`.
    pub(super) fn io<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, source: source.into() }
    }

    /// The process's exit code: 2 for what the caller gave, 1 for what happened.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Recording(_) | Self::Usage(_) | Self::NoKernels => 2,
            _ => 1,
        }
    }
}
