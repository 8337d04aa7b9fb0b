//! Values in memory, host functions, event times, attributes of streams.

use super::rig::{DEFAULT, Rig};
use crate::HostMemory;
use ringbar_vocabulary::*;
use std::time::{Duration, Instant};

/// `CU_GRAPH_NODE_TYPE_HOST`.
const HOST_NODE: u32 = 3;
const NOT_READY: u32 = Status::NOT_READY.0;
const PATIENCE: Duration = Duration::from_secs(60);
/// Waits until a value is there, exactly.
const EQUAL: u32 = 1;
const PRIORITY: u32 = 8;
const SYNCHRONISATION_POLICY: u32 = 3;
const NO_TIMING: u32 = 2;
/// Beside the words that the rig's waits use.
const MAILBOX_FENCE: u32 = 7;

fn status(rig: &mut Rig, stream: StreamId) -> u32 {
    rig.call(FenceStatus { stream }).expect("a status").status
}

fn until_done(rig: &mut Rig, stream: StreamId) {
    let deadline = Instant::now() + PATIENCE;
    while status(rig, stream) == NOT_READY {
        assert!(Instant::now() < deadline, "the stream never ends");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(super) fn a_stream_writes_values_in_order(rig: &mut Rig) {
    rig.init();
    let (stream, at) = (rig.stream(), rig.alloc(64));
    rig.post(MemsetD8 { dst: at, count: 64, stream, value: 0 });
    let value = 0x0807_0605_0403_0201;
    rig.post(StreamWriteValue { stream, at, value, flags: 0, bits: 64 });
    let (at_32, value) = (at.offset(8), 0xffff_ffff_0000_0009);
    rig.post(StreamWriteValue { stream, at: at_32, value, flags: 0, bits: 32 });
    let expected = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(rig.download(at, 16, stream), expected);
    rig.no_failure();
    let odd = StreamWriteValue { stream, at: at.offset(2), value, flags: 0, bits: 32 };
    rig.post_fails(odd, Status::INVALID_VALUE);
}

pub(super) fn a_stream_waits_for_a_value_without_holding_up_others(rig: &mut Rig) {
    rig.init();
    let at = rig.alloc(64);
    rig.post(MemsetD8 { dst: at, count: 64, stream: DEFAULT, value: 0 });
    rig.wait(DEFAULT);
    // Streams that do not wait for the default one.
    let [waiting, other] = [0, 1].map(|_| {
        let stream = StreamId(rig.id());
        rig.post(StreamCreate { context: ContextId::FIRST, stream, flags: 1, priority: 0 });
        stream
    });
    rig.post(StreamWaitValue { stream: waiting, at, value: 5, flags: EQUAL, bits: 32 });
    rig.post(MemsetD8 { dst: at.offset(8), count: 8, stream: waiting, value: 7 });
    assert_eq!(rig.download(at.offset(8), 8, other), [0; 8]);
    assert_eq!(status(rig, waiting), NOT_READY);
    rig.post(StreamWriteValue { stream: other, at, value: 5, flags: 0, bits: 32 });
    until_done(rig, waiting);
    assert_eq!(rig.download(at.offset(8), 8, waiting), [7; 8]);
    // The fence that the copy was waited for by may be seen before its stream is known to be done.
    until_done(rig, waiting);
    rig.no_failure();
}

pub(super) fn a_stream_that_is_stuck_holds_up_nobody_else(rig: &mut Rig) {
    rig.init();
    let (kernel, at) = (rig.kernel("fill_u32"), rig.alloc(64));
    let [stuck, other] = [0, 1].map(|_| {
        let stream = StreamId(rig.id());
        rig.post(StreamCreate { context: ContextId::FIRST, stream, flags: 1, priority: 0 });
        stream
    });
    let fill = |rig: &mut Rig, value: u32, stream| {
        let arguments = [&at.0.to_le_bytes()[..], &value.to_le_bytes(), &2_u64.to_le_bytes()];
        rig.launch(&kernel, stream, &arguments);
    };
    // Its code is loaded before anything waits.
    fill(rig, 0, other);
    rig.wait(other);
    rig.post(StreamWaitValue { stream: stuck, at, value: 5, flags: EQUAL, bits: 32 });
    // What other threads of the client do meanwhile: calls that are answered, work that ends.
    for value in 7..10 {
        fill(rig, value, other);
        assert_eq!(rig.download(at, 4, other), value.to_le_bytes());
        let text = rig.stage(8192, &[0; 64]);
        let printed = rig.call(OutputTake { text, context: ContextId::FIRST });
        assert!(printed.is_ok_and(|reply| reply.bytes == 0), "nothing was printed");
        let info = rig.call(MemGetInfo { context: ContextId::FIRST }).expect("an answer");
        assert!(info.free_bytes <= info.total_bytes);
        let event = rig.event();
        rig.post(EventRecord { event, stream: other, flags: 0, index: NO_FENCE, value: 0 });
        rig.wait(other);
    }
    assert_eq!(status(rig, stuck), NOT_READY, "all the while");
    fill(rig, 5, other);
    until_done(rig, stuck);
    rig.no_failure();
}

/// Sets a mailbox up at the start of the arena's upper half.
fn mailbox(rig: &mut Rig) -> ArenaRef {
    rig.init();
    let mailbox = rig.stage(4096, &[0; 16]);
    rig.call(HostFunctionSetup { index: MAILBOX_FENCE, mailbox }).expect("a mailbox");
    mailbox
}

/// Does what a client does when a function is announced; answers its token.
fn run_announced(rig: &Rig, mailbox: ArenaRef, number: u64) -> u64 {
    assert!(rig.worker.fences.wait(MAILBOX_FENCE, number, PATIENCE), "it is announced");
    let token = rig.read_arena(mailbox.part(0, 8).unwrap());
    let acknowledge = mailbox.part(8, 8).unwrap();
    rig.worker.arena.write(acknowledge, &number.to_le_bytes()).expect("a block of the arena");
    u64::from_le_bytes(token.try_into().unwrap())
}

pub(super) fn a_host_function_stalls_its_stream_until_the_client_ran_it(rig: &mut Rig) {
    let mailbox = mailbox(rig);
    let (stream, at) = (rig.stream(), rig.alloc(64));
    rig.post(MemsetD8 { dst: at, count: 64, stream, value: 1 });
    rig.post(LaunchHostFunction { stream, token: 0xabcd });
    rig.post(MemsetD8 { dst: at, count: 64, stream, value: 2 });
    assert!(rig.worker.fences.wait(MAILBOX_FENCE, 1, PATIENCE), "it is announced");
    assert_eq!(status(rig, stream), NOT_READY);
    assert_eq!(run_announced(rig, mailbox, 1), 0xabcd);
    assert_eq!(rig.download(at, 64, stream), [2; 64]);
    rig.no_failure();
}

pub(super) fn host_functions_run_one_at_a_time(rig: &mut Rig) {
    let mailbox = mailbox(rig);
    let streams = [rig.stream(), rig.stream(), rig.stream()];
    for (token, &stream) in (100..).zip(&streams) {
        rig.post(LaunchHostFunction { stream, token });
    }
    let mut tokens: Vec<u64> = (1..=3).map(|n| run_announced(rig, mailbox, n)).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, [100, 101, 102]);
    streams.iter().for_each(|&stream| until_done(rig, stream));
    rig.no_failure();
}

pub(super) fn the_host_function_of_a_node_is_asked_and_changed(rig: &mut Rig) {
    let mailbox = mailbox(rig);
    let (stream, graph, exec) = (rig.stream(), GraphId(rig.id()), GraphExecId(rig.id()));
    rig.call(GraphCreate { graph }).expect("a graph");
    let add = GraphAddHost { graph, token: 100, nodes: Tail::Inline(&[]) };
    let node = rig.call(add).expect("a node").node;
    let ask = GraphNodeObject { node, kind: HOST_NODE, graph: GraphId(0) };
    assert_eq!(rig.call(ask).expect("a token").object, 100);
    rig.call(GraphSetHost { node, exec: GraphExecId(0), token: 101 }).expect("it is changed");
    assert_eq!(rig.call(ask).expect("a token").object, 101);
    rig.call(GraphInstantiate { graph, exec, flags: 0 }).expect("an executable graph");
    rig.post(GraphLaunch { exec, stream });
    assert_eq!(run_announced(rig, mailbox, 1), 101);
    until_done(rig, stream);
    rig.call(GraphSetHost { node, exec, token: 102 }).expect("it is changed");
    rig.post(GraphLaunch { exec, stream });
    assert_eq!(run_announced(rig, mailbox, 2), 102);
    until_done(rig, stream);
    assert_eq!(rig.call(ask).expect("a token").object, 101, "in the graph it stayed");
    rig.no_failure();
}

pub(super) fn a_host_function_without_a_mailbox_is_refused(rig: &mut Rig) {
    rig.init();
    let position = rig.worker.position();
    rig.post(LaunchHostFunction { stream: DEFAULT, token: 1 });
    let (at, failure) = rig.worker.errors.first().expect("a failure");
    assert_eq!(at, position);
    assert!(!failure.is_success());
}

pub(super) fn a_record_writes_its_fence_when_it_is_complete(rig: &mut Rig) {
    rig.init();
    let (stream, event, at) = (rig.stream(), rig.event(), rig.alloc(256 << 10));
    for value in 1..=20 {
        rig.post(MemsetD8 { dst: at, count: 256 << 10, stream, value: value as u8 });
        rig.post(EventRecord { event, stream, flags: 0, index: 9, value });
    }
    assert!(rig.worker.fences.wait(9, 20, PATIENCE));
    assert_eq!(rig.download(at, 64, stream), [20; 64]);
    rig.no_failure();
    let index = 1 << 20;
    rig.violation(EventRecord { event, stream, flags: 0, index, value: 1 });
}

pub(super) fn time_passes_between_events(rig: &mut Rig) {
    rig.init();
    let (stream, start, end) = (rig.stream(), rig.event(), rig.event());
    let at = rig.alloc(1 << 20);
    assert_eq!(rig.call(EventElapsed { start, end }), Err(Status::INVALID_HANDLE));
    let record = |event| EventRecord { event, stream, flags: 0, index: NO_FENCE, value: 0 };
    rig.post(record(start));
    for value in 0..20 {
        rig.post(MemsetD8 { dst: at, count: 1 << 20, stream, value });
    }
    rig.post(record(end));
    rig.wait(stream);
    let bits = rig.call(EventElapsed { start, end }).expect("a time").milliseconds_bits;
    assert!(f32::from_bits(bits) > 0.0);
    let untimed = EventId(rig.id());
    let (context, flags) = (ContextId::FIRST, NO_TIMING);
    rig.post(EventCreate { context, event: untimed, flags });
    rig.post(record(untimed));
    rig.wait(stream);
    assert_eq!(rig.call(EventElapsed { start, end: untimed }), Err(Status::INVALID_HANDLE));
    rig.no_failure();
}

pub(super) fn attributes_of_a_stream_are_read_set_and_copied(rig: &mut Rig) {
    rig.init();
    let (first, second) = (StreamId(rig.id()), rig.stream());
    rig.post(StreamCreate { context: ContextId::FIRST, stream: first, flags: 1, priority: -1 });
    let priority = |rig: &mut Rig, stream| {
        let ask = StreamGetAttribute { stream, attribute: PRIORITY };
        rig.call(ask).expect("an attribute").value[0] as u32 as i32
    };
    assert_eq!((priority(rig, first), priority(rig, second)), (-1, 0));
    rig.post(StreamCopyAttributes { dst: second, src: first });
    assert_eq!(priority(rig, second), -1);
    // How a host waits for it: by looking all the time.
    let (attribute, value) = (SYNCHRONISATION_POLICY, [2, 0, 0, 0]);
    rig.post(StreamSetAttribute { stream: second, attribute, value });
    let ask = StreamGetAttribute { stream: second, attribute };
    assert_eq!(rig.call(ask).expect("an attribute").value[0] as u32, 2);
    rig.no_failure();
    let nowhere = StreamSetAttribute { stream: StreamId(9999), attribute, value };
    rig.post_fails(nowhere, Status::INVALID_HANDLE);
    rig.post_refused(StreamSetAttribute { stream: second, attribute: 77, value });
    let unknown = StreamGetAttribute { stream: first, attribute: 77 };
    assert_eq!(rig.call(unknown), Err(Status::INVALID_VALUE));
}
