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

pub(super) fn a_variable_is_found_by_name_and_has_its_value(rig: &mut Rig) {
    rig.init();
    let (module, other) = (rig.module(), rig.module());
    let find = |rig: &mut Rig, module| {
        rig.call(ModuleGlobal { module, name: Tail::Inline(b"word") }).expect("a variable")
    };
    let word = find(rig, module);
    assert_eq!((word.bytes, find(rig, module)), (4, word));
    assert_eq!(rig.download(word.at, 4, DEFAULT), [1, 2, 3, 4]);
    rig.post(MemsetD8 { dst: word.at, count: 4, stream: DEFAULT, value: 9 });
    let others = find(rig, other);
    assert_ne!(others.at, word.at, "each module has its own");
    assert_eq!(rig.download(others.at, 4, DEFAULT), [1, 2, 3, 4]);
    assert_eq!(rig.download(word.at, 4, DEFAULT), [9; 4]);
    rig.no_failure();
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

pub(super) fn a_function_prefers_a_cache_and_runs_as_before(rig: &mut Rig) {
    rig.init();
    let kernel = rig.kernel("fill_u32");
    let at = rig.alloc(64);
    // No preference, shared memory, the first-level cache, both alike.
    for config in 0..4 {
        rig.post(FunctionSetCacheConfig { function: kernel.id, config });
    }
    let to = at.0.to_le_bytes();
    rig.launch(&kernel, DEFAULT, &[&to, &5u32.to_le_bytes(), &16u64.to_le_bytes()]);
    assert!(rig.download(at, 64, DEFAULT).chunks(4).all(|word| word == [5, 0, 0, 0]));
    rig.no_failure();
    let nothing = FunctionSetCacheConfig { function: FunctionId(4711), config: 1 };
    rig.post_fails(nothing, Status::INVALID_HANDLE);
}

/// `CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH`.
const CLUSTER_LAUNCH: u32 = 120;

pub(super) fn clusters_are_counted_and_measured(rig: &mut Rig) {
    rig.init();
    let place = ArenaRef::new(0, 0, 65_536).unwrap();
    let bytes = rig.call(DeviceFacts { device: 0, facts: place }).expect("facts").bytes;
    let facts = rig.read_arena(place.part(0, bytes).unwrap());
    let facts = DeviceFactsBlock::from_bytes(&facts).expect("facts");
    let function = rig.kernel("copy").id;
    let ask = OccupancyClusters {
        function,
        grid: [64, 1, 1],
        block: [128, 1, 1],
        shared_bytes: 0,
        cluster: [2, 1, 1],
        largest: 0,
        stream: DEFAULT,
    };
    if facts.attribute(CLUSTER_LAUNCH) == Some(1) {
        let pairs = rig.call(ask).expect("a number").value;
        let largest = rig.call(OccupancyClusters { largest: 1, ..ask }).expect("a size").value;
        // Eight blocks are what every device with clusters has.
        assert!(pairs >= 1 && largest >= 8, "{pairs} {largest}");
        let giant = OccupancyClusters { cluster: [64, 1, 1], ..ask };
        assert!(rig.call(giant).map_or(0, |reply| reply.value) == 0, "no device has such clusters");
    } else {
        assert!(rig.call(ask).map_or(0, |reply| reply.value) == 0, "no clusters");
    }
    let nothing = OccupancyClusters { function: FunctionId(4711), ..ask };
    assert_eq!(rig.call(nothing), Err(Status::INVALID_HANDLE));
    let nowhere = OccupancyClusters { stream: StreamId(9999), ..ask };
    assert_eq!(rig.call(nowhere), Err(Status::INVALID_HANDLE));
}

pub(super) fn a_librarys_call_is_done_in_stream_order_or_refused_by_name(rig: &mut Rig) {
    rig.init();
    let before = rig.call(Stats {}).expect("counts");
    let arguments = Tail::Inline(&[1, 2, 3]);
    let call = LibraryCall { library: 1, function: 2, stream: DEFAULT, arguments };
    rig.post(call);
    rig.backend.drain();
    let after = rig.call(Stats {}).expect("counts");
    match rig.worker.errors.first() {
        None => assert_eq!(after.launches, before.launches + 1),
        Some((_, status)) => {
            assert_eq!(status, Status::NOT_SUPPORTED);
            assert_eq!(after.unsupported, before.unsupported + 1);
        }
    }
    let failures = rig.worker.errors.count();
    rig.post(LibraryCall { stream: StreamId(9999), ..call });
    rig.backend.drain();
    assert_eq!(rig.worker.errors.count(), failures + 1, "no such stream, or no such call");
}

pub(super) fn a_library_answers_a_question_alike_each_time_or_refuses_it_by_name(rig: &mut Rig) {
    rig.init();
    let before = rig.call(Stats {}).expect("counts");
    let query = LibraryQuery { library: 1, function: 2, request: Tail::Inline(&[1, 2, 3]) };
    let answer = rig.call(query);
    assert_eq!(rig.call(query), answer);
    match answer {
        Ok(LibraryQueryReply { bytes, answer }) => {
            let all: Vec<u8> = answer.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert!(bytes as usize <= all.len(), "{bytes}");
            assert!(all[bytes as usize..].iter().all(|&byte| byte == 0), "zeros behind it");
        }
        Err(status) => {
            assert_eq!(status, Status::NOT_SUPPORTED);
            let after = rig.call(Stats {}).expect("counts");
            assert_eq!(after.unsupported, before.unsupported + 2);
        }
    }
}
