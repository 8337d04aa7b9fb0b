//! CUDA arrays, and copies from and to them.

use super::rig::{DEFAULT, Rig, pattern};
use ringbar_vocabulary::*;

const DST_IS_HOST: u32 = 1;
const SRC_IS_HOST: u32 = 2;
/// `CU_AD_FORMAT_FLOAT`.
const FLOAT: u32 = 0x20;
/// `CUDA_ARRAY3D_LAYERED`, `_SPARSE`.
const LAYERED: u32 = 1;
const SPARSE: u32 = 0x40;

fn create(array: ArrayId, extent: [u64; 3], flags: u32) -> ArrayCreate {
    ArrayCreate { context: ContextId::FIRST, array, extent, format: FLOAT, channels: 2, flags }
}

/// An array of pairs of floats.
fn made(rig: &mut Rig, extent: [u64; 3], flags: u32) -> ArrayId {
    let array = ArrayId(rig.id());
    rig.call(create(array, extent, flags)).expect("an array");
    array
}

fn corner(at: u64, pitch: u64, slice: u64) -> Corner {
    Corner { at, pitch, slice }
}

/// A copy of a box between two ends, of which each is at a corner and perhaps in an array.
fn copy(dst: (Corner, ArrayId), src: (Corner, ArrayId), size: [u64; 3], host: u32) -> MemcpyArray {
    let ((dst, dst_array), (src, src_array)) = (dst, src);
    let [width_bytes, height, depth] = size;
    let stream = DEFAULT;
    MemcpyArray { dst, src, dst_array, src_array, width_bytes, height, depth, stream, host }
}

const NONE: ArrayId = ArrayId::NONE;
const START: Corner = Corner { at: 0, pitch: 0, slice: 0 };

pub(super) fn boxes_go_into_arrays_across_and_out_again(rig: &mut Rig) {
    rig.init();
    let (one, two) = (made(rig, [10, 6, 3], 0), made(rig, [10, 6, 3], LAYERED));
    let bytes = pattern(80 * 6 * 3, 1);
    let staged = rig.stage(64, &bytes);
    let up = copy((START, one), (corner(staged.addr, 80, 480), NONE), [80, 6, 3], SRC_IS_HOST);
    rig.post(up);
    // Behind two elements, a row and a slice; to where one element, two rows and no slice lie before.
    rig.post(copy((corner(8, 2, 0), two), (corner(16, 1, 1), one), [24, 3, 2], 0));
    let linear = rig.alloc(4096);
    let out = copy((corner(linear.0, 32, 128), NONE), (corner(8, 2, 0), two), [24, 3, 2], 0);
    rig.post(out);
    let down = ArenaRef::new(0, 600_000, 144).unwrap();
    let (to, from) = ((corner(down.addr, 24, 72), NONE), (corner(16, 1, 1), one));
    rig.post(copy(to, from, [24, 3, 2], DST_IS_HOST));
    rig.wait(DEFAULT);
    let row = |z: usize, y: usize| &bytes[480 * (z + 1) + 80 * (y + 1) + 16..][..24];
    let expected: Vec<u8> =
        (0..2).flat_map(|z| (0..3).flat_map(move |y| row(z, y))).copied().collect();
    assert_eq!(rig.read_arena(down), expected);
    let across = rig.download(linear, 256, DEFAULT);
    let found: Vec<u8> = (0..2)
        .flat_map(|z| (0..3).map(move |y| 128 * z + 32 * y))
        .flat_map(|at| across[at..at + 24].iter())
        .copied()
        .collect();
    assert_eq!(found, expected);
    rig.no_failure();
    rig.post(ArrayDestroy { array: one });
    rig.post(ArrayDestroy { array: two });
    rig.no_failure();
}

pub(super) fn an_array_of_one_dimension_is_one_row(rig: &mut Rig) {
    rig.init();
    let array = made(rig, [16, 0, 0], 0);
    let bytes = pattern(128, 2);
    let linear = rig.alloc(256);
    rig.upload(linear, DEFAULT, &bytes);
    rig.post(copy((START, array), (corner(linear.0, 0, 0), NONE), [128, 1, 1], 0));
    let back = corner(linear.0 + 128, 0, 0);
    rig.post(copy((back, NONE), (corner(64, 0, 0), array), [64, 1, 1], 0));
    assert_eq!(rig.download(linear.offset(128), 64, DEFAULT), bytes[64..]);
    rig.no_failure();
}

pub(super) fn arrays_that_cannot_be_are_refused(rig: &mut Rig) {
    rig.init();
    let array = ArrayId(rig.id());
    let good = create(array, [8, 8, 0], 0);
    let invalid = Err(Status::INVALID_VALUE);
    assert_eq!(rig.call(ArrayCreate { extent: [0, 8, 0], ..good }), invalid);
    assert_eq!(rig.call(ArrayCreate { channels: 3, ..good }), invalid);
    assert_eq!(rig.call(ArrayCreate { format: 7, ..good }), invalid);
    assert_eq!(rig.call(ArrayCreate { extent: [1 << 40, 8, 0], ..good }), invalid);
    assert_eq!(rig.call(ArrayCreate { flags: SPARSE, ..good }), Err(Status::NOT_SUPPORTED));
    rig.refused(ArrayCreate { array: NONE, ..good });
    rig.refused(ArrayCreate { context: ContextId(900), ..good });
    rig.call(good).expect("an array");
    assert_eq!(rig.call(good), Err(Status::INVALID_HANDLE), "its number is in use");
    rig.no_failure();
}

pub(super) fn a_box_that_is_not_in_its_array_is_refused(rig: &mut Rig) {
    rig.init();
    let array = made(rig, [8, 4, 0], 0);
    let at = rig.alloc(4096);
    let memory = (corner(at.0, 64, 256), NONE);
    let good = copy((START, array), memory, [64, 4, 1], 0);
    rig.post(good);
    rig.wait(DEFAULT);
    rig.no_failure();
    rig.post_fails(MemcpyArray { dst: corner(8, 0, 0), ..good }, Status::INVALID_VALUE);
    rig.post_refused(MemcpyArray { dst: corner(0, 1, 0), ..good });
    rig.post_refused(MemcpyArray { dst: corner(0, 0, 1), ..good });
    rig.post_refused(MemcpyArray { width_bytes: 72, ..good });
    rig.post_refused(MemcpyArray { dst_array: ArrayId(4711), ..good });
    rig.post_refused(MemcpyArray { dst_array: NONE, ..good });
    rig.post_refused(MemcpyArray { host: DST_IS_HOST, ..good });
    rig.post_refused(MemcpyArray { stream: StreamId(9999), ..good });
}

pub(super) fn an_array_ends_once_and_with_its_context(rig: &mut Rig) {
    rig.init();
    let array = made(rig, [8, 4, 0], 0);
    rig.post(ArrayDestroy { array });
    rig.no_failure();
    let context = ContextId(2000);
    rig.call(ContextCreate { context, device: 0, flags: 0 }).expect("a context");
    let other = ArrayId(rig.id());
    rig.call(ArrayCreate { context, ..create(other, [8, 4, 0], 0) }).expect("an array");
    rig.call(ContextDestroy { context }).expect("it ends");
    rig.no_failure();
    rig.post_fails(ArrayDestroy { array }, Status::INVALID_HANDLE);
    rig.post_refused(ArrayDestroy { array: other });
}

pub(super) fn a_captured_copy_of_an_array_runs_with_its_graph(rig: &mut Rig) {
    rig.init();
    let array = made(rig, [16, 0, 0], 0);
    let (at, stream) = (rig.alloc(256), rig.stream());
    rig.upload(at, stream, &[1; 128]);
    rig.wait(stream);
    rig.call(StreamBeginCapture { stream, mode: 2 }).expect("a capture");
    let memory = (corner(at.0, 0, 0), NONE);
    rig.post(MemcpyArray { stream, ..copy((START, array), memory, [128, 1, 1], 0) });
    let back = (corner(at.0 + 128, 0, 0), NONE);
    rig.post(MemcpyArray { stream, ..copy(back, (START, array), [128, 1, 1], 0) });
    let graph = GraphId(rig.id());
    rig.call(StreamEndCapture { stream, graph }).expect("a graph");
    let nodes = rig.stage(0, &[0; 64]);
    assert_eq!(rig.call(GraphNodes { graph, roots: 0, nodes }).expect("nodes").count, 2);
    let bytes = rig.read_arena(nodes.part(0, 8).unwrap());
    let node = NodeId(u64::from_le_bytes(bytes.try_into().unwrap()));
    let room = rig.stage(0, &[0; 128]);
    let asked = rig.call(GraphMemcpyParams { node, copy: room });
    assert_eq!(asked, Err(Status::NOT_SUPPORTED), "an array has no address");
    rig.upload(at, stream, &[7; 128]);
    let exec = GraphExecId(rig.id());
    rig.call(GraphInstantiate { graph, exec, flags: 0 }).expect("an executable graph");
    rig.post(GraphLaunch { exec, stream });
    assert_eq!(rig.download(at.offset(128), 128, stream), [7; 128]);
    rig.no_failure();
}
