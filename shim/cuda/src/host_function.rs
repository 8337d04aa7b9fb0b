//! Functions of the program that run in stream order, on the session's thread for them.

use crate::arg::Opaque;
use crate::failure::{Failure, Outcome};
use crate::session::{self, Live};
use crate::stream::{Working, working};
use crate::types::{CUhostFn, CUstream};
use crate::{capturing, types};
use ringbar_session::{HostFunction, HostFunctionToken};
use ringbar_vocabulary::{LaunchHostFunction, Status};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `CUstreamCallback`: called with the stream, the status of the work before, and the program's own data.
pub type CUstreamCallback = Option<unsafe extern "C" fn(types::CUstream, u32, *mut c_void)>;

/// An address that is passed on and never looked at here.
#[derive(Clone, Copy)]
struct Passed(usize);

/// What runs a function of the program at once, on whatever thread: a destructor's caller must not wait for one of a stream.
pub(crate) fn closure(function: CUhostFn, data: *mut c_void) -> Outcome<HostFunction> {
    let function = function.ok_or(Failure(Status::INVALID_VALUE))?;
    let data = Passed(data.expose_provenance());
    Ok(Arc::new(move || {
        let data = std::ptr::with_exposed_provenance_mut(data.0);
        // SAFETY: the program gave this function to be called with this data, on any thread.
        unsafe { function(data) }
    }))
}

/// The same in its turn: functions of streams run one at a time.
fn in_turn(function: CUhostFn, data: *mut c_void) -> Outcome<HostFunction> {
    let run = closure(function, data)?;
    Ok(Arc::new(move || {
        let _alone = alone();
        run();
    }))
}

/// The function of the program and its data that a token stands for, if a graph or a capture may hold it.
static PROGRAM: Mutex<BTreeMap<u64, (usize, usize)>> = Mutex::new(BTreeMap::new());

fn program() -> MutexGuard<'static, BTreeMap<u64, (usize, usize)>> {
    PROGRAM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a host function known for nodes of graphs; it stays until [`forget`].
pub fn register_for_graph(function: CUhostFn, data: *mut c_void) -> Outcome<u64> {
    let run = in_turn(function, data)?;
    let token = session::live()?.session.register_host_function(run, false)?;
    keep(token, function, data);
    Ok(token.0)
}

fn keep(token: HostFunctionToken, function: CUhostFn, data: *mut c_void) {
    let address = function.map_or(0, |function| (function as *const ()).expose_provenance());
    program().insert(token.0, (address, data.expose_provenance()));
}

/// The function of the program and its data that a node's token stands for.
pub fn program_of(token: u64) -> Option<(CUhostFn, *mut c_void)> {
    let (function, data) = program().get(&token).copied()?;
    let function = std::ptr::with_exposed_provenance::<()>(function);
    // SAFETY: the address of a function of this type, or null, which is none.
    let function = unsafe { std::mem::transmute::<*const (), CUhostFn>(function) };
    Some((function, std::ptr::with_exposed_provenance_mut(data)))
}

/// A callback of the program's that was not called yet.
struct Callback {
    function: unsafe extern "C" fn(types::CUstream, u32, *mut c_void),
    stream: CUstream,
    data: Passed,
}

impl Callback {
    fn call(&self, status: Status) {
        let data = std::ptr::with_exposed_provenance_mut(self.data.0);
        // SAFETY: the program gave this function to be called with this data, on any thread.
        unsafe { (self.function)(self.stream, status.0, data) }
    }
}

/// Callbacks that wait for their streams, in the order in which they were added.
struct Waiting {
    callbacks: BTreeMap<u64, Callback>,
    added: u64,
    /// What ended the session: nothing waits any more.
    ended: Option<Status>,
}

static WAITING: Mutex<Waiting> =
    Mutex::new(Waiting { callbacks: BTreeMap::new(), added: 0, ended: None });
/// Held by the thread that runs a function of a stream: they run one at a time.
static RUNNING: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn waiting() -> MutexGuard<'static, Waiting> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers a callback under a number.
fn add(callback: Callback) -> Outcome<u64> {
    let mut waiting = waiting();
    if let Some(status) = waiting.ended {
        return Err(status.into());
    }
    waiting.added += 1;
    let number = waiting.added;
    waiting.callbacks.insert(number, callback);
    Ok(number)
}

/// Calls a callback, unless it was called already.
fn call_back(number: u64, status: Status) {
    let _alone = alone();
    let callback = waiting().callbacks.remove(&number);
    if let Some(callback) = callback {
        callback.call(status);
    }
}

/// Whether a callback still waits; it does not any more.
fn withdraw(number: u64) -> bool {
    waiting().callbacks.remove(&number).is_some()
}

/// The session is over: streams call nobody any more. Callbacks are told so, as CUDA does; functions of `cuLaunchHostFunc`
/// are not called after an error.
pub(crate) fn end_callbacks(status: Status) {
    waiting().ended = Some(status);
    loop {
        let next = waiting().callbacks.keys().next().copied();
        let Some(number) = next else { return };
        call_back(number, status);
    }
}

/// No graph holds the function any more.
pub fn forget(token: u64) {
    program().remove(&token);
    if let Ok(live) = session::live() {
        live.session.forget_host_function(HostFunctionToken(token));
    }
}

/// Runs it when the stream gets there. What is captured may run any number of times.
fn launch(
    live: &Live,
    stream: &Working,
    function: HostFunction,
    named: Option<(CUhostFn, *mut c_void)>,
) -> Outcome {
    let once = !capturing::is_capturing(stream)?;
    let token = live.session.register_host_function(function, once)?;
    if let Some((function, data)) = named.filter(|_| !once) {
        keep(token, function, data);
    }
    let posted = live.post(&LaunchHostFunction { stream: stream.id, token: token.0 });
    if posted.is_err() {
        forget(token.0);
    }
    posted.map(drop)
}

stream_entry! {
    /// Runs a function of the program when the stream gets there.
    post fn cuLaunchHostFunc | cuLaunchHostFunc_ptsz[flavour](stream: CUstream, function: CUhostFn, data: Opaque) {
        let stream = working(stream, flavour)?;
        launch(session::live()?, &stream, in_turn(function, data)?, Some((function, data)))
    }

    /// The same with a function that is told the stream and how the work before it ended: it is called after an error, too,
    /// and when the executor is lost.
    post fn cuStreamAddCallback | cuStreamAddCallback_ptsz[flavour](stream: CUstream, callback: CUstreamCallback, data: Opaque, flags: u32) {
        let function = callback.ok_or(Failure(Status::INVALID_VALUE))?;
        if flags != 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        let handle = stream;
        let stream = working(stream, flavour)?;
        capturing::refuse(&stream)?;
        let live = session::live()?;
        let data = Passed(data.expose_provenance());
        let number = add(Callback { function, stream: handle, data })?;
        let run = Arc::new(move || {
            call_back(number, session::device_failure().unwrap_or(Status::SUCCESS));
        });
        match launch(live, &stream, run, None) {
            // One that was called meanwhile was told the failure.
            Err(failure) if withdraw(number) => Err(failure),
            _ => Ok(()),
        }
    }
}
