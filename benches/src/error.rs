//! What can go wrong while measuring.

use std::io;
use std::time::Duration;

use crate::spin::{STALL_LIMIT, Stalled};

/// Why a sample has no figure.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The candidate needs something that this machine or its kernel does not offer. Reported by name, never skipped.
    #[error("{what} cannot run here: {reason}")]
    Unavailable {
        /// What was asked for.
        what: String,
        /// What the system answered.
        reason: String,
    },
    /// A received payload differed from the one that was sent.
    #[error(
        "payload corrupted: over {messages} messages the received words differed from the sent ones in bits {difference:#018x}; \
         the queue lost, repeated, reordered or tore a message: do not trust its figures"
    )]
    Corrupt {
        /// Messages received.
        messages: u64,
        /// Every bit that was wrong at least once, over all words.
        difference: u64,
    },
    /// The other side made no progress.
    #[error(
        "the other side was silent for {limit_s} s: it likely died or a message was lost; run this candidate alone to see its error"
    )]
    Stalled {
        /// Seconds waited.
        limit_s: u64,
    },
    /// Fewer cores than a two-sided measurement needs.
    #[error(
        "found {found} usable core(s), expected two different ones: allow two cores (taskset, cgroup cpuset) or name them with --cores A,B"
    )]
    TooFewCores {
        /// Cores this process may use.
        found: usize,
    },
    /// A core list that could not be read.
    #[error("found core list {text:?}, expected two different core numbers such as 0,1")]
    CoreList {
        /// The text as given.
        text: String,
    },
    /// A thread could not be pinned.
    #[error(
        "could not pin a thread to core {core}: {source}; is the core in this process's cpuset?"
    )]
    Pin {
        /// The core asked for.
        core: usize,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The second process failed or gave no readable answer.
    #[error("the second process in role {role} failed: {reason}")]
    Child {
        /// Its role.
        role: String,
        /// Its exit status, error text or unreadable answer.
        reason: String,
    },
    /// A measuring thread panicked.
    #[error("a measuring thread panicked; its message stands above")]
    Panicked,
}

impl BenchError {
    /// Wraps an I/O error with what was being done.
    pub fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// Wraps a kernel error with what was being done.
    pub fn errno(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |source| Self::Io { what, source: source.into() }
    }

    /// Names something that cannot run here.
    pub fn unavailable(what: &str, reason: impl ToString) -> Self {
        Self::Unavailable { what: what.into(), reason: reason.to_string() }
    }

    /// Whether this is the silence that follows from the other side's failure, not a cause of its own.
    pub fn is_stall(&self) -> bool {
        matches!(self, Self::Stalled { .. })
    }
}

impl From<Stalled> for BenchError {
    fn from(_: Stalled) -> Self {
        Self::Stalled { limit_s: Duration::as_secs(&STALL_LIMIT) }
    }
}
