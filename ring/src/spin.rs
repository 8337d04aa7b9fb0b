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
/// Looks between two readings of the clock.
const LOOKS_PER_CLOCK: u32 = 32;

/// An adaptive limit on polling: it follows what recent waits needed, between 50 us and its maximum.
pub struct SpinBudget {
    max_ns: u64,
    budget_ns: AtomicU64,
    waits: AtomicU64,
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
        let max_ns = max.as_nanos() as u64;
        Self { max_ns, budget_ns: AtomicU64::new(max_ns), waits: AtomicU64::new(0) }
    }

    /// Polls `look` for as long as recent waits make it worth while.
    #[inline]
    pub fn poll<T>(&self, look: &mut impl FnMut() -> Option<T>) -> Option<T> {
        if self.max_ns == 0 {
            return look();
        }
        for _ in 0..LOOKS_PER_CLOCK {
            if let Some(found) = look() {
                return Some(found);
            }
            spin_loop();
        }
        self.poll_long(look)
    }

    #[cold]
    fn poll_long<T>(&self, look: &mut dyn FnMut() -> Option<T>) -> Option<T> {
        let waits = self.waits.fetch_add(1, Ordering::Relaxed);
        let retry = waits.is_multiple_of(RETRY_EVERY);
        let budget = if retry { self.max_ns } else { self.budget_ns.load(Ordering::Relaxed) };
        let (found, took) = poll_until(Duration::from_nanos(budget), look);
        self.learn(found.is_some(), took.as_nanos() as u64);
        found
    }

    /// A wait that was met asks for twice its length; one that was not halves the budget.
    fn learn(&self, met: bool, took_ns: u64) {
        let budget = self.budget_ns.load(Ordering::Relaxed);
        let next = if met { (budget - budget / 8).max(2 * took_ns) } else { budget / 2 };
        let least = SPIN_MIN_NS.min(self.max_ns);
        self.budget_ns.store(next.clamp(least, self.max_ns), Ordering::Relaxed);
    }

    /// Polls `look` for `time`.
    pub fn poll_for<T>(time: Duration, look: &mut dyn FnMut() -> Option<T>) -> Option<T> {
        poll_until(time, look).0
    }
}

#[cfg(not(ringbar_loom))]
fn poll_until<T>(time: Duration, look: &mut dyn FnMut() -> Option<T>) -> (Option<T>, Duration) {
    let start = std::time::Instant::now();
    loop {
        for _ in 0..LOOKS_PER_CLOCK {
            if let Some(found) = look() {
                return (Some(found), start.elapsed());
            }
            spin_loop();
        }
        let took = start.elapsed();
        if took >= time {
            return (None, took);
        }
    }
}

/// A model has no clock: one look stands for any number.
#[cfg(ringbar_loom)]
fn poll_until<T>(_: Duration, look: &mut dyn FnMut() -> Option<T>) -> (Option<T>, Duration) {
    (look(), Duration::ZERO)
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
    fn waits_that_are_never_met_shrink_the_budget_to_its_least() {
        let spin = SpinBudget::new(SPIN_MAX);
        for _ in 0..20 {
            spin.learn(false, 0);
        }
        assert_eq!(spin.budget_ns.load(Ordering::Relaxed), SPIN_MIN_NS);
        spin.learn(true, 30_000);
        assert_eq!(spin.budget_ns.load(Ordering::Relaxed), 60_000);
    }
}
