//! Modules' contents, functions' attributes, occupancy, launches with attributes.

use super::rig::{DEFAULT, Rig};
use ringbar_vocabulary::*;

const THREADS_MAX: u32 = 0;
const SHARED_MAX: u32 = 8;

pub(super) fn a_modules_kernels_are_listed_by_name(rig: &mut Rig) {
    rig.init();
    let module = rig.module();
    let names = ArenaRef::new(0, 0, 65_536).unwrap();
    let reply = rig.call(ModuleFunctions { module, names }).expect("names");
    let text = rig.read_arena(names.part(0, reply.bytes.into()).unwrap());
    let found: Vec<&[u8]> = text.split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
    assert_eq!(found.len(), reply.count as usize);
    for name in ["fill_u32", "axpy_f32", "copy"] {
        assert!(found.contains(&name.as_bytes()), "{name}");
    }
    let untouched = rig.stage(0, &[0x5a; 8]);
    let again = rig.call(ModuleFunctions { module, names: untouched }).expect("a count");
    assert_eq!((again, rig.read_arena(untouched)), (reply, vec![0x5a; 8]));
}

pub(super) fn a_variable_that_a_module_does_not_have_is_not_found(rig: &mut Rig) {
    rig.init();
    let module = rig.module();
    let name = Tail::Inline(b"no_such_variable");
    assert_eq!(rig.call(ModuleGlobal { module, name }), Err(Status::NOT_FOUND));
    let module = ModuleId(4711);
    assert_eq!(rig.call(ModuleGlobal { module, name }), Err(Status::INVALID_HANDLE));
}

pub(super) fn attributes_of_a_function_are_read_and_set(rig: &mut Rig) {
    rig.init();
    let function = rig.kernel("copy").id;
    let threads = rig.call(FunctionGetAttribute { function, attribute: THREADS_MAX }).unwrap();
    assert!((1..=1024).contains(&threads.value));
    let set = FunctionSetAttribute { function, attribute: SHARED_MAX, value: 60_000 };
    rig.call(set).expect("more shared memory");
    let shared = rig.call(FunctionGetAttribute { function, attribute: SHARED_MAX }).unwrap();
    assert_eq!(shared.value, 60_000);
    let unknown = FunctionGetAttribute { function, attribute: 9999 };
    assert_eq!(rig.call(unknown), Err(Status::INVALID_VALUE));
    let function = FunctionId(4711);
    let unknown = FunctionGetAttribute { function, attribute: THREADS_MAX };
    assert_eq!(rig.call(unknown), Err(Status::INVALID_HANDLE));
}

pub(super) fn occupancy_follows_the_block(rig: &mut Rig) {
    rig.init();
    let function = rig.kernel("copy").id;
    let blocks = |rig: &mut Rig, block_threads: u32| {
        let (shared_bytes, flags) = (0, 0);
        rig.call(OccupancyBlocks { function, block_threads, shared_bytes, flags })
    };
    let (few, many) = (blocks(rig, 128).unwrap().blocks, blocks(rig, 1024).unwrap().blocks);
    assert!(few >= many && many >= 1, "{few} {many}");
    assert_eq!(blocks(rig, 0), Err(Status::INVALID_VALUE));
    let best = OccupancyBlockSize { function, limit: 0, shared_bytes: 0, flags: 0 };
    let best = rig.call(best).unwrap();
    assert!((32..=1024).contains(&best.block) && best.min_grid >= 1);
    let room = OccupancySharedBytes { function, blocks: 1, block_threads: 128 };
    assert!(rig.call(room).unwrap().bytes >= 40_000);
}

/// A launch attribute as it lies in memory.
fn attribute(id: u32, value: u32) -> [u8; LAUNCH_ATTRIBUTE_BYTES] {
    let mut record = [0; LAUNCH_ATTRIBUTE_BYTES];
    record[..4].copy_from_slice(&id.to_le_bytes());
    record[8..12].copy_from_slice(&value.to_le_bytes());
    record
}

pub(super) fn a_launch_with_attributes_runs_the_kernel(rig: &mut Rig) {
    rig.init();
    let kernel = rig.kernel("fill_u32");
    let at = rig.alloc(64);
    let to = at.0.to_le_bytes();
    let block = kernel.pack(&[&to, &7u32.to_le_bytes(), &16u64.to_le_bytes()]);
    // Cooperative, and a priority.
    let body = [&attribute(2, 1)[..], &attribute(8, 0), &block].concat();
    let one = [1; 3];
    let launch = LaunchKernelEx {
        function: kernel.id,
        grid: one,
        block: one,
        shared_bytes: 0,
        stream: DEFAULT,
        attributes: 2,
        body: Tail::Inline(&body),
    };
    rig.post(launch);
    assert!(rig.download(at, 64, DEFAULT).chunks(4).all(|word| word == [7, 0, 0, 0]));
    rig.no_failure();
    let many = LaunchKernelEx { attributes: LAUNCH_ATTRIBUTES_MAX + 1, ..launch };
    rig.post_fails(many, Status::INVALID_VALUE);
    let short = LaunchKernelEx { body: Tail::Inline(&body[..100]), ..launch };
    rig.post_fails(short, Status::INVALID_VALUE);
}

pub(super) fn a_tensor_map_is_encoded_whole_or_not_at_all(rig: &mut Rig) {
    rig.init();
    let at = rig.alloc(4096);
    let map = rig.stage(0, &[0; 128]);
    // Floats, two dimensions of 16 by 8, rows of 64 bytes, boxes of 8 by 8.
    let numbers = [7, 2, at.0, 16, 8, 64, 8, 8, 1, 1, 0, 0, 0, 0];
    let arguments: Vec<u8> = numbers.iter().flat_map(|n: &u64| n.to_le_bytes()).collect();
    let encode = TensorMapEncode { kind: 0, map, arguments: Tail::Inline(&arguments) };
    let encoded = rig.call(encode);
    let written = rig.read_arena(map) != [0; 128];
    assert_eq!(written, encoded.is_ok(), "{encoded:?}");
    assert!(encoded.is_ok() || encoded == Err(Status::NOT_SUPPORTED), "{encoded:?}");
    let short = TensorMapEncode { kind: 0, map, arguments: Tail::Inline(&arguments[..40]) };
    assert!(rig.call(short).is_err());
}
