//! Waiting by polling, with a bound.

use std::time::{Duration, Instant};

use ringbar::sync::spin_loop;

/// How long one wait may last before it becomes [`Stalled`].
pub const STALL_LIMIT: Duration = Duration::from_secs(10);

/// Empty polls between two looks at the clock: a power of two, about 25 ms of `pause`.
const POLLS_PER_LOOK: u64 = 1 << 20;

/// The other side made no progress for [`STALL_LIMIT`], or hung up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stalled;

/// Polls until `poll` answers, with one `pause` after each empty poll.
///
/// # Errors
/// [`Stalled`] after [`STALL_LIMIT`] without an answer.
#[inline(always)]
pub fn spin_until<T>(mut poll: impl FnMut() -> Option<T>) -> Result<T, Stalled> {
    match poll() {
        Some(value) => Ok(value),
        None => spin_slowly(poll),
    }
}

#[inline(always)]
fn spin_slowly<T>(mut poll: impl FnMut() -> Option<T>) -> Result<T, Stalled> {
    let mut polls = 0_u64;
    let mut since = None;
    loop {
        spin_loop();
        if let Some(value) = poll() {
            return Ok(value);
        }
        polls += 1;
        if polls.is_multiple_of(POLLS_PER_LOOK) && is_over(&mut since) {
            return Err(Stalled);
        }
    }
}

#[cold]
#[inline(never)]
fn is_over(since: &mut Option<Instant>) -> bool {
    since.get_or_insert_with(Instant::now).elapsed() >= STALL_LIMIT
}

/// Waits `duration` without giving up the core.
pub fn spin_for(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        spin_loop();
    }
}
