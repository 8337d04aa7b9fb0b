//! Modules, functions, launches, and kernels that fail.

use super::rig::{DEFAULT, Kernel, Rig, launch};
use ringbar_vocabulary::*;

fn fill<'a>(dst: &'a [u8; 8], value: &'a [u8; 4], count: &'a [u8; 8]) -> [&'a [u8]; 3] {
    [dst, value, count]
}

fn launch_fill(rig: &mut Rig, kernel: &Kernel, dst: DevicePtr, value: u32, count: u64) {
    let (dst, value, count) = (dst.0.to_le_bytes(), value.to_le_bytes(), count.to_le_bytes());
    rig.launch(kernel, DEFAULT, &fill(&dst, &value, &count));
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

pub(super) fn a_kernel_reads_its_parameters_through_its_layout(rig: &mut Rig) {
    rig.init();
    let (fill, axpy, copy) = (rig.kernel("fill_u32"), rig.kernel("axpy_f32"), rig.kernel("copy"));
    let (x, y) = (rig.alloc(400), rig.alloc(400));
    launch_fill(rig, &fill, x, 2f32.to_bits(), 100);
    launch_fill(rig, &fill, y, 1f32.to_bits(), 100);
    launch_fill(rig, &fill, y, 5f32.to_bits(), 50);
    let (to_x, to_y) = (x.0.to_le_bytes(), y.0.to_le_bytes());
    let (a, count) = (3f32.to_le_bytes(), 99u64.to_le_bytes());
    rig.launch(&axpy, DEFAULT, &[&to_x, &to_y, &a, &count]);
    let sums = words(&rig.download(y, 400, DEFAULT));
    let expected = |i| {
        if i < 50 {
            11f32
        } else if i < 99 {
            7.0
        } else {
            1.0
        }
    };
    assert!(sums.iter().enumerate().all(|(i, &sum)| f32::from_bits(sum) == expected(i)));
    rig.launch(&copy, DEFAULT, &[&to_x, &to_y, &200u64.to_le_bytes()]);
    let copied = words(&rig.download(x, 400, DEFAULT));
    assert!(copied[..50].iter().all(|&word| f32::from_bits(word) == 11.0));
    assert!(copied[50..].iter().all(|&word| f32::from_bits(word) == 2.0));
    rig.no_failure();
}

pub(super) fn parameters_may_travel_in_the_arena(rig: &mut Rig) {
    rig.init();
    let kernel = rig.kernel("fill_u32");
    let at = rig.alloc(64);
    let block = kernel.pack(&fill(&at.0.to_le_bytes(), &[0xab; 4], &16u64.to_le_bytes()));
    let params = Tail::Arena(rig.stage(40, &block));
    rig.post(launch(kernel.id, DEFAULT, params));
    assert_eq!(rig.download(at, 64, DEFAULT), [0xab; 64]);
    rig.no_failure();
}

pub(super) fn an_unknown_kernel_is_not_found_by_name(rig: &mut Rig) {
    rig.init();
    let module = rig.module();
    for name in ["no_such_kernel", "", "fill_u32\0", "FILL_U32"] {
        let refused = rig.lookup(module, name).err();
        // NVIDIA's driver calls a name that cannot be one an invalid value.
        let cannot_be = name.is_empty() || name.contains('\0');
        let as_well = cannot_be && refused == Some(Status::INVALID_VALUE);
        assert!(refused == Some(Status::NOT_FOUND) || as_well, "{name:?}: {refused:?}");
    }
    assert_eq!(rig.lookup(ModuleId(99), "copy").err(), Some(Status::INVALID_HANDLE));
}

pub(super) fn an_image_that_was_sent_is_loaded_again_by_its_hash(rig: &mut Rig) {
    rig.init();
    let (context, hash) = (ContextId::FIRST, ringbar_images::hash(&rig.image));
    let early = ModuleId(40);
    let unknown = rig.call(ModuleLoadKnown { context, module: early, hash }).expect("an answer");
    assert_eq!(unknown.known, 0, "nothing was sent yet");
    assert_eq!(rig.lookup(early, "copy").err(), Some(Status::INVALID_HANDLE));
    rig.module();
    let again = ModuleId(41);
    let known = rig.call(ModuleLoadKnown { context, module: again, hash }).expect("an answer");
    assert_eq!(known.known, 1);
    rig.lookup(again, "copy").expect("the same kernels");
    let taken = rig.call(ModuleLoadKnown { context, module: again, hash });
    assert_eq!(taken.err(), Some(Status::INVALID_HANDLE), "a number in use");
    let other = rig.call(ModuleLoadKnown { context, module: ModuleId(42), hash: [1; 4] });
    assert_eq!(other.map(|reply| reply.known), Ok(0));
}

pub(super) fn an_image_is_compiled_with_options_that_are_numbers(rig: &mut Rig) {
    rig.init();
    let (module, image) = (ModuleId(40), rig.image.clone());
    // CU_JIT_MAX_REGISTERS and CU_JIT_LOG_VERBOSE, then one that would be an address.
    let words = |options: [u64; 2]| {
        let pairs = [options[0], 64, options[1], 1];
        pairs.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>()
    };
    let block = ArenaRef::new(0, 0, 32 + 2 * 256).expect("a block");
    let compile = |count, block| ModuleCompile {
        context: ContextId::FIRST,
        module,
        count,
        info_bytes: 256,
        error_bytes: 256,
        block,
        image: Tail::Inline(&image),
    };
    rig.stage(0, &words([0, 17]));
    assert_eq!(rig.call(compile(2, block)), Err(Status::INVALID_VALUE), "an address");
    rig.stage(0, &words([0, 12]));
    let small = ArenaRef::new(0, 0, 100).expect("a block");
    assert_eq!(rig.call(compile(2, small)), Err(Status::INVALID_VALUE), "no room for the logs");
    let many = JIT_OPTIONS_MAX as u32 + 1;
    assert_eq!(rig.call(compile(many, block)), Err(Status::INVALID_VALUE), "too many");
    assert_eq!(rig.lookup(module, "copy").err(), Some(Status::INVALID_HANDLE));
    let reply = rig.call(compile(2, block)).expect("an answer");
    assert_eq!(Status(reply.status), Status::SUCCESS);
    rig.lookup(module, "copy").expect("its kernels");
    let taken = rig.call(compile(2, block)).map(|reply| Status(reply.status));
    assert_eq!(taken, Ok(Status::INVALID_HANDLE), "a number in use");
}

pub(super) fn a_link_of_one_image_is_loaded_and_of_nonsense_is_refused(rig: &mut Rig) {
    rig.init();
    let (module, image) = (ModuleId(40), rig.image.clone());
    // CU_JIT_INPUT_PTX.
    let inputs = |data: &[u8]| {
        let mut inputs = Vec::new();
        LinkInput { kind: 1, options: vec![(7, 3)], name: b"one", data }.append(&mut inputs);
        inputs
    };
    let (good, bad) = (inputs(&image), inputs(&[b'x'; 64]));
    let place = |len| ArenaRef::new(0, 0, len).expect("a block");
    let link = |check, count, block, inputs| Link {
        context: ContextId::FIRST,
        check,
        count,
        info_bytes: 256,
        error_bytes: 256,
        block,
        inputs: Tail::Inline(inputs),
    };
    let (logs, room) = (place(512), place(512 + (64 << 10)));
    let reply = rig.call(link(1, 0, logs, &good)).expect("an answer");
    assert_eq!((Status(reply.status), reply.image_bytes), (Status::SUCCESS, 0), "only looked at");
    let reply = rig.call(link(1, 0, logs, &bad)).expect("an answer");
    assert_eq!(Status(reply.status), Status::INVALID_IMAGE);
    let asked = rig.call(link(0, 0, logs, &good)).expect("an answer");
    let reply = rig.call(link(0, 0, room, &good)).expect("an answer");
    assert_eq!(Status(reply.status), Status::SUCCESS);
    assert_eq!(asked.image_bytes, reply.image_bytes, "also where there is no room for it");
    let place = room.part(512, reply.image_bytes).expect("room for all of it");
    let linked = rig.read_arena(place);
    let image = Tail::Inline(&linked);
    rig.call(ModuleLoad { context: ContextId::FIRST, module, image }).expect("an image");
    rig.lookup(module, "copy").expect("its kernels");
    let (many, short) = (JIT_OPTIONS_MAX as u32 + 1, &good[..good.len() - 8]);
    assert_eq!(rig.call(link(0, many, room, &good)).err(), Some(Status::INVALID_VALUE));
    assert_eq!(
        rig.call(link(0, 0, room, short)).err(),
        Some(Status::INVALID_VALUE),
        "half an input"
    );
    rig.stage(0, &17_u64.to_le_bytes());
    assert_eq!(rig.call(link(0, 1, room, &good)).err(), Some(Status::INVALID_VALUE), "an address");
    let nowhere = Link { context: ContextId(900), ..link(0, 0, room, &good) };
    rig.refused(nowhere);
}

pub(super) fn an_image_that_is_none_is_refused(rig: &mut Rig) {
    rig.init();
    let module = ModuleId(7);
    for image in [&b""[..], b"not an image at all", &[0; 64]] {
        let image = Tail::Inline(image);
        let refused =
            rig.call(ModuleLoad { context: ContextId::FIRST, module, image }).unwrap_err();
        assert!([Status::INVALID_IMAGE, Status::INVALID_VALUE].contains(&refused), "{refused}");
    }
    assert_eq!(rig.lookup(module, "copy").err(), Some(Status::INVALID_HANDLE));
}

pub(super) fn a_parameter_block_of_the_wrong_length_is_refused(rig: &mut Rig) {
    rig.init();
    let kernel = rig.kernel("copy");
    let block = vec![0; kernel.param_bytes + 8];
    for len in [0, kernel.param_bytes - 1, kernel.param_bytes + 8] {
        let params = Tail::Inline(&block[..len]);
        rig.post_fails(launch(kernel.id, DEFAULT, params), Status::INVALID_VALUE);
    }
}

pub(super) fn an_empty_launch_is_refused(rig: &mut Rig) {
    rig.init();
    let kernel = rig.kernel("copy");
    let block = vec![0; kernel.param_bytes];
    let whole = launch(kernel.id, DEFAULT, Tail::Inline(&block));
    rig.post_fails(LaunchKernel { grid: [1, 0, 1], ..whole }, Status::INVALID_VALUE);
    rig.post_fails(LaunchKernel { block: [0, 1, 1], ..whole }, Status::INVALID_VALUE);
    rig.post_fails(LaunchKernel { block: [1024, 2, 1], ..whole }, Status::INVALID_VALUE);
    let unknown = FunctionId(4040);
    rig.post_fails(LaunchKernel { function: unknown, ..whole }, Status::INVALID_HANDLE);
}

pub(super) fn functions_of_an_unloaded_module_are_invalid_handles(rig: &mut Rig) {
    rig.init();
    let (module, other) = (rig.module(), rig.module());
    let gone = rig.lookup(module, "copy").unwrap();
    let kept = rig.lookup(other, "fill_u32").unwrap();
    rig.post(ModuleUnload { module });
    let block = vec![0; gone.param_bytes];
    rig.post_fails(launch(gone.id, DEFAULT, Tail::Inline(&block)), Status::INVALID_HANDLE);
    rig.post_fails(ModuleUnload { module }, Status::INVALID_HANDLE);
    let at = rig.alloc(16);
    launch_fill(rig, &kept, at, 3, 4);
    assert_eq!(words(&rig.download(at, 16, DEFAULT)), [3; 4]);
}

pub(super) fn unloading_a_module_lets_its_launches_finish(rig: &mut Rig) {
    rig.init();
    let module = rig.module();
    let kernel = rig.lookup(module, "fill_u32").unwrap();
    let at = rig.alloc(64);
    for value in 0..20 {
        launch_fill(rig, &kernel, at, value, 16);
    }
    rig.post(ModuleUnload { module });
    assert_eq!(words(&rig.download(at, 64, DEFAULT)), [19; 16]);
    rig.no_failure();
}

pub(super) fn a_kernel_that_touches_foreign_memory_makes_the_device_unusable(rig: &mut Rig) {
    rig.init();
    let kernel = rig.kernel("fill_u32");
    let at = rig.alloc(64);
    assert_eq!(rig.backend.lost(), None);
    let position = rig.worker.position();
    launch_fill(rig, &kernel, DevicePtr(4096), 1, 16);
    rig.backend.drain();
    assert_eq!(rig.backend.lost(), Some(Status::ILLEGAL_ADDRESS));
    assert_eq!(rig.worker.errors.first(), Some((position, Status::ILLEGAL_ADDRESS)));
    assert_eq!(
        rig.call(MemAlloc { context: ContextId::FIRST, bytes: 64 }),
        Err(Status::ILLEGAL_ADDRESS)
    );
    rig.post_fails(MemFree { at }, Status::ILLEGAL_ADDRESS);
}

pub(super) fn no_fence_is_written_after_a_kernel_failed(rig: &mut Rig) {
    rig.init();
    let (kernel, other) = (rig.kernel("fill_u32"), rig.stream());
    launch_fill(rig, &kernel, DevicePtr(4096), 1, 16);
    rig.post(Fence { stream: DEFAULT, index: 1, value: 1 });
    rig.post(Fence { stream: other, index: 2, value: 1 });
    rig.backend.drain();
    assert_eq!(rig.worker.fences.log(), []);
    assert_eq!([1, 2].map(|index| rig.worker.fences.value(index)), [0, 0]);
}
