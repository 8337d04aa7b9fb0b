//! Whether the worker lives: told by its heartbeat, where nothing else says that it is dead.

use crate::error::ChannelError;
use crate::layout::line;
use crate::lines::Lines;
use crate::region::Channel;
use crate::sync::{Mutex, Ordering};
use core::time::Duration;
use std::time::Instant;

/// How long silence is borne: at least [`Limits::LEAST`], two beats of a heart; less is taken for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Silence that is reported as [`Health::Stalled`].
    pub stalled_after: Duration,
    /// Silence that becomes an error of every waiter.
    pub error_after: Duration,
}

impl Limits {
    /// The shortest silence that says anything.
    pub const LEAST: Duration = Duration::from_millis(200);
}

impl Default for Limits {
    /// Reported after 1 s, an error after 30 s.
    fn default() -> Self {
        Self { stalled_after: Duration::from_secs(1), error_after: Duration::from_secs(30) }
    }
}

/// How the other side is doing.
#[derive(Clone, Debug)]
pub enum Health {
    /// Its heart beats.
    Running,
    /// It is alive as far as is known, but silent. Ends by itself when it goes on.
    Stalled {
        /// Time since the heart last moved, as seen from here.
        silent: Duration,
    },
    /// The channel is over.
    Ended(ChannelError),
}

/// Watches the worker's heartbeat, whenever somebody waits.
pub(super) struct Watchdog {
    limits: Limits,
    seen: Mutex<Seen>,
}

struct Seen {
    beat: u64,
    looked: Instant,
    /// Silence counted so far: only time during which somebody looked at least every so often.
    silent: Duration,
    reported: bool,
}

/// Two looks further apart than this say nothing about the time between them.
const LOOK_GAP_MAX: Duration = Duration::from_millis(200);

impl Watchdog {
    pub(super) fn new(limits: Limits) -> Self {
        let limits = Limits {
            stalled_after: limits.stalled_after.max(Limits::LEAST),
            error_after: limits.error_after.max(Limits::LEAST),
        };
        let seen =
            Seen { beat: 0, looked: Instant::now(), silent: Duration::ZERO, reported: false };
        Self { limits, seen: Mutex::new(seen) }
    }

    /// An error once the silence exceeds the limit. Reports a stall, and its end, once each.
    pub(super) fn check(&self, channel: &Channel) -> Result<(), ChannelError> {
        let silent = self.look(channel);
        if silent >= self.limits.error_after {
            return Err(ChannelError::Stalled { silent });
        }
        Ok(())
    }

    /// Running or stalled, by one look more.
    pub(super) fn health(&self, channel: &Channel) -> Health {
        let silent = self.look(channel);
        if silent >= self.limits.stalled_after {
            Health::Stalled { silent }
        } else {
            Health::Running
        }
    }

    fn look(&self, channel: &Channel) -> Duration {
        let beat = channel.header.load(line::HOST_STATUS, 1, Ordering::Relaxed);
        let mut seen = super::lock(&self.seen);
        let gap = seen.looked.elapsed();
        seen.looked = Instant::now();
        if beat != seen.beat {
            if seen.reported {
                tracing::info!("the worker goes on");
            }
            seen.beat = beat;
            seen.silent = Duration::ZERO;
            seen.reported = false;
        } else {
            // If nobody looked for long, this process may have been the one that was stopped.
            seen.silent += gap.min(LOOK_GAP_MAX);
        }
        if seen.silent >= self.limits.stalled_after && !seen.reported {
            seen.reported = true;
            tracing::warn!(silent = ?seen.silent, "the worker is alive but silent");
        }
        seen.silent
    }
}
