//! The best waiter that this kernel allows.

use super::{Interest, PollWaiter, ReadySet, UringWaiter, Waiter};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// How waiting is done, for status output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaiterKind {
    /// io_uring.
    Uring,
    /// `ppoll(2)`.
    Poll,
}

#[derive(Debug)]
enum Imp {
    Uring(Box<UringWaiter>),
    Poll(PollWaiter),
}

/// io_uring where the kernel allows it, poll where not.
///
/// A kernel may withdraw the permission later (a sandbox that closes after start-up): then it goes on by poll with the
/// same sources, and no wait fails for it.
#[derive(Debug)]
pub struct AnyWaiter {
    imp: Imp,
    fallback_reason: Option<String>,
}

impl AnyWaiter {
    /// Tries io_uring and falls back to poll.
    pub fn best() -> Self {
        Self::or_poll(UringWaiter::new())
    }

    /// Poll, because the caller wants it.
    pub fn poll() -> Self {
        Self { imp: Imp::Poll(PollWaiter::new()), fallback_reason: None }
    }

    fn or_poll(uring: io::Result<UringWaiter>) -> Self {
        match uring {
            Ok(waiter) => Self { imp: Imp::Uring(Box::new(waiter)), fallback_reason: None },
            Err(e) => Self { fallback_reason: Some(reason(&e)), ..Self::poll() },
        }
    }

    /// How waiting is done now.
    pub fn kind(&self) -> WaiterKind {
        match self.imp {
            Imp::Uring(_) => WaiterKind::Uring,
            Imp::Poll(_) => WaiterKind::Poll,
        }
    }

    /// Why it is not io_uring, if it was tried.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback_reason.as_deref()
    }

    /// Moves all sources over to poll.
    fn fall_back(&mut self, error: &io::Error) {
        let mut poll = PollWaiter::new();
        if let Imp::Uring(uring) = &mut self.imp {
            uring.take_sources().for_each(|source| poll.push(source));
        }
        tracing::debug!(error = %error, "io_uring is not allowed any more, waiting by poll");
        self.fallback_reason = Some(reason(error));
        self.imp = Imp::Poll(poll);
    }
}

/// What the kernel said, and what that usually means.
fn reason(error: &io::Error) -> String {
    let cause = match error.raw_os_error() {
        Some(libc::ENOSYS) => "a kernel or sandbox without io_uring",
        Some(libc::EPERM | libc::EACCES) => "a sandbox, or the sysctl kernel.io_uring_disabled",
        Some(libc::ENOMEM) => "the limit of locked memory (ulimit -l)",
        Some(libc::EMFILE | libc::ENFILE) => "the limit of open files (ulimit -n)",
        _ => "an old kernel",
    };
    format!("io_uring: {error}; likely cause: {cause}")
}

impl Waiter for AnyWaiter {
    fn add(&mut self, fd: Arc<OwnedFd>, token: u64, interest: Interest) -> io::Result<()> {
        match &mut self.imp {
            Imp::Uring(waiter) => waiter.add(fd, token, interest),
            Imp::Poll(waiter) => waiter.add(fd, token, interest),
        }
    }

    fn remove(&mut self, token: u64) -> bool {
        match &mut self.imp {
            Imp::Uring(waiter) => waiter.remove(token),
            Imp::Poll(waiter) => waiter.remove(token),
        }
    }

    fn sources(&self) -> usize {
        match &self.imp {
            Imp::Uring(waiter) => waiter.sources(),
            Imp::Poll(waiter) => waiter.sources(),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut ReadySet) -> io::Result<()> {
        let result = match &mut self.imp {
            Imp::Uring(waiter) => waiter.wait(timeout, ready),
            Imp::Poll(waiter) => return waiter.wait(timeout, ready),
        };
        let Err(error) = result else { return Ok(()) };
        self.fall_back(&error);
        self.wait(timeout, ready)
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use crate::os::EventFd;

    #[test]
    fn a_forbidden_io_uring_means_poll_with_the_reason_kept() {
        let refused = io::Error::from_raw_os_error(libc::EPERM);
        let waiter = AnyWaiter::or_poll(Err(refused));
        assert_eq!(waiter.kind(), WaiterKind::Poll);
        let reason = waiter.fallback_reason().unwrap();
        assert!(reason.contains("io_uring_disabled"), "{reason}");
    }

    #[test]
    fn a_wish_for_poll_is_no_fallback() {
        let waiter = AnyWaiter::poll();
        assert_eq!((waiter.kind(), waiter.fallback_reason()), (WaiterKind::Poll, None));
    }

    #[test]
    fn sources_survive_when_io_uring_is_withdrawn_while_waiting() {
        let mut waiter = AnyWaiter::best();
        let event = EventFd::new().unwrap();
        waiter.add(event.fd().clone(), 5, Interest::Doorbell).unwrap();
        let mut ready = ReadySet::default();
        waiter.wait(Some(Duration::ZERO), &mut ready).unwrap();
        waiter.fall_back(&io::Error::from_raw_os_error(libc::EPERM));
        event.signal().unwrap();
        waiter.wait(Some(Duration::from_secs(10)), &mut ready).unwrap();
        assert!(ready.get(5).is_some_and(|found| found.readable));
        assert_eq!((waiter.kind(), waiter.sources()), (WaiterKind::Poll, 1));
    }
}
