//! How long to poll before blocking.

use crate::sync::{AtomicU64, Ordering, spin_loop};
use core::time::Duration;

/// Longest poll before a side blocks.
pub const SPIN_MAX: Duration = Duration::from_micros(200);
/// Least poll. Blocking costs either side tens of microseconds (the ring of the doorbell alone 5 to 10), so polling for less
/// never pays; and with less a worker can fall asleep again before its client is back from waking it, again and again.
const SPIN_MIN_NS: u64 = 50_000;
/// Every so many waits the longest poll is tried again, whatever the last ones needed.
const RETRY_EVERY: u64 = 32;
/// How much longer than for a peer it pays to poll for a device: its work takes longer than a peer's answer, and each of
/// two sleepers on the way costs 50 to 200 us more than the work, in a virtual machine.
const DEVICE_FACTOR: u64 = 100;
/// Longest poll for a device, unless a peer is polled for longer.
const DEVICE_NS_MAX: u64 = 20_000_000;
/// With fewer processors nobody polls for a device: those that work for it need them.
const DEVICE_PROCESSORS_MIN: usize = 4;
/// Looks between two readings of the clock.
const LOOKS_PER_CLOCK: u32 = 32;

/// An adaptive limit on polling: its maximum as long as waits are met, or one alone is not; half of it after each further
/// one that is not, but never under 50 us. So a peer that is busy with few long pauses is polled through all but those, and
/// an idle one costs little.
pub struct SpinBudget {
    max_ns: u64,
    /// Longest poll for a device; 0 for none.
    device_ns: u64,
    /// Waits that were not met since the last one that was.
    misses: AtomicU64,
    waits: AtomicU64,
    /// Whether a pause costs more than many looks, so that it is made once in so many only.
    dear_pauses: bool,
}

impl Default for SpinBudget {
    /// Up to 200 us; none where this process may use one processor only, since polling there keeps the peer from running.
    fn default() -> Self {
        let alone = std::thread::available_parallelism().is_ok_and(|n| n.get() == 1);
        Self::new(if alone { Duration::ZERO } else { SPIN_MAX })
    }
}

impl SpinBudget {
    /// Polls for at most `max` before blocking; zero never polls.
    pub fn new(max: Duration) -> Self {
        Self::on_processors(max, std::thread::available_parallelism().map_or(1, usize::from))
    }

    fn on_processors(max: Duration, processors: usize) -> Self {
        let max_ns = max.as_nanos() as u64;
        let for_device = max_ns.saturating_mul(DEVICE_FACTOR).min(DEVICE_NS_MAX).max(max_ns);
        let device_ns = if processors < DEVICE_PROCESSORS_MIN { 0 } else { for_device };
        let (misses, waits) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { max_ns, device_ns, misses, waits, dear_pauses: false }
    }

    /// The same for a processor on which a pause costs more than many looks: an emulator leaves its translated code for each.
    /// Polls of a peer then pause once in 32 looks.
    pub fn with_dear_pauses(self, dear_pauses: bool) -> Self {
        Self { dear_pauses, ..self }
    }

    /// Polls `look` for as long as recent waits make it worth while.
    #[inline]
    pub fn poll<T>(&self, look: &mut impl FnMut() -> Option<T>) -> Option<T> {
        if self.max_ns == 0 {
            return look();
        }
        for _ in 0..LOOKS_PER_CLOCK {
            if let Some(found) = look() {
                self.met();
                return Some(found);
            }
            if !self.dear_pauses {
                spin_loop();
            }
        }
        self.poll_long(look)
    }

    /// To be told of a wait that was met before it came to [`poll`](Self::poll).
    #[inline]
    pub fn met(&self) {
        if self.misses.load(Ordering::Relaxed) != 0 {
            self.misses.store(0, Ordering::Relaxed);
        }
    }

    #[cold]
    fn poll_long<T>(&self, look: &mut dyn FnMut() -> Option<T>) -> Option<T> {
        let waits = self.waits.fetch_add(1, Ordering::Relaxed);
        let retry = waits.is_multiple_of(RETRY_EVERY);
        let budget = if retry { self.max_ns } else { self.budget_ns() };
        let found = poll_until(Duration::from_nanos(budget), self.dear_pauses, look);
        self.learn(found.is_some());
        found
    }

    /// Polls `look` for the end of device work: up to a hundred times the longest poll, 20 ms at most, as long as `worth`
    /// answers true, and letting other threads run. Not at all with fewer than four processors.
    #[cold]
    pub fn poll_device<T>(
        &self,
        look: &mut dyn FnMut() -> Option<T>,
        worth: &mut dyn FnMut() -> bool,
    ) -> Option<T> {
        if self.device_ns == 0 {
            return None;
        }
        poll_yielding(Duration::from_nanos(self.device_ns), look, worth)
    }

    fn budget_ns(&self) -> u64 {
        let halvings = self.misses.load(Ordering::Relaxed).saturating_sub(1).min(63);
        (self.max_ns >> halvings).max(SPIN_MIN_NS.min(self.max_ns))
    }

    fn learn(&self, met: bool) {
        let misses = self.misses.load(Ordering::Relaxed);
        self.misses.store(if met { 0 } else { misses + 1 }, Ordering::Relaxed);
    }

    /// Polls `look` for `time`.
    pub fn poll_for<T>(time: Duration, look: &mut dyn FnMut() -> Option<T>) -> Option<T> {
        poll_until(time, false, look)
    }
}

#[cfg(not(ringbar_loom))]
fn poll_until<T>(
    time: Duration,
    dear_pauses: bool,
    look: &mut dyn FnMut() -> Option<T>,
) -> Option<T> {
    let start = std::time::Instant::now();
    loop {
        for at in 0..LOOKS_PER_CLOCK {
            if let Some(found) = look() {
                return Some(found);
            }
            if at == 0 || !dear_pauses {
                spin_loop();
            }
        }
        if start.elapsed() >= time {
            return None;
        }
    }
}

/// Looks between two offers of the processor to others.
#[cfg(not(ringbar_loom))]
const LOOKS_PER_YIELD: u32 = 64;

#[cfg(not(ringbar_loom))]
fn poll_yielding<T>(
    time: Duration,
    look: &mut dyn FnMut() -> Option<T>,
    worth: &mut dyn FnMut() -> bool,
) -> Option<T> {
    let start = std::time::Instant::now();
    while start.elapsed() < time && worth() {
        for _ in 0..LOOKS_PER_YIELD {
            if let Some(found) = look() {
                return Some(found);
            }
            spin_loop();
        }
        std::thread::yield_now();
    }
    None
}

#[cfg(ringbar_loom)]
fn poll_yielding<T>(
    _: Duration,
    look: &mut dyn FnMut() -> Option<T>,
    worth: &mut dyn FnMut() -> bool,
) -> Option<T> {
    worth().then(look).flatten()
}

/// A model has no clock: one look stands for any number.
#[cfg(ringbar_loom)]
fn poll_until<T>(_: Duration, _: bool, look: &mut dyn FnMut() -> Option<T>) -> Option<T> {
    look()
}

#[cfg(all(test, not(ringbar_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_budget_of_zero_looks_once() {
        let mut looks = 0;
        let none: Option<()> = SpinBudget::new(Duration::ZERO).poll(&mut || {
            looks += 1;
            None
        });
        assert_eq!((none, looks), (None, 1));
    }

    #[test]
    fn where_pauses_are_dear_a_wait_is_met_and_ends_as_anywhere_else() {
        let spin = SpinBudget::new(Duration::from_millis(1)).with_dear_pauses(true);
        let mut looks = 0;
        let found = spin.poll(&mut || {
            looks += 1;
            (looks == 3 * LOOKS_PER_CLOCK).then_some(looks)
        });
        assert_eq!(found, Some(3 * LOOKS_PER_CLOCK));
        assert_eq!(spin.poll(&mut || None::<u32>), None);
    }

    #[test]
    fn a_device_is_polled_for_as_long_as_it_is_worth_it_and_with_few_processors_never() {
        let looks = |processors: usize, worth: u32| {
            let (mut looks, mut left) = (0, worth);
            let none: Option<()> = SpinBudget::on_processors(Duration::from_secs(60), processors)
                .poll_device(
                    &mut || {
                        looks += 1;
                        None
                    },
                    &mut || {
                        left = left.saturating_sub(1);
                        left > 0
                    },
                );
            assert_eq!(none, None);
            looks
        };
        assert_eq!(looks(DEVICE_PROCESSORS_MIN, 3), 2 * LOOKS_PER_YIELD);
        assert_eq!(looks(DEVICE_PROCESSORS_MIN - 1, 3), 0);
    }

    #[test]
    fn who_never_polls_for_a_peer_never_polls_for_a_device() {
        let never = SpinBudget::on_processors(Duration::ZERO, 64);
        assert_eq!(never.poll_device(&mut || Some(1), &mut || true), None);
    }

    #[test]
    fn waits_that_are_never_met_shrink_the_budget_to_its_least_and_one_that_is_restores_it() {
        let spin = SpinBudget::new(SPIN_MAX);
        let max_ns = SPIN_MAX.as_nanos() as u64;
        spin.learn(false);
        assert_eq!(spin.budget_ns(), max_ns, "one long pause says nothing");
        spin.learn(false);
        assert_eq!(spin.budget_ns(), max_ns / 2);
        for _ in 0..100 {
            spin.learn(false);
        }
        assert_eq!(spin.budget_ns(), SPIN_MIN_NS);
        assert_eq!(spin.poll(&mut || Some(1)), Some(1));
        assert_eq!(spin.budget_ns(), max_ns);
        spin.learn(false);
        spin.learn(false);
        spin.met();
        assert_eq!(spin.budget_ns(), max_ns, "met before it was polled for");
    }
}
