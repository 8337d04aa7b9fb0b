//! What is measured while steps are played: histograms that are allocated beforehand, and the cost of looking at the clock.

use hdrhistogram::Histogram;
use ringbar::spin::SPIN_MAX;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Longest time that is told apart: a minute.
const NS_MAX: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// Which histogram a step belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sent without waiting.
    Post,
    /// Waited for.
    Sync,
    /// A copy of more than 4 KiB, whose time is that of its bytes.
    Bulk,
}

/// Times of one thread's steps.
pub struct Times {
    post: Histogram<u64>,
    sync: Histogram<u64>,
    /// Posts that found no room: how many, and how long they waited.
    full_waits: u64,
    full_wait_ns: u64,
    long_pauses: u64,
}

impl Times {
    /// Everything allocated; [`Times::record`] allocates nothing.
    pub fn new() -> Self {
        Self {
            post: histogram(),
            sync: histogram(),
            full_waits: 0,
            full_wait_ns: 0,
            long_pauses: 0,
        }
    }

    /// Adds one step's time. `waited_for_room`: the ring was full at that time, so it is not the producer's cost.
    #[inline]
    pub fn record(&mut self, kind: Kind, took: Duration, waited_for_room: bool) {
        let ns = took.as_nanos() as u64;
        match kind {
            Kind::Post if waited_for_room => {
                self.full_waits += 1;
                self.full_wait_ns += ns;
            }
            Kind::Post => self.post.saturating_record(ns),
            Kind::Sync => self.sync.saturating_record(ns),
            Kind::Bulk => {}
        }
    }

    /// Adds the time between two steps: a pause that outlasts the worker's longest poll costs a doorbell.
    pub fn record_pause(&mut self, took: Duration) {
        self.long_pauses += u64::from(took > SPIN_MAX);
    }

    /// Adds another thread's times.
    pub fn add(&mut self, other: &Times) {
        // Both have the same bounds.
        let _ = self.post.add(&other.post);
        let _ = self.sync.add(&other.sync);
        self.full_waits += other.full_waits;
        self.full_wait_ns += other.full_wait_ns;
        self.long_pauses += other.long_pauses;
    }

    /// The figures, with the clock's own cost taken off.
    pub fn summary(&self, clock_ns: u64) -> TimesSummary {
        TimesSummary {
            post_ns: percentiles(&self.post, clock_ns),
            sync_ns: percentiles(&self.sync, clock_ns),
            full_waits: self.full_waits,
            full_wait_ns: self.full_wait_ns,
            long_pauses: self.long_pauses,
            clock_ns,
        }
    }
}

fn histogram() -> Histogram<u64> {
    // The bounds are constants that the constructor accepts; the fallback has the same range with a digit less.
    Histogram::new_with_bounds(1, NS_MAX, DIGITS)
        .unwrap_or_else(|_| Histogram::new(DIGITS - 1).unwrap_or_else(|_| unreachable!()))
}

/// What was measured of single steps.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TimesSummary {
    /// What posting costs the caller, waits for room apart.
    pub post_ns: Option<Percentiles>,
    /// From a waiting call to its answer, work queued before it included.
    pub sync_ns: Option<Percentiles>,
    /// Posts that waited for room while they were timed.
    pub full_waits: u64,
    /// How long, in all.
    pub full_wait_ns: u64,
    /// Pauses of single threads, at the recorded pace, that outlasted the worker's longest poll.
    pub long_pauses: u64,
    /// What one look at the clock costs; taken off all of the above but the waits.
    pub clock_ns: u64,
}

/// Some percentiles in ns.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    /// How many were measured.
    pub samples: u64,
    /// Half are no larger.
    pub p50: u64,
    /// 99 of 100 are no larger.
    pub p99: u64,
    /// 999 of 1,000 are no larger.
    #[serde(rename = "p99.9")]
    pub p999: u64,
    /// The largest.
    pub max: u64,
}

fn percentiles(histogram: &Histogram<u64>, clock_ns: u64) -> Option<Percentiles> {
    let at = |quantile| histogram.value_at_quantile(quantile).saturating_sub(clock_ns);
    (!histogram.is_empty()).then(|| Percentiles {
        samples: histogram.len(),
        p50: at(0.50),
        p99: at(0.99),
        p999: at(0.999),
        max: histogram.max().saturating_sub(clock_ns),
    })
}

/// What two looks at the clock, one right after the other, see pass: the median of many.
pub fn clock_ns() -> u64 {
    const LOOKS: usize = 10_001;
    let mut passed: Vec<u64> = (0..LOOKS)
        .map(|_| {
            let before = Instant::now();
            Instant::now().duration_since(before).as_nanos() as u64
        })
        .collect();
    passed.sort_unstable();
    passed[LOOKS / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_room_are_apart_and_the_clock_is_taken_off() {
        let mut times = Times::new();
        for ns in 101..=200 {
            times.record(Kind::Post, Duration::from_nanos(ns), false);
        }
        times.record(Kind::Post, Duration::from_millis(1), true);
        times.record(Kind::Bulk, Duration::from_secs(1), false);
        let summary = times.summary(30);
        let post = summary.post_ns.expect("measured");
        assert_eq!((post.samples, post.p50, post.p99, post.max), (100, 120, 169, 170));
        assert_eq!((summary.full_waits, summary.full_wait_ns), (1, 1_000_000));
        assert!(summary.sync_ns.is_none());
    }

    #[test]
    fn the_times_of_threads_add_up() {
        let (mut one, mut other) = (Times::new(), Times::new());
        one.record(Kind::Sync, Duration::from_nanos(10), false);
        other.record(Kind::Sync, Duration::from_nanos(20), false);
        one.add(&other);
        assert_eq!(one.summary(0).sync_ns.expect("measured").samples, 2);
    }
}
