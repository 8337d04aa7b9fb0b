//! Captures and graphs.

use super::rig::{DEFAULT, Kernel, Rig};
use ringbar_vocabulary::*;

const RELAXED: u32 = 2;
const BYTES: u64 = 64 << 10;
const UNSUPPORTED_IN_CAPTURE: Status = Status(900);
const INVALIDATED: Status = Status(901);
const UNJOINED: Status = Status(904);
const KERNEL: u32 = 0;
const COPY: u32 = 1;
const FILL: u32 = 2;
const GRAPH: u32 = 4;
const EMPTY: u32 = 5;
const WAIT_EVENT: u32 = 6;
const RECORD_EVENT: u32 = 7;

fn begin(rig: &mut Rig, stream: StreamId) {
    rig.call(StreamBeginCapture { stream, mode: RELAXED }).expect("a capture");
}

fn end(rig: &mut Rig, stream: StreamId) -> GraphId {
    let graph = GraphId(rig.id());
    rig.call(StreamEndCapture { stream, graph }).expect("a graph");
    graph
}

fn instantiate(rig: &mut Rig, graph: GraphId) -> GraphExecId {
    let exec = GraphExecId(rig.id());
    rig.call(GraphInstantiate { graph, exec, flags: 0 }).expect("an executable graph");
    exec
}

fn fill(rig: &mut Rig, at: DevicePtr, stream: StreamId, value: u8) {
    rig.post(MemsetD8 { dst: at, count: BYTES, stream, value });
}

fn copy(rig: &mut Rig, dst: DevicePtr, src: DevicePtr, stream: StreamId) {
    rig.post(MemcpyDtoD { dst, src, bytes: BYTES, stream });
}

fn record(rig: &mut Rig, event: EventId, stream: StreamId) {
    rig.post(EventRecord { event, stream, flags: 0, index: NO_FENCE, value: 0 });
}

fn nodes(rig: &mut Rig, graph: GraphId, roots: u32) -> Vec<NodeId> {
    let nodes = ArenaRef::new(0, 0, 8192).unwrap();
    let count = rig.call(GraphNodes { graph, roots, nodes }).expect("nodes").count;
    let bytes = rig.read_arena(nodes.part(0, count * 8).unwrap());
    let words = bytes.as_chunks::<8>().0.iter();
    words.map(|word| NodeId(u64::from_le_bytes(*word))).collect()
}

fn kind(rig: &mut Rig, node: NodeId) -> u32 {
    rig.call(GraphNodeType { node }).expect("a kind").kind
}

pub(super) fn captured_work_runs_at_each_launch_and_not_before(rig: &mut Rig) {
    rig.init();
    let (stream, kernel) = (rig.stream(), rig.kernel("fill_u32"));
    let (a, b) = (rig.alloc(BYTES), rig.alloc(BYTES));
    fill(rig, a, stream, 1);
    fill(rig, b, stream, 1);
    rig.wait(stream);
    begin(rig, stream);
    let (to, value, count) = (a.0.to_le_bytes(), [5; 4], (BYTES / 4).to_le_bytes());
    rig.launch(&kernel, stream, &[&to, &value, &count]);
    copy(rig, b, a, stream);
    let graph = end(rig, stream);
    let kinds: Vec<u32> = nodes(rig, graph, 0).into_iter().map(|node| kind(rig, node)).collect();
    assert_eq!(kinds.len(), 2);
    assert!(kinds.contains(&KERNEL) && kinds.contains(&COPY));
    assert_eq!(rig.download(b, 64, stream), [1; 64]);
    let exec = instantiate(rig, graph);
    rig.post(GraphDestroy { graph });
    for _ in 0..3 {
        fill(rig, a, stream, 9);
        fill(rig, b, stream, 9);
        rig.post(GraphLaunch { exec, stream });
        assert_eq!(rig.download(b, 64, stream), [5; 64]);
    }
    rig.post(GraphExecDestroy { exec });
    rig.no_failure();
    rig.post_fails(GraphLaunch { exec, stream }, Status::INVALID_HANDLE);
}

pub(super) fn a_capture_spreads_over_streams_by_events(rig: &mut Rig) {
    rig.init();
    let (first, second) = (rig.stream(), rig.stream());
    let (fork, join) = (rig.event(), rig.event());
    let (a, b) = (rig.alloc(BYTES), rig.alloc(BYTES));
    begin(rig, first);
    fill(rig, a, first, 3);
    record(rig, fork, first);
    rig.post(StreamWaitEvent { stream: second, event: fork, flags: 0 });
    copy(rig, b, a, second);
    record(rig, join, second);
    rig.post(StreamWaitEvent { stream: first, event: join, flags: 0 });
    fill(rig, a, first, 4);
    let graph = end(rig, first);
    assert_eq!(nodes(rig, graph, 0).len(), 3);
    assert_eq!(nodes(rig, graph, 1).len(), 1);
    let exec = instantiate(rig, graph);
    rig.post(GraphLaunch { exec, stream: first });
    assert_eq!(rig.download(b, 64, first), [3; 64]);
    assert_eq!(rig.download(a, 64, first), [4; 64]);
    rig.no_failure();
}

pub(super) fn a_capture_whose_streams_were_not_joined_fails(rig: &mut Rig) {
    rig.init();
    let (first, second, fork) = (rig.stream(), rig.stream(), rig.event());
    let a = rig.alloc(BYTES);
    begin(rig, first);
    record(rig, fork, first);
    rig.post(StreamWaitEvent { stream: second, event: fork, flags: 0 });
    fill(rig, a, second, 1);
    let graph = GraphId(rig.id());
    assert_eq!(rig.call(StreamEndCapture { stream: first, graph }), Err(UNJOINED));
    fill(rig, a, second, 2);
    assert_eq!(rig.download(a, 64, second), [2; 64], "the streams work again");
    rig.no_failure();
}

pub(super) fn the_state_of_a_capture_can_be_asked(rig: &mut Rig) {
    rig.init();
    let stream = rig.stream();
    let at = rig.alloc(BYTES);
    let nodes = ArenaRef::new(0, 0, 64).unwrap();
    let ask = StreamCaptureInfo { stream, graph: GraphId(0), nodes };
    assert_eq!(rig.call(ask).expect("an answer").status, 0);
    begin(rig, stream);
    fill(rig, at, stream, 1);
    let info = rig.call(ask).expect("an answer");
    assert_eq!((info.status, info.nodes), (1, 1));
    assert_ne!(info.id, 0);
    let failures = rig.worker.errors.count();
    rig.post(Fence { stream, index: 0, value: 1 });
    assert_eq!(rig.worker.errors.count(), failures + 1, "no fence inside a capture");
    let (_, first) = rig.worker.errors.first().expect("a failure");
    assert_eq!(first, UNSUPPORTED_IN_CAPTURE);
    let graph = GraphId(rig.id());
    // A backend may break the capture by that; it is over in any case.
    let _ = rig.call(StreamEndCapture { stream, graph });
    assert_eq!(rig.call(ask).expect("an answer").status, 0);
}

fn add_kernel(
    rig: &mut Rig,
    graph: GraphId,
    kernel: &Kernel,
    arguments: &[&[u8]],
    after: &[NodeId],
) -> NodeId {
    let after: Vec<u8> = after.iter().flat_map(|node| node.0.to_le_bytes()).collect();
    let body = [&after[..], &kernel.pack(arguments)].concat();
    let one = [1; 3];
    let add = GraphAddKernel {
        graph,
        function: kernel.id,
        grid: one,
        block: one,
        shared_bytes: 0,
        dependencies: (after.len() / 8) as u32,
        body: Tail::Inline(&body),
    };
    rig.call(add).expect("a node").node
}

/// A graph that fills `a` and copies it to `b`: the nodes of the two.
fn build(rig: &mut Rig, a: DevicePtr, b: DevicePtr, value: u32) -> (GraphId, NodeId, NodeId) {
    let graph = GraphId(rig.id());
    rig.call(GraphCreate { graph }).expect("a graph");
    let add = GraphAddMemset {
        graph,
        context: ContextId::FIRST,
        dst: a,
        pitch: 0,
        width: 64,
        height: 1,
        value,
        element_bytes: 1,
        nodes: Tail::Inline(&[]),
    };
    let fill = rig.call(add).expect("a node").node;
    let line = |at: DevicePtr| Corner { at: at.0, pitch: 64, slice: 64 };
    let add = GraphAddMemcpy {
        graph,
        context: ContextId::FIRST,
        dst: line(b),
        src: line(a),
        width_bytes: 64,
        height: 1,
        depth: 1,
        host: 0,
        nodes: Tail::Inline(&fill.0.to_le_bytes()),
    };
    let copy = rig.call(add).expect("a node").node;
    (graph, fill, copy)
}

pub(super) fn a_graph_is_built_node_by_node(rig: &mut Rig) {
    rig.init();
    let (a, b, c) = (rig.alloc(64), rig.alloc(64), rig.alloc(64));
    let (graph, fill, copy) = build(rig, a, b, 6);
    let kernel = rig.kernel("copy");
    let (dst, src) = (c.0.to_le_bytes(), b.0.to_le_bytes());
    let last = add_kernel(rig, graph, &kernel, &[&dst, &src, &64u64.to_le_bytes()], &[copy]);
    let kinds = [fill, copy, last].map(|node| kind(rig, node));
    assert_eq!(kinds, [FILL, COPY, KERNEL]);
    let edges = ArenaRef::new(0, 0, 1024).unwrap();
    let ask = GraphEdges { graph, node: NodeId(0), which: 0, edges };
    assert_eq!(rig.call(ask).expect("edges").count, 2);
    let bytes = rig.read_arena(edges.part(0, 32).unwrap());
    let mut ends: Vec<[u64; 2]> = Vec::new();
    for edge in bytes.as_chunks::<16>().0 {
        let (words, _) = edge.as_chunks::<8>();
        ends.push([u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]);
    }
    ends.sort_unstable();
    let mut expected = [[fill.0, copy.0], [copy.0, last.0]];
    expected.sort_unstable();
    assert_eq!(ends, expected);
    let exec = instantiate(rig, graph);
    rig.post(GraphLaunch { exec, stream: DEFAULT });
    assert_eq!(rig.download(c, 64, DEFAULT), [6; 64]);
    rig.no_failure();
}

pub(super) fn an_executable_graph_is_changed_node_by_node_and_as_a_whole(rig: &mut Rig) {
    rig.init();
    let (a, b) = (rig.alloc(64), rig.alloc(64));
    let (graph, fill, _) = build(rig, a, b, 1);
    let exec = instantiate(rig, graph);
    let set = GraphSetMemset {
        node: fill,
        exec,
        context: ContextId::FIRST,
        dst: a,
        pitch: 0,
        width: 64,
        height: 1,
        value: 2,
        element_bytes: 1,
    };
    rig.call(set).expect("the node is changed");
    rig.post(GraphLaunch { exec, stream: DEFAULT });
    assert_eq!(rig.download(b, 64, DEFAULT), [2; 64]);
    let (other, ..) = build(rig, a, b, 3);
    let updated = rig.call(GraphExecUpdate { exec, graph: other }).expect("an answer");
    assert_eq!((updated.result, updated.status), (0, 0));
    rig.post(GraphLaunch { exec, stream: DEFAULT });
    assert_eq!(rig.download(b, 64, DEFAULT), [3; 64]);
    rig.no_failure();
    let empty = GraphId(rig.id());
    rig.call(GraphCreate { graph: empty }).expect("a graph");
    let refused = rig.call(GraphExecUpdate { exec, graph: empty }).expect("an answer");
    assert!(refused.result != 0 && refused.status != 0, "another shape");
}

pub(super) fn a_graph_inside_a_graph_is_one_node_and_a_copy_is_apart(rig: &mut Rig) {
    rig.init();
    let (a, b) = (rig.alloc(64), rig.alloc(64));
    let (child, fill, _) = build(rig, a, b, 7);
    let (graph, copy) = (GraphId(rig.id()), GraphId(rig.id()));
    rig.call(GraphCreate { graph }).expect("a graph");
    let nodes_of_none = Tail::Inline(&[]);
    let empty = rig.call(GraphAddEmpty { graph, nodes: nodes_of_none }).expect("a node").node;
    let after = empty.0.to_le_bytes();
    let add = GraphAddChild { graph, child, nodes: Tail::Inline(&after) };
    let node = rig.call(add).expect("a node").node;
    assert_eq!((kind(rig, empty), kind(rig, node)), (EMPTY, GRAPH));
    rig.call(GraphClone { graph: copy, original: child }).expect("a copy");
    rig.call(GraphNodeDestroy { node: fill }).expect("it is removed");
    assert_eq!((nodes(rig, child, 0).len(), nodes(rig, copy, 0).len()), (1, 2));
    let exec = instantiate(rig, graph);
    rig.post(GraphLaunch { exec, stream: DEFAULT });
    assert_eq!(rig.download(b, 64, DEFAULT), [7; 64]);
    rig.no_failure();
}

pub(super) fn edges_are_added_and_removed_and_circles_refused(rig: &mut Rig) {
    rig.init();
    let (a, b) = (rig.alloc(64), rig.alloc(64));
    let (graph, fill, copy) = build(rig, a, b, 1);
    let back = [copy.0.to_le_bytes(), fill.0.to_le_bytes()].concat();
    let there = [fill.0.to_le_bytes(), copy.0.to_le_bytes()].concat();
    let edges = Tail::Inline(&there);
    rig.call(GraphDependencies { graph, remove: 1, edges }).expect("it is removed");
    assert_eq!(nodes(rig, graph, 1).len(), 2);
    rig.call(GraphDependencies { graph, remove: 0, edges }).expect("it is added");
    let edges = Tail::Inline(&back);
    let circle = rig.call(GraphDependencies { graph, remove: 0, edges });
    let exec = GraphExecId(rig.id());
    let instantiated = rig.call(GraphInstantiate { graph, exec, flags: 0 });
    assert!(circle.is_err() || instantiated.is_err(), "a circle cannot be launched");
}

pub(super) fn a_graph_is_described_in_dot(rig: &mut Rig) {
    rig.init();
    let (a, b) = (rig.alloc(64), rig.alloc(64));
    let (graph, ..) = build(rig, a, b, 1);
    let text = ArenaRef::new(0, 0, 65_536).unwrap();
    let bytes = rig.call(GraphDot { graph, flags: 0, text }).expect("a description").bytes;
    let text = rig.read_arena(text.part(0, bytes).unwrap());
    let text = String::from_utf8(text).expect("text");
    assert!(text.contains("digraph") && text.contains("->"), "{text}");
    let graph = GraphId(4711);
    let text = ArenaRef::new(0, 0, 64).unwrap();
    assert_eq!(rig.call(GraphDot { graph, flags: 0, text }), Err(Status::INVALID_HANDLE));
}

pub(super) fn a_broken_capture_stays_broken_until_its_end(rig: &mut Rig) {
    rig.init();
    let stream = rig.stream();
    let at = rig.alloc(BYTES);
    rig.call(StreamCaptureInvalidate { stream }).expect("nothing to break");
    begin(rig, stream);
    fill(rig, at, stream, 1);
    rig.call(StreamCaptureInvalidate { stream }).expect("it is broken");
    let nodes = ArenaRef::new(0, 0, 64).unwrap();
    let ask = StreamCaptureInfo { stream, graph: GraphId(0), nodes };
    assert_eq!(rig.call(ask).expect("an answer").status, 2);
    let graph = GraphId(rig.id());
    assert_eq!(rig.call(StreamEndCapture { stream, graph }), Err(INVALIDATED));
    assert_eq!(rig.call(ask).expect("an answer").status, 0);
    fill(rig, at, stream, 7);
    assert_eq!(rig.download(at, 64, stream), [7; 64], "the stream works again");
    rig.no_failure();
}

pub(super) fn what_a_node_fills_and_copies_can_be_asked(rig: &mut Rig) {
    rig.init();
    let (a, b) = (rig.alloc(64), rig.alloc(64));
    let stream = rig.stream();
    begin(rig, stream);
    rig.post(MemsetD32 { dst: a, count: 16, stream, value: 5 });
    rig.post(MemcpyDtoD { dst: b, src: a, bytes: 64, stream });
    let graph = end(rig, stream);
    let found = nodes(rig, graph, 0);
    let of = |rig: &mut Rig, wanted: u32| {
        found.iter().copied().find(|&node| kind(rig, node) == wanted).expect("such a node")
    };
    let (fill, copy) = (of(rig, FILL), of(rig, COPY));
    let params = rig.call(GraphMemsetParams { node: fill }).expect("a fill");
    assert_eq!((params.dst, params.value, params.element_bytes), (a, 5, 4));
    assert_eq!((params.width, params.height), (16, 1));
    assert!(rig.call(GraphMemsetParams { node: copy }).is_err());
    let place = ArenaRef::new(0, 0, 72).unwrap();
    rig.call(GraphMemcpyParams { node: copy, copy: place }).expect("a copy");
    let bytes = rig.read_arena(place);
    let words: Vec<u64> =
        bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    assert_eq!((words[0], words[3], &words[6..]), (b.0, a.0, &[64, 1, 1][..]));
    assert!(rig.call(GraphMemcpyParams { node: fill, copy: place }).is_err());
}

pub(super) fn a_copys_nodes_are_found_by_the_originals(rig: &mut Rig) {
    rig.init();
    let (a, b) = (rig.alloc(64), rig.alloc(64));
    let (original, fill, copied) = build(rig, a, b, 7);
    let graph = GraphId(rig.id());
    rig.call(GraphClone { graph, original }).expect("a copy");
    let mut found = [fill, copied]
        .map(|node| rig.call(GraphNodeFindInClone { node, graph }).expect("its copy").node);
    assert_eq!(found.map(|node| kind(rig, node)), [FILL, COPY]);
    let mut all = nodes(rig, graph, 0);
    all.sort_unstable_by_key(|node| node.0);
    found.sort_unstable_by_key(|node| node.0);
    assert_eq!(all, found);
    let other = GraphId(rig.id());
    rig.call(GraphCreate { graph: other }).expect("a graph");
    assert!(rig.call(GraphNodeFindInClone { node: fill, graph: other }).is_err());
}

pub(super) fn the_event_of_a_node_is_asked_and_changed(rig: &mut Rig) {
    rig.init();
    let (one, two, stream) = (rig.event(), rig.event(), rig.stream());
    let graph = GraphId(rig.id());
    rig.call(GraphCreate { graph }).expect("a graph");
    let nodes = Tail::Inline(&[]);
    let add = GraphAddEvent { graph, event: one, wait: 0, nodes };
    let record = rig.call(add).expect("a node").node;
    let none = GraphId(0);
    let ask = |kind| GraphNodeObject { node: record, kind, graph: none };
    assert_eq!(rig.call(ask(RECORD_EVENT)).expect("an event").object, one.0.into());
    assert!(rig.call(ask(WAIT_EVENT)).is_err(), "it does not wait");
    let exec = GraphExecId(0);
    let set = GraphSetEvent { node: record, exec, event: two, wait: 0 };
    rig.call(set).expect("it is changed");
    assert_eq!(rig.call(ask(RECORD_EVENT)).expect("an event").object, two.0.into());
    assert!(rig.call(GraphSetEvent { wait: 1, ..set }).is_err());
    let exec = instantiate(rig, graph);
    rig.call(GraphSetEvent { exec, event: one, ..set }).expect("it is changed");
    rig.post(GraphLaunch { exec, stream });
    rig.wait(stream);
    assert_eq!(rig.call(EventStatus { event: one }), Ok(EventStatusReply { status: 0 }));
    rig.no_failure();
}

pub(super) fn a_graph_inside_a_node_is_given_out_and_changed(rig: &mut Rig) {
    rig.init();
    let (a, b) = (rig.alloc(64), rig.alloc(64));
    let (child, ..) = build(rig, a, b, 7);
    let (other, ..) = build(rig, a, b, 8);
    let (graph, number) = (GraphId(rig.id()), GraphId(rig.id()));
    rig.call(GraphCreate { graph }).expect("a graph");
    let node =
        rig.call(GraphAddChild { graph, child, nodes: Tail::Inline(&[]) }).expect("a node").node;
    let ask = GraphNodeObject { node, kind: GRAPH, graph: number };
    let inside = GraphId(rig.call(ask).expect("a graph").object as u32);
    assert_eq!(nodes(rig, inside, 0).len(), 2);
    let exec = instantiate(rig, graph);
    rig.call(GraphSetChild { node, exec, child: other }).expect("it is changed");
    rig.post(GraphLaunch { exec, stream: DEFAULT });
    assert_eq!(rig.download(b, 64, DEFAULT), [8; 64]);
    let empty = GraphId(rig.id());
    rig.call(GraphCreate { graph: empty }).expect("a graph");
    assert!(rig.call(GraphSetChild { node, exec, child: empty }).is_err(), "another shape");
    rig.no_failure();
}

pub(super) fn a_disabled_node_is_passed_over(rig: &mut Rig) {
    rig.init();
    let (a, b) = (rig.alloc(64), rig.alloc(64));
    let (graph, fill, _) = build(rig, a, b, 7);
    let exec = instantiate(rig, graph);
    let ask = GraphNodeEnabled { node: fill, exec, set: 0, enabled: 0 };
    assert_eq!(rig.call(ask).expect("an answer").enabled, 1);
    rig.call(GraphNodeEnabled { set: 1, ..ask }).expect("it is disabled");
    assert_eq!(rig.call(ask).expect("an answer").enabled, 0);
    rig.post(MemsetD8 { dst: a, count: 64, stream: DEFAULT, value: 3 });
    rig.post(GraphLaunch { exec, stream: DEFAULT });
    assert_eq!(rig.download(b, 64, DEFAULT), [3; 64]);
    rig.call(GraphNodeEnabled { set: 1, enabled: 1, ..ask }).expect("it is enabled");
    rig.post(GraphLaunch { exec, stream: DEFAULT });
    assert_eq!(rig.download(b, 64, DEFAULT), [7; 64]);
    rig.no_failure();
}

pub(super) fn attributes_of_a_kernel_node_are_read_set_and_copied(rig: &mut Rig) {
    const PRIORITY: u32 = 8;
    let higher = u64::from((-1_i32) as u32);
    rig.init();
    let at = rig.alloc(64);
    let kernel = rig.kernel("fill_u32");
    let graph = GraphId(rig.id());
    rig.call(GraphCreate { graph }).expect("a graph");
    let (to, value, count) = (at.0.to_le_bytes(), [5; 4], 16_u64.to_le_bytes());
    let arguments: [&[u8]; 3] = [&to, &value, &count];
    let [one, two] = [0; 2].map(|_| add_kernel(rig, graph, &kernel, &arguments, &[]));
    let none = [0; 4];
    let ask = |node| GraphKernelAttribute { node, attribute: PRIORITY, set: 0, value: none };
    assert_eq!(rig.call(ask(one)).expect("an attribute").value[0] as i32, 0);
    rig.call(GraphKernelAttribute { set: 1, value: [higher, 0, 0, 0], ..ask(one) })
        .expect("it is set");
    assert_eq!(rig.call(ask(one)).expect("an attribute").value[0] as i32, -1);
    assert_eq!(rig.call(ask(two)).expect("an attribute").value[0] as i32, 0);
    rig.call(GraphKernelCopyAttributes { dst: two, src: one }).expect("they are copied");
    assert_eq!(rig.call(ask(two)).expect("an attribute").value[0] as i32, -1);
    // None, and those that hold handles: events, and what makes a node one that kernels change.
    for attribute in [999, 7, 12, 13] {
        rig.refused(GraphKernelAttribute { attribute, ..ask(one) });
        rig.refused(GraphKernelAttribute { attribute, set: 1, value: [1; 4], ..ask(one) });
    }
}

pub(super) fn what_a_kernel_node_launches_is_asked_and_changed(rig: &mut Rig) {
    rig.init();
    let (at, stream) = (rig.alloc(64), rig.stream());
    let kernel = rig.kernel("fill_u32");
    let graph = GraphId(rig.id());
    rig.call(GraphCreate { graph }).expect("a graph");
    let (to, count) = (at.0.to_le_bytes(), 16_u64.to_le_bytes());
    let node = add_kernel(rig, graph, &kernel, &[&to, &[5; 4], &count], &[]);
    let room = ArenaRef::new(0, 0, 4096).unwrap();
    let found = rig.call(GraphKernelParams { node, params: room }).expect("a launch");
    assert_eq!((found.function, found.grid, found.block), (kernel.id, [1; 3], [1; 3]));
    let bytes = rig.read_arena(room.part(0, found.param_bytes.into()).unwrap());
    assert_eq!(bytes, kernel.pack(&[&to, &[5; 4], &count]));
    let exec = instantiate(rig, graph);
    let block = kernel.pack(&[&to, &[6; 4], &count]);
    let set = GraphSetKernelParams {
        node,
        exec,
        function: kernel.id,
        grid: [1; 3],
        block: [1; 3],
        shared_bytes: 0,
        params: Tail::Inline(&block),
    };
    rig.call(set).expect("it is changed");
    rig.post(GraphUpload { exec, stream });
    rig.post(GraphLaunch { exec, stream });
    assert_eq!(rig.download(at, 64, stream), [6; 64]);
    let again = rig.call(GraphKernelParams { node, params: room }).expect("a launch");
    let bytes = rig.read_arena(room.part(0, again.param_bytes.into()).unwrap());
    assert_eq!(bytes, kernel.pack(&[&to, &[5; 4], &count]), "in the graph it stayed");
    rig.no_failure();
    rig.post_fails(GraphUpload { exec: GraphExecId(4711), stream }, Status::INVALID_HANDLE);
}

pub(super) fn what_a_copy_node_copies_is_changed(rig: &mut Rig) {
    rig.init();
    let (a, b, c) = (rig.alloc(64), rig.alloc(64), rig.alloc(64));
    let (graph, _, copied) = build(rig, a, b, 7);
    let exec = instantiate(rig, graph);
    let line = |at: DevicePtr| Corner { at: at.0, pitch: 64, slice: 64 };
    let set = GraphSetMemcpy {
        node: copied,
        exec,
        context: ContextId::FIRST,
        dst: line(c),
        src: line(a),
        width_bytes: 64,
        height: 1,
        depth: 1,
        host: 0,
    };
    rig.call(set).expect("it is changed");
    rig.post(MemsetD8 { dst: c, count: 64, stream: DEFAULT, value: 1 });
    rig.post(GraphLaunch { exec, stream: DEFAULT });
    assert_eq!(rig.download(c, 64, DEFAULT), [7; 64]);
    rig.no_failure();
}

pub(super) fn the_next_captured_node_comes_after_what_the_client_says(rig: &mut Rig) {
    rig.init();
    let (stream, a) = (rig.stream(), rig.alloc(BYTES));
    let place = ArenaRef::new(0, 0, 64).unwrap();
    let none = StreamCaptureDependencies { stream, flags: 1, nodes: Tail::Inline(&[]) };
    assert!(rig.call(none).is_err(), "nothing captures");
    begin(rig, stream);
    fill(rig, a, stream, 1);
    let number = GraphId(rig.id());
    let ask = StreamCaptureInfo { stream, graph: number, nodes: place };
    assert_eq!(rig.call(ask).expect("an answer").nodes, 1);
    let first = rig.read_arena(place.part(0, 8).unwrap());
    fill(rig, a, stream, 2);
    let set = StreamCaptureDependencies { stream, flags: 1, nodes: Tail::Inline(&first) };
    rig.call(set).expect("they are set");
    fill(rig, a, stream, 3);
    let add = StreamCaptureDependencies { stream, flags: 0, nodes: Tail::Inline(&first) };
    rig.call(add).expect("one more");
    assert_eq!(rig.call(ask).expect("an answer").nodes, 2);
    let graph = GraphId(rig.id());
    // The second one leads nowhere any more.
    let _ = rig.call(StreamEndCapture { stream, graph });
    assert_eq!(rig.call(ask).expect("an answer").status, 0);
}
