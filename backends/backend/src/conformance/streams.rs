//! Streams, events, fences: what happens before what.

use super::rig::{DEFAULT, Rig, pattern};
use ringbar_vocabulary::*;

/// Enough work that a backend which ignores an order is caught by it.
const BYTES: u64 = 256 << 10;

pub(super) fn commands_of_a_stream_happen_in_order(rig: &mut Rig) {
    rig.init();
    let stream = rig.stream();
    let (a, b) = (rig.alloc(BYTES), rig.alloc(BYTES));
    for value in 1..=20u8 {
        rig.post(MemsetD8 { dst: a, count: BYTES, stream, value });
        rig.post(MemcpyDtoD { dst: b, src: a, bytes: BYTES, stream });
        rig.post(MemsetD8 { dst: a, count: BYTES, stream, value: 0xee });
    }
    assert!(rig.download(b, BYTES, stream).iter().all(|&byte| byte == 20));
    rig.no_failure();
}

pub(super) fn an_event_orders_two_streams(rig: &mut Rig) {
    rig.init();
    let (first, second) = (rig.stream(), rig.stream());
    let event = rig.event();
    let (a, b) = (rig.alloc(BYTES), rig.alloc(BYTES));
    for value in 1..=10u8 {
        // More work than the other stream has, which would run ahead if it did not wait.
        for value in [0xee, 0xef, value] {
            rig.post(MemsetD8 { dst: a, count: BYTES, stream: first, value });
        }
        rig.post(EventRecord { event, stream: first, flags: 0, index: NO_FENCE, value: 0 });
        rig.post(StreamWaitEvent { stream: second, event, flags: 0 });
        rig.post(MemcpyDtoD { dst: b, src: a, bytes: BYTES, stream: second });
        rig.post(EventRecord { event, stream: second, flags: 0, index: NO_FENCE, value: 0 });
        rig.post(StreamWaitEvent { stream: first, event, flags: 0 });
    }
    assert!(rig.download(b, BYTES, second).iter().all(|&byte| byte == 10));
    rig.no_failure();
}

pub(super) fn waiting_for_an_event_that_was_never_recorded_does_not_block(rig: &mut Rig) {
    rig.init();
    let (stream, event) = (rig.stream(), rig.event());
    rig.post(StreamWaitEvent { stream, event, flags: 0 });
    rig.wait(stream);
    rig.no_failure();
}

pub(super) fn a_second_record_replaces_the_first(rig: &mut Rig) {
    rig.init();
    let (first, second, event) = (rig.stream(), rig.stream(), rig.event());
    let (a, b) = (rig.alloc(BYTES), rig.alloc(BYTES));
    rig.post(EventRecord { event, stream: first, flags: 0, index: NO_FENCE, value: 0 });
    for value in [7, 8, 9] {
        rig.post(MemsetD8 { dst: a, count: BYTES, stream: first, value });
    }
    rig.post(EventRecord { event, stream: first, flags: 0, index: NO_FENCE, value: 0 });
    rig.post(StreamWaitEvent { stream: second, event, flags: 0 });
    rig.post(MemcpyDtoD { dst: b, src: a, bytes: BYTES, stream: second });
    assert!(rig.download(b, BYTES, second).iter().all(|&byte| byte == 9));
}

pub(super) fn the_default_stream_waits_for_other_streams_and_they_for_it(rig: &mut Rig) {
    rig.init();
    let (first, second) = (rig.stream(), rig.stream());
    let (a, b, c) = (rig.alloc(BYTES), rig.alloc(BYTES), rig.alloc(BYTES));
    for value in 1..=10u8 {
        rig.post(MemsetD8 { dst: a, count: BYTES, stream: first, value });
        rig.post(MemcpyDtoD { dst: b, src: a, bytes: BYTES, stream: DEFAULT });
        rig.post(MemcpyDtoD { dst: c, src: b, bytes: BYTES, stream: second });
        rig.wait(second);
        let (from_b, from_c) = (rig.download(b, 64, second), rig.download(c, BYTES, second));
        assert!(from_b.iter().chain(&from_c).all(|&byte| byte == value));
    }
    rig.no_failure();
}

pub(super) fn a_destroyed_stream_finishes_its_work(rig: &mut Rig) {
    rig.init();
    let stream = rig.stream();
    let at = rig.alloc(BYTES);
    rig.post(MemsetD8 { dst: at, count: BYTES, stream, value: 1 });
    rig.post(MemsetD8 { dst: at, count: BYTES, stream, value: 2 });
    rig.post(Fence { stream, index: 5, value: 77 });
    rig.post(StreamDestroy { stream });
    rig.backend.drain();
    assert_eq!(rig.worker.fences.value(5), 77);
    assert!(rig.download(at, BYTES, DEFAULT).iter().all(|&byte| byte == 2));
    rig.post_fails(Fence { stream, index: 5, value: 78 }, Status::INVALID_HANDLE);
}

pub(super) fn a_destroyed_event_still_orders_who_waits_for_it(rig: &mut Rig) {
    rig.init();
    let (first, second, event) = (rig.stream(), rig.stream(), rig.event());
    let (a, b) = (rig.alloc(BYTES), rig.alloc(BYTES));
    rig.post(MemsetD8 { dst: a, count: BYTES, stream: first, value: 4 });
    rig.post(EventRecord { event, stream: first, flags: 0, index: NO_FENCE, value: 0 });
    rig.post(StreamWaitEvent { stream: second, event, flags: 0 });
    rig.post(EventDestroy { event });
    rig.post(MemcpyDtoD { dst: b, src: a, bytes: BYTES, stream: second });
    assert!(rig.download(b, BYTES, second).iter().all(|&byte| byte == 4));
    rig.no_failure();
}

pub(super) fn fences_of_a_stream_are_written_in_order(rig: &mut Rig) {
    rig.init();
    let stream = rig.stream();
    let at = rig.alloc(BYTES);
    for value in 1..=30 {
        rig.post(MemsetD8 { dst: at, count: BYTES / 8, stream, value: 0 });
        rig.post(Fence { stream, index: (value % 3) as u32, value });
    }
    rig.backend.drain();
    let expected: Vec<(u32, u64)> = (1..=30).map(|value| ((value % 3) as u32, value)).collect();
    // What a device writes by itself is in no log.
    let log = rig.worker.fences.log();
    assert!(log.is_empty() || log == expected, "{log:?}");
    assert_eq!([0, 1, 2].map(|index| rig.worker.fences.value(index)), [30, 28, 29]);
}

pub(super) fn unknown_streams_and_events_are_invalid_handles(rig: &mut Rig) {
    rig.init();
    let (at, known) = (rig.alloc(64), rig.event());
    let (stream, event) = (StreamId(9999), EventId(u32::MAX));
    let data = Tail::Inline(&[1, 2, 3]);
    rig.post_fails(MemcpyHtoD { dst: at, stream, data }, Status::INVALID_HANDLE);
    rig.post_fails(
        EventRecord { event: known, stream, flags: 0, index: NO_FENCE, value: 0 },
        Status::INVALID_HANDLE,
    );
    rig.post_fails(
        EventRecord { event, stream: DEFAULT, flags: 0, index: NO_FENCE, value: 0 },
        Status::INVALID_HANDLE,
    );
    rig.post_fails(StreamWaitEvent { stream: DEFAULT, event, flags: 0 }, Status::INVALID_HANDLE);
    rig.post_fails(EventDestroy { event }, Status::INVALID_HANDLE);
    rig.post_fails(StreamDestroy { stream }, Status::INVALID_HANDLE);
    rig.post_fails(Fence { stream, index: 0, value: 1 }, Status::INVALID_HANDLE);
}

pub(super) fn a_number_in_use_is_an_invalid_handle(rig: &mut Rig) {
    rig.init();
    let (stream, event) = (rig.stream(), rig.event());
    rig.post_fails(
        StreamCreate { context: ContextId::FIRST, stream, flags: 0, priority: 0 },
        Status::INVALID_HANDLE,
    );
    rig.post_fails(
        EventCreate { context: ContextId::FIRST, event, flags: 0 },
        Status::INVALID_HANDLE,
    );
    rig.post(StreamDestroy { stream });
    let failures = rig.worker.errors.count();
    rig.post(StreamCreate { context: ContextId::FIRST, stream, flags: 1, priority: -1 });
    assert_eq!(rig.worker.errors.count(), failures, "a number may be used again");
}

pub(super) fn the_default_stream_cannot_be_created_or_destroyed(rig: &mut Rig) {
    rig.init();
    let stream = DEFAULT;
    rig.post_fails(
        StreamCreate { context: ContextId::FIRST, stream, flags: 0, priority: 0 },
        Status::INVALID_HANDLE,
    );
    rig.post_fails(StreamDestroy { stream }, Status::INVALID_HANDLE);
    let other = StreamId(rig.id());
    rig.post_fails(
        StreamCreate { context: ContextId::FIRST, stream: other, flags: 6, priority: 0 },
        Status::INVALID_VALUE,
    );
}

pub(super) fn handles_are_looked_up_by_number_and_type(rig: &mut Rig) {
    rig.init();
    let stream = rig.stream();
    let event = EventId(stream.0);
    rig.post_fails(
        EventRecord { event, stream, flags: 0, index: NO_FENCE, value: 0 },
        Status::INVALID_HANDLE,
    );
    rig.post(EventCreate { context: ContextId::FIRST, event, flags: 0 });
    rig.post(EventRecord { event, stream, flags: 0, index: NO_FENCE, value: 0 });
    let at = rig.alloc(16);
    let bytes = pattern(16, 1);
    rig.upload(at, stream, &bytes);
    assert_eq!(rig.download(at, 16, stream), bytes);
}
