//! Host functions: the driver calls back on a thread of its own, which has the client run the function and waits.
//!
//! One function runs at a time, as in CUDA. The stream stalls meanwhile; the worker's thread does not.

use crate::live::Live;
use ringbar::sync::{AtomicBool, Ordering};
use ringbar_backend::table::IdMap;
use ringbar_backend::{Context, Services};
use ringbar_vocabulary::*;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Host functions that graphs and captures may hold.
const KEPT_MAX: usize = 1 << 20;
/// How long the driver's thread polls before it naps.
const POLL: Duration = Duration::from_micros(50);

/// Where functions are announced and acknowledged.
pub struct Mailbox {
    services: Arc<Services>,
    fence: u32,
    /// The token of the announced function.
    token: ArenaRef,
    /// How many the client has run.
    done: ArenaRef,
    /// How many were announced; held while one runs.
    announced: Mutex<u64>,
    ended: AtomicBool,
}

impl Mailbox {
    fn new(services: Arc<Services>, fence: u32, at: ArenaRef) -> Option<Self> {
        let (token, done) = (at.part(0, 8)?, at.part(8, 8)?);
        let announced = Mutex::new(0);
        Some(Self { services, fence, token, done, announced, ended: AtomicBool::new(false) })
    }

    /// Has the client run the function of `token`, and waits until it has, or the session ends.
    fn run(&self, token: u64) {
        let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        *announced += 1;
        // The block and the fence were checked when the mailbox was named; an arena never shrinks.
        let _ = self.services.arena.write(self.token, &token.to_le_bytes());
        let _ = self.services.fences.write(self.fence, *announced);
        let began = Instant::now();
        while self.acknowledged() < *announced && !self.ended.load(Ordering::Relaxed) {
            match began.elapsed() {
                early if early < POLL => std::hint::spin_loop(),
                late => std::thread::sleep((late / 16).min(Duration::from_millis(1))),
            }
        }
    }

    fn acknowledged(&self) -> u64 {
        let mut word = [0; 8];
        // Fails for no block that was checked.
        let _ = self.services.arena.read(self.done, &mut word);
        u64::from_le_bytes(word)
    }
}

/// What the driver's callback is given.
pub struct Call {
    mailbox: Arc<Mailbox>,
    token: u64,
}

/// The mailbox, and the calls that graphs hold.
#[derive(Default)]
pub struct HostFunctions {
    mailbox: Option<Arc<Mailbox>>,
    /// The tokens of calls that are kept, by their addresses. The calls are never freed before the process ends: a graph
    /// may run them at any time.
    kept: IdMap<usize, u64>,
}

impl HostFunctions {
    /// A call that the driver may make any number of times.
    pub fn keep(&mut self, token: u64) -> Result<*mut c_void, Status> {
        let mailbox = self.mailbox.clone().ok_or(Status::INVALID_VALUE)?;
        if self.kept.len() >= KEPT_MAX {
            return Err(Status::OUT_OF_MEMORY);
        }
        let call: *mut c_void = Box::into_raw(Box::new(Call { mailbox, token })).cast();
        self.kept.insert(call.addr(), token);
        Ok(call)
    }

    /// The token of a kept call.
    pub fn token_of(&self, call: *mut c_void) -> Option<u64> {
        self.kept.get(&call.addr()).copied()
    }
}

impl Drop for HostFunctions {
    fn drop(&mut self) {
        if let Some(mailbox) = &self.mailbox {
            mailbox.ended.store(true, Ordering::Relaxed);
        }
    }
}

/// For a function that runs any number of times.
///
/// # Safety
/// `call` came from [`HostFunctions::keep`].
pub unsafe extern "C" fn run_kept(call: *mut c_void) {
    // SAFETY: kept calls live as long as the process, and are only read.
    let call = unsafe { &*call.cast_const().cast::<Call>() };
    call.mailbox.run(call.token);
}

/// For a function that runs once.
unsafe extern "C" fn run_once(call: *mut c_void) {
    // SAFETY: made by `Box::into_raw` for exactly this callback, which the driver makes once.
    let call = unsafe { Box::from_raw(call.cast::<Call>()) };
    call.mailbox.run(call.token);
}

impl Live {
    pub fn host_function_setup(
        &mut self,
        cx: &mut Context<'_>,
        c: HostFunctionSetup,
    ) -> Result<HostFunctionSetupReply, Status> {
        cx.check_fence(c.index)?;
        cx.check_arena(c.mailbox)?;
        if self.host_functions.mailbox.is_some() {
            return Err(Status::INVALID_VALUE);
        }
        let mailbox = Mailbox::new(cx.services().clone(), c.index, c.mailbox);
        self.host_functions.mailbox = Some(Arc::new(mailbox.ok_or(Status::INVALID_VALUE)?));
        Ok(HostFunctionSetupReply {})
    }

    pub fn launch_host_function(
        &mut self,
        _cx: &mut Context<'_>,
        c: LaunchHostFunction,
    ) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        if self.captures(stream) {
            let call = self.host_functions.keep(c.token)?;
            // SAFETY: the function and its argument belong together.
            return unsafe { self.api.cuLaunchHostFunc(stream, run_kept, call) };
        }
        let mailbox = self.host_functions.mailbox.clone().ok_or(Status::INVALID_VALUE)?;
        let call = Box::into_raw(Box::new(Call { mailbox, token: c.token }));
        // SAFETY: as above; the driver calls it exactly once if it takes it.
        let launched = unsafe { self.api.cuLaunchHostFunc(stream, run_once, call.cast()) };
        if launched.is_err() {
            // SAFETY: refused, so nobody else has it.
            drop(unsafe { Box::from_raw(call) });
        }
        launched
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringbar_backend::testing::FakeWorker;

    #[test]
    fn a_function_is_announced_and_waited_for_until_it_is_acknowledged() {
        let worker = FakeWorker::new(4096, 8);
        let at = ArenaRef::new(0, 64, 16).unwrap();
        let mailbox = Mailbox::new(worker.services().clone(), 3, at).unwrap();
        let mailbox = Arc::new(mailbox);
        let theirs = mailbox.clone();
        let thread = std::thread::spawn(move || [7_u64, 9].map(|token| theirs.run(token)));
        for (n, token) in [(1_u64, 7_u64), (2, 9)] {
            assert!(worker.fences.wait(3, n, Duration::from_secs(30)));
            let mut word = [0; 8];
            worker.services().arena.read(at.part(0, 8).unwrap(), &mut word).unwrap();
            assert_eq!(u64::from_le_bytes(word), token);
            worker.services().arena.write(at.part(8, 8).unwrap(), &n.to_le_bytes()).unwrap();
        }
        thread.join().unwrap();
    }

    #[test]
    fn the_end_of_the_session_ends_the_wait() {
        let worker = FakeWorker::new(4096, 8);
        let at = ArenaRef::new(0, 64, 16).unwrap();
        let mailbox = Arc::new(Mailbox::new(worker.services().clone(), 3, at).unwrap());
        let theirs = mailbox.clone();
        let thread = std::thread::spawn(move || theirs.run(1));
        assert!(worker.fences.wait(3, 1, Duration::from_secs(30)));
        drop(HostFunctions { mailbox: Some(mailbox), kept: IdMap::default() });
        thread.join().unwrap();
    }

    #[test]
    fn a_mailbox_needs_two_words() {
        let worker = FakeWorker::new(4096, 8);
        let at = ArenaRef::new(0, 64, 15).unwrap();
        assert!(Mailbox::new(worker.services().clone(), 3, at).is_none());
    }
}
