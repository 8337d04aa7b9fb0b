//! Copies and fills of boxes, pitched memory, pinned blocks as device memory.

use super::rig::{DEFAULT, Rig, pattern};
use crate::HostMemory;
use ringbar_vocabulary::*;

const DST_IS_HOST: u32 = 1;
const SRC_IS_HOST: u32 = 2;

fn corner(at: u64, pitch: u64, slice: u64) -> Corner {
    Corner { at, pitch, slice }
}

/// Rows of `width` bytes, each the start of one of `pitch` bytes.
fn rows(bytes: &[u8], pitch: usize, width: usize) -> Vec<u8> {
    bytes.chunks(pitch).flat_map(|row| &row[..width.min(row.len())]).copied().collect()
}

pub(super) fn boxes_go_up_across_and_down_by_their_pitches(rig: &mut Rig) {
    rig.init();
    let (a, b) = (rig.alloc(4096), rig.alloc(4096));
    let bytes = pattern(60 * 4, 1);
    let staged = rig.stage(16, &bytes);
    let (width_bytes, height, depth, stream) = (50, 2, 2, DEFAULT);
    let up = MemcpyRect {
        dst: corner(a.0, 64, 256),
        src: corner(staged.addr, 60, 120),
        width_bytes,
        height,
        depth,
        stream,
        host: SRC_IS_HOST,
    };
    rig.post(up);
    let (from, to) = (corner(a.0, 64, 256), corner(b.0, 100, 300));
    rig.post(MemcpyRect { dst: to, src: from, host: 0, ..up });
    let down = ArenaRef::new(0, 600_000, 200).unwrap();
    let to = corner(down.addr, 50, 100);
    rig.post(MemcpyRect { dst: to, src: corner(b.0, 100, 300), host: DST_IS_HOST, ..up });
    rig.wait(DEFAULT);
    assert_eq!(rig.read_arena(down), rows(&bytes, 60, 50));
    rig.no_failure();
}

pub(super) fn a_fill_of_rows_leaves_the_gaps(rig: &mut Rig) {
    rig.init();
    let at = rig.alloc(1024);
    rig.post(MemsetD8 { dst: at, count: 1024, stream: DEFAULT, value: 0xee });
    let (width, height, value) = (3, 2, 0x0403_0201);
    let fill = MemsetRect {
        dst: at.offset(4),
        pitch: 32,
        width,
        height,
        value,
        element_bytes: 4,
        stream: DEFAULT,
    };
    rig.post(fill);
    let mut expected = vec![0xee; 64];
    for start in [4, 36] {
        expected[start..start + 12].copy_from_slice(&[1, 2, 3, 4].repeat(3));
    }
    assert_eq!(rig.download(at, 64, DEFAULT), expected);
    rig.no_failure();
    rig.post_fails(MemsetRect { element_bytes: 3, ..fill }, Status::INVALID_VALUE);
}

pub(super) fn a_box_outside_an_allocation_is_refused(rig: &mut Rig) {
    rig.init();
    let at = rig.alloc(4096);
    let staged = rig.stage(0, &[0; 4096]);
    let whole = MemcpyRect {
        dst: corner(at.0, 1024, 0),
        src: corner(staged.addr, 1024, 0),
        width_bytes: 1024,
        height: 4,
        depth: 1,
        stream: DEFAULT,
        host: SRC_IS_HOST,
    };
    rig.post(whole);
    rig.wait(DEFAULT);
    rig.no_failure();
    let narrow = MemcpyRect { dst: corner(at.0, 1000, 0), ..whole };
    rig.post_fails(narrow, Status::INVALID_VALUE);
    let far = MemcpyRect { dst: corner(64, 1024, 0), ..whole };
    rig.post_fails(far, Status::INVALID_VALUE);
}

pub(super) fn pitched_rows_begin_aligned_and_apart(rig: &mut Rig) {
    rig.init();
    let ask =
        MemAllocPitch { context: ContextId::FIRST, width_bytes: 1001, height: 3, element_bytes: 4 };
    let reply = rig.call(ask).expect("pitched memory");
    assert!(reply.pitch >= 1001 && reply.pitch.is_multiple_of(32));
    let last = reply.at.offset(2 * reply.pitch);
    rig.upload(last, DEFAULT, &[9; 1001]);
    assert_eq!(rig.download(last, 1001, DEFAULT), [9; 1001]);
    let odd = MemAllocPitch { element_bytes: 3, ..ask };
    assert_eq!(rig.call(odd), Err(Status::INVALID_VALUE));
    rig.post(MemFree { at: reply.at });
    rig.no_failure();
}

pub(super) fn a_pinned_block_is_device_memory(rig: &mut Rig) {
    rig.init();
    let Some(arena) = rig.worker.arena.mapped(0) else { return };
    // Whole pages, wherever the arena itself begins.
    let offset = arena.address.next_multiple_of(4096) - arena.address;
    let block = ArenaRef::new(0, offset, 8192).unwrap();
    rig.post(HostAlloc { block, flags: 0 });
    let pinned = DevicePtr(arena.address + offset);
    let (kernel, at) = (rig.kernel("fill_u32"), rig.alloc(64));
    let to = pinned.offset(8).0.to_le_bytes();
    rig.launch(&kernel, DEFAULT, &[&to, &0x0101_0101u32.to_le_bytes(), &8u64.to_le_bytes()]);
    rig.post(MemcpyDtoD { dst: at, src: pinned.offset(8), bytes: 32, stream: DEFAULT });
    rig.post(MemsetD8 { dst: pinned.offset(40), count: 4, stream: DEFAULT, value: 2 });
    assert_eq!(rig.download(at, 32, DEFAULT), [1; 32]);
    let seen = rig.read_arena(block.part(8, 36).unwrap());
    assert_eq!(seen, [&[1; 32][..], &[2; 4]].concat());
    rig.no_failure();
    rig.post_fails(MemFree { at: pinned }, Status::INVALID_VALUE);
    rig.post(HostFree { block });
}
