//! The one session of the process, its threads' synchronous calls, and how it ends.

use crate::failure::{Failure, Outcome};
use crate::{capturing, watch};
use ringbar::error::ChannelError;
use ringbar::sync::{AtomicU32, Ordering::*};
use ringbar_session::{Session, SessionCaller};
use ringbar_vocabulary::{Ping, PostCommand, Status, SyncCommand};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

/// The process's session. Leaked: threads and destructors may use it at any time.
pub struct Live {
    /// The session itself.
    pub session: Session,
    callers: Mutex<Callers>,
    returned: Condvar,
    /// The driver's CUDA version, as CUDA numbers it.
    pub driver_version: u32,
    /// Devices of the executor, visible or not.
    pub device_count: u32,
}

/// Callers that are not in use, and how many there are in all.
#[derive(Default)]
struct Callers {
    idle: Vec<SessionCaller>,
    made: usize,
}

/// Synchronous calls under way at once, at most: the executor answers one after the other anyway, and a reply slot that
/// nobody needs is another client's.
const CALLERS_MAX: usize = 4;

static LIVE: OnceLock<&'static Live> = OnceLock::new();
/// What every call answers instead of doing anything; 0 when the session is well.
static GATE: AtomicU32 = AtomicU32::new(Status::NOT_INITIALIZED.0);

/// Whether functions can be called now.
#[inline(always)]
pub(crate) fn gate() -> Result<(), Status> {
    Status(GATE.load(Relaxed)).ok()
}

/// From now on every call answers `status`.
pub(crate) fn shut(status: Status) {
    GATE.store(status.0, Release);
}

/// The session; NOT_INITIALIZED before `cuInit`.
#[inline]
pub fn live() -> Outcome<&'static Live> {
    LIVE.get().copied().ok_or(Failure(Status::NOT_INITIALIZED))
}

/// Makes `session` the process's own and opens the gate: what `cuInit` does, and tests over a worker of their own.
/// `false` if there is one already.
pub fn install(session: Session, driver_version: u32, device_count: u32) -> bool {
    let callers = Mutex::default();
    let live = Live { session, callers, returned: Condvar::new(), driver_version, device_count };
    let installed = LIVE.get().is_none() && LIVE.set(Box::leak(Box::new(live))).is_ok();
    if installed {
        GATE.store(0, Release);
        if let Some(live) = LIVE.get() {
            watch::start(live);
        }
    }
    installed
}

/// The executor is lost: shuts the gate. Answers what every call answers from now on: the error that ended the device, if
/// that is why, else SYSTEM_NOT_READY.
#[cold]
pub(crate) fn lost(cause: &ChannelError) -> Status {
    let status = device_failure().unwrap_or(Status::SYSTEM_NOT_READY);
    let said = || tracing::error!(%cause, answer = %status, "the executor is lost; every call fails from now on: start the program anew");
    match shut_well(status, said) {
        Ok(()) => status,
        // In `cuInit`: there is no session yet, and the next `cuInit` tries again.
        Err(before) if live().is_err() && before == Status::NOT_INITIALIZED => {
            tracing::error!(%cause, answer = %status, "the executor is lost before it answered its first command");
            status
        }
        Err(before) => before,
    }
}

/// The device failed, as a call is told now: every call answers so from here on, also until the worker is seen to be gone.
pub(crate) fn device_failed(status: Status) {
    let said = || tracing::error!(answer = %status, "the device failed; every call fails from now on: start the program anew");
    // If it is shut already, that was said.
    let _ = shut_well(status, said);
}

/// Shuts a gate that is open, once `say` has said why: a thread that finds it shut may end the program at once. An error is
/// what the gate was shut with before.
fn shut_well(status: Status, say: impl FnOnce()) -> Result<(), Status> {
    static SAYING: Mutex<()> = Mutex::new(());
    // Before the lock, which a forked child could find taken for ever: its gate is shut.
    gate()?;
    let _one = SAYING.lock().unwrap_or_else(PoisonError::into_inner);
    gate()?;
    say();
    GATE.compare_exchange(0, status.0, AcqRel, Acquire).map(drop).map_err(Status)
}

/// The failure that made the device unusable, if one did.
pub(crate) fn device_failure() -> Option<Status> {
    live().ok()?.session.device_failure()
}

impl Live {
    /// Posts a command; returns its position. Waits only while the ring is full.
    ///
    /// While any stream captures it waits until the command was executed, and answers with its failure: whether work can
    /// be part of a graph is told by the call that brings it.
    #[inline]
    pub fn post<C: PostCommand>(&self, command: &C) -> Outcome<u64> {
        let position = self.session.post(command)?;
        if capturing::any() {
            self.session.wait_executed(position)?;
        }
        Ok(position)
    }

    /// Does for what the session posted by itself what [`Live::post`] does while a stream captures.
    #[inline]
    pub(crate) fn settle_capture(&self) -> Outcome {
        if capturing::any() {
            self.call(&Ping { token: 0 })?;
            self.session.check()?;
        }
        Ok(())
    }

    /// Calls and waits for the answer.
    pub fn call<C: SyncCommand>(&self, command: &C) -> Outcome<C::Reply> {
        self.with_caller(|caller| Ok(caller.call(command)?))
    }

    /// Runs `body` with a caller that no other thread uses meanwhile.
    pub fn with_caller<T>(
        &self,
        body: impl FnOnce(&mut SessionCaller) -> Outcome<T>,
    ) -> Outcome<T> {
        let mut lease = Lease { live: self, caller: Some(self.take()?) };
        match &mut lease.caller {
            Some(caller) => body(caller),
            None => Err(Status::UNKNOWN.into()),
        }
    }

    fn take(&self) -> Outcome<SessionCaller> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(caller) = callers.idle.pop() {
                return Ok(caller);
            }
            if callers.made < CALLERS_MAX {
                callers.made += 1;
                drop(callers);
                return self.session.caller().map_err(|error| {
                    self.callers.lock().unwrap_or_else(PoisonError::into_inner).made -= 1;
                    self.returned.notify_one();
                    Failure::from(error)
                });
            }
            callers = self.returned.wait(callers).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Answers at once if the executor is lost, and notices that it is: for functions that only look at shared memory
    /// and may be called in a loop.
    #[cold]
    pub fn still_there(&self) -> Outcome {
        match self.session.client().health() {
            ringbar::client::Health::Ended(cause) => Err(lost(&cause).into()),
            _ => Ok(()),
        }
    }
}

/// Gives the caller back also when the body panics.
struct Lease<'l> {
    live: &'l Live,
    caller: Option<SessionCaller>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(caller) = self.caller.take() {
            let mut callers = self.live.callers.lock().unwrap_or_else(PoisonError::into_inner);
            callers.idle.push(caller);
            drop(callers);
            self.live.returned.notify_one();
        }
    }
}
