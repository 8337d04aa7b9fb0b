//! What a daemon gives to its clients, all together and each.

use std::time::{Duration, Instant};

/// Limits of a daemon. Whoever meets one is refused with a text that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at once, those that wait for their client to come back included.
    pub sessions_max: usize,
    /// Connections in a second, as a long-term mean and as a burst.
    pub connections_per_s: u32,
    /// Connections that have not said hello yet, at once.
    pub handshakes_max: usize,
    /// Time for a hello.
    pub handshake_limit: Duration,
    /// Bytes of memory that one client may have: its region and its further arena segments.
    pub client_memory_bytes: u64,
    /// How long a session whose worker died waits for its client to attach again.
    pub resume_grace: Duration,
    /// How long a worker may live on after its client died, or after it was asked to end.
    pub worker_end_limit: Duration,
    /// Silence of a program in a VM, or time without attaching, after which it counts as dead.
    pub guest_heart_limit: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions_max: 64,
            connections_per_s: 100,
            handshakes_max: 32,
            handshake_limit: Duration::from_secs(2),
            client_memory_bytes: 8 << 30,
            resume_grace: Duration::from_secs(10),
            worker_end_limit: Duration::from_secs(2),
            guest_heart_limit: crate::vm::HEART_LIMIT_DEFAULT,
        }
    }
}

/// A number of events a second: a bucket of tokens that fills up at that rate and holds one second's worth.
pub struct RateLimit {
    per_s: u32,
    /// Tokens, in billionths.
    level: u128,
    seen: Instant,
}

const TOKEN: u128 = 1_000_000_000;

impl RateLimit {
    /// A full bucket.
    pub fn new(per_s: u32, now: Instant) -> Self {
        Self { per_s, level: u128::from(per_s) * TOKEN, seen: now }
    }

    /// Takes a token, or says after how long there will be one.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let rate = u128::from(self.per_s);
        let gained = now.saturating_duration_since(self.seen).as_nanos() * rate;
        self.level = (self.level + gained).min(rate * TOKEN);
        self.seen = now;
        if self.level >= TOKEN {
            self.level -= TOKEN;
            return Ok(());
        }
        let wait_ns = (TOKEN - self.level).div_ceil(rate.max(1));
        Err(Duration::from_nanos(u64::try_from(wait_ns).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut limit = RateLimit::new(10, start);
        assert_eq!((0..20).filter(|_| limit.take(start).is_ok()).count(), 10);
        let wait = limit.take(start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        let later = start + Duration::from_millis(350);
        assert_eq!((0..20).filter(|_| limit.take(later).is_ok()).count(), 3);
        let much_later = later + Duration::from_secs(100);
        assert_eq!((0..20).filter(|_| limit.take(much_later).is_ok()).count(), 10);
    }
}
