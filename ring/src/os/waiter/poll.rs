//! Waiting by `ppoll(2)`.

use super::{Interest, ReadySet, Source, Waiter, token_in_use};
use rustix::event::{PollFd, Timespec};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Waits by `ppoll(2)`: works everywhere, costs a little more for each source.
///
/// Invariant: `poll_fds[i]` borrows the descriptor that `sources[i]` keeps open.
#[derive(Debug, Default)]
pub struct PollWaiter {
    sources: Vec<Source>,
    poll_fds: Vec<PollFd<'static>>,
}

impl PollWaiter {
    /// Without sources.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn push(&mut self, source: Source) {
        // SAFETY: `source` goes into `sources` beside this entry and keeps the descriptor open until both are removed.
        let fd = unsafe { BorrowedFd::borrow_raw(source.fd.as_raw_fd()) };
        self.poll_fds.push(PollFd::from_borrowed_fd(fd, source.interest.poll_flags()));
        self.sources.push(source);
    }

    fn position(&self, token: u64) -> Option<usize> {
        self.sources.iter().position(|source| source.token == token)
    }
}

impl Waiter for PollWaiter {
    fn add(&mut self, fd: Arc<OwnedFd>, token: u64, interest: Interest) -> io::Result<()> {
        if self.position(token).is_some() {
            return Err(token_in_use(token));
        }
        self.push(Source { token, fd, interest });
        Ok(())
    }

    fn remove(&mut self, token: u64) -> bool {
        let Some(at) = self.position(token) else { return false };
        self.poll_fds.swap_remove(at);
        self.sources.swap_remove(at);
        true
    }

    fn sources(&self) -> usize {
        self.sources.len()
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut ReadySet) -> io::Result<()> {
        ready.reset(self.sources.len());
        // A time beyond what the kernel can count is as good as no limit.
        let limit = timeout.and_then(|time| Timespec::try_from(time).ok());
        match rustix::event::poll(&mut self.poll_fds, limit.as_ref()) {
            Ok(0) | Err(Errno::INTR) => return Ok(()),
            Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        for (source, poll_fd) in self.sources.iter().zip(&self.poll_fds) {
            let found = poll_fd.revents();
            if !found.is_empty() {
                ready.entries.push(source.ready(found));
            }
        }
        Ok(())
    }
}
