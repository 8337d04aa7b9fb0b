//! Two pinned threads, one on each of two cores.

use std::str::FromStr;
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

use crate::error::BenchError;

/// The two cores of a measurement. Every candidate runs its left side on `left` and its right side on `right`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cores {
    /// Core of the producer, caller or waker.
    pub left: usize,
    /// Core of the consumer, answerer or sleeper.
    pub right: usize,
}

impl Cores {
    /// The first two cores this process may use.
    ///
    /// # Errors
    /// [`BenchError::TooFewCores`] if there is only one.
    pub fn first_two() -> Result<Self, BenchError> {
        let allowed = sched_getaffinity(None)
            .map_err(BenchError::errno("reading the cpuset of this process"))?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
        match cores[..] {
            [left, right, ..] => Ok(Self { left, right }),
            _ => Err(BenchError::TooFewCores { found: cores.len() }),
        }
    }
}

impl FromStr for Cores {
    type Err = BenchError;

    fn from_str(text: &str) -> Result<Self, BenchError> {
        let wrong = || BenchError::CoreList { text: text.into() };
        let (left, right) = text.split_once(',').ok_or_else(wrong)?;
        let core = |part: &str| {
            part.trim().parse().ok().filter(|&core| core < CpuSet::MAX_CPU).ok_or_else(wrong)
        };
        match (core(left)?, core(right)?) {
            (left, right) if left != right => Ok(Self { left, right }),
            _ => Err(wrong()),
        }
    }
}

/// Pins the calling thread.
///
/// # Errors
/// [`BenchError::Pin`] with the kernel's answer.
pub fn pin(core: usize) -> Result<(), BenchError> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|errno| BenchError::Pin { core, source: errno.into() })
}

/// Runs both sides at once, each pinned to its core, and returns both answers.
///
/// # Errors
/// The first cause: a side's own error is preferred to the stall that it made on the other side.
pub fn on_two_cores<L: Send, R: Send>(
    cores: Cores,
    left: impl FnOnce() -> Result<L, BenchError> + Send,
    right: impl FnOnce() -> Result<R, BenchError> + Send,
) -> Result<(L, R), BenchError> {
    let (left, right) = thread::scope(|scope| {
        let left = scope.spawn(move || pin(cores.left).and_then(|()| left()));
        let right = scope.spawn(move || pin(cores.right).and_then(|()| right()));
        (join(left), join(right))
    });
    match (left, right) {
        (Ok(left), Ok(right)) => Ok((left, right)),
        (Err(stall), Err(cause)) if stall.is_stall() => Err(cause),
        (Err(cause), _) | (_, Err(cause)) => Err(cause),
    }
}

fn join<T>(handle: thread::ScopedJoinHandle<'_, Result<T, BenchError>>) -> Result<T, BenchError> {
    handle.join().unwrap_or(Err(BenchError::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_list_names_two_different_cores() {
        assert_eq!("2, 5".parse::<Cores>().unwrap(), Cores { left: 2, right: 5 });
        for wrong in ["", "1", "1,1", "a,b", "0,1,2", "0,99999"] {
            assert!(wrong.parse::<Cores>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn each_side_runs_on_its_own_core() {
        let cores = Cores::first_two().unwrap();
        let here = || Ok(rustix::thread::sched_getcpu());
        assert_eq!(on_two_cores(cores, here, here).unwrap(), (cores.left, cores.right));
    }

    #[test]
    fn the_cause_is_reported_rather_than_the_stall_that_follows() {
        let cores = Cores::first_two().unwrap();
        let result = on_two_cores(
            cores,
            || Err::<(), _>(BenchError::Stalled { limit_s: 0 }),
            || Err::<(), _>(BenchError::unavailable("x", "y")),
        );
        assert!(matches!(result, Err(BenchError::Unavailable { .. })));
    }
}
