//! What the workers of one client told of themselves, for `status`.

use super::process::{Ending, WorkerProcess};
use crate::job::Report;
use crate::status::Stalls;
use std::time::{Duration, Instant};

/// What is known of the present worker, and how the last one ended.
#[derive(Default)]
pub struct Told {
    /// The system interface that it waits by, and why that is not io_uring.
    pub waiter: Option<(String, Option<String>)>,
    /// Bytes of further arena segments.
    pub segment_bytes: u64,
    /// How the last worker ended.
    pub last_end: Option<String>,
    reason: Option<String>,
    /// The command that lasts, and since when.
    stalled: Option<(String, Instant)>,
    stalls: Stalls,
}

impl Told {
    /// Takes what `worker` reported. False when no more will come.
    pub fn take_reports(&mut self, worker: &WorkerProcess) -> bool {
        // One for each that an honest worker sends; a flood waits for the next look.
        for _ in 0..4 {
            match worker.next_report() {
                Ok(None) => return true,
                Ok(Some(Report::Started { waiter, waiter_reason })) => {
                    self.waiter = Some((waiter, waiter_reason));
                }
                Ok(Some(Report::Grown { segment_bytes })) => self.segment_bytes = segment_bytes,
                Ok(Some(Report::Stalled { command, seconds, over })) => {
                    let since = Instant::now().checked_sub(Duration::from_secs(seconds));
                    self.stalled = since.filter(|_| !over).map(|since| (command.clone(), since));
                    self.stalls.tell(command, seconds, over);
                }
                Ok(Some(Report::Ended { reason })) => self.reason = Some(reason),
                Err(_) => return false,
            }
        }
        true
    }

    /// The worker is reaped: what it said of itself goes with it. How it ended, in its own words where it had the time.
    pub fn ended(&mut self, ending: &Ending) -> &str {
        let reason = self.reason.take().filter(|_| !ending.by_signal);
        (self.waiter, self.stalled, self.segment_bytes) = (None, None, 0);
        self.last_end.insert(reason.unwrap_or_else(|| ending.text.clone()))
    }

    /// Commands that lasted, as far as they were told since the last question.
    pub fn take_stalls(&mut self) -> Stalls {
        std::mem::take(&mut self.stalls)
    }

    /// The command that lasts, and for how many seconds.
    pub fn stalled(&self, now: Instant) -> Option<(String, u64)> {
        let (command, since) = self.stalled.as_ref()?;
        Some((command.clone(), now.duration_since(*since).as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::process::EndKind;
    use super::*;

    #[test]
    fn what_a_dead_worker_was_doing_is_not_told_of_the_next_one() {
        let now = Instant::now();
        let mut told = Told {
            waiter: Some(("epoll".into(), None)),
            stalled: Some(("MemFree".into(), now)),
            segment_bytes: 7,
            ..Told::default()
        };
        let killed =
            Ending { text: "ended by signal 9".into(), kind: EndKind::Lost, by_signal: true };
        assert_eq!(told.stalled(now), Some(("MemFree".into(), 0)));
        assert_eq!(told.ended(&killed), "ended by signal 9");
        assert_eq!((told.stalled(now), told.segment_bytes, &told.waiter), (None, 0, &None));
    }

    #[test]
    fn a_worker_that_could_say_why_it_ends_is_quoted_and_only_it() {
        let failed = Ending { text: "failed".into(), kind: EndKind::Lost, by_signal: false };
        let mut told = Told { reason: Some("no memory".into()), ..Told::default() };
        assert_eq!(told.ended(&failed), "no memory");
        assert_eq!(told.ended(&failed), "failed", "the next one said nothing");
    }
}
