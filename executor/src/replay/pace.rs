//! Replaying at the recorded pace.

use crate::recording::PlannedStep;
use ringbar::spin::SPIN_MAX;
use ringbar::sync::spin_loop;
use std::time::{Duration, Instant};

/// Recorded pauses above this are shortened to it: nothing happens in them that a transport could do better or worse.
pub const GAP_MAX: Duration = Duration::from_millis(50);
/// The last part of a wait is polled: a sleep ends tens of microseconds late.
const POLLED: Duration = Duration::from_micros(100);

/// When each step is due, in ns from the start of a round.
pub struct Pace {
    due_ns: Vec<u64>,
    /// Time taken out of long pauses, in ns.
    pub shortened_ns: u64,
    /// Recorded pauses that outlast a worker's longest poll: each costs a doorbell, whatever the transport does.
    pub long_pauses: u64,
}

impl Pace {
    /// The recorded times, long pauses shortened.
    pub fn new(steps: &[PlannedStep]) -> Self {
        let longest = GAP_MAX.as_nanos() as u64;
        let (mut before, mut shortened_ns, mut long_pauses) = (0, 0, 0);
        let due = |step: &PlannedStep| {
            let gap = step.due_ns.saturating_sub(before);
            before = step.due_ns;
            shortened_ns += gap.saturating_sub(longest);
            long_pauses += u64::from(gap > SPIN_MAX.as_nanos() as u64);
            step.due_ns - shortened_ns
        };
        let due_ns = steps.iter().map(due).collect();
        Self { due_ns, shortened_ns, long_pauses }
    }

    /// Waits until step `index` of a round that began at `start` is due.
    pub fn wait(&self, start: Instant, index: usize) {
        let Some(&due_ns) = self.due_ns.get(index) else { return };
        let due = start + Duration::from_nanos(due_ns);
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if left > POLLED + POLLED / 2 {
                std::thread::sleep(left - POLLED);
            } else {
                spin_loop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{Plan, PlanLimits, Recording, RecordingLimits};

    fn plan(gaps: &[u64]) -> Plan {
        let header = "gap_ns,thread,call,class,inline_bytes,bulk_bytes,dir\n";
        let rows = gaps.iter().map(|gap| format!("{gap},0,f,post,8,0,-\n"));
        let text = header.to_string() + &rows.collect::<String>();
        let recording = Recording::from_reader(text.as_bytes(), &RecordingLimits::default());
        Plan::new(&recording.expect("well formed"), &PlanLimits::default())
    }

    #[test]
    fn steps_are_due_as_recorded_and_long_pauses_are_shortened() {
        let pace = Pace::new(plan(&[5, 10, 60_000_000, 7]).steps());
        assert_eq!(pace.due_ns, [5, 15, 50_000_015, 50_000_022]);
        assert_eq!(pace.shortened_ns, 10_000_000);
        assert_eq!(pace.long_pauses, 1);
    }

    #[test]
    fn no_step_is_played_before_it_is_due() {
        let pace = Pace::new(plan(&[100_000, 400_000]).steps());
        let start = Instant::now();
        pace.wait(start, 1);
        assert!(start.elapsed() >= Duration::from_micros(500));
    }
}
