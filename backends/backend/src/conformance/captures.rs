//! Captures into graphs that exist.

use super::rig::Rig;
use ringbar_vocabulary::*;

const RELAXED: u32 = 2;
const BYTES: u64 = 4096;

/// A graph with one node, which fills memory.
fn graph_that_fills(rig: &mut Rig, dst: DevicePtr, value: u32) -> (GraphId, NodeId) {
    let (graph, context) = (GraphId(rig.id()), ContextId::FIRST);
    rig.call(GraphCreate { graph }).expect("a graph");
    let fill = GraphAddMemset {
        graph,
        context,
        dst,
        pitch: 0,
        width: BYTES,
        height: 1,
        value,
        element_bytes: 1,
        nodes: Tail::Inline(&[]),
    };
    (graph, rig.call(fill).expect("a node").node)
}

fn begin(
    rig: &mut Rig,
    stream: StreamId,
    graph: GraphId,
    after: &[u8],
) -> Result<StreamBeginCaptureToGraphReply, Status> {
    rig.call(StreamBeginCaptureToGraph { stream, graph, mode: RELAXED, nodes: Tail::Inline(after) })
}

fn count(rig: &mut Rig, graph: GraphId, roots: u32) -> u64 {
    let nodes = ArenaRef::new(0, 0, 8192).unwrap();
    rig.call(GraphNodes { graph, roots, nodes }).expect("nodes").count
}

pub(super) fn a_graph_that_exists_is_captured_into(rig: &mut Rig) {
    rig.init();
    let (stream, a, b) = (rig.stream(), rig.alloc(BYTES), rig.alloc(BYTES));
    let (graph, fill) = graph_that_fills(rig, a, 6);
    begin(rig, stream, graph, &fill.0.to_le_bytes()).expect("a capture");
    rig.post(MemcpyDtoD { dst: b, src: a, bytes: BYTES, stream });
    rig.call(StreamEndCapture { stream, graph }).expect("the same graph");
    assert_eq!((count(rig, graph, 0), count(rig, graph, 1)), (2, 1), "one behind the other");
    begin(rig, stream, graph, &[]).expect("once more, behind nothing");
    rig.post(MemsetD8 { dst: a, count: 8, stream, value: 6 });
    rig.call(StreamEndCapture { stream, graph }).expect("the same graph");
    assert_eq!((count(rig, graph, 0), count(rig, graph, 1)), (3, 2));
    let exec = GraphExecId(rig.id());
    rig.call(GraphInstantiate { graph, exec, flags: 0 }).expect("an executable graph");
    rig.post(GraphLaunch { exec, stream });
    assert_eq!(rig.download(b, 64, stream), [6; 64]);
    rig.no_failure();
}

pub(super) fn a_capture_into_a_graph_keeps_to_that_graph(rig: &mut Rig) {
    rig.init();
    let (stream, at) = (rig.stream(), rig.alloc(BYTES));
    let (graph, _) = graph_that_fills(rig, at, 1);
    let (_, foreign) = graph_that_fills(rig, at, 2);
    assert!(begin(rig, stream, GraphId(9999), &[]).is_err(), "there is no such graph");
    assert!(begin(rig, stream, graph, &[1, 2, 3]).is_err(), "no whole number of nodes");
    assert!(begin(rig, stream, graph, &foreign.0.to_le_bytes()).is_err(), "another graph's node");
    begin(rig, stream, graph, &[]).expect("a capture");
    let other = GraphId(rig.id());
    assert!(rig.call(StreamEndCapture { stream, graph: other }).is_err(), "it has a number");
    rig.call(StreamEndCapture { stream, graph }).expect("the same graph");
    assert_eq!(count(rig, graph, 0), 1);
    rig.no_failure();
}
