//! Sleep words, and who rings for whom (PROTOCOL.md, section 7).
//!
//! A [`Sleeper`] is the side that wants to block: it arms its sleep word, passes a barrier, looks again, and only then
//! blocks. A [`Waker`] is the side that publishes: it passes its half of the barrier, looks at the peer's sleep word,
//! and rings at most once for each sleep. One of the two sees the other, so no wake-up is lost.

use crate::lines::Lines;
use crate::sync::{AtomicU64, Ordering, full_fence, light_barrier};

/// Which barrier orders "publish, then look at the sleep word" against "arm, then look again".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeMode {
    /// The peer never sleeps, or is never to be woken: nothing is looked at.
    Polled,
    /// A full fence on both sides. Works everywhere.
    Fence,
    /// The waker passes a compiler barrier; the sleeper interrupts it with `membarrier`. Same host, both registered.
    Asymmetric,
}

/// The publishing side's view of the peer's sleep word.
pub struct Waker<L: Lines> {
    header: L,
    sleep_line: usize,
    mode: WakeMode,
    /// The odd epoch that was rung for last; private to this process.
    rung_epoch: AtomicU64,
    /// Doorbells rung; private to this process.
    rung: AtomicU64,
    /// Those of them that found the peer awake; private to this process.
    rung_awake: AtomicU64,
}

impl<L: Lines> Waker<L> {
    /// Watches the sleep word in `sleep_line`.
    pub fn new(header: L, sleep_line: usize, mode: WakeMode) -> Self {
        let counter = || AtomicU64::new(0);
        let (rung_epoch, rung, rung_awake) = (counter(), counter(), counter());
        Self { header, sleep_line, mode, rung_epoch, rung, rung_awake }
    }

    /// The barrier that is used.
    pub fn mode(&self) -> WakeMode {
        self.mode
    }

    /// To be called after publishing: true if the doorbell must be rung now. Says so once for each sleep of the peer.
    #[inline(always)]
    pub fn must_ring(&self) -> bool {
        match self.mode {
            WakeMode::Polled => return false,
            WakeMode::Fence => full_fence!(S1),
            WakeMode::Asymmetric => light_barrier(),
        }
        let epoch = self.header.load(self.sleep_line, 0, Ordering::Relaxed);
        epoch & 1 == 1 && self.first_for(epoch)
    }

    #[cold]
    fn first_for(&self, epoch: u64) -> bool {
        if self.rung_epoch.swap(epoch, Ordering::Relaxed) == epoch {
            return false;
        }
        self.rung.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Doorbells rung so far.
    pub fn rung(&self) -> u64 {
        self.rung.load(Ordering::Relaxed)
    }

    /// To be called where a doorbell is rung: looks at the peer's sleep word once more, and counts a doorbell that an awake
    /// peer gets. Only a peer that wakes by itself between the two looks should get one.
    pub(crate) fn count_if_awake(&self) {
        if self.header.load(self.sleep_line, 0, Ordering::Relaxed) & 1 == 0 {
            self.rung_awake.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Doorbells so far that were rung although the peer was awake.
    pub fn rung_awake(&self) -> u64 {
        self.rung_awake.load(Ordering::Relaxed)
    }
}

/// How a sleeper passes its half of the barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Armed {
    /// Passed: look again, then block.
    Ready,
    /// Not passed (the rate limit of `membarrier` is used up): look again for at least 50 us, then block shortly.
    Linger,
}

/// One side's own sleep word.
pub struct Sleeper<L: Lines> {
    header: L,
    sleep_line: usize,
    mode: WakeMode,
    /// Last epoch written: even = awake.
    epoch: u64,
}

impl<L: Lines> Sleeper<L> {
    /// Owns the sleep word in `sleep_line`, which is even and `0` at the start of a generation.
    pub fn new(header: L, sleep_line: usize, mode: WakeMode) -> Self {
        Self { header, sleep_line, mode, epoch: 0 }
    }

    /// Says "I sleep" and passes the barrier. Afterwards look again, before blocking. A side that is never to be rung says
    /// nothing.
    pub fn arm(&mut self) -> Armed {
        if self.mode == WakeMode::Polled {
            return Armed::Ready;
        }
        self.epoch += 1;
        self.header.store(self.sleep_line, 0, self.epoch, Ordering::Relaxed);
        match self.mode {
            WakeMode::Polled | WakeMode::Fence => {
                full_fence!(S2);
                Armed::Ready
            }
            WakeMode::Asymmetric => heavy_barrier(),
        }
    }

    /// Says "I am awake".
    pub fn disarm(&mut self) {
        if self.mode == WakeMode::Polled {
            return;
        }
        self.epoch += 1;
        self.header.store(self.sleep_line, 0, self.epoch, Ordering::Relaxed);
    }
}

/// The heavy side of the asymmetric barrier (site A2).
#[cfg(not(any(ringbar_loom, miri)))]
fn heavy_barrier() -> Armed {
    let barrier = crate::os::membarrier::AsymmetricBarrier::of_process();
    match barrier.and_then(|barrier| barrier.barrier()) {
        Ok(()) => Armed::Ready,
        Err(_) => {
            full_fence!(A2);
            Armed::Linger
        }
    }
}

/// The heavy side of the asymmetric barrier, as a model sees it.
#[cfg(any(ringbar_loom, miri))]
fn heavy_barrier() -> Armed {
    full_fence!(A2);
    Armed::Ready
}

#[cfg(all(test, not(ringbar_loom)))]
mod tests {
    use super::*;
    use crate::layout::{HEADER_LINES, line};
    use crate::testing::heap_lines;

    #[test]
    fn a_sleep_is_rung_for_once() {
        let header = heap_lines(HEADER_LINES);
        let waker = Waker::new(header.clone(), line::WORKER_SLEEP, WakeMode::Fence);
        let mut sleeper = Sleeper::new(header, line::WORKER_SLEEP, WakeMode::Fence);
        assert!(!waker.must_ring(), "awake");
        sleeper.arm();
        assert!(waker.must_ring(), "asleep");
        assert!(!waker.must_ring(), "rung already");
        sleeper.disarm();
        assert!(!waker.must_ring(), "awake again");
        sleeper.arm();
        assert!(waker.must_ring(), "a new sleep");
        assert_eq!(waker.rung(), 2);
    }

    #[test]
    fn a_doorbell_for_a_peer_that_is_awake_is_counted_where_it_is_rung() {
        let header = heap_lines(HEADER_LINES);
        let waker = Waker::new(header.clone(), line::WORKER_SLEEP, WakeMode::Fence);
        let mut sleeper = Sleeper::new(header, line::WORKER_SLEEP, WakeMode::Fence);
        sleeper.arm();
        assert!(waker.must_ring());
        waker.count_if_awake();
        assert_eq!(waker.rung_awake(), 0, "it sleeps");
        sleeper.disarm();
        waker.count_if_awake();
        assert_eq!(waker.rung_awake(), 1, "it woke by itself before it was rung");
    }

    #[test]
    fn a_side_that_polls_never_says_that_it_sleeps() {
        let header = heap_lines(HEADER_LINES);
        let waker = Waker::new(header.clone(), line::CLIENT_SLEEP, WakeMode::Fence);
        let mut sleeper = Sleeper::new(header, line::CLIENT_SLEEP, WakeMode::Polled);
        sleeper.arm();
        assert!(!waker.must_ring());
        sleeper.disarm();
        sleeper.arm();
        assert!(!waker.must_ring());
    }

    #[test]
    fn a_polled_peer_is_never_rung() {
        let header = heap_lines(HEADER_LINES);
        let waker = Waker::new(header.clone(), line::WORKER_SLEEP, WakeMode::Polled);
        Sleeper::new(header, line::WORKER_SLEEP, WakeMode::Fence).arm();
        assert!(!waker.must_ring());
    }
}
