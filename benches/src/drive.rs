//! The loops that measure: one pair of functions a measure, one function a side.
//!
//! Each side calls its function on its own core with the same [`Plan`]. The side that knows the end of the work holds
//! the clock: the consumer one way, the caller for round trips.

use std::time::{Duration, Instant};

use ringbar::sync::{AtomicU64, Ordering};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::error::BenchError;
use crate::payload::{Checker, Generator};
use crate::side::{
    Answer, BATCH, Call, Park, Receive, ReceiveBatch, Transmit, TransmitBatch, Wake,
};
use crate::spin::{spin_for, spin_until};

/// How long the waker leaves the sleeper alone before each wake, so that it is parked and its core halted. Longer than
/// any spin before parking (about 200 us).
pub const PARK_GAP: Duration = Duration::from_micros(400);

/// Seed of every request and one-way payload.
pub const SEED: u64 = 0x7269_6e67_6261_7221;

/// Seed of every reply, so that an echo of the request cannot pass for the reply.
pub const REPLY_SEED: u64 = !SEED;

/// How much work one sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Operations before the clock starts: they start both sides, warm the caches and fault the pages in.
    pub warm_up: u64,
    /// Operations on the clock.
    pub timed: u64,
}

impl Plan {
    /// `timed` operations after an eighth of them (at least 64) as warm-up, both in whole batches.
    pub fn of(timed: u64) -> Self {
        let whole = |count: u64| count.next_multiple_of(BATCH as u64);
        Self { warm_up: whole((timed / 8).max(64)), timed: whole(timed.max(1)) }
    }

    /// All operations of the sample.
    pub fn total(self) -> u64 {
        self.warm_up + self.timed
    }
}

fn per_operation(elapsed: Duration, operations: u64) -> f64 {
    elapsed.as_nanos() as f64 / operations as f64
}

/// Left side of one way.
///
/// # Errors
/// A stall.
pub fn transmit<const W: usize>(plan: Plan, to: &mut impl Transmit<W>) -> Result<(), BenchError> {
    let mut generator = Generator::new(SEED);
    for _ in 0..plan.total() {
        to.send(&generator.next_words())?;
    }
    Ok(())
}

/// Right side of one way: ns a message, from the receipt of the last warm-up message to that of the last message.
///
/// # Errors
/// A stall, or a corrupted payload.
pub fn receive<const W: usize>(plan: Plan, from: &mut impl Receive<W>) -> Result<f64, BenchError> {
    let mut checker = Checker::new(SEED);
    for _ in 0..plan.warm_up {
        from.receive(|words| checker.take(words))?;
    }
    let start = Instant::now();
    for _ in 0..plan.timed {
        from.receive(|words| checker.take(words))?;
    }
    let elapsed = start.elapsed();
    checker.finish()?;
    Ok(per_operation(elapsed, plan.timed))
}

/// Left side of batches.
///
/// # Errors
/// A stall.
pub fn transmit_batches<const W: usize>(
    plan: Plan,
    to: &mut impl TransmitBatch<W>,
) -> Result<(), BenchError> {
    let mut generator = Generator::new(SEED);
    for _ in 0..plan.total() / BATCH as u64 {
        to.send_batch(|| generator.next_words())?;
    }
    Ok(())
}

/// Right side of batches: ns a message.
///
/// # Errors
/// A stall, or a corrupted payload.
pub fn receive_batches<const W: usize>(
    plan: Plan,
    from: &mut impl ReceiveBatch<W>,
) -> Result<f64, BenchError> {
    let mut checker = Checker::new(SEED);
    while checker.messages() < plan.warm_up {
        from.receive_batch(|words| checker.take(words))?;
    }
    let (start, before) = (Instant::now(), checker.messages());
    while checker.messages() < plan.total() {
        from.receive_batch(|words| checker.take(words))?;
    }
    let (elapsed, timed) = (start.elapsed(), checker.messages() - before);
    checker.finish()?;
    Ok(per_operation(elapsed, timed))
}

/// Left side of round trips: ns from the start of a call to its checked reply, averaged over the sample.
///
/// # Errors
/// A stall, or a corrupted reply.
pub fn call<const Q: usize, const A: usize>(
    plan: Plan,
    to: &mut impl Call<Q, A>,
) -> Result<f64, BenchError> {
    let mut requests = Generator::new(SEED);
    let mut replies = Checker::new(REPLY_SEED);
    for _ in 0..plan.warm_up {
        replies.take(&to.call(&requests.next_words())?);
    }
    let start = Instant::now();
    for _ in 0..plan.timed {
        replies.take(&to.call(&requests.next_words())?);
    }
    let elapsed = start.elapsed();
    replies.finish()?;
    Ok(per_operation(elapsed, plan.timed))
}

/// Right side of round trips.
///
/// # Errors
/// A stall, or a corrupted request.
pub fn answer<const Q: usize, const A: usize>(
    plan: Plan,
    from: &mut impl Answer<Q, A>,
) -> Result<(), BenchError> {
    let mut requests = Checker::new(SEED);
    let mut replies = Generator::new(REPLY_SEED);
    for _ in 0..plan.total() {
        from.answer(|words| {
            requests.take(words);
            replies.next_words()
        })?;
    }
    requests.finish()
}

/// Nanoseconds of the monotonic clock, comparable between the processes of one machine.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Left side of wakes: the moment (monotonic ns) just before each wake. `parks` is a word shared with the sleeper and
/// zero at the start.
///
/// # Errors
/// A stall, or what the doorbell answers.
pub fn wake(plan: Plan, parks: &AtomicU64, peer: &mut impl Wake) -> Result<Vec<u64>, BenchError> {
    let mut rung_at = Vec::with_capacity(plan.total() as usize);
    for round in 1..=plan.total() {
        spin_until(|| (parks.load(Ordering::Acquire) >= round).then_some(()))?;
        spin_for(PARK_GAP);
        rung_at.push(monotonic_ns());
        peer.wake()?;
    }
    Ok(rung_at)
}

/// Right side of wakes: the moment (monotonic ns) just after each return from [`Park::park`].
///
/// # Errors
/// What the doorbell answers.
pub fn park(plan: Plan, parks: &AtomicU64, peer: &mut impl Park) -> Result<Vec<u64>, BenchError> {
    let mut woken_at = Vec::with_capacity(plan.total() as usize);
    for round in 1..=plan.total() {
        parks.store(round, Ordering::Release);
        peer.park()?;
        woken_at.push(monotonic_ns());
    }
    Ok(woken_at)
}

/// The wake latency of a sample in ns: the median over its timed wakes of `woken_at - rung_at`. One way, not half of a
/// round trip: the waker's core is busy, as a program's is.
pub fn wake_latency(plan: Plan, rung_at: &[u64], woken_at: &[u64]) -> f64 {
    let latencies =
        rung_at.iter().zip(woken_at).map(|(rung, woken)| woken.saturating_sub(*rung) as f64);
    crate::stats::median(latencies.skip(plan.warm_up as usize).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spin::Stalled;

    /// A queue within one thread that does `harm` to each message before it arrives.
    struct Faulty<F> {
        sent: Vec<[u64; 8]>,
        read: usize,
        harm: F,
    }

    impl<F: FnMut(usize, [u64; 8]) -> [u64; 8]> Transmit<8> for Faulty<F> {
        fn send(&mut self, words: &[u64; 8]) -> Result<(), Stalled> {
            let arrived = (self.harm)(self.sent.len(), *words);
            self.sent.push(arrived);
            Ok(())
        }
    }

    impl<F> Receive<8> for Faulty<F> {
        fn receive(&mut self, take: impl FnOnce(&[u64; 8])) -> Result<(), Stalled> {
            take(self.sent.get(self.read).ok_or(Stalled)?);
            self.read += 1;
            Ok(())
        }
    }

    impl<F: FnMut(usize, [u64; 8]) -> [u64; 8]> TransmitBatch<8> for Faulty<F> {
        fn send_batch(&mut self, mut next_words: impl FnMut() -> [u64; 8]) -> Result<(), Stalled> {
            (0..BATCH).try_for_each(|_| self.send(&next_words()))
        }
    }

    impl<F> ReceiveBatch<8> for Faulty<F> {
        fn receive_batch(&mut self, mut take: impl FnMut(&[u64; 8])) -> Result<(), Stalled> {
            (0..BATCH).try_for_each(|_| self.receive(&mut take))
        }
    }

    const PLAN: Plan = Plan { warm_up: 32, timed: 320 };

    fn through(harm: impl FnMut(usize, [u64; 8]) -> [u64; 8]) -> Result<f64, BenchError> {
        let mut queue = Faulty { sent: Vec::new(), read: 0, harm };
        transmit(PLAN, &mut queue)?;
        receive(PLAN, &mut queue)
    }

    fn through_batches(harm: impl FnMut(usize, [u64; 8]) -> [u64; 8]) -> Result<f64, BenchError> {
        let mut queue = Faulty { sent: Vec::new(), read: 0, harm };
        transmit_batches(PLAN, &mut queue)?;
        receive_batches(PLAN, &mut queue)
    }

    fn flip_one_bit_of(victim: usize) -> impl FnMut(usize, [u64; 8]) -> [u64; 8] {
        move |n, mut words| {
            words[5] ^= u64::from(n == victim) << 63;
            words
        }
    }

    #[test]
    fn an_honest_queue_gets_a_figure() {
        assert!(through(|_, words| words).unwrap() > 0.0);
        assert!(through_batches(|_, words| words).unwrap() > 0.0);
    }

    #[test]
    fn a_queue_that_flips_one_bit_gets_no_figure_wherever_it_does_so() {
        for victim in [0, 31, 32, 200, 351] {
            assert!(matches!(through(flip_one_bit_of(victim)), Err(BenchError::Corrupt { .. })));
            let batches = through_batches(flip_one_bit_of(victim));
            assert!(matches!(batches, Err(BenchError::Corrupt { .. })));
        }
    }

    #[test]
    fn a_queue_that_repeats_a_message_in_place_of_the_next_gets_no_figure() {
        let mut last = [0; 8];
        let result = through(move |n, words| {
            let arrived = if n == 100 { last } else { words };
            last = words;
            arrived
        });
        assert!(matches!(result, Err(BenchError::Corrupt { .. })));
    }

    #[test]
    fn a_queue_that_loses_a_message_gets_no_figure() {
        let mut queue = Faulty { sent: Vec::new(), read: 0, harm: |_, words| words };
        transmit(PLAN, &mut queue).unwrap();
        queue.sent.remove(100);
        assert!(matches!(receive(PLAN, &mut queue), Err(BenchError::Stalled { .. })));
    }

    /// Answers its own calls; `echo` returns the request instead of the reply.
    struct SelfAnswering {
        replies: Generator,
        echo: bool,
    }

    impl Call<8, 8> for SelfAnswering {
        fn call(&mut self, request: &[u64; 8]) -> Result<[u64; 8], Stalled> {
            let reply = self.replies.next_words();
            Ok(if self.echo { *request } else { reply })
        }
    }

    #[test]
    fn an_echo_of_the_request_does_not_pass_for_the_reply() {
        let with = |echo| SelfAnswering { replies: Generator::new(REPLY_SEED), echo };
        assert!(call(PLAN, &mut with(false)).is_ok());
        assert!(matches!(call(PLAN, &mut with(true)), Err(BenchError::Corrupt { .. })));
    }

    #[test]
    fn a_corrupted_request_is_found_by_the_answering_side() {
        struct Wrong;
        impl Answer<8, 8> for Wrong {
            fn answer(&mut self, reply: impl FnOnce(&[u64; 8]) -> [u64; 8]) -> Result<(), Stalled> {
                reply(&[1; 8]);
                Ok(())
            }
        }
        assert!(matches!(answer(PLAN, &mut Wrong), Err(BenchError::Corrupt { .. })));
    }

    #[test]
    fn the_wake_latency_is_the_median_of_the_timed_wakes() {
        let plan = Plan { warm_up: 1, timed: 3 };
        assert_eq!(wake_latency(plan, &[0, 10, 20, 30], &[9_999, 15, 27, 930]), 7.0);
    }

    #[test]
    fn a_plan_is_whole_batches() {
        for timed in [0, 1, 31, 32, 33, 1_000, 123_457] {
            let plan = Plan::of(timed);
            assert!(plan.timed >= timed && plan.warm_up >= 64);
            assert_eq!((plan.timed % 32, plan.warm_up % 32), (0, 0));
        }
    }
}
