//! What does not exist is refused by every command that names it, and nothing comes of the command.

use super::rig::{DEFAULT, Rig};
use crate::HostMemory;
use ringbar_vocabulary::*;

const NO_STREAM: StreamId = StreamId(9999);
const NO_FUNCTION: FunctionId = FunctionId(4711);
const NO_CONTEXT: ContextId = ContextId(900);
const NO_GRAPH: GraphId = GraphId(4711);
const NO_EXEC: GraphExecId = GraphExecId(4711);
const NO_NODE: NodeId = NodeId(0x7000_0000);
const NO_POOL: PoolId = PoolId(4711);
const NO_MEMORY: MemoryId = MemoryId(4711);
const NO_DEVICE: u32 = 1 << 20;
/// An address that nobody reserved, and a size in whole units.
const NOWHERE: DevicePtr = DevicePtr(1 << 21);
const UNITS: u64 = 1 << 21;

pub(super) fn a_device_or_context_that_does_not_exist_is_refused(rig: &mut Rig) {
    rig.init();
    let (device, context) = (NO_DEVICE, NO_CONTEXT);
    rig.refused(PrimaryContextRetain { device, flags: 0 });
    rig.refused(PrimaryContextReset { device });
    rig.refused(PoolCreate { pool: PoolId(7), device, max_bytes: 0 });
    rig.refused(DeviceSetPool { device, pool: PoolId::CURRENT });
    rig.refused(PhysicalGranularity { device, option: 0 });
    rig.refused(ContextSetLimit { context: ContextId::FIRST, limit: 999, value: 1 });
    rig.refused(ContextSetLimit { context, limit: 0, value: 4096 });
    let text = rig.stage(0, &[0; 64]);
    rig.refused(OutputTake { text, context });
    rig.no_failure();
}

pub(super) fn a_stream_or_event_that_does_not_exist_is_refused(rig: &mut Rig) {
    rig.init();
    let (stream, at) = (NO_STREAM, rig.alloc(64));
    let nodes = rig.stage(0, &[0; 64]);
    rig.refused(FenceStatus { stream });
    rig.refused(EventStatus { event: EventId(u32::MAX) });
    rig.refused(MemAllocAsync { pool: PoolId::CURRENT, bytes: 64, stream });
    rig.refused(StreamBeginCapture { stream, mode: 2 });
    rig.refused(StreamCaptureInfo { stream, graph: GraphId(7), nodes });
    rig.refused(StreamCaptureInvalidate { stream });
    rig.no_failure();
    rig.post_refused(MemsetD8 { dst: at, count: 4, stream, value: 1 });
    rig.post_refused(StreamCopyAttributes { dst: stream, src: DEFAULT });
    rig.post_refused(StreamCopyAttributes { dst: DEFAULT, src: stream });
    rig.post_refused(StreamWaitValue { stream, at, value: 1, flags: 0, bits: 32 });
}

pub(super) fn a_module_or_function_that_does_not_exist_is_refused(rig: &mut Rig) {
    rig.init();
    let function = NO_FUNCTION;
    let names = rig.stage(0, &[0x5a; 64]);
    rig.refused(ModuleFunctions { module: ModuleId(4711), names });
    assert_eq!(rig.read_arena(names), [0x5a; 64]);
    rig.refused(FunctionSetAttribute { function, attribute: 8, value: 1 });
    rig.refused(OccupancyBlockSize { function, limit: 0, shared_bytes: 0, flags: 0 });
    rig.refused(OccupancySharedBytes { function, blocks: 1, block_threads: 128 });
    rig.no_failure();
}

pub(super) fn a_pool_or_memory_that_does_not_exist_is_refused(rig: &mut Rig) {
    rig.init();
    let (pool, at, bytes) = (NO_POOL, NOWHERE, UNITS);
    rig.refused(PoolGetAttribute { pool, attribute: 4 });
    rig.refused(PoolSetAttribute { pool, attribute: 4, value: 0 });
    rig.refused(MemMap { at, bytes, offset: 0, memory: NO_MEMORY });
    rig.refused(MemUnmap { at, bytes });
    rig.refused(MemSetAccess { at, bytes, device: 0, flags: 3 });
    rig.refused(MemGetAccess { at, device: 0 });
    rig.refused(AddressReserve { bytes: 0, align: 0, near: DevicePtr(0) });
    rig.no_failure();
    rig.post_refused(PoolDestroy { pool });
}

pub(super) fn a_block_of_the_arena_is_pinned_and_a_mailbox_set_up_once(rig: &mut Rig) {
    rig.init();
    if let Some(arena) = rig.worker.arena.mapped(0) {
        let offset = arena.address.next_multiple_of(4096) - arena.address;
        let block = ArenaRef::new(0, offset, 4096).unwrap();
        rig.post(HostAlloc { block, flags: 0 });
        rig.no_failure();
        rig.post_refused(HostAlloc { block, flags: 0 });
    }
    let mailbox = rig.stage(65_536, &[0; 16]);
    let setup = HostFunctionSetup { index: 9, mailbox };
    rig.call(setup).expect("the first");
    rig.refused(setup);
}

pub(super) fn a_graph_that_does_not_exist_is_refused(rig: &mut Rig) {
    rig.init();
    let (graph, at) = (NO_GRAPH, rig.alloc(64));
    let (known, context) = (GraphId(rig.id()), ContextId::FIRST);
    rig.call(GraphCreate { graph: known }).expect("a graph");
    rig.refused(GraphCreate { graph: known });
    rig.refused(GraphClone { graph: GraphId(7), original: graph });
    let room = rig.stage(0, &[0; 256]);
    rig.refused(GraphNodes { graph, roots: 0, nodes: room });
    rig.refused(GraphEdges { graph, node: NodeId(0), which: 0, edges: room });
    let nodes = Tail::Inline(&[]);
    let (grid, block, shared_bytes) = ([1; 3], [1; 3], 0);
    let function = rig.kernel("copy").id;
    let kernel = GraphAddKernel {
        graph,
        function,
        grid,
        block,
        shared_bytes,
        dependencies: 0,
        body: Tail::Inline(&[0; 24]),
    };
    rig.refused(kernel);
    rig.refused(GraphAddKernel { graph: known, function: NO_FUNCTION, ..kernel });
    let (pitch, width, height, value, element_bytes) = (0, 4, 1, 0, 1);
    let dst = at;
    rig.refused(GraphAddMemset {
        graph,
        context,
        dst,
        pitch,
        width,
        height,
        value,
        element_bytes,
        nodes,
    });
    let corner = Corner { at: at.0, pitch: 4, slice: 4 };
    rig.refused(GraphAddMemcpy {
        graph,
        context,
        dst: corner,
        src: Corner { at: at.0 + 32, ..corner },
        width_bytes: 4,
        height: 1,
        depth: 1,
        host: 0,
        nodes,
    });
    rig.refused(GraphAddHost { graph, token: 1, nodes });
    rig.refused(GraphAddEmpty { graph, nodes });
    let event = rig.event();
    rig.refused(GraphAddEvent { graph, event, wait: 0, nodes });
    rig.refused(GraphAddEvent { graph: known, event: EventId(u32::MAX), wait: 0, nodes });
    rig.refused(GraphAddChild { graph: known, child: graph, nodes });
    rig.refused(GraphDependencies { graph, remove: 0, edges: nodes });
    rig.no_failure();
    rig.post_refused(GraphDestroy { graph });
}

pub(super) fn a_node_that_does_not_exist_is_refused(rig: &mut Rig) {
    rig.init();
    let (node, at, context) = (NO_NODE, rig.alloc(64), ContextId::FIRST);
    let none = GraphExecId(0);
    rig.refused(GraphNodeType { node });
    rig.refused(GraphNodeDestroy { node });
    let params = rig.stage(0, &[0; 256]);
    rig.refused(GraphKernelParams { node, params });
    let (grid, block, shared_bytes) = ([1; 3], [1; 3], 0);
    let function = rig.kernel("copy").id;
    let params = Tail::Inline(&[0; 24]);
    let set =
        GraphSetKernelParams { node, exec: none, function, grid, block, shared_bytes, params };
    rig.refused(set);
    let (pitch, width, height, value, element_bytes) = (0, 4, 1, 0, 1);
    rig.refused(GraphSetMemset {
        node,
        exec: none,
        context,
        dst: at,
        pitch,
        width,
        height,
        value,
        element_bytes,
    });
    let corner = Corner { at: at.0, pitch: 4, slice: 4 };
    rig.refused(GraphSetMemcpy {
        node,
        exec: none,
        context,
        dst: corner,
        src: Corner { at: at.0 + 32, ..corner },
        width_bytes: 4,
        height: 1,
        depth: 1,
        host: 0,
    });
    rig.refused(GraphSetHost { node, exec: none, token: 1 });
    rig.refused(GraphNodeEnabled { node, exec: NO_EXEC, set: 0, enabled: 0 });
    rig.refused(GraphKernelCopyAttributes { dst: node, src: node });
    rig.no_failure();
}

pub(super) fn an_executable_graph_that_does_not_exist_is_refused(rig: &mut Rig) {
    rig.init();
    let graph = GraphId(rig.id());
    rig.call(GraphCreate { graph }).expect("a graph");
    rig.refused(GraphExecUpdate { exec: NO_EXEC, graph });
    rig.no_failure();
    rig.post_refused(GraphExecDestroy { exec: NO_EXEC });
    rig.post_refused(GraphLaunch { exec: NO_EXEC, stream: DEFAULT });
}
