//! Keeps the recorded order between application threads.
//!
//! The steps are cut into runs of one thread each. A thread plays its next run when the run before is over; it looks for
//! about two microseconds, then sleeps: on few cores a thread that polls takes the core from the one it waits for.

use super::error::ReplayError;
use crate::recording::PlannedStep;
use ringbar::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering, spin_loop};
use std::ops::Range;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

const LOOKS: u32 = 64;
/// A sleeper looks again by itself, so a lost wake-up costs time and nothing else.
const RELOOK: Duration = Duration::from_millis(20);

/// The runs of a plan, and whose turn it is.
pub struct Turns {
    runs: Vec<(u16, Range<usize>)>,
    /// Index of the run that may be played.
    next: AtomicUsize,
    failed: AtomicBool,
    /// Threads that sleep.
    sleepers: AtomicU64,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Turns {
    /// The runs of `steps`, in order; nobody's turn before [`Turns::begin`].
    pub fn new(steps: &[PlannedStep]) -> Self {
        let mut runs: Vec<(u16, Range<usize>)> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            match runs.last_mut() {
                Some((thread, run)) if *thread == step.thread => run.end = index + 1,
                _ => runs.push((step.thread, index..index + 1)),
            }
        }
        Self {
            next: AtomicUsize::new(runs.len()),
            runs,
            failed: AtomicBool::new(false),
            sleepers: AtomicU64::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    /// Makes it nobody's turn, so that threads may come and wait for [`Turns::begin`].
    pub fn close(&self) {
        self.next.store(self.runs.len(), Ordering::SeqCst);
        self.failed.store(false, Ordering::Relaxed);
    }

    /// Makes it the first run's turn. No thread may be playing.
    pub fn begin(&self) {
        self.pass_to(0);
    }

    /// Plays all runs of `thread`, each in its turn.
    pub fn play(
        &self,
        thread: u16,
        mut run: impl FnMut(Range<usize>) -> Result<(), ReplayError>,
    ) -> Result<(), ReplayError> {
        for (index, (whose, steps)) in self.runs.iter().enumerate() {
            if *whose != thread {
                continue;
            }
            self.wait_for(index)?;
            if let Err(error) = run(steps.clone()) {
                self.failed.store(true, Ordering::Release);
                self.wake_all();
                return Err(error);
            }
            self.pass_to(index + 1);
        }
        Ok(())
    }

    fn pass_to(&self, index: usize) {
        self.next.store(index, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_all();
    }

    fn is_turn(&self, index: usize) -> Result<bool, ReplayError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(ReplayError::OtherThread);
        }
        Ok(self.next.load(Ordering::SeqCst) == index)
    }

    fn wait_for(&self, index: usize) -> Result<(), ReplayError> {
        for _ in 0..LOOKS {
            if self.is_turn(index)? {
                return Ok(());
            }
            spin_loop();
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let result = self.sleep_until(index);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        result
    }

    fn sleep_until(&self, index: usize) -> Result<(), ReplayError> {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_turn(index)? {
            let woken = self.wake.wait_timeout(held, RELOOK);
            held = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{Plan, PlanLimits, Recording};

    #[test]
    fn two_threads_play_in_the_recorded_order() {
        let recording = Recording::shipped("mlp-train").expect("shipped");
        let plan = Plan::new(&recording, &PlanLimits::default());
        let turns = Turns::new(plan.steps());
        for _ in 0..3 {
            let played = Mutex::new(Vec::new());
            std::thread::scope(|scope| {
                for thread in 0..2 {
                    let (turns, played, plan) = (&turns, &played, &plan);
                    scope.spawn(move || {
                        turns.play(thread, |run| {
                            assert!(plan.steps()[run.clone()].iter().all(|s| s.thread == thread));
                            played.lock().expect("whole").extend(run);
                            Ok(())
                        })
                    });
                }
                turns.begin();
            });
            let expected: Vec<usize> = (0..plan.steps().len()).collect();
            assert_eq!(played.into_inner().expect("whole"), expected);
        }
    }

    #[test]
    fn a_thread_that_fails_ends_the_others() {
        let recording = Recording::shipped("mlp-train").expect("shipped");
        let plan = Plan::new(&recording, &PlanLimits::default());
        let turns = Turns::new(plan.steps());
        std::thread::scope(|scope| {
            let other = scope.spawn(|| turns.play(1, |_| Ok(())));
            turns.begin();
            let own = turns.play(0, |_| Err(ReplayError::Usage("stop".into())));
            assert!(matches!(own, Err(ReplayError::Usage(_))));
            let other = other.join().expect("no panic");
            assert!(matches!(other, Err(ReplayError::OtherThread)));
        });
    }
}
