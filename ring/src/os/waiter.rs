//! Waiting for many doorbells and sockets at once.
//!
//! Two implementations of one trait pass one test suite: [`PollWaiter`] (`ppoll(2)`, everywhere) and [`UringWaiter`]
//! (io_uring, whose cost does not grow with the number of idle descriptors). [`AnyWaiter::best`] takes io_uring where the
//! kernel allows it, poll where not, and remembers why.
//!
//! Both are level-triggered: what is still ready is reported again by the next wait. So a source that hung up must be
//! removed, or every wait ends at once. Neither allocates while waiting.
//!
//! # The price of a wake-up
//!
//! Against a blocking `read` of an eventfd (24 us on a 2-core virtual machine, median of 8,000 wakes in rotation):
//!
//! | | one source | and 100 idle ones |
//! |---|---|---|
//! | poll, [`Interest::Doorbell`] | 1.08 to 1.14 | 1.4 to 1.65 |
//! | io_uring, [`Interest::Doorbell`] | 1.10 to 1.15 | 1.0 to 1.16 |
//! | poll, [`Interest::Readable`], drained before the next sleep | 1.04 to 1.06 | |
//! | io_uring, the same | 1.04 | |
//!
//! So what counts is the system call that drains the eventfd between wake-up and work. Who parks on one doorbell of its own
//! adds it as [`Interest::Readable`] and calls [`EventFd::drain`](super::EventFd::drain) before it next *announces* that it
//! sleeps: a signal drained there was meant for an earlier sleep, and whatever it told of is seen by the look after the
//! announcement. (Draining after the announcement would lose wake-ups.) With io_uring `READ`, and `POLL` linked to
//! `READ`, measured no better than `POLL` and a drain: 1.06 to 1.11.
//!
//! A source's descriptor stays open as long as the waiter has it: the peer of a socket sees it closed only after
//! [`Waiter::remove`].

mod any;
mod poll;
mod uring;

pub use any::{AnyWaiter, WaiterKind};
pub use poll::PollWaiter;
pub use uring::UringWaiter;

use rustix::event::PollFlags;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// What to wait for on a descriptor. Hang-up and error are always reported too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read: bytes, a connection to accept, the exit of a pidfd's process.
    Readable,
    /// A signalled eventfd, which the waiter drains before it reports it, so that it is quiet until the next signal. The
    /// simplest form; a little dearer than draining before the next sleep, see the module's text.
    Doorbell,
    /// Only hang-up and error, with unread bytes left alone.
    HangUp,
}

impl Interest {
    fn poll_flags(self) -> PollFlags {
        match self {
            Self::Readable | Self::Doorbell => PollFlags::IN | PollFlags::RDHUP,
            Self::HangUp => PollFlags::RDHUP,
        }
    }
}

/// One source that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The number it was added under.
    pub token: u64,
    /// There is something to read (or, for a doorbell, there was).
    pub readable: bool,
    /// The peer closed or shut down its end; bytes may still be readable.
    pub hang_up: bool,
    /// The descriptor is in an error state or cannot be waited for.
    pub error: bool,
}

impl Ready {
    fn of(token: u64, found: PollFlags) -> Self {
        Self {
            token,
            readable: found.contains(PollFlags::IN),
            hang_up: found.intersects(PollFlags::HUP | PollFlags::RDHUP),
            error: found.intersects(PollFlags::ERR | PollFlags::NVAL),
        }
    }

    /// The peer is gone or the descriptor useless: remove the source.
    pub fn is_over(&self) -> bool {
        self.hang_up || self.error
    }
}

/// What a wait found; keep it between waits, it keeps its memory.
#[derive(Clone, Debug, Default)]
pub struct ReadySet {
    entries: Vec<Ready>,
}

impl ReadySet {
    /// With room for `sources` of them.
    pub fn with_capacity(sources: usize) -> Self {
        Self { entries: Vec::with_capacity(sources) }
    }

    /// What is ready, in no particular order; each source at most once.
    pub fn as_slice(&self) -> &[Ready] {
        &self.entries
    }

    /// Iterates over what is ready.
    pub fn iter(&self) -> std::slice::Iter<'_, Ready> {
        self.entries.iter()
    }

    /// Nothing is ready: the time ran out, or the wait ended early.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry for `token`, if it is ready.
    pub fn get(&self, token: u64) -> Option<&Ready> {
        self.entries.iter().find(|ready| ready.token == token)
    }

    /// Forgets the last wait and makes room for `sources`; allocates only when there are more than ever before.
    fn reset(&mut self, sources: usize) {
        self.entries.clear();
        self.entries.reserve(sources);
    }
}

impl<'a> IntoIterator for &'a ReadySet {
    type Item = &'a Ready;
    type IntoIter = std::slice::Iter<'a, Ready>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A descriptor that is waited for.
#[derive(Clone, Debug)]
struct Source {
    token: u64,
    fd: Arc<OwnedFd>,
    interest: Interest,
}

impl Source {
    /// Turns what the kernel found into what is reported; empties a doorbell.
    fn ready(&self, found: PollFlags) -> Ready {
        let ready = Ready::of(self.token, found);
        if ready.readable && self.interest == Interest::Doorbell {
            // An error here is no reason to lose the wake-up: poll reports a broken descriptor itself.
            let _ = super::doorbell::drain(self.fd.as_fd());
        }
        ready
    }
}

/// Waits for several descriptors at once.
pub trait Waiter: Send {
    /// Adds a source. `token` comes back in [`Ready`] and must not be in use ([`io::ErrorKind::AlreadyExists`]).
    fn add(&mut self, fd: Arc<OwnedFd>, token: u64, interest: Interest) -> io::Result<()>;

    /// Removes the source and lets go of its descriptor; `false` if there is none with this token.
    fn remove(&mut self, token: u64) -> bool;

    /// Number of sources.
    fn sources(&self) -> usize;

    /// Waits until a source is ready, but no longer than `timeout` (`None`: no limit), and replaces `ready` by what is.
    ///
    /// May return early with nothing, for instance after a signal: callers look at their clock and their condition anyway.
    fn wait(&mut self, timeout: Option<Duration>, ready: &mut ReadySet) -> io::Result<()>;
}

fn token_in_use(token: u64) -> io::Error {
    let text =
        format!("found token {token} in use, expected a new one; try: remove its source first");
    io::Error::new(io::ErrorKind::AlreadyExists, text)
}

#[cfg(all(test, not(miri)))]
mod tests;
