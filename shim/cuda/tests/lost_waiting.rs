//! What threads see that are inside calls of every kind when their executor vanishes.

#[macro_use]
mod common;

use ringbar::sync::{AtomicBool, Ordering::SeqCst};
use ringbar_shim_cuda::arg::Out;
use ringbar_shim_cuda::context::{cuCtxSetCurrent, cuDevicePrimaryCtxRetain};
use ringbar_shim_cuda::event::{cuEventCreate, cuEventQuery, cuEventRecord, cuEventSynchronize};
use ringbar_shim_cuda::host_function::cuLaunchHostFunc;
use ringbar_shim_cuda::memop::cuStreamWaitValue32_v2;
use ringbar_shim_cuda::memory::alloc::{cuMemAlloc_v2, cuMemGetInfo_v2};
use ringbar_shim_cuda::memory::copy::{
    cuMemcpyDtoH_v2, cuMemcpyDtoHAsync_v2, cuMemcpyHtoD_v2, cuMemcpyHtoDAsync_v2,
};
use ringbar_shim_cuda::memory::memset::cuMemsetD8Async;
use ringbar_shim_cuda::stream::{
    cuCtxSynchronize, cuStreamCreate, cuStreamQuery, cuStreamSynchronize,
};
use ringbar_shim_cuda::types::{CUcontext, CUevent, CUstream};
use ringbar_vocabulary::Status;
use std::ffi::c_void;
use std::sync::mpsc;
use std::time::Duration;

/// The worker vanishes before the next command.
static VANISH: AtomicBool = AtomicBool::new(false);
/// How long the slowest machine may need.
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

/// A context, a stream that stands still, an event behind what it waits for, 64 MiB of memory.
#[derive(Clone, Copy)]
struct Scene {
    context: CUcontext,
    stalled: CUstream,
    event: CUevent,
    memory: u64,
}

fn scene() -> Scene {
    let (mut context, mut memory) = (CUcontext::NULL, 0);
    let (mut stalled, mut event) = (CUstream::NULL, CUevent::NULL);
    assert_eq!(c!(cuDevicePrimaryCtxRetain(Out::to(&mut context), 0)), 0);
    assert_eq!(c!(cuCtxSetCurrent(context)), 0);
    assert_eq!(c!(cuMemAlloc_v2(Out::to(&mut memory), 64 * MIB)), 0);
    let zeros = [0_u8; 4];
    assert_eq!(c!(cuMemcpyHtoD_v2(memory, zeros.as_ptr().addr(), 4)), 0);
    assert_eq!(c!(cuStreamCreate(Out::to(&mut stalled), 0)), 0);
    assert_eq!(c!(cuEventCreate(Out::to(&mut event), 0)), 0);
    assert_eq!(c!(cuStreamWaitValue32_v2(stalled, memory, 1, 0)), 0);
    assert_eq!(c!(cuEventRecord(event, stalled)), 0);
    Scene { context, stalled, event, memory }
}

/// Repeats a call until it answers something that is neither success nor NOT_READY.
fn until_it_fails(mut call: impl FnMut() -> u32) -> u32 {
    loop {
        let code = call();
        if code != 0 && code != Status::NOT_READY.0 {
            return code;
        }
    }
}

extern "C" fn nothing(_: *mut c_void) {}

type Kind = (&'static str, fn(Scene) -> u32);

/// Calls of every kind that can last.
const KINDS: [Kind; 12] = [
    ("cuStreamSynchronize", |s| c!(cuStreamSynchronize(s.stalled))),
    ("cuEventSynchronize", |s| c!(cuEventSynchronize(s.event))),
    ("cuCtxSynchronize", |_| c!(cuCtxSynchronize())),
    ("cuMemcpyDtoH of the default stream", |s| {
        let mut to = [0_u8; 64];
        c!(cuMemcpyDtoH_v2(to.as_mut_ptr().addr(), s.memory, to.len()))
    }),
    ("cuMemcpyDtoHAsync to pageable memory", |s| {
        let mut to = vec![0_u8; 32 * MIB];
        c!(cuMemcpyDtoHAsync_v2(to.as_mut_ptr().addr(), s.memory, to.len(), s.stalled))
    }),
    ("cuMemcpyHtoDAsync beyond the staging area", |s| {
        let from = vec![1_u8; 32 * MIB];
        c!(cuMemcpyHtoDAsync_v2(s.memory, from.as_ptr().addr(), from.len(), s.stalled))
    }),
    ("cuStreamQuery", |s| until_it_fails(|| c!(cuStreamQuery(s.stalled)))),
    ("cuEventQuery", |s| until_it_fails(|| c!(cuEventQuery(s.event)))),
    ("posts without end", |s| {
        until_it_fails(|| c!(cuMemsetD8Async(s.memory + 64, 1, 16, s.stalled)))
    }),
    ("posts to another stream", |s| {
        let mut stream = CUstream::NULL;
        let made = c!(cuStreamCreate(Out::to(&mut stream), 1));
        if made != 0 {
            made
        } else {
            until_it_fails(|| c!(cuMemsetD8Async(s.memory + 128, 1, 16, stream)))
        }
    }),
    ("calls with an answer", |_| {
        let (mut free, mut total) = (0, 0);
        until_it_fails(|| c!(cuMemGetInfo_v2(Out::to(&mut free), Out::to(&mut total))))
    }),
    ("a host function behind the stall", |s| {
        let launched = c!(cuLaunchHostFunc(s.stalled, Some(nothing), std::ptr::null_mut()));
        if launched != 0 { launched } else { c!(cuStreamSynchronize(s.stalled)) }
    }),
];

#[test]
fn calls_that_last_end_with_one_error_when_the_executor_vanishes() {
    common::start_until(|_| VANISH.load(SeqCst));
    let scene = scene();
    let (tell, told) = mpsc::channel();
    for (name, call) in KINDS {
        let tell = tell.clone();
        std::thread::spawn(move || {
            let code = match c!(cuCtxSetCurrent(scene.context)) {
                0 => call(scene),
                code => code,
            };
            tell.send((name, code)).expect("the test waits");
        });
    }
    // All are inside their calls by then, or at their beginning: the answer must be the same.
    std::thread::sleep(Duration::from_millis(500));
    assert!(told.try_recv().is_err(), "a call ended although its stream stands still");
    VANISH.store(true, SeqCst);
    for _ in KINDS {
        let (name, code) = told.recv_timeout(PATIENCE).expect("a call that never ends");
        assert_eq!(code, Status::SYSTEM_NOT_READY.0, "{name}");
    }
}
