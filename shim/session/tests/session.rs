//! A session against a worker of this process on the mock.

mod common;

use common::{Rig, SIZES};
use ringbar::error::ChannelError;
use ringbar_mock::{Faults, MockConfig, image};
use ringbar_session::SessionError;
use ringbar_vocabulary::*;
use std::time::Duration;

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add((i >> 8) as u8) ^ seed).collect()
}

fn alloc(rig: &mut Rig, bytes: u64) -> DevicePtr {
    rig.caller.call(&MemAlloc { context: ContextId::FIRST, bytes }).expect("room on the device").at
}

#[test]
fn copies_of_every_size_come_back_as_they_went() {
    let mut rig = Rig::new();
    let at = alloc(&mut rig, 8 << 20);
    for len in [0, 1, 8, 3583, 4096, 4097, 32 << 10, 100_001, 1 << 20, (7 << 20) + 13] {
        let sent = pattern(len, len as u8);
        rig.session.memcpy_htod(at, &sent, StreamId::DEFAULT).expect("posted");
        let mut back = vec![0xee; len];
        rig.session.memcpy_dtoh(&mut back, at, StreamId::DEFAULT).expect("copied");
        assert!(back == sent, "{len} bytes");
    }
    rig.finish();
}

#[test]
fn copies_with_device_threads_and_latency_come_back_too() {
    let config =
        MockConfig { latency_ns: 50_000, bandwidth_bytes_per_s: 1 << 30, ..MockConfig::default() };
    let mut rig = Rig::with(config, false, None);
    let at = alloc(&mut rig, 3 << 20);
    let stream = rig.session.create_stream(1, 0).expect("posted");
    let sent = pattern(3 << 20, 5);
    rig.session.memcpy_htod(at, &sent, stream).expect("posted");
    let mut back = vec![0; sent.len()];
    rig.session.memcpy_dtoh(&mut back, at, stream).expect("copied");
    assert!(back == sent);
    rig.finish();
}

#[test]
fn many_threads_copy_through_one_staging_area_without_a_deadlock() {
    let mut rig = Rig::new();
    let at = alloc(&mut rig, 6 << 20);
    std::thread::scope(|scope| {
        for thread in 0..6_u8 {
            let session = rig.session.clone();
            scope.spawn(move || {
                let at = at.offset(u64::from(thread) << 20);
                for round in 0..8 {
                    let sent = pattern(1 << 20, thread * 8 + round);
                    session.memcpy_htod(at, &sent, StreamId::DEFAULT).expect("posted");
                    let mut back = vec![0; sent.len()];
                    session.memcpy_dtoh(&mut back, at, StreamId::DEFAULT).expect("copied");
                    assert!(back == sent);
                }
            });
        }
    });
    rig.finish();
}

#[test]
fn a_parameter_block_larger_than_a_record_travels_through_the_arena() {
    let mut rig = Rig::new();
    let module = rig.session.module_id().expect("a number");
    let image = image(&["mix"]);
    rig.caller
        .call(&ModuleLoad { context: ContextId::FIRST, module, image: Tail::Inline(&image) })
        .expect("loaded");
    let function = rig.session.function_id().expect("a number");
    let name = Tail::Inline(b"mix_32764");
    let layout = ArenaRef::default();
    let found = rig.caller.call(&FunctionLookup { module, function, layout, name }).expect("found");
    let pointer = Param::from_word(found.inline[0]).offset as usize;
    let state = alloc(&mut rig, 256);
    let zeros = vec![0; 256];
    let mut states = Vec::new();
    for seed in [1, 1, 2] {
        rig.session.memcpy_htod(state, &zeros, StreamId::DEFAULT).expect("posted");
        let mut params = pattern(32_764, seed);
        params[pointer..pointer + 8].copy_from_slice(&state.0.to_le_bytes());
        let launch = LaunchKernel {
            function,
            grid: [1; 3],
            block: [1; 3],
            shared_bytes: 0,
            stream: StreamId::DEFAULT,
            params: Tail::Inline(&params),
        };
        rig.session.post(&launch).expect("posted");
        let mut after = vec![0; 32];
        rig.session.memcpy_dtoh(&mut after, state, StreamId::DEFAULT).expect("copied");
        states.push(after);
    }
    assert_eq!(states[0], states[1]);
    assert_ne!(states[0], states[2], "the state depends on the parameters");
    rig.finish();
}

#[test]
fn a_module_image_larger_than_the_staging_area_is_pinned_for_the_call() {
    let mut rig = Rig::new();
    let staging = rig.session.client().staging_bytes() as usize;
    let mut image = image(&["mix"]);
    image.resize(staging + 4096, b'\n');
    let module = ModuleId(1);
    let loaded = rig.caller.call(&ModuleLoad {
        context: ContextId::FIRST,
        module,
        image: Tail::Inline(&image),
    });
    loaded.expect("the image arrived whole");
    for _ in 0..4 {
        rig.session.synchronise(StreamId::DEFAULT).expect("alive");
        rig.session
            .pin(SIZES.arena_bytes - staging as u64)
            .map(|b| rig.session.unpin(&b))
            .expect("free again")
            .expect("alive");
    }
    rig.finish();
}

#[test]
fn failed_posts_surface_once_each_time_with_position_and_status() {
    let rig = Rig::new();
    let bad = MemFree { at: DevicePtr(7) };
    rig.session.synchronise(StreamId::DEFAULT).expect("nothing failed yet");
    let position = rig.session.post(&bad).expect("posting itself works");
    rig.session.post(&bad).expect("posting itself works");
    let error = rig.session.synchronise(StreamId::DEFAULT).expect_err("the first failure");
    let SessionError::PostFailed { position: found, status } = error else { panic!("{error}") };
    assert_eq!((found, status), (position, Status::INVALID_VALUE));
    let error = rig.session.synchronise(StreamId::DEFAULT).expect_err("the second one");
    let SessionError::PostFailed { position: found, status } = error else { panic!("{error}") };
    assert_eq!((found, status), (position + 1, Status::INVALID_VALUE));
    rig.session.synchronise(StreamId::DEFAULT).expect("all were reported");
    assert_eq!(rig.session.first_failure(), Some((position, Status::INVALID_VALUE)));
    rig.finish();
}

#[test]
fn in_strict_mode_the_failing_post_itself_answers() {
    let rig = Rig::with(MockConfig::default(), true, None);
    let stream = rig.session.create_stream(0, 0).expect("it works");
    let error = rig.session.post(&MemFree { at: DevicePtr(7) }).expect_err("no such address");
    assert_eq!(error.status(), Some(Status::INVALID_VALUE));
    rig.session.destroy_stream(stream).expect("it works");
    rig.finish();
}

#[test]
fn in_strict_mode_device_work_is_done_when_its_post_returns() {
    let config = MockConfig { latency_ns: 200_000_000, ..MockConfig::default() };
    let mut rig = Rig::with(config, true, None);
    let stream = StreamId::DEFAULT;
    let call = LibraryCall { library: 1, function: 2, stream, arguments: Tail::Inline(&[1]) };
    rig.session.post(&call).expect("it works");
    let found = rig.caller.call(&FenceStatus { stream }).expect("a status");
    assert_eq!(found.status, 0);
    rig.finish();
}

#[test]
fn a_kernel_that_fails_ends_the_wait_for_a_fence_behind_it() {
    let faults = Faults { fail_at_launch: Some(1), ..Faults::default() };
    let mut rig = Rig::with(MockConfig { faults, ..MockConfig::default() }, false, None);
    let image = image(&["mix"]);
    let (module, function) = (ModuleId(1), FunctionId(1));
    rig.caller
        .call(&ModuleLoad { context: ContextId::FIRST, module, image: Tail::Inline(&image) })
        .expect("loaded");
    let (layout, name) = (ArenaRef::default(), Tail::Inline(b"mix_4"));
    rig.caller.call(&FunctionLookup { module, function, layout, name }).expect("found");
    let params = Tail::Inline(&[0; 4]);
    let (grid, block, stream) = ([1; 3], [1; 3], StreamId::DEFAULT);
    rig.session
        .post(&LaunchKernel { function, grid, block, shared_bytes: 0, stream, params })
        .expect("posted");
    let error = rig.session.synchronise(stream).expect_err("no fence is written any more");
    assert_eq!(error.status(), Some(Status::LAUNCH_FAILED), "{error}");
    let error = rig
        .caller
        .call(&MemAlloc { context: ContextId::FIRST, bytes: 64 })
        .expect_err("the device is unusable");
    assert_eq!(error.status(), Some(Status::LAUNCH_FAILED));
    rig.finish();
}

#[test]
fn a_fence_on_a_stream_that_does_not_exist_is_an_error_and_not_a_hang() {
    let rig = Rig::new();
    let error = rig.session.synchronise(StreamId(77)).expect_err("there is no such stream");
    assert_eq!(error.status(), Some(Status::INVALID_HANDLE), "{error}");
    rig.finish();
}

#[test]
fn fences_of_streams_are_apart_and_words_come_back_when_streams_go() {
    let rig = Rig::new();
    let session = &rig.session;
    for _ in 0..5 {
        let streams: Vec<_> =
            (0..SIZES.fence_words).map(|_| session.create_stream(1, 0).expect("posted")).collect();
        for &stream in &streams {
            session.synchronise(stream).expect("reached");
        }
        let error = session.fence(StreamId::DEFAULT).expect_err("all words are taken");
        assert!(matches!(error, SessionError::FenceWords { limit: 8 }), "{error}");
        for stream in streams {
            session.destroy_stream(stream).expect("posted");
        }
    }
    let ticket = session.fence(StreamId::DEFAULT).expect("words came back");
    session.wait(ticket).expect("reached");
    assert!(session.is_reached(ticket));
    rig.finish();
}

#[test]
fn a_wait_with_a_limit_ends_and_the_session_goes_on() {
    let config = MockConfig { latency_ns: 3_000_000_000, ..MockConfig::default() };
    let rig = Rig::with(config, false, None);
    let call = LibraryCall {
        library: 1,
        function: 2,
        stream: StreamId::DEFAULT,
        arguments: Tail::Inline(&[1]),
    };
    rig.session.post(&call).expect("posted");
    let ticket = rig.session.fence(StreamId::DEFAULT).expect("posted");
    let error = rig.session.wait_within(ticket, Some(Duration::from_millis(5)));
    let error = error.expect_err("the device works for 3 s");
    assert!(matches!(error, SessionError::Channel(ChannelError::Deadline { .. })), "{error}");
    assert!(!rig.session.is_reached(ticket));
    rig.session.wait(ticket).expect("later it is reached");
    rig.finish();
}

#[test]
fn after_the_worker_is_lost_every_call_answers_the_same_error() {
    let mut rig = Rig::with(MockConfig::default(), false, Some(3));
    rig.caller.call(&Ping { token: 1 }).expect("the worker lives for one more");
    let error = rig.caller.call(&Ping { token: 2 }).expect_err("it dies at this one");
    assert!(error.is_lost(), "{error}");
    let expected = error.to_string();
    let session = &rig.session;
    let mut errors = vec![
        session.post(&MemFree { at: DevicePtr(0) }).expect_err("lost"),
        session.synchronise(StreamId::DEFAULT).expect_err("lost"),
        session.memcpy_htod(DevicePtr(0), &[0; 100_000], StreamId::DEFAULT).expect_err("lost"),
        session.memcpy_dtoh(&mut [0; 8], DevicePtr(0), StreamId::DEFAULT).expect_err("lost"),
        session.create_stream(0, 0).expect_err("lost"),
    ];
    errors.push(rig.caller.call(&Ping { token: 3 }).expect_err("lost"));
    for error in errors {
        assert!(error.is_lost());
        assert_eq!(error.to_string(), expected);
    }
    assert!(matches!(session.reattach(), Err(SessionError::NotConnected)));
    assert_eq!(rig.worker.join().expect("no panic"), 3);
}

#[test]
fn pinned_blocks_are_copied_from_and_to_without_staging() {
    let mut rig = Rig::new();
    let at = alloc(&mut rig, 1 << 20);
    let block = rig.session.pin(1 << 20).expect("room in the arena");
    let sent = pattern(1 << 20, 3);
    rig.session.write_pinned(&block, 0, &sent).expect("inside");
    let stream = StreamId::DEFAULT;
    rig.session.memcpy_htod_pinned(at, (&block, 0, 1 << 20), stream).expect("posted");
    rig.session.memcpy_dtoh_pinned((&block, 512 << 10, 512 << 10), at, stream).expect("posted");
    rig.session.synchronise(stream).expect("done");
    let mut back = vec![0; 512 << 10];
    rig.session.read_pinned(&block, 512 << 10, &mut back).expect("inside");
    assert!(back == sent[..512 << 10]);
    let error = rig.session.write_pinned(&block, 1 << 20, &[0]).expect_err("one byte too far");
    assert!(matches!(error, SessionError::OutsideBlock { at: 1_048_576, .. }));
    assert!(rig.session.unpin(&block).expect("alive"));
    rig.session.synchronise(stream).expect("nothing failed");
    rig.finish();
}

#[test]
fn device_facts_arrive_whole() {
    let mut rig = Rig::new();
    let facts = rig.caller.device_facts(0).expect("there is a device");
    assert_eq!(facts.compute_capability.0, 9);
    let error = rig.caller.device_facts(5).expect_err("there is no such device");
    assert_eq!(error.status(), Some(Status::INVALID_DEVICE));
    rig.finish();
}

#[test]
fn every_call_is_counted_under_its_function_and_class() {
    let mut rig = Rig::new();
    let row = Row::by_cuda_name("cuDeviceGetCount").expect("in the table");
    for token in 0..5 {
        rig.caller.call(&Ping { token }).expect("alive");
        rig.caller.count_local(row);
    }
    let session = rig.session.clone();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let caller = session.caller();
                for _ in 0..1000 {
                    let value = MemsetD8 {
                        dst: DevicePtr(0),
                        count: 0,
                        stream: StreamId::DEFAULT,
                        value: 0,
                    };
                    session.post(&value).expect("posted");
                }
                caller.expect("a slot was free or came free").count_local(row);
            });
        }
    });
    let counts = session.counts();
    assert_eq!(
        (counts.of("Ping"), counts.of("MemsetD8"), counts.of("DeviceGetCount")),
        (5, 4000, 9)
    );
    assert_eq!(counts.of_class(Class::Sync), 6, "init and the pings");
    assert_eq!(counts.of_class(Class::Local), 9);
    drop(session);
    assert_eq!(rig.finish(), 4006);
}

#[test]
fn a_fence_is_posted_once_however_often_a_stream_without_new_work_is_waited_for() {
    let mut rig = Rig::new();
    let at = alloc(&mut rig, 4096);
    let session = rig.session.clone();
    let stream = session.create_stream(1, 0).expect("posted");
    let first = session.fence(stream).expect("posted");
    for _ in 0..5 {
        session.synchronise(stream).expect("reached");
        assert!(session.query(stream).expect("known"));
    }
    assert_eq!(session.fence(stream).expect("the same"), first);
    assert_eq!(session.counts().of("Fence"), 1);
    let event = session.event_id().expect("a number");
    session.post(&EventCreate { context: ContextId::FIRST, event, flags: 0 }).expect("posted");
    session.memcpy_htod(at, &[1; 64], stream).expect("posted");
    session.synchronise(stream).expect("reached");
    assert_eq!(session.counts().of("Fence"), 2, "a copy came between");
    rig.finish();
}

#[test]
fn large_copies_shared_out_to_threads_come_back_as_they_went() {
    let mut rig = Rig::new();
    rig.session.set_copy_threads(3);
    let bytes = (21 << 20) + 77;
    let at = alloc(&mut rig, bytes as u64);
    let sent = pattern(bytes, 9);
    rig.session.memcpy_htod(at, &sent, StreamId::DEFAULT).expect("posted");
    let mut back = vec![0; bytes];
    rig.session.memcpy_dtoh(&mut back, at, StreamId::DEFAULT).expect("copied");
    assert!(back == sent);
    assert_eq!(rig.session.counts().htod_bytes, bytes as u64);
    rig.finish();
}

#[test]
fn a_copy_to_the_host_holds_none_of_the_staging_area() {
    let mut rig = Rig::new();
    let at = alloc(&mut rig, 1 << 20);
    let session = rig.session.clone();
    // All of the staging area, in one block that nothing will ever free.
    let held = session.client().stage(session.client().staging_bytes()).expect("free");
    let mut back = vec![1; 1 << 20];
    session.memcpy_dtoh(&mut back, at, StreamId::DEFAULT).expect("copied");
    let sent = pattern(1 << 20, 3);
    session.memcpy_htod(at, &sent, StreamId::DEFAULT).expect("goes another way");
    session.memcpy_dtoh(&mut back, at, StreamId::DEFAULT).expect("copied");
    assert!(back == sent);
    drop(held);
    rig.finish();
}

#[test]
fn an_answer_finds_a_place_although_the_staging_area_is_held() {
    let mut rig = Rig::new();
    let session = rig.session.clone();
    let held = session.client().stage(session.client().staging_bytes()).expect("free");
    let facts = rig.caller.device_facts(0).expect("answered");
    assert!(facts.total_memory_bytes > 0);
    let block = session.answer_block(4096).expect("a place");
    let error = block.read(&mut [0; 4097]).expect_err("one byte too far");
    assert!(matches!(error, SessionError::OutsideBlock { at: 0, len: 4097, limit: 4096 }));
    drop((block, held));
    rig.finish();
}

/// A kernel that the mock has, for blocks of 32 threads.
const NARROW: &[u8] = b".version 8.0
.target sm_90
.address_size 64
.visible .entry copy(
    .param .u64 copy_param_0,
    .param .u64 copy_param_1,
    .param .u64 copy_param_2
)
.maxntid 32, 1, 1
{
    ret;
}
\0";

#[test]
fn a_wait_lasts_until_its_work_is_done_although_a_launch_before_it_asked_for_too_much() {
    let config = MockConfig { latency_ns: 3_000_000_000, ..MockConfig::default() };
    let mut rig = Rig::with(config, false, None);
    let (module, function, stream) = (ModuleId(1), FunctionId(1), StreamId::DEFAULT);
    let load = ModuleLoad { context: ContextId::FIRST, module, image: Tail::Inline(NARROW) };
    rig.caller.call(&load).expect("loaded");
    let (layout, name) = (ArenaRef::default(), Tail::Inline(b"copy"));
    rig.caller.call(&FunctionLookup { module, function, layout, name }).expect("found");
    let params = Tail::Inline(&[0; 24]);
    let (grid, block) = ([1; 3], [64, 1, 1]);
    rig.session
        .post(&LaunchKernel { function, grid, block, shared_bytes: 0, stream, params })
        .expect("posted");
    let slow = LibraryCall { library: 1, function: 2, stream, arguments: Tail::Inline(&[1]) };
    rig.session.post(&slow).expect("posted");
    let ticket = rig.session.fence(stream).expect("posted");
    let error = rig.session.wait(ticket).expect_err("the launch is reported");
    assert_eq!(error.status(), Some(Status::INVALID_VALUE), "{error}");
    assert!(rig.session.is_reached(ticket), "but only once the work behind it is done");
    rig.finish();
}
