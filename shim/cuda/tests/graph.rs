//! Graphs on the mock: captured, built by hand, changed, launched.

mod common;

use ringbar_shim_cuda::arg::{In, Out, Text};
use ringbar_shim_cuda::context::{cuCtxSetCurrent, cuDevicePrimaryCtxRetain};
use ringbar_shim_cuda::event::{
    cuEventCreate, cuEventDestroy_v2, cuEventQuery, cuEventSynchronize,
};
use ringbar_shim_cuda::function::cuLaunchKernel;
use ringbar_shim_cuda::graph::add::{
    cuGraphAddEventRecordNode, cuGraphAddKernelNode_v2, cuGraphAddMemsetNode,
};
use ringbar_shim_cuda::graph::capture::{
    cuStreamBeginCapture_v2, cuStreamEndCapture, cuStreamGetCaptureInfo_v2, cuStreamIsCapturing,
};
use ringbar_shim_cuda::graph::edges::{cuGraphGetNodes, cuGraphNodeGetDependencies};
use ringbar_shim_cuda::graph::edit::{cuGraphCreate, cuGraphDestroy};
use ringbar_shim_cuda::graph::exec::{
    cuGraphExecDestroy, cuGraphInstantiateWithFlags, cuGraphLaunch,
};
use ringbar_shim_cuda::graph::node::{
    cuGraphExecKernelNodeSetParams_v2, cuGraphKernelNodeGetParams_v2, cuGraphNodeGetType,
};
use ringbar_shim_cuda::graph::params::{
    CUDA_KERNEL_NODE_PARAMS_v1, CUDA_KERNEL_NODE_PARAMS_v2, CUDA_MEMSET_NODE_PARAMS_v1,
};
use ringbar_shim_cuda::handles::{Handle, Kind};
use ringbar_shim_cuda::memop::{cuStreamWaitValue32_v2, cuStreamWriteValue32_v2};
use ringbar_shim_cuda::memory::alloc::cuMemAlloc_v2;
use ringbar_shim_cuda::memory::copy::cuMemcpyDtoH_v2;
use ringbar_shim_cuda::memory::memset::cuMemsetD8Async;
use ringbar_shim_cuda::module::{cuModuleGetFunction, cuModuleLoadData};
use ringbar_shim_cuda::stream::{
    cuStreamCreate, cuStreamQuery, cuStreamSynchronize, cuStreamWaitEvent,
};
use std::ffi::{CStr, c_void};

const PTX: &CStr = c".version 8.0
.target sm_90
.address_size 64
.visible .entry fill_u32(
    .param .u64 fill_u32_param_0,
    .param .u32 fill_u32_param_1,
    .param .u64 fill_u32_param_2
)
{
    ret;
}
";
const NULL: Handle = Handle::NULL;
/// Forbids nothing to the threads of other tests.
const THREAD_LOCAL: u32 = 1;
/// `CUDA_ERROR_NOT_READY`.
const NOT_READY: u32 = 600;

/// Runs a C function that must succeed.
macro_rules! c {
    ($call:expr) => {{
        // SAFETY: every pointer in these tests lives through its call.
        let code = unsafe { $call };
        assert_eq!(code, 0, stringify!($call));
    }};
}

/// A context with a stream, a kernel that fills, and memory for it.
struct Rig {
    stream: Handle,
    fill: Handle,
    at: u64,
}

const WORDS: usize = 64;

impl Rig {
    fn new() -> Self {
        common::start();
        let (mut context, mut module, mut fill, mut stream, mut at) = (NULL, NULL, NULL, NULL, 0);
        c!(cuDevicePrimaryCtxRetain(Out::to(&mut context), 0));
        c!(cuCtxSetCurrent(context));
        c!(cuModuleLoadData(Out::to(&mut module), PTX.as_ptr().cast()));
        c!(cuModuleGetFunction(Out::to(&mut fill), module, Text::from(c"fill_u32")));
        c!(cuStreamCreate(Out::to(&mut stream), 1));
        c!(cuMemAlloc_v2(Out::to(&mut at), 4 * WORDS));
        Self { stream, fill, at }
    }

    fn launch(&self, value: u32) {
        let count = WORDS as u64;
        let params = pointers(&self.at, &value, &count);
        let null = std::ptr::null();
        let params = params.as_ptr();
        c!(cuLaunchKernel(self.fill, 1, 1, 1, 1, 1, 1, 0, self.stream, params, null));
    }

    fn words(&self) -> Vec<u32> {
        let mut words = vec![0_u32; WORDS];
        c!(cuStreamSynchronize(self.stream));
        c!(cuMemcpyDtoH_v2(words.as_mut_ptr().expose_provenance(), self.at, 4 * WORDS));
        words
    }

    fn node_params(&self, params: &[*const c_void; 3]) -> CUDA_KERNEL_NODE_PARAMS_v2 {
        CUDA_KERNEL_NODE_PARAMS_v1 {
            function: self.fill,
            grid: [1; 3],
            block: [1; 3],
            shared_bytes: 0,
            params: params.as_ptr(),
            extra: std::ptr::null(),
        }
        .into()
    }

    fn instantiate(&self, graph: Handle) -> Handle {
        let mut exec = NULL;
        c!(cuGraphInstantiateWithFlags(Out::to(&mut exec), graph, 0));
        exec
    }
}

fn pointers(at: &u64, value: &u32, count: &u64) -> [*const c_void; 3] {
    [(&raw const *at).cast(), (&raw const *value).cast(), (&raw const *count).cast()]
}

#[test]
fn what_was_captured_runs_when_its_graph_is_launched_and_not_before() {
    let rig = Rig::new();
    let (mut graph, mut status) = (NULL, 0);
    rig.launch(1);
    assert_eq!(rig.words(), [1; WORDS]);
    c!(cuStreamBeginCapture_v2(rig.stream, THREAD_LOCAL));
    rig.launch(2);
    c!(cuStreamIsCapturing(rig.stream, Out::to(&mut status)));
    assert_eq!(status, 1);
    c!(cuStreamEndCapture(rig.stream, Out::to(&mut graph)));
    c!(cuStreamIsCapturing(rig.stream, Out::to(&mut status)));
    assert_eq!((status, rig.words()), (0, vec![1; WORDS]));
    let exec = rig.instantiate(graph);
    c!(cuGraphLaunch(exec, rig.stream));
    assert_eq!(rig.words(), [2; WORDS]);
    c!(cuGraphExecDestroy(exec));
    c!(cuGraphDestroy(graph));
    // SAFETY: it takes no pointers.
    assert_eq!(unsafe { cuGraphLaunch(exec, rig.stream) }, 1, "a destroyed graph");
}

#[test]
fn a_capture_says_its_graph_and_ends_with_the_same_one() {
    let rig = Rig::new();
    let (mut status, mut id, mut graph, mut count) = (0, 0, NULL, 0);
    let mut nodes = std::ptr::null();
    c!(cuStreamBeginCapture_v2(rig.stream, 1));
    rig.launch(3);
    let (o_status, o_id) = (Out::to(&mut status), Out::to(&mut id));
    let (o_graph, o_nodes, o_count) =
        (Out::to(&mut graph), Out::to(&mut nodes), Out::to(&mut count));
    c!(cuStreamGetCaptureInfo_v2(rig.stream, o_status, o_id, o_graph, o_nodes, o_count));
    assert_eq!((status, count), (1, 1));
    let mut ended = NULL;
    c!(cuStreamEndCapture(rig.stream, Out::to(&mut ended)));
    assert_eq!(ended, graph);
    assert!(graph.number(Kind::Graph).is_some());
    let exec = rig.instantiate(ended);
    c!(cuGraphLaunch(exec, rig.stream));
    assert_eq!(rig.words(), [3; WORDS]);
}

#[test]
fn a_graph_built_by_hand_runs_its_nodes_in_the_order_of_its_edges() {
    let rig = Rig::new();
    let (mut graph, mut memset, mut kernel) = (NULL, NULL, NULL);
    c!(cuGraphCreate(Out::to(&mut graph), 0));
    let fill = CUDA_MEMSET_NODE_PARAMS_v1 {
        dst: rig.at,
        pitch: 0,
        value: 9,
        element_bytes: 4,
        width: WORDS,
        height: 1,
    };
    let none = In::null();
    c!(cuGraphAddMemsetNode(Out::to(&mut memset), graph, none, 0, In::from(&fill), NULL));
    // The kernel fills the first half only, after the memset.
    let (value, count) = (7, WORDS as u64 / 2);
    let params = pointers(&rig.at, &value, &count);
    let params = rig.node_params(&params);
    let after = In::from(&memset);
    c!(cuGraphAddKernelNode_v2(Out::to(&mut kernel), graph, after, 1, In::from(&params)));
    let (mut nodes, mut node_count, mut before, mut before_count) = ([NULL; 4], 4, [NULL; 2], 2);
    let place = Out::at_address(nodes.as_mut_ptr());
    c!(cuGraphGetNodes(graph, place, Out::to(&mut node_count)));
    assert_eq!((node_count, nodes[2]), (2, NULL));
    let place = Out::at_address(before.as_mut_ptr());
    c!(cuGraphNodeGetDependencies(kernel, place, Out::to(&mut before_count)));
    assert_eq!((before_count, before[0]), (1, memset));
    let mut kind = 9;
    c!(cuGraphNodeGetType(memset, Out::to(&mut kind)));
    assert_eq!(kind, 2);
    let exec = rig.instantiate(graph);
    c!(cuGraphLaunch(exec, rig.stream));
    let words = rig.words();
    assert_eq!((words[0], words[WORDS / 2]), (7, 9));
}

#[test]
fn an_executable_graph_takes_new_parameters_and_its_graph_keeps_the_old() {
    let rig = Rig::new();
    let (mut graph, mut kernel) = (NULL, NULL);
    c!(cuGraphCreate(Out::to(&mut graph), 0));
    let (old, new, count) = (4, 5, WORDS as u64);
    let params = pointers(&rig.at, &old, &count);
    let params = rig.node_params(&params);
    c!(cuGraphAddKernelNode_v2(Out::to(&mut kernel), graph, In::null(), 0, In::from(&params)));
    let exec = rig.instantiate(graph);
    let params = pointers(&rig.at, &new, &count);
    let changed = rig.node_params(&params);
    c!(cuGraphExecKernelNodeSetParams_v2(exec, kernel, In::from(&changed)));
    c!(cuGraphLaunch(exec, rig.stream));
    assert_eq!(rig.words(), [new; WORDS]);
    let mut found = changed;
    c!(cuGraphKernelNodeGetParams_v2(kernel, Out::to(&mut found)));
    assert_eq!((found.first.function, found.first.grid), (rig.fill, [1; 3]));
    // SAFETY: the library answered a pointer to each of the three parameters.
    let second = unsafe { found.first.params.add(1) };
    // SAFETY: as above.
    let value = unsafe { second.read() }.cast::<u32>();
    // SAFETY: the second parameter is a 32-bit value.
    assert_eq!(unsafe { value.read() }, old);
}

#[test]
fn an_event_that_a_graph_records_is_complete_when_the_graph_has_got_there() {
    let rig = Rig::new();
    let (mut other, mut event, mut graph, mut node, mut exec, mut gate) =
        (NULL, NULL, NULL, NULL, NULL, 0);
    c!(cuStreamCreate(Out::to(&mut other), 1));
    c!(cuMemAlloc_v2(Out::to(&mut gate), 8));
    c!(cuMemsetD8Async(gate, 0, 8, other));
    c!(cuStreamSynchronize(other));
    c!(cuEventCreate(Out::to(&mut event), 2));
    c!(cuGraphCreate(Out::to(&mut graph), 0));
    c!(cuGraphAddEventRecordNode(Out::to(&mut node), graph, In::null(), 0, event));
    c!(cuGraphInstantiateWithFlags(Out::to(&mut exec), graph, 0));
    c!(cuEventQuery(event));
    c!(cuStreamWaitValue32_v2(rig.stream, gate, 1, 0));
    rig.launch(6);
    c!(cuGraphLaunch(exec, rig.stream));
    // SAFETY: numbers alone.
    assert_eq!(unsafe { cuEventQuery(event) }, NOT_READY);
    let mut third = NULL;
    c!(cuStreamCreate(Out::to(&mut third), 1));
    c!(cuStreamWaitEvent(third, event, 0));
    // SAFETY: numbers alone.
    assert_eq!(unsafe { cuStreamQuery(third) }, NOT_READY, "it waits for the graph");
    c!(cuStreamWriteValue32_v2(other, gate, 1, 0));
    c!(cuEventSynchronize(event));
    assert_eq!(rig.words(), [6; WORDS]);
    c!(cuStreamSynchronize(third));
    c!(cuEventDestroy_v2(event));
}
