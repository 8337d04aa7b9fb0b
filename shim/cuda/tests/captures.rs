//! What captures forbid, and to whom, on the mock.

#[macro_use]
mod common;

use ringbar_shim_cuda::arg::Out;
use ringbar_shim_cuda::capturing::cuThreadExchangeStreamCaptureMode;
use ringbar_shim_cuda::context::{
    cuCtxCreate_v2, cuCtxDestroy_v2, cuCtxSetCurrent, cuDevicePrimaryCtxRetain,
};
use ringbar_shim_cuda::event::{cuEventCreate, cuEventQuery, cuEventRecord, cuEventSynchronize};
use ringbar_shim_cuda::graph::capture::{
    cuStreamBeginCapture_v2, cuStreamEndCapture, cuStreamIsCapturing,
};
use ringbar_shim_cuda::graph::edit::cuGraphDestroy;
use ringbar_shim_cuda::graph::exec::{
    cuGraphExecDestroy, cuGraphInstantiateWithFlags, cuGraphLaunch,
};
use ringbar_shim_cuda::graph::user_object::OBJECTS;
use ringbar_shim_cuda::handles::Handle;
use ringbar_shim_cuda::memory::alloc::cuMemAlloc_v2;
use ringbar_shim_cuda::memory::copy::{cuMemcpyDtoHAsync_v2, cuMemcpyHtoDAsync_v2};
use ringbar_shim_cuda::memory::memset::cuMemsetD8Async;
use ringbar_shim_cuda::stream::{cuStreamCreate, cuStreamQuery, cuStreamSynchronize};
use std::sync::{Mutex, MutexGuard, PoisonError};

const NULL: Handle = Handle::NULL;
const GLOBAL: u32 = 0;
const THREAD_LOCAL: u32 = 1;
const RELAXED: u32 = 2;
const INVALID_VALUE: u32 = 1;
const UNSUPPORTED: u32 = 900;
const INVALIDATED: u32 = 901;
const IMPLICIT: u32 = 906;
const CAPTURED_EVENT: u32 = 907;
const WRONG_THREAD: u32 = 908;

/// Captures of one test forbid what another's do otherwise.
static ALONE: Mutex<()> = Mutex::new(());

struct Rig {
    context: Handle,
    stream: Handle,
    at: u64,
    _alone: MutexGuard<'static, ()>,
}

impl Rig {
    fn new(flags: u32) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        common::start();
        let (mut context, mut stream, mut at) = (NULL, NULL, 0);
        assert_eq!(c!(cuDevicePrimaryCtxRetain(Out::to(&mut context), 0)), 0);
        assert_eq!(c!(cuCtxSetCurrent(context)), 0);
        assert_eq!(c!(cuStreamCreate(Out::to(&mut stream), flags)), 0);
        assert_eq!(c!(cuMemAlloc_v2(Out::to(&mut at), 256)), 0);
        Self { context, stream, at, _alone: alone }
    }

    fn begin(&self, mode: u32) {
        assert_eq!(c!(cuStreamBeginCapture_v2(self.stream, mode)), 0);
    }

    fn status(&self) -> u32 {
        let mut status = 9;
        assert_eq!(c!(cuStreamIsCapturing(self.stream, Out::to(&mut status))), 0);
        status
    }

    fn end(&self) -> u32 {
        let mut graph = NULL;
        c!(cuStreamEndCapture(self.stream, Out::to(&mut graph)))
    }

    fn fill(&self, stream: Handle) -> u32 {
        c!(cuMemsetD8Async(self.at, 1, 16, stream))
    }

    /// What another thread's call answers.
    fn elsewhere(&self, call: impl FnOnce() -> u32 + Send) -> u32 {
        let context = self.context;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                assert_eq!(c!(cuCtxSetCurrent(context)), 0);
                call()
            });
            thread.join().expect("no panic")
        })
    }
}

fn allocate() -> u32 {
    let mut at = 0;
    c!(cuMemAlloc_v2(Out::to(&mut at), 256))
}

fn exchange(mut mode: u32) -> u32 {
    assert_eq!(c!(cuThreadExchangeStreamCaptureMode(Out::to(&mut mode))), 0);
    mode
}

#[test]
fn an_unsafe_call_is_refused_and_breaks_the_capture_unless_that_is_relaxed() {
    let rig = Rig::new(1);
    for (mode, answer, end) in [
        (GLOBAL, UNSUPPORTED, INVALIDATED),
        (THREAD_LOCAL, UNSUPPORTED, INVALIDATED),
        (RELAXED, 0, 0),
    ] {
        rig.begin(mode);
        assert_eq!((allocate(), rig.end()), (answer, end), "mode {mode}");
    }
    assert_eq!(allocate(), 0, "nothing captures any more");
}

#[test]
fn only_a_global_capture_forbids_other_threads_anything() {
    let rig = Rig::new(1);
    for (mode, answer) in [(GLOBAL, UNSUPPORTED), (THREAD_LOCAL, 0), (RELAXED, 0)] {
        rig.begin(mode);
        assert_eq!(rig.elsewhere(allocate), answer, "mode {mode}");
        rig.end();
    }
}

#[test]
fn a_thread_that_chose_the_relaxed_mode_is_forbidden_nothing() {
    let rig = Rig::new(1);
    rig.begin(GLOBAL);
    assert_eq!(exchange(RELAXED), GLOBAL);
    assert_eq!(allocate(), 0);
    assert_eq!(exchange(GLOBAL), RELAXED);
    let local = || {
        exchange(THREAD_LOCAL);
        allocate()
    };
    assert_eq!(rig.elsewhere(local), 0, "another thread's capture is none of its own");
    assert_eq!(rig.end(), 0);
}

#[test]
fn a_question_that_no_capturing_stream_answers_breaks_every_capture() {
    let rig = Rig::new(1);
    rig.begin(RELAXED);
    assert_eq!(c!(cuStreamQuery(rig.stream)), UNSUPPORTED);
    assert_eq!(rig.status(), 2);
    assert_eq!(rig.fill(rig.stream), INVALIDATED, "the call that brings work is told");
    assert_eq!(rig.end(), INVALIDATED);
    assert_eq!(rig.fill(rig.stream), 0);
}

#[test]
fn an_event_of_a_capture_cannot_be_asked_for() {
    let rig = Rig::new(1);
    let mut event = NULL;
    assert_eq!(c!(cuEventCreate(Out::to(&mut event), 2)), 0);
    rig.begin(RELAXED);
    assert_eq!(c!(cuEventRecord(event, rig.stream)), 0);
    assert_eq!(c!(cuEventQuery(event)), CAPTURED_EVENT);
    assert_eq!(rig.end(), INVALIDATED);
    assert_eq!(c!(cuEventQuery(event)), INVALID_VALUE, "when it is over");
    assert_eq!(c!(cuEventRecord(event, rig.stream)), 0);
    assert_eq!(c!(cuEventSynchronize(event)), 0);
}

#[test]
fn the_legacy_default_stream_waits_for_no_capture() {
    let rig = Rig::new(0);
    rig.begin(RELAXED);
    assert_eq!(rig.fill(NULL), IMPLICIT);
    assert_eq!(rig.end(), INVALIDATED);
    rig.begin(RELAXED);
    let mut status = 9;
    assert_eq!(c!(cuStreamIsCapturing(NULL, Out::to(&mut status))), IMPLICIT);
    assert_eq!(rig.end(), 0, "a question breaks nothing");
}

#[test]
fn only_the_thread_that_began_it_ends_a_capture_that_is_not_relaxed() {
    let rig = Rig::new(1);
    for (mode, answer) in [(GLOBAL, WRONG_THREAD), (THREAD_LOCAL, WRONG_THREAD), (RELAXED, 0)] {
        rig.begin(mode);
        assert_eq!(rig.elsewhere(|| rig.end()), answer, "mode {mode}");
        rig.end();
    }
}

#[test]
fn a_captured_copy_of_the_programs_own_memory_uses_what_is_there_when_the_graph_runs() {
    let rig = Rig::new(0);
    // Longer than what is pinned at once for nothing.
    let (mut from, mut to) = (vec![0_u8; 200], vec![0_u8; 200]);
    let (source, target) =
        (from.as_mut_ptr().expose_provenance(), to.as_mut_ptr().expose_provenance());
    rig.begin(GLOBAL);
    assert_eq!(c!(cuMemcpyHtoDAsync_v2(rig.at, source, 200, rig.stream)), 0);
    assert_eq!(c!(cuMemcpyDtoHAsync_v2(target, rig.at, 200, rig.stream)), 0);
    let (mut graph, mut exec) = (NULL, NULL);
    assert_eq!(c!(cuStreamEndCapture(rig.stream, Out::to(&mut graph))), 0);
    assert_eq!(c!(cuGraphInstantiateWithFlags(Out::to(&mut exec), graph, 0)), 0);
    // The executable graph keeps what the copies go through.
    assert_eq!(c!(cuGraphDestroy(graph)), 0);
    for value in [3, 4] {
        from.fill(value);
        assert_eq!(c!(cuGraphLaunch(exec, rig.stream)), 0);
        assert_eq!(c!(cuStreamSynchronize(rig.stream)), 0);
        assert_eq!(to, [value; 200]);
    }
    assert_eq!(OBJECTS.alive().count(), 2);
    assert_eq!(c!(cuGraphExecDestroy(exec)), 0);
    assert_eq!(OBJECTS.alive().count(), 0, "its launches are done");
}

#[test]
fn a_capture_that_fails_gives_up_what_its_copies_go_through() {
    let rig = Rig::new(0);
    let mut from = vec![0_u8; 200];
    rig.begin(GLOBAL);
    let source = from.as_mut_ptr().expose_provenance();
    assert_eq!(c!(cuMemcpyHtoDAsync_v2(rig.at, source, 200, rig.stream)), 0);
    assert_eq!(OBJECTS.alive().count(), 1);
    assert_eq!(c!(cuStreamSynchronize(rig.stream)), UNSUPPORTED);
    assert_eq!(rig.end(), INVALIDATED);
    assert_eq!(OBJECTS.alive().count(), 0);
}

#[test]
fn a_context_that_ends_while_it_captures_gives_up_what_its_copies_go_through() {
    let rig = Rig::new(0);
    let (mut context, mut stream, mut from) = (NULL, NULL, vec![0_u8; 200]);
    assert_eq!(c!(cuCtxCreate_v2(Out::to(&mut context), 0, 0)), 0);
    assert_eq!(c!(cuStreamCreate(Out::to(&mut stream), 1)), 0);
    assert_eq!(c!(cuStreamBeginCapture_v2(stream, RELAXED)), 0);
    let source = from.as_mut_ptr().expose_provenance();
    assert_eq!(c!(cuMemcpyHtoDAsync_v2(rig.at, source, 200, stream)), 0);
    assert_eq!(OBJECTS.alive().count(), 1);
    assert_eq!(c!(cuCtxDestroy_v2(context)), 0);
    assert_eq!(OBJECTS.alive().count(), 0);
    assert_eq!(c!(cuCtxSetCurrent(rig.context)), 0);
    assert_eq!(allocate(), 0, "nothing captures any more");
}
