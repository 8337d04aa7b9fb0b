//! Memory that graphs allocate.

use super::rig::Rig;
use ringbar_vocabulary::*;

/// `CUgraphNodeType` of an allocation and of its end.
const ALLOCATION: u32 = 10;
const END: u32 = 11;
/// `CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT` and `_HIGH`.
const USED: u32 = 0;
const USED_MOST: u32 = 1;
const BYTES: u64 = 1 << 20;

fn graph(rig: &mut Rig) -> GraphId {
    let graph = GraphId(rig.id());
    rig.call(GraphCreate { graph }).expect("a graph");
    graph
}

fn allocate(graph: GraphId) -> GraphAddMemAlloc<'static> {
    GraphAddMemAlloc { graph, device: 0, bytes: BYTES, reached_by: 0, nodes: Tail::Inline(&[]) }
}

fn launch(rig: &mut Rig, graph: GraphId, stream: StreamId) -> GraphExecId {
    let exec = GraphExecId(rig.id());
    rig.call(GraphInstantiate { graph, exec, flags: 0 }).expect("an executable graph");
    rig.post(GraphLaunch { exec, stream });
    exec
}

pub(super) fn a_graph_allocates_memory_and_ends_it(rig: &mut Rig) {
    rig.init();
    let (graph, stream, to) = (graph(rig), rig.stream(), rig.alloc(64));
    let GraphAddMemAllocReply { node, at } = rig.call(allocate(graph)).expect("memory");
    let context = ContextId::FIRST;
    let after = node.0.to_le_bytes();
    let fill = GraphAddMemset {
        graph,
        context,
        dst: at,
        pitch: 0,
        width: BYTES,
        height: 1,
        value: 0x5a,
        element_bytes: 1,
        nodes: Tail::Inline(&after),
    };
    let after = rig.call(fill).expect("a fill").node.0.to_le_bytes();
    let corner = |at: DevicePtr| Corner { at: at.0, pitch: 64, slice: 64 };
    let copy = GraphAddMemcpy {
        graph,
        context,
        dst: corner(to),
        src: corner(at.offset(BYTES - 64)),
        width_bytes: 64,
        height: 1,
        depth: 1,
        host: 0,
        nodes: Tail::Inline(&after),
    };
    let after = rig.call(copy).expect("a copy").node.0.to_le_bytes();
    let end = GraphAddMemFree { graph, at, nodes: Tail::Inline(&after) };
    let end = rig.call(end).expect("its end").node;
    let asked = rig.call(GraphMemoryParams { node, kind: ALLOCATION }).expect("an allocation");
    let expected = GraphMemoryParamsReply { at, bytes: BYTES, reached_by: 0, device: 0 };
    assert_eq!(asked, expected);
    assert_eq!(rig.call(GraphMemoryParams { node: end, kind: END }).map(|reply| reply.at), Ok(at));
    let exec = launch(rig, graph, stream);
    rig.post(GraphLaunch { exec, stream });
    assert_eq!(rig.download(to, 64, stream), [0x5a; 64]);
    rig.post(GraphExecDestroy { exec });
    rig.call(DeviceGraphMemoryTrim { device: 0 }).expect("it is trimmed");
    rig.no_failure();
}

pub(super) fn captured_memory_is_there_until_it_is_freed(rig: &mut Rig) {
    rig.init();
    let stream = rig.stream();
    rig.call(StreamBeginCapture { stream, mode: 2 }).expect("a capture");
    let ask = MemAllocAsync { pool: PoolId::CURRENT, bytes: BYTES, stream };
    let at = rig.call(ask).expect("memory").at;
    rig.post(MemsetD8 { dst: at, count: BYTES, stream, value: 3 });
    let graph = GraphId(rig.id());
    rig.call(StreamEndCapture { stream, graph }).expect("a graph");
    let exec = launch(rig, graph, stream);
    for round in 0..2 {
        assert_eq!(rig.download(at, 64, stream), [3; 64], "round {round}");
        rig.post(MemFreeAsync { at, stream });
        rig.wait(stream);
        rig.post(GraphLaunch { exec, stream });
    }
    rig.wait(stream);
    rig.post(MemFree { at });
    rig.wait(stream);
    rig.no_failure();
}

pub(super) fn memory_of_graphs_is_refused_where_it_cannot_be(rig: &mut Rig) {
    rig.init();
    let (graph, own) = (graph(rig), rig.alloc(64));
    let no_graph = GraphId(9999);
    assert!(rig.call(allocate(no_graph)).is_err(), "no such graph");
    let no_device = GraphAddMemAlloc { device: 1 << 20, ..allocate(graph) };
    assert_eq!(rig.call(no_device).err(), Some(Status::INVALID_DEVICE));
    let empty = GraphAddMemAlloc { bytes: 0, ..allocate(graph) };
    assert!(rig.call(empty).is_err(), "nothing is no allocation");
    let free = |at| GraphAddMemFree { graph, at, nodes: Tail::Inline(&[]) };
    assert_eq!(rig.call(free(own)).err(), Some(Status::INVALID_VALUE), "no graph's memory");
    let GraphAddMemAllocReply { node, at } = rig.call(allocate(graph)).expect("memory");
    let nodes = node.0.to_le_bytes();
    let free = GraphAddMemFree { graph, at, nodes: Tail::Inline(&nodes) };
    rig.call(free).expect("its end");
    assert_eq!(rig.call(free).err(), Some(Status::INVALID_VALUE), "it ends once");
    assert!(rig.call(GraphMemoryParams { node, kind: END }).is_err(), "another kind");
    assert!(rig.call(GraphMemoryParams { node, kind: 0 }).is_err(), "a kind without memory");
    rig.no_failure();
}

pub(super) fn the_most_memory_of_graphs_is_counted_and_set_back(rig: &mut Rig) {
    rig.init();
    let ask = |attribute| DeviceGraphMemory { device: 0, attribute, set: 0, value: 0 };
    let (used, most) = (rig.call(ask(USED)), rig.call(ask(USED_MOST)));
    assert!(most.expect("a number").value >= used.expect("a number").value);
    rig.call(DeviceGraphMemory { set: 1, ..ask(USED_MOST) }).expect("it is set back");
    assert!(rig.call(DeviceGraphMemory { set: 1, ..ask(USED) }).is_err(), "it is what it is");
    assert!(rig.call(ask(99)).is_err(), "no attribute");
    assert!(rig.call(DeviceGraphMemoryTrim { device: 1 << 20 }).is_err(), "no device");
    rig.no_failure();
}
