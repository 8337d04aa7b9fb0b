//! Memory: allocation, copies, fills, pinned blocks, digest.

use super::rig::{DEFAULT, Rig, pattern};
use ringbar_vocabulary::*;

pub(super) fn bytes_copied_inline_come_back(rig: &mut Rig) {
    rig.init();
    let at = rig.alloc(4096);
    for len in [1, 7, 8, 9, 4096] {
        let bytes = pattern(len, len as u64);
        rig.upload(at, DEFAULT, &bytes);
        assert_eq!(rig.download(at, len as u64, DEFAULT), bytes);
    }
    rig.no_failure();
}

pub(super) fn bytes_copied_from_the_arena_come_back(rig: &mut Rig) {
    rig.init();
    let at = rig.alloc(200_000);
    let bytes = pattern(200_000, 1);
    let data = Tail::Arena(rig.stage(12, &bytes));
    rig.post(MemcpyHtoD { dst: at, stream: DEFAULT, data });
    assert!(rig.download(at, 200_000, DEFAULT) == bytes);
    assert_eq!(rig.download(at.offset(100_001), 5, DEFAULT), bytes[100_001..100_006]);
    rig.no_failure();
}

pub(super) fn a_copy_between_device_buffers_copies_exactly_its_bytes(rig: &mut Rig) {
    rig.init();
    let (a, b) = (rig.alloc(300), rig.alloc(300));
    let (first, second) = (pattern(300, 1), pattern(300, 2));
    rig.upload(a, DEFAULT, &first);
    rig.upload(b, DEFAULT, &second);
    let (dst, src) = (b.offset(10), a.offset(20));
    rig.post(MemcpyDtoD { dst, src, bytes: 100, stream: DEFAULT });
    let expected = [&second[..10], &first[20..120], &second[110..]].concat();
    assert_eq!(rig.download(b, 300, DEFAULT), expected);
    assert_eq!(rig.download(a, 300, DEFAULT), first);
    rig.no_failure();
}

pub(super) fn memset_fills_bytes_halves_and_words(rig: &mut Rig) {
    rig.init();
    let at = rig.alloc(64);
    let stream = DEFAULT;
    rig.post(MemsetD8 { dst: at, count: 64, stream, value: 0x11 });
    rig.post(MemsetD16 { dst: at.offset(6), count: 3, stream, value: 0x2322 });
    rig.post(MemsetD32 { dst: at.offset(16), count: 2, stream, value: 0x3736_3534 });
    let mut expected = vec![0x11; 64];
    expected[6..12].copy_from_slice(&[0x22, 0x23, 0x22, 0x23, 0x22, 0x23]);
    expected[16..24].copy_from_slice(&[0x34, 0x35, 0x36, 0x37, 0x34, 0x35, 0x36, 0x37]);
    assert_eq!(rig.download(at, 64, stream), expected);
    rig.no_failure();
}

pub(super) fn an_empty_copy_or_fill_is_no_error(rig: &mut Rig) {
    rig.init();
    let at = rig.alloc(64);
    rig.upload(at, DEFAULT, &[]);
    rig.post(MemcpyDtoD { dst: at, src: at.offset(8), bytes: 0, stream: DEFAULT });
    rig.post(MemsetD32 { dst: at, count: 0, stream: DEFAULT, value: 1 });
    rig.start_download(at, 0, DEFAULT);
    rig.wait(DEFAULT);
    rig.no_failure();
}

pub(super) fn allocations_are_aligned_and_apart(rig: &mut Rig) {
    rig.init();
    let sizes = [1, 255, 256, 257, 100_000, 3];
    let mut ranges: Vec<(u64, u64)> = sizes.map(|bytes| (rig.alloc(bytes).0, bytes)).to_vec();
    ranges.sort_unstable();
    assert!(ranges.iter().all(|(at, _)| at.is_multiple_of(256) && *at != 0));
    assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
}

pub(super) fn an_empty_allocation_is_an_invalid_value(rig: &mut Rig) {
    rig.init();
    assert_eq!(
        rig.call(MemAlloc { context: ContextId::FIRST, bytes: 0 }),
        Err(Status::INVALID_VALUE)
    );
}

pub(super) fn an_allocation_beyond_the_device_is_out_of_memory(rig: &mut Rig) {
    rig.init();
    let total = rig.call(MemGetInfo { context: ContextId::FIRST }).unwrap().total_bytes;
    for bytes in [total + 1, u64::MAX, u64::MAX - 255, 1 << 63] {
        assert_eq!(
            rig.call(MemAlloc { context: ContextId::FIRST, bytes }),
            Err(Status::OUT_OF_MEMORY),
            "{bytes} bytes"
        );
    }
    rig.alloc(1024);
}

pub(super) fn freed_memory_can_be_allocated_again(rig: &mut Rig) {
    rig.init();
    let free = rig.call(MemGetInfo { context: ContextId::FIRST }).unwrap().free_bytes;
    // Each more than half of what is free, so that the next needs the space of the last.
    for _ in 0..4 {
        let at = rig.alloc(free / 2 + 4096);
        rig.post(MemFree { at });
    }
    rig.no_failure();
}

pub(super) fn free_memory_goes_down_and_up_again(rig: &mut Rig) {
    rig.init();
    // A real device may have other users, whose memory goes up and down as well.
    let kept = (0..50).any(|round| {
        std::thread::sleep(std::time::Duration::from_millis(20 * round));
        let before = rig.call(MemGetInfo { context: ContextId::FIRST }).unwrap();
        let at = rig.alloc(4 << 20);
        let during = rig.call(MemGetInfo { context: ContextId::FIRST }).unwrap();
        assert_eq!(during.total_bytes, before.total_bytes);
        rig.post(MemFree { at });
        rig.backend.drain();
        let after = rig.call(MemGetInfo { context: ContextId::FIRST });
        during.free_bytes + (4 << 20) <= before.free_bytes && after == Ok(before)
    });
    assert!(kept, "an allocation takes its bytes and gives them back");
}

pub(super) fn freeing_what_is_not_an_allocation_is_an_invalid_value(rig: &mut Rig) {
    rig.init();
    let at = rig.alloc(1024);
    rig.post_fails(MemFree { at: at.offset(256) }, Status::INVALID_VALUE);
    rig.post(MemFree { at });
    for stale in [at, DevicePtr(u64::MAX), DevicePtr(64)] {
        rig.post_fails(MemFree { at: stale }, Status::INVALID_VALUE);
    }
}

pub(super) fn copies_outside_an_allocation_are_refused(rig: &mut Rig) {
    rig.init();
    let (at, other) = (rig.alloc(1000), rig.alloc(1000));
    let stream = DEFAULT;
    let data = [7; 100];
    for dst in [at.offset(4096), DevicePtr(8), DevicePtr(u64::MAX - 4), at.offset(u64::MAX - 50)] {
        let data = Tail::Inline(&data);
        rig.post_fails(MemcpyHtoD { dst, stream, data }, Status::INVALID_VALUE);
    }
    let bytes = 1 << 40;
    rig.post_fails(MemcpyDtoD { dst: at, src: other, bytes, stream }, Status::INVALID_VALUE);
    let count = u64::MAX / 2;
    rig.post_fails(MemsetD32 { dst: at, count, stream, value: 0 }, Status::INVALID_VALUE);
    let dst = rig.stage(0, &[0; 64]);
    rig.post_fails(MemcpyDtoH { dst, src: DevicePtr(8), stream }, Status::INVALID_VALUE);
    rig.post(MemFree { at });
    let data = Tail::Inline(&data);
    rig.post_fails(MemcpyHtoD { dst: at, stream, data }, Status::INVALID_VALUE);
}

pub(super) fn a_misaligned_fill_is_refused(rig: &mut Rig) {
    rig.init();
    let at = rig.alloc(64);
    let (count, stream) = (1, DEFAULT);
    let dst = at.offset(1);
    rig.post_fails(MemsetD16 { dst, count, stream, value: 1 }, Status::INVALID_VALUE);
    let dst = at.offset(2);
    rig.post_fails(MemsetD32 { dst, count, stream, value: 1 }, Status::INVALID_VALUE);
}

pub(super) fn the_digest_follows_the_contents(rig: &mut Rig) {
    rig.init();
    let at = rig.alloc(5000);
    rig.post(MemsetD8 { dst: at, count: 5000, stream: DEFAULT, value: 0 });
    let before = rig.call(MemoryDigest {}).unwrap();
    assert_eq!((before.allocations, before.bytes), (1, 5000));
    rig.upload(at.offset(4999), DEFAULT, &[1]);
    let changed = rig.call(MemoryDigest {}).unwrap();
    assert_ne!(changed.digest, before.digest);
    rig.upload(at.offset(4999), DEFAULT, &[0]);
    assert_eq!(rig.call(MemoryDigest {}), Ok(before));
}

pub(super) fn arena_bytes_are_held_no_longer_than_the_copy(rig: &mut Rig) {
    rig.init();
    let at = rig.alloc(100_000);
    let data = Tail::Arena(rig.stage(0, &pattern(100_000, 4)));
    rig.post(MemcpyHtoD { dst: at, stream: DEFAULT, data });
    rig.start_download(at, 100_000, DEFAULT);
    rig.wait(DEFAULT);
    rig.backend.drain();
    let executed = rig.worker.position();
    assert_eq!(rig.worker.holds.retired(executed), executed);
}

pub(super) fn pinned_blocks_are_freed_exactly_as_allocated(rig: &mut Rig) {
    rig.init();
    let block = ArenaRef::new(0, 4096, 8192).unwrap();
    rig.post(HostAlloc { block, flags: 0 });
    rig.post_fails(HostFree { block: block.part(0, 100).unwrap() }, Status::INVALID_VALUE);
    rig.post(HostFree { block });
    rig.post_fails(HostFree { block }, Status::INVALID_VALUE);
}
