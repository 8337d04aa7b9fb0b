//! A thread of the VM's own for the system calls that its monitor can make last.
//!
//! The monitor shares the eventfds that ring the guest and the memory. While it saturates one and toggles `O_NONBLOCK`, a write to
//! it may block; while it zeroes the memory again and again, giving back a part of it waits for its turn. The daemon's thread,
//! which serves all VMs, asks for both here and never waits: where a call lasts, it is this VM alone that is not rung, and whose
//! channels do not become free.

use ringbar::os::EventFd;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A call that lasts longer is told of.
const LONG: Duration = Duration::from_secs(1);
/// How long its last calls are waited for at the end.
const LAST_CALLS: Duration = Duration::from_millis(50);

/// What the thread calls.
pub(super) trait Calls: Send + 'static {
    /// Rings the guest through a vector.
    fn ring(&mut self, vector: usize);
    /// Gives the memory of a channel's arena back to the system.
    fn give_back(&mut self, channel: usize);
}

/// The thread, as the daemon's thread sees it. It ends by itself once this is dropped and its calls are done.
pub(super) struct Aide {
    shared: Arc<Shared>,
    /// It was told that the present call lasts.
    told: bool,
}

struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
    /// Signalled whenever a channel was given back.
    given_back: EventFd,
}

/// Sets of vectors and channels: a bit each.
#[derive(Default)]
struct Work {
    vectors: u32,
    channels: u32,
    calling_since: Option<Instant>,
    ended: bool,
}

impl Work {
    fn is_done(&self) -> bool {
        self.vectors == 0 && self.channels == 0 && self.calling_since.is_none()
    }
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, change: impl FnOnce(&mut Work)) {
        change(&mut self.work());
        self.changed.notify_all();
    }

    /// Vectors and a channel to call for next; `None` at the end.
    fn next(&self) -> Option<(u32, Option<usize>)> {
        let nothing = |work: &mut Work| work.vectors == 0 && work.channels == 0 && !work.ended;
        let waited = self.changed.wait_while(self.work(), nothing);
        let mut work = waited.unwrap_or_else(PoisonError::into_inner);
        let channel = (work.channels != 0).then(|| work.channels.trailing_zeros() as usize);
        let vectors = std::mem::take(&mut work.vectors);
        if vectors == 0 && channel.is_none() {
            return None;
        }
        work.calling_since = Some(Instant::now());
        Some((vectors, channel))
    }
}

impl Aide {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread or no descriptor.
    pub fn start(mut calls: impl Calls) -> io::Result<Self> {
        let (work, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { work, changed, given_back: EventFd::new()? });
        let theirs = shared.clone();
        let serve = move || {
            while let Some((vectors, channel)) = theirs.next() {
                let rung = (0..u32::BITS as usize).filter(|vector| vectors >> vector & 1 == 1);
                rung.for_each(|vector| calls.ring(vector));
                channel.into_iter().for_each(|channel| calls.give_back(channel));
                theirs.ask(|work| {
                    work.calling_since = None;
                    work.channels &= !channel.map_or(0, |channel| 1 << channel);
                });
                if channel.is_some()
                    && let Err(error) = theirs.given_back.signal()
                {
                    tracing::debug!(%error, "the daemon looks at its next tick");
                }
            }
        };
        std::thread::Builder::new().name("vm-aide".into()).spawn(serve)?;
        Ok(Self { shared, told: false })
    }

    /// Asks for the guest to be rung through `vector`, below 32. Twice before it is done is once.
    pub fn ring(&self, vector: usize) {
        self.shared.ask(|work| work.vectors |= 1 << vector);
    }

    /// Asks for the arena of `channel`, below 32, to be given back.
    pub fn give_back(&self, channel: usize) {
        self.shared.ask(|work| work.channels |= 1 << channel);
    }

    /// Whether the arena of `channel` is still to be given back: nobody may have it before.
    pub fn has(&self, channel: usize) -> bool {
        self.shared.work().channels >> channel & 1 == 1
    }

    /// Readable, until drained, once a channel was given back.
    pub fn given_back(&self) -> &EventFd {
        &self.shared.given_back
    }

    /// For how long a call has lasted, once for each that lasts.
    pub fn lasts(&mut self) -> Option<Duration> {
        let lasts = self.shared.work().calling_since.map(|since| since.elapsed());
        let lasts = lasts.filter(|&lasts| lasts > LONG);
        let told = std::mem::replace(&mut self.told, lasts.is_some());
        lasts.filter(|_| !told)
    }
}

impl Drop for Aide {
    /// A guest shall still be rung where that is a matter of microseconds.
    fn drop(&mut self) {
        self.shared.ask(|work| work.ended = true);
        let work = self.shared.work();
        drop(self.shared.changed.wait_timeout_while(work, LAST_CALLS, |work| !work.is_done()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Tells each call and lasts until it is let go, or nobody is left to do so.
    struct Slow {
        calls: Sender<(&'static str, usize)>,
        goes_on: Receiver<()>,
    }

    impl Calls for Slow {
        fn ring(&mut self, vector: usize) {
            self.calls.send(("ring", vector)).unwrap();
            let _ = self.goes_on.recv();
        }

        fn give_back(&mut self, channel: usize) {
            self.calls.send(("give back", channel)).unwrap();
            let _ = self.goes_on.recv();
        }
    }

    fn slow() -> (Aide, Receiver<(&'static str, usize)>, Sender<()>) {
        let ((calls, called), (let_go, goes_on)) = (channel(), channel());
        (Aide::start(Slow { calls, goes_on }).unwrap(), called, let_go)
    }

    #[test]
    fn whoever_asks_waits_for_no_call_and_a_channel_is_its_until_it_was_given_back() {
        let (mut aide, called, let_go) = slow();
        let next = || called.recv_timeout(PATIENCE).unwrap();
        aide.ring(3);
        assert_eq!(next(), ("ring", 3));
        // That call lasts: all these return nevertheless.
        aide.ring(1);
        aide.ring(1);
        aide.give_back(2);
        assert!(aide.has(2) && !aide.has(1));
        assert_eq!(aide.given_back().drain().unwrap(), 0);
        std::thread::sleep(LONG);
        assert!(aide.lasts().is_some_and(|lasts| lasts >= LONG));
        assert_eq!(aide.lasts(), None, "it was told");
        for call in [("ring", 1), ("give back", 2)] {
            let_go.send(()).unwrap();
            assert_eq!(next(), call);
        }
        assert!(aide.has(2), "not yet");
        let_go.send(()).unwrap();
        let waiting = Instant::now();
        while aide.has(2) && waiting.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        assert!(!aide.has(2));
    }

    #[test]
    fn the_end_waits_for_calls_that_last_no_longer_than_a_moment() {
        let (aide, called, let_go) = slow();
        aide.ring(0);
        called.recv_timeout(PATIENCE).unwrap();
        drop(aide);
        drop(let_go);
        assert!(called.recv_timeout(PATIENCE).is_err(), "its thread has ended");
    }
}
