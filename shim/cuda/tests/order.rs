//! What is over before what, on a mock whose launches take a while: events that launches record, memory that is freed while
//! kernels run, what graphs keep alive; and what a launch may ask for.

#[macro_use]
mod common;

use ringbar::sync::{AtomicU32, Ordering::SeqCst};
use ringbar_mock::MockConfig;
use ringbar_shim_cuda::arg::{In, Out, Text};
use ringbar_shim_cuda::context::{cuCtxSetCurrent, cuDevicePrimaryCtxRetain};
use ringbar_shim_cuda::event::*;
use ringbar_shim_cuda::function::*;
use ringbar_shim_cuda::graph::add::*;
use ringbar_shim_cuda::graph::capture::*;
use ringbar_shim_cuda::graph::edges::*;
use ringbar_shim_cuda::graph::edit::*;
use ringbar_shim_cuda::graph::exec::*;
use ringbar_shim_cuda::graph::params::CUgraphEdgeData;
use ringbar_shim_cuda::graph::refer::*;
use ringbar_shim_cuda::graph::user_object::*;
use ringbar_shim_cuda::handles::Handle;
use ringbar_shim_cuda::memop::*;
use ringbar_shim_cuda::memory::alloc::*;
use ringbar_shim_cuda::memory::copy::*;
use ringbar_shim_cuda::memory::memset::*;
use ringbar_shim_cuda::memory::pinned::*;
use ringbar_shim_cuda::memory::pool::*;
use ringbar_shim_cuda::module::{cuModuleGetFunction, cuModuleLoadData};
use ringbar_shim_cuda::stream::*;
use std::ffi::c_void;
use std::ptr::null;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const NULL: Handle = Handle::NULL;
const INVALID_VALUE: u32 = 1;
const INVALID_CONTEXT: u32 = 201;
const INVALID_HANDLE: u32 = 400;
const NOT_READY: u32 = 600;
const NOT_SUPPORTED: u32 = 801;
const NON_BLOCKING: u32 = 1;
const DISABLE_TIMING: u32 = 2;
const RELAXED: u32 = 2;

/// Runs a C function that must succeed.
macro_rules! ok {
    ($call:expr) => {
        assert_eq!(c!($call), 0, stringify!($call))
    };
}

/// Captures of one test would make the other's calls wait.
static ALONE: Mutex<()> = Mutex::new(());

struct Rig {
    context: Handle,
    stream: Handle,
    fill: Handle,
    /// Device memory.
    at: u64,
    /// Pinned memory: words of the host.
    host: usize,
    _alone: MutexGuard<'static, ()>,
}

fn stream() -> Handle {
    let mut stream = NULL;
    ok!(cuStreamCreate(Out::to(&mut stream), NON_BLOCKING));
    stream
}

fn event() -> Handle {
    let mut event = NULL;
    ok!(cuEventCreate(Out::to(&mut event), DISABLE_TIMING));
    event
}

fn alloc() -> u64 {
    let mut at = 0;
    ok!(cuMemAlloc_v2(Out::to(&mut at), 4096));
    at
}

impl Rig {
    fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let launch = Duration::from_millis(100).as_nanos() as u64;
        common::start_with(MockConfig { latency_ns: launch, ..common::config() }, |_| false);
        let (mut context, mut module, mut fill, mut host) = (NULL, NULL, NULL, 0);
        ok!(cuDevicePrimaryCtxRetain(Out::to(&mut context), 0));
        ok!(cuCtxSetCurrent(context));
        ok!(cuModuleLoadData(Out::to(&mut module), common::PTX.as_ptr().cast()));
        ok!(cuModuleGetFunction(Out::to(&mut fill), module, Text::from(c"_Z9fill_withPiii")));
        ok!(cuMemHostAlloc(Out::to(&mut host), 4096, 0));
        let rig = Self { context, stream: stream(), fill, at: alloc(), host, _alone: alone };
        ok!(cuMemsetD8_v2(rig.at, 0, 4096));
        ok!(cuMemsetD8_v2(rig.host as u64, 0, 4096));
        ok!(cuCtxSynchronize());
        rig
    }

    fn word(&self, index: usize) -> u32 {
        let at = std::ptr::with_exposed_provenance::<u32>(self.host).wrapping_add(index);
        // SAFETY: inside the pinned block, and written by nobody at this moment.
        unsafe { at.read_volatile() }
    }

    /// Launches the filling of 4 words at an address.
    fn launch(&self, at: u64, value: u32, attribute: Option<CUlaunchAttribute>) {
        let config = self.config(32, &attribute);
        let count = 4_u32;
        let params = pointers(&at, &value, &count);
        ok!(cuLaunchKernelEx(In::from(&config), self.fill, params.as_ptr(), null()));
    }

    fn config(&self, threads: u32, attribute: &Option<CUlaunchAttribute>) -> CUlaunchConfig {
        CUlaunchConfig {
            grid: [1; 3],
            block: [threads, 1, 1],
            shared_bytes: 0,
            stream: self.stream,
            attributes: attribute.as_ref().map_or(In::null(), In::from),
            attribute_count: attribute.iter().count() as u32,
        }
    }

    /// Captures a copy of the program's own words to device memory.
    fn capture_copy(&self, from: &'static [u32; 2]) -> Handle {
        let mut graph = NULL;
        ok!(cuStreamBeginCapture_v2(self.stream, RELAXED));
        ok!(cuMemcpyHtoDAsync_v2(self.at, from.as_ptr().expose_provenance(), 8, self.stream));
        ok!(cuStreamEndCapture(self.stream, Out::to(&mut graph)));
        graph
    }

    fn device_word(&self) -> u32 {
        let mut word = 0_u32;
        ok!(cuStreamSynchronize(self.stream));
        ok!(cuMemcpyDtoH_v2((&raw mut word).expose_provenance(), self.at, 4));
        word
    }
}

fn pointers(at: &u64, value: &u32, count: &u32) -> [*const c_void; 3] {
    [
        std::ptr::from_ref(at).cast(),
        std::ptr::from_ref(value).cast(),
        std::ptr::from_ref(count).cast(),
    ]
}

/// PROGRAMMATIC_EVENT and LAUNCH_COMPLETION_EVENT.
fn attribute(id: u32, event: Handle) -> CUlaunchAttribute {
    CUlaunchAttribute { id, pad: 0, value: [event.0 as u64, 0, 0, 0, 0, 0, 0, 0] }
}

#[test]
fn an_event_that_a_launch_records_is_complete_when_the_launch_is() {
    let rig = Rig::new();
    let (second, third) = (stream(), stream());
    for id in [7, 12] {
        let (event, gate) = (event(), alloc());
        ok!(cuMemsetD8_v2(gate, 0, 4));
        ok!(cuMemsetD8_v2(rig.at, 0, 16));
        ok!(cuCtxSynchronize());
        ok!(cuStreamWaitValue32_v2(rig.stream, gate, 1, 0));
        rig.launch(rig.at, id, Some(attribute(id, event)));
        assert_eq!(c!(cuEventQuery(event)), NOT_READY, "attribute {id}");
        ok!(cuStreamWaitEvent(second, event, 0));
        ok!(cuMemcpyDtoHAsync_v2(rig.host, rig.at, 4, second));
        assert_eq!(c!(cuStreamQuery(second)), NOT_READY, "attribute {id}");
        ok!(cuStreamWriteValue32_v2(third, gate, 1, 0));
        ok!(cuEventSynchronize(event));
        assert_eq!(rig.device_word(), id, "it waited for the launch");
        ok!(cuStreamSynchronize(second));
        assert_eq!(rig.word(0), id, "the second stream waited for the launch");
        ok!(cuEventQuery(event));
    }
}

#[test]
fn a_launch_records_no_event_with_times_and_none_that_is_none() {
    let rig = Rig::new();
    let mut timed = NULL;
    ok!(cuEventCreate(Out::to(&mut timed), 0));
    for (event, code) in [(timed, NOT_SUPPORTED), (NULL, INVALID_HANDLE)] {
        let attribute = Some(attribute(7, event));
        let (value, count) = (1_u32, 4_u32);
        let params = pointers(&rig.at, &value, &count);
        let config = rig.config(32, &attribute);
        let launched = c!(cuLaunchKernelEx(In::from(&config), rig.fill, params.as_ptr(), null()));
        assert_eq!(launched, code);
    }
}

#[test]
fn an_event_that_a_captured_launch_records_is_the_captures() {
    let rig = Rig::new();
    let (event, mut graph) = (event(), NULL);
    ok!(cuStreamBeginCapture_v2(rig.stream, RELAXED));
    rig.launch(rig.at, 1, Some(attribute(12, event)));
    ok!(cuStreamEndCapture(rig.stream, Out::to(&mut graph)));
    assert_eq!(c!(cuEventQuery(event)), INVALID_VALUE);
    assert_eq!(c!(cuStreamWaitEvent(rig.stream, event, 0)), INVALID_VALUE);
    rig.launch(rig.at, 2, Some(attribute(12, event)));
    ok!(cuEventSynchronize(event));
    assert_eq!(rig.device_word(), 2);
    ok!(cuGraphDestroy(graph));
}

#[test]
fn freeing_memory_waits_for_kernels_that_run() {
    let rig = Rig::new();
    let freed = alloc();
    rig.launch(rig.host as u64, 5, None);
    ok!(cuMemFree_v2(freed));
    assert_eq!(rig.word(0), 5, "device memory");
    let mut managed = 0;
    ok!(cuMemAllocManaged(Out::to(&mut managed), 4096, 1));
    rig.launch(rig.host as u64, 6, None);
    ok!(cuMemFree_v2(managed));
    assert_eq!(rig.word(0), 6, "managed memory");
    let mut host = 0;
    ok!(cuMemHostAlloc(Out::to(&mut host), 4096, 0));
    rig.launch(rig.host as u64, 7, None);
    ok!(cuMemFreeHost(host));
    assert_eq!(rig.word(0), 7, "pinned memory");
    let own = [0_u8; 4096];
    ok!(cuMemHostRegister_v2(own.as_ptr().expose_provenance(), own.len(), 0));
    rig.launch(rig.host as u64, 8, None);
    ok!(cuMemHostUnregister(own.as_ptr().expose_provenance()));
    assert_eq!(rig.word(0), 8, "memory of the program's own");
}

#[test]
fn memory_is_freed_while_a_relaxed_capture_goes_on() {
    let rig = Rig::new();
    let (freed, mut managed, mut graph) = (alloc(), 0, NULL);
    ok!(cuMemAllocManaged(Out::to(&mut managed), 4096, 1));
    ok!(cuStreamBeginCapture_v2(rig.stream, RELAXED));
    let mut mode = RELAXED;
    ok!(ringbar_shim_cuda::capturing::cuThreadExchangeStreamCaptureMode(Out::to(&mut mode)));
    ok!(cuMemFree_v2(freed));
    ok!(cuMemFree_v2(managed));
    ok!(ringbar_shim_cuda::capturing::cuThreadExchangeStreamCaptureMode(Out::to(&mut mode)));
    ok!(cuStreamEndCapture(rig.stream, Out::to(&mut graph)));
}

#[test]
fn memory_of_no_pool_is_freed_in_stream_order_too() {
    let rig = Rig::new();
    let at = alloc();
    assert_eq!(c!(cuMemFreeAsync(at + 64, rig.stream)), INVALID_VALUE, "not its beginning");
    rig.launch(at, 9, None);
    ok!(cuMemcpyDtoHAsync_v2(rig.host, at, 4, rig.stream));
    ok!(cuMemFreeAsync(at, rig.stream));
    ok!(cuStreamSynchronize(rig.stream));
    assert_eq!(rig.word(0), 9, "it was there until then");
    assert_eq!(c!(cuMemFreeAsync(at, rig.stream)), INVALID_VALUE, "it was freed");
    assert_eq!(c!(cuMemFree_v2(at)), INVALID_VALUE);
    let mut managed = 0;
    ok!(cuMemAllocManaged(Out::to(&mut managed), 4096, 1));
    assert_eq!(c!(cuMemFreeAsync(managed, rig.stream)), NOT_SUPPORTED);
    ok!(cuMemFree_v2(managed));
}

#[test]
fn more_threads_than_a_kernel_was_compiled_for_are_refused_and_by_the_call() {
    let rig = Rig::new();
    let (value, count) = (1_u32, 4_u32);
    let params = pointers(&rig.at, &value, &count);
    let answers = |threads: u32| {
        let config = rig.config(threads, &None);
        let (params, stream) = (params.as_ptr(), rig.stream);
        [
            c!(cuLaunchKernel(rig.fill, 1, 1, 1, threads, 1, 1, 0, stream, params, null())),
            c!(cuLaunchKernelEx(In::from(&config), rig.fill, params, null())),
            c!(cuLaunchCooperativeKernel(rig.fill, 1, 1, 1, threads, 1, 1, 0, stream, params)),
        ]
    };
    assert_eq!(answers(256), [0; 3]);
    assert_eq!(answers(257), [INVALID_VALUE; 3]);
    assert_eq!(answers(1024), [INVALID_VALUE; 3]);
    assert_eq!(answers(1025), [INVALID_VALUE; 3]);
    assert_eq!(answers(0), [INVALID_VALUE; 3]);
}

static ENDED: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn ended(_data: *mut c_void) {
    ENDED.fetch_add(1, SeqCst);
}

/// Has a graph hold an object whose end is counted.
fn hold_object(graph: Handle) {
    let mut object = NULL;
    ok!(cuUserObjectCreate(Out::to(&mut object), std::ptr::null_mut(), Some(ended), 1, 1));
    ok!(cuGraphRetainUserObject(graph, object, 1, 1));
}

#[test]
fn what_a_child_graph_holds_lives_as_long_as_what_it_was_put_into() {
    static FIRST: [u32; 2] = [3, 3];
    static SECOND: [u32; 2] = [4, 4];
    let rig = Rig::new();
    let before = ENDED.load(SeqCst);
    let (first, second) = (rig.capture_copy(&FIRST), rig.capture_copy(&SECOND));
    hold_object(second);
    let (mut parent, mut node, mut exec, mut outer) = (NULL, NULL, NULL, NULL);
    ok!(cuGraphCreate(Out::to(&mut parent), 0));
    ok!(cuGraphAddChildGraphNode(Out::to(&mut node), parent, In::null(), 0, first));
    ok!(cuGraphInstantiateWithFlags(Out::to(&mut exec), parent, 0));
    ok!(cuGraphExecChildGraphNodeSetParams(exec, node, second));
    ok!(cuGraphDestroy(second));
    assert_eq!(ENDED.load(SeqCst), before, "the executable graph holds it");
    ok!(cuGraphLaunch(exec, rig.stream));
    assert_eq!(rig.device_word(), 4);
    // A launch that is captured.
    ok!(cuStreamBeginCapture_v2(rig.stream, RELAXED));
    ok!(cuGraphLaunch(exec, rig.stream));
    ok!(cuStreamEndCapture(rig.stream, Out::to(&mut outer)));
    ok!(cuGraphExecDestroy(exec));
    assert_eq!(ENDED.load(SeqCst), before, "the captured graph holds it");
    ok!(cuGraphInstantiateWithFlags(Out::to(&mut exec), outer, 0));
    ok!(cuGraphDestroy(outer));
    ok!(cuMemsetD8_v2(rig.at, 0, 16));
    ok!(cuGraphLaunch(exec, rig.stream));
    assert_eq!(rig.device_word(), 4);
    ok!(cuGraphExecDestroy(exec));
    assert_eq!(ENDED.load(SeqCst), before + 1, "nothing holds it any more");
}

#[test]
fn a_graph_that_is_put_into_itself_answers() {
    let _rig = Rig::new();
    let (mut graph, mut node) = (NULL, NULL);
    ok!(cuGraphCreate(Out::to(&mut graph), 0));
    hold_object(graph);
    let before = ENDED.load(SeqCst);
    let added = c!(cuGraphAddChildGraphNode(Out::to(&mut node), graph, In::null(), 0, graph));
    assert!(added == 0 || added == INVALID_VALUE, "{added}");
    ok!(cuGraphDestroy(graph));
    assert_eq!(ENDED.load(SeqCst), before + 1);
}

#[test]
fn data_of_edges_without_their_ends_is_refused() {
    let _rig = Rig::new();
    let (mut graph, mut first, mut second) = (NULL, NULL, NULL);
    ok!(cuGraphCreate(Out::to(&mut graph), 0));
    ok!(cuGraphAddEmptyNode(Out::to(&mut first), graph, In::null(), 0));
    ok!(cuGraphAddEmptyNode(Out::to(&mut second), graph, In::from(&first), 1));
    let untouched = CUgraphEdgeData { from_port: 7, ..CUgraphEdgeData::default() };
    let (mut data, mut count) = ([untouched; 4], 4);
    let place = Out::at_address(data.as_mut_ptr());
    let none = Out::null;
    assert_eq!(
        c!(cuGraphGetEdges_v2(graph, none(), none(), place, Out::to(&mut count))),
        INVALID_VALUE
    );
    assert_eq!(
        c!(cuGraphNodeGetDependencies_v2(second, none(), place, Out::to(&mut count))),
        INVALID_VALUE
    );
    assert_eq!(count, 4, "nothing is told");
    assert!(data.iter().all(|data| data.from_port == 7));
    ok!(cuGraphDestroy(graph));
}

#[test]
fn a_context_waits_for_no_event_of_a_capture_that_is_over() {
    let rig = Rig::new();
    let (event, mut graph) = (event(), NULL);
    assert_eq!(c!(cuCtxWaitEvent(NULL, event)), INVALID_CONTEXT);
    ok!(cuCtxWaitEvent(rig.context, event));
    ok!(cuStreamBeginCapture_v2(rig.stream, RELAXED));
    ok!(cuEventRecord(event, rig.stream));
    ok!(cuStreamEndCapture(rig.stream, Out::to(&mut graph)));
    assert_eq!(c!(cuCtxWaitEvent(rig.context, event)), INVALID_VALUE);
    ok!(cuCtxSynchronize());
    ok!(cuGraphDestroy(graph));
}
