//! Functions of the program that run in stream order, on the session's thread for them.

use crate::failure::{Failure, Outcome};
use crate::session::{self, Live};
use crate::stream::{Working, working};
use crate::types::{CUhostFn, CUstream};
use crate::{capturing, types};
use ringbar_session::{HostFunction, HostFunctionToken};
use ringbar_vocabulary::{LaunchHostFunction, Status};
use std::ffi::c_void;
use std::sync::Arc;

/// `CUstreamCallback`: called with the stream, the status of the work before, and the program's own data.
pub type CUstreamCallback = Option<unsafe extern "C" fn(types::CUstream, u32, *mut c_void)>;

/// An address that is passed on and never looked at here.
#[derive(Clone, Copy)]
struct Passed(usize);

/// What runs a host function of the program.
fn closure(function: CUhostFn, data: *mut c_void) -> Outcome<HostFunction> {
    let function = function.ok_or(Failure(Status::INVALID_VALUE))?;
    let data = Passed(data.expose_provenance());
    Ok(Arc::new(move || {
        let data = std::ptr::with_exposed_provenance_mut(data.0);
        // SAFETY: the program gave this function to be called with this data, on any thread.
        unsafe { function(data) }
    }))
}

/// Makes a host function known for nodes of graphs; it stays until [`forget`].
pub fn register_for_graph(function: CUhostFn, data: *mut c_void) -> Outcome<u64> {
    let function = closure(function, data)?;
    Ok(session::live()?.session.register_host_function(function, false)?.0)
}

/// No graph holds the function any more.
pub fn forget(token: u64) {
    if let Ok(live) = session::live() {
        live.session.forget_host_function(HostFunctionToken(token));
    }
}

/// Runs it when the stream gets there. What is captured may run any number of times.
fn launch(live: &Live, stream: &Working, function: HostFunction) -> Outcome {
    let once = !capturing::is_capturing(stream)?;
    let token = live.session.register_host_function(function, once)?;
    let posted = live.post(&LaunchHostFunction { stream: stream.id, token: token.0 });
    if posted.is_err() {
        live.session.forget_host_function(token);
    }
    posted.map(drop)
}

stream_entry! {
    /// Runs a function of the program when the stream gets there.
    post fn cuLaunchHostFunc | cuLaunchHostFunc_ptsz[flavour](stream: CUstream, function: CUhostFn, data: *mut c_void) {
        let stream = working(stream, flavour)?;
        launch(session::live()?, &stream, closure(function, data)?)
    }

    /// The same with a function that is told the stream and how the work before it ended.
    post fn cuStreamAddCallback | cuStreamAddCallback_ptsz[flavour](stream: CUstream, callback: CUstreamCallback, data: *mut c_void, flags: u32) {
        let callback = callback.ok_or(Failure(Status::INVALID_VALUE))?;
        if flags != 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        let handle = stream;
        let stream = working(stream, flavour)?;
        if capturing::is_capturing(&stream)? {
            return Err(capturing::UNSUPPORTED.into());
        }
        let data = Passed(data.expose_provenance());
        let function = Arc::new(move || {
            let data = std::ptr::with_exposed_provenance_mut(data.0);
            // SAFETY: the program gave this function to be called with this data, on any thread.
            unsafe { callback(handle, Status::SUCCESS.0, data) }
        });
        launch(session::live()?, &stream, function)
    }
}
