//! The asymmetric barrier: `membarrier(2)` with `GLOBAL_EXPEDITED`.
//!
//! A producer that must learn whether its consumer sleeps needs a full fence between publishing and looking, once a
//! message, and that fence waits for the contended line. The asymmetric form moves the whole cost to the side that is
//! about to sleep: it calls [`AsymmetricBarrier::barrier`], which makes every running thread of every *registered* process
//! execute a full fence, and the producer gets by with a compiler fence.
//!
//! # What can go wrong, and what is done about it
//!
//! - The kernel skips processes that are not registered, silently, and answers 0 even to a caller that is not. So
//!   [`AsymmetricBarrier::register`] asks the kernel afterwards what it has on record (`GET_REGISTRATIONS`, Linux 6.3);
//!   where that question is unknown, the answer to the registration itself is all there is: [`Verification::Unverified`].
//! - A peer can claim a registration that it does not have. Then it loses wake-ups that were meant for itself only, and
//!   its bounded re-look finds them later.
//! - Each barrier interrupts all registered processes of the host, those of other clients too. So a process may call it
//!   only so often ([`RATE_PER_SECOND`]); beyond that [`BarrierError::Limited`] sends the caller down its slower road.
//! - Registration is a property of the process image: it does not survive `exec`, and a forked child should register
//!   again (and so verify).

use crate::sync::{AtomicU64, Ordering};
use rustix::io::Errno;
use rustix::thread::MembarrierCommand;
use std::sync::OnceLock;
use std::time::Instant;

/// Barriers a second that one process may use, over any length of time.
pub const RATE_PER_SECOND: u32 = 2_000;
/// Barriers that may come at once after a quiet time.
pub const BURST: u32 = 64;

/// `MEMBARRIER_CMD_GET_REGISTRATIONS`, Linux 6.3.
const GET_REGISTRATIONS: libc::c_int = 1 << 9;

/// Whether the kernel confirmed the registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The kernel lists this process as registered.
    Verified,
    /// The kernel took the registration, but is too old (before 6.3) to be asked.
    Unverified,
}

/// Why there was no barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// The kernel does not have it.
    #[error(
        "found a kernel with the membarrier commands {found:#x}, expected GLOBAL_EXPEDITED and its registration (0x6); \
         likely cause: a kernel before 4.16, nohz_full, or a sandbox that forbids the call; try: the fence protocol, \
         which works everywhere"
    )]
    Unsupported {
        /// The commands it has, as a bit mask; 0 if the call itself is refused.
        found: u32,
    },
    /// The kernel refused.
    #[error(
        "membarrier failed: {0}; likely cause: a sandbox that forbids it; try: the fence protocol"
    )]
    Refused(Errno),
    /// The kernel took the registration and does not list it.
    #[error(
        "found the registrations {found:#x} on record, expected GLOBAL_EXPEDITED (0x4) among them; likely cause: a \
         sandbox that answers in the kernel's place; try: the fence protocol"
    )]
    NotOnRecord {
        /// The registrations on record, as a bit mask.
        found: u32,
    },
    /// This process used up its rate.
    #[error("the next barrier is allowed in {wait_ns} ns; try: the lingering protocol until then")]
    Limited {
        /// Nanoseconds until the next one is allowed.
        wait_ns: u64,
    },
}

/// A token bucket without a lock: `rate` a second, at most `burst` at once.
///
/// Kept as one number, the time at which the bucket would be full again ("theoretical arrival time"): a token moves it by
/// one interval, and it may not run ahead of now by more than the burst.
#[derive(Debug)]
pub struct RateLimit {
    full_at_ns: AtomicU64,
    interval_ns: u64,
    burst_ns: u64,
}

impl RateLimit {
    /// `per_second` and `burst` at least 1 (0 counts as 1).
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let interval_ns = 1_000_000_000 / if per_second == 0 { 1 } else { per_second as u64 };
        let burst = if burst == 0 { 1 } else { burst as u64 };
        Self { full_at_ns: AtomicU64::new(0), interval_ns, burst_ns: burst * interval_ns }
    }

    /// Takes a token at time `now_ns` (any clock that does not go back), or says in how many nanoseconds there is one.
    pub fn take(&self, now_ns: u64) -> Result<(), u64> {
        // Relaxed: the number orders nothing but itself.
        let mut full_at = self.full_at_ns.load(Ordering::Relaxed);
        loop {
            let next = full_at.max(now_ns).saturating_add(self.interval_ns);
            let latest = now_ns.saturating_add(self.burst_ns);
            if next > latest {
                return Err(next - latest);
            }
            match self.full_at_ns.compare_exchange_weak(
                full_at,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(current) => full_at = current,
            }
        }
    }
}

/// The right to call the barrier: this process is registered.
#[derive(Debug)]
pub struct AsymmetricBarrier {
    verification: Verification,
    limit: RateLimit,
    start: Instant,
}

impl AsymmetricBarrier {
    /// The one of this process: registers at the first call, and answers the same ever after. One for all channels,
    /// because the rate limit is per process.
    pub fn of_process() -> Result<&'static Self, BarrierError> {
        static OF_PROCESS: OnceLock<Result<AsymmetricBarrier, BarrierError>> = OnceLock::new();
        OF_PROCESS.get_or_init(|| Self::register(RATE_PER_SECOND, BURST)).as_ref().map_err(|e| *e)
    }

    /// Registers this process and asks the kernel whether it is on record, with a rate limit of its own.
    pub fn register(per_second: u32, burst: u32) -> Result<Self, BarrierError> {
        check_supported(supported_commands())?;
        rustix::thread::membarrier(MembarrierCommand::RegisterGlobalExpedited)
            .map_err(BarrierError::Refused)?;
        let verification = verify(registrations())?;
        Ok(Self { verification, limit: RateLimit::new(per_second, burst), start: Instant::now() })
    }

    /// Whether the kernel confirmed the registration.
    pub fn verification(&self) -> Verification {
        self.verification
    }

    /// A full fence in every running thread of every registered process, this one included.
    ///
    /// 5 to 9 us. [`BarrierError::Limited`] when this process used up its rate: then nothing was ordered.
    pub fn barrier(&self) -> Result<(), BarrierError> {
        let now_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.limit.take(now_ns).map_err(|wait_ns| BarrierError::Limited { wait_ns })?;
        rustix::thread::membarrier(MembarrierCommand::GlobalExpedited)
            .map_err(BarrierError::Refused)
    }
}

/// The commands this kernel has; 0 where the call is refused.
fn supported_commands() -> u32 {
    // An interpreter has no other processor to interrupt.
    if cfg!(miri) { 0 } else { rustix::thread::membarrier_query().bits() }
}

fn check_supported(found: u32) -> Result<(), BarrierError> {
    let needed = MembarrierCommand::GlobalExpedited as u32
        | MembarrierCommand::RegisterGlobalExpedited as u32;
    if found & needed == needed { Ok(()) } else { Err(BarrierError::Unsupported { found }) }
}

/// The registrations on record, or why the kernel does not say.
fn registrations() -> Result<u32, Errno> {
    // SAFETY: this command takes no pointer and changes nothing.
    let answer = unsafe { libc::syscall(libc::SYS_membarrier, GET_REGISTRATIONS, 0, 0) };
    u32::try_from(answer).map_err(|_| {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
        Errno::from_raw_os_error(errno)
    })
}

/// Judges the kernel's answer. Old kernels say `EINVAL`; a sandbox that knows only the older commands `EPERM` or `ENOSYS`.
fn verify(registrations: Result<u32, Errno>) -> Result<Verification, BarrierError> {
    match registrations {
        Ok(found) if found & MembarrierCommand::RegisterGlobalExpedited as u32 != 0 => {
            Ok(Verification::Verified)
        }
        Ok(found) => Err(BarrierError::NotOnRecord { found }),
        Err(_) => Ok(Verification::Unverified),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate_holds() {
        let limit = RateLimit::new(1_000, 10);
        let allowed = (0..100).filter(|_| limit.take(SECOND_NS).is_ok()).count();
        assert_eq!(allowed, 10);
        assert_eq!(limit.take(SECOND_NS), Err(1_000_000), "one interval until the next token");
        assert_eq!(limit.take(SECOND_NS + 999_999), Err(1));
        assert_eq!(limit.take(SECOND_NS + 1_000_000), Ok(()));
        assert!(limit.take(SECOND_NS + 1_000_000).is_err());
    }

    #[test]
    fn no_caller_gets_more_than_rate_and_burst_over_a_long_time() {
        let limit = RateLimit::new(2_000, 64);
        let allowed =
            (0..10 * SECOND_NS).step_by(10_000).filter(|&now| limit.take(now).is_ok()).count();
        assert!((20_000..=20_064).contains(&allowed), "{allowed} in ten seconds");
    }

    #[test]
    fn a_quiet_time_saves_up_no_more_than_a_burst() {
        let limit = RateLimit::new(10, 3);
        let late = 1_000 * SECOND_NS;
        assert_eq!((0..10).filter(|_| limit.take(late).is_ok()).count(), 3);
    }

    #[test]
    fn threads_share_one_allowance() {
        let limit = RateLimit::new(1_000, 50);
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let got = (0..100).filter(|_| limit.take(SECOND_NS).is_ok()).count();
                    taken.fetch_add(got as u64, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(taken.into_inner(), 50);
    }

    #[test]
    fn a_kernel_without_the_commands_is_unsupported_with_what_it_has() {
        assert_eq!(check_supported(0x1), Err(BarrierError::Unsupported { found: 1 }));
        assert_eq!(check_supported(0x2), Err(BarrierError::Unsupported { found: 2 }));
        assert_eq!(check_supported(0x6), Ok(()));
    }

    #[test]
    fn a_registration_that_is_not_on_record_is_an_error_and_a_silent_kernel_is_unverified() {
        assert_eq!(verify(Ok(0x4)), Ok(Verification::Verified));
        assert_eq!(verify(Ok(0x10)), Err(BarrierError::NotOnRecord { found: 0x10 }));
        assert_eq!(verify(Err(Errno::INVAL)), Ok(Verification::Unverified));
    }

    #[test]
    fn this_process_registers_once_and_its_barrier_is_limited() {
        match AsymmetricBarrier::register(10, 2) {
            Ok(barrier) => {
                assert_eq!(barrier.barrier(), Ok(()));
                assert_eq!(barrier.barrier(), Ok(()));
                assert!(matches!(barrier.barrier(), Err(BarrierError::Limited { .. })));
                assert!(
                    registrations().is_err() || barrier.verification() == Verification::Verified
                );
            }
            Err(error) => assert_ne!(check_supported(supported_commands()), Ok(()), "{error}"),
        }
    }

    #[test]
    fn the_barrier_of_the_process_is_one() {
        let (first, second) = (AsymmetricBarrier::of_process(), AsymmetricBarrier::of_process());
        match (first, second) {
            (Ok(first), Ok(second)) => assert!(std::ptr::eq(first, second)),
            (first, second) => assert_eq!(first.err(), second.err()),
        }
    }
}
