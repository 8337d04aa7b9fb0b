//! What only the mock promises: determinism, layouts, faults, time.

use ringbar_backend::testing::FakeWorker;
use ringbar_backend::{Backend, HostMemory};
use ringbar_mock::{Faults, KernelArgs, KernelFault, KernelSpec, MockConfig, MockGpu, image};
use ringbar_vocabulary::*;
use std::time::{Duration, Instant};

const STREAM: StreamId = StreamId(3);

struct Client {
    gpu: MockGpu,
    worker: FakeWorker,
    ids: u32,
}

impl Client {
    fn new(config: MockConfig) -> Self {
        let gpu = MockGpu::new(config).expect("a mock GPU");
        let mut client = Self { gpu, worker: FakeWorker::new(1 << 20, 16), ids: 10 };
        client.call(Init { flags: 0 }).expect("init");
        client.post(StreamCreate {
            context: ContextId::FIRST,
            stream: STREAM,
            flags: 0,
            priority: 0,
        });
        client
    }

    fn post(&mut self, command: impl PostCommand) {
        self.worker.post(&mut self.gpu, command).expect("no violation");
    }

    fn call<C: SyncCommand>(&mut self, command: C) -> Result<C::Reply, Status> {
        self.worker.call(&mut self.gpu, command).expect("no violation")
    }

    fn alloc(&mut self, bytes: u64) -> DevicePtr {
        self.call(MemAlloc { context: ContextId::FIRST, bytes }).expect("memory").at
    }

    fn load(&mut self, names: &[&str]) -> Result<ModuleId, Status> {
        self.ids += 1;
        let module = ModuleId(self.ids);
        self.call(ModuleLoad {
            context: ContextId::FIRST,
            module,
            image: Tail::Inline(&image(names)),
        })?;
        Ok(module)
    }

    fn lookup(&mut self, name: &str) -> (FunctionId, Vec<Param>, usize) {
        let family = if name.starts_with("mix_") { "mix" } else { name };
        let module = self.load(&[family]).expect("a module");
        let function = FunctionId(self.ids);
        let layout = ArenaRef::new(0, 0, 4096).unwrap();
        let name = Tail::Inline(name.as_bytes());
        let reply = self.call(FunctionLookup { module, function, layout, name }).expect("a kernel");
        let words = reply.inline[..reply.params as usize].iter();
        (function, words.map(|&w| Param::from_word(w)).collect(), reply.param_bytes as usize)
    }

    fn launch(&mut self, function: FunctionId, stream: StreamId, params: &[u8]) {
        let (one, params) = ([1; 3], Tail::Inline(params));
        self.post(LaunchKernel {
            function,
            grid: one,
            block: one,
            shared_bytes: 0,
            stream,
            params,
        });
    }

    fn digest(&mut self) -> u64 {
        self.call(MemoryDigest {}).expect("a digest").digest
    }
}

fn small() -> MockConfig {
    MockConfig { device_memory_bytes: 16 << 20, ..MockConfig::default() }
}

fn with_faults(faults: Faults) -> Client {
    Client::new(MockConfig { faults, ..small() })
}

/// Some of everything, on several streams with events; returns the final digest.
fn workload(client: &mut Client, order: [u8; 2]) -> u64 {
    let (function, params, bytes) = client.lookup("mix_44");
    let (a, b) = (client.alloc(64), client.alloc(5000));
    client.post(MemsetD8 { dst: a, count: 64, stream: STREAM, value: 0 });
    client.post(MemsetD8 { dst: b, count: 5000, stream: STREAM, value: 1 });
    let event = EventId(1);
    client.post(EventCreate { context: ContextId::FIRST, event, flags: 0 });
    for round in 0..50u8 {
        let mut block = vec![round; bytes];
        block[usize::from(params[0].offset)..params[0].end()].copy_from_slice(&a.0.to_le_bytes());
        client.launch(function, STREAM, &block);
        let arguments = Tail::Inline(&[order[usize::from(round) % 2]; 120]);
        client.post(LibraryCall { library: 1, function: 2, stream: STREAM, arguments });
        let data = Tail::Inline(&[round; 33]);
        client.post(MemcpyHtoD { dst: b.offset(u64::from(round) * 40), stream: STREAM, data });
        client.post(EventRecord { event, stream: STREAM, flags: 0, index: NO_FENCE, value: 0 });
        let temporary = client.alloc(3000);
        client.post(StreamWaitEvent { stream: StreamId::DEFAULT, event, flags: 0 });
        let stream = StreamId::DEFAULT;
        client.post(MemcpyDtoD { dst: temporary, src: b, bytes: 3000, stream });
        client.post(MemcpyDtoD { dst: b.offset(3000), src: temporary, bytes: 1000, stream });
        client.post(MemFree { at: temporary });
    }
    assert_eq!(client.worker.errors.first(), None);
    client.digest()
}

#[test]
fn the_same_commands_give_the_same_memory_inline_and_on_device_threads() {
    let inline = workload(&mut Client::new(small()), [7, 8]);
    let timed = MockConfig { latency_ns: 20_000, bandwidth_bytes_per_s: 1 << 30, ..small() };
    for device_threads in [1, 2, 8] {
        let timed = MockConfig { device_threads, ..timed.clone() };
        assert_eq!(workload(&mut Client::new(timed), [7, 8]), inline);
    }
    assert_eq!(workload(&mut Client::new(small()), [7, 8]), inline);
}

#[test]
fn the_order_of_library_calls_shows_in_the_digest() {
    let [first, second] = [[7, 8], [8, 7]].map(|order| workload(&mut Client::new(small()), order));
    assert_ne!(first, second);
}

#[test]
fn mix_folds_every_parameter_byte_and_their_order_into_its_buffer() {
    let run = |rounds: [u8; 2], flip: usize| {
        let mut client = Client::new(small());
        let (function, params, bytes) = client.lookup("mix_100");
        let at = client.alloc(32);
        for round in rounds {
            let mut block = vec![round; bytes];
            block[flip] ^= 1;
            let pointer = usize::from(params[0].offset)..params[0].end();
            if pointer.contains(&flip) {
                return None;
            }
            block[pointer].copy_from_slice(&at.0.to_le_bytes());
            client.launch(function, STREAM, &block);
        }
        Some(client.digest())
    };
    let mut seen = std::collections::HashSet::new();
    for flip in 0..100 {
        assert!(run([1, 2], flip).is_none_or(|digest| seen.insert(digest)), "byte {flip}");
    }
    assert_eq!(seen.len(), 92);
    assert_ne!(run([1, 2], 99), run([2, 1], 99));
}

#[test]
fn a_mix_without_room_for_a_pointer_still_counts() {
    let mut client = Client::new(small());
    let (function, _, _) = client.lookup("mix_3");
    let before = client.digest();
    client.launch(function, STREAM, &[1, 2, 3]);
    assert_ne!(client.digest(), before);
    assert_eq!(client.worker.errors.first(), None);
}

#[test]
fn a_kernel_that_ignores_its_layout_reads_something_else_under_some_seed() {
    fn by_position(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
        let block = args.block_bytes();
        let value = u32::from_le_bytes(*block[8..].first_chunk().expect("a long block"));
        if value == 0x1234_5678 { Ok(()) } else { Err(KernelFault::Failed("not the value")) }
    }
    fn by_layout(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
        if args.u32(1)? == 0x1234_5678 { Ok(()) } else { Err(KernelFault::Failed("not the value")) }
    }
    let failures = |run| {
        let fails = |seed| {
            let param_bytes = vec![8, 4, 8];
            let kernels = vec![KernelSpec { name: "k".into(), param_bytes, run }];
            let mut client = Client::new(MockConfig { seed, kernels, ..small() });
            let (function, params, bytes) = client.lookup("k");
            let mut block = vec![0; bytes];
            block[usize::from(params[1].offset)..params[1].end()]
                .copy_from_slice(&0x1234_5678u32.to_le_bytes());
            client.launch(function, STREAM, &block);
            client.gpu.lost().is_some()
        };
        (0..20).filter(|&seed| fails(seed)).count()
    };
    assert!(failures(by_position) > 0);
    assert_eq!(failures(by_layout), 0);
}

#[test]
fn a_kernel_that_panics_makes_the_device_unusable_and_nothing_else() {
    fn panics(_: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
        panic!("a kernel's own defect");
    }
    let kernels = vec![KernelSpec { name: "panics".into(), param_bytes: vec![], run: panics }];
    for latency_ns in [0, 1000] {
        let config = MockConfig { kernels: kernels.clone(), latency_ns, ..small() };
        let mut client = Client::new(config);
        let (function, _, _) = client.lookup("panics");
        client.launch(function, STREAM, &[]);
        client.gpu.drain();
        assert_eq!(client.gpu.lost(), Some(Status::LAUNCH_FAILED));
    }
}

#[test]
fn an_image_with_an_unknown_kernel_is_refused() {
    let mut client = Client::new(small());
    assert_eq!(client.load(&["copy", "unheard_of"]), Err(Status::NOT_FOUND));
    assert!(client.load(&["copy", "mix"]).is_ok());
}

#[test]
fn the_layout_of_many_parameters_travels_in_the_arena() {
    fn nothing(_: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
        Ok(())
    }
    let kernels = vec![KernelSpec { name: "k".into(), param_bytes: vec![4; 30], run: nothing }];
    let mut client = Client::new(MockConfig { kernels, ..small() });
    let module = client.load(&["k"]).unwrap();
    let (function, name) = (FunctionId(1), Tail::Inline(b"k"));
    let layout = ArenaRef::new(0, 64, 119).unwrap();
    let reply = client.call(FunctionLookup { module, function, layout, name }).unwrap();
    assert_eq!(reply.params, 30, "too small a block, so the number is still free");
    let layout = ArenaRef::new(0, 64, 120).unwrap();
    let again = client.call(FunctionLookup { module, function, layout, name }).unwrap();
    assert_eq!(again, reply);
    let mut bytes = [0; 120];
    client.worker.arena.read(layout, &mut bytes).unwrap();
    let words: Vec<u32> =
        bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    assert_eq!(words[..10], reply.inline);
    let mut offsets: Vec<u16> = words.iter().map(|&word| Param::from_word(word).offset).collect();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), 30);
    client.launch(function, STREAM, &vec![0; reply.param_bytes as usize]);
    assert_eq!(client.worker.errors.first(), None);
}

#[test]
fn the_chosen_allocation_is_out_of_memory_and_no_other() {
    let mut client = with_faults(Faults { out_of_memory_at_alloc: Some(3), ..Faults::default() });
    let results =
        [(); 5].map(|()| client.call(MemAlloc { context: ContextId::FIRST, bytes: 64 }).is_ok());
    assert_eq!(results, [true, true, false, true, true]);
}

#[test]
fn a_launch_failure_sticks() {
    for latency_ns in [0, 5000] {
        let faults = Faults { fail_at_launch: Some(2), ..Faults::default() };
        let mut client = Client::new(MockConfig { faults, latency_ns, ..small() });
        let (function, _, _) = client.lookup("mix_0");
        client.launch(function, STREAM, &[]);
        client.gpu.drain();
        assert_eq!(client.worker.errors.first(), None);
        let position = client.worker.position();
        client.launch(function, STREAM, &[]);
        client.gpu.drain();
        let failure = Some((position, Status::LAUNCH_FAILED));
        assert_eq!(client.worker.errors.first(), failure);
        assert_eq!(client.call(Ping { token: 1 }), Err(Status::LAUNCH_FAILED));
        client.launch(function, STREAM, &[]);
        assert_eq!(client.worker.errors.first(), failure, "the first stays");
    }
}

#[test]
fn a_slow_launch_delays_its_stream_and_not_the_worker() {
    let faults = Faults { slow_at_launch: Some((1, 3_000_000_000)), ..Faults::default() };
    let mut client = with_faults(faults);
    let (function, _, _) = client.lookup("mix_0");
    let start = Instant::now();
    client.launch(function, STREAM, &[]);
    client.post(Fence { stream: STREAM, index: 1, value: 1 });
    assert_eq!(client.call(Ping { token: 5 }), Ok(PingReply { token: 5 }));
    assert!(!client.gpu.is_idle());
    assert!(client.worker.fences.wait(1, 1, Duration::from_secs(60)));
    assert!(start.elapsed() >= Duration::from_secs(3));
}

#[test]
fn a_launch_that_hangs_blocks_its_stream_only_until_the_device_is_gone() {
    let mut client = with_faults(Faults { hang_at_launch: Some(1), ..Faults::default() });
    let other = StreamId(4);
    client.post(StreamCreate { context: ContextId::FIRST, stream: other, flags: 1, priority: 0 });
    let (function, _, _) = client.lookup("mix_0");
    client.launch(function, STREAM, &[]);
    client.post(Fence { stream: STREAM, index: 1, value: 1 });
    client.post(Fence { stream: other, index: 2, value: 1 });
    assert!(client.worker.fences.wait(2, 1, Duration::from_secs(60)));
    assert!(!client.worker.fences.wait(1, 1, Duration::from_millis(50)));
    assert_eq!(client.call(Ping { token: 5 }), Ok(PingReply { token: 5 }));
    drop(client);
}

#[test]
fn arena_bytes_are_held_while_a_copy_waits() {
    let mut client = with_faults(Faults { hang_at_launch: Some(1), ..Faults::default() });
    let (function, _, _) = client.lookup("mix_0");
    let at = client.alloc(4096);
    client.launch(function, STREAM, &[]);
    let position = client.worker.position();
    let data = Tail::Arena(ArenaRef::new(0, 0, 4096).unwrap());
    client.post(MemcpyHtoD { dst: at, stream: STREAM, data });
    client.call(Ping { token: 0 }).unwrap();
    assert_eq!(client.worker.holds.retired(client.worker.position()), position);
    let (holds, gpu) = (client.worker.holds.clone(), client.gpu);
    drop(gpu);
    assert!(holds.is_empty(), "a device that ends lets go of everything");
}

#[test]
fn memory_freed_behind_running_work_is_not_handed_out_before_it_is_done() {
    let faults = Faults { slow_at_launch: Some((1, 100_000_000)), ..Faults::default() };
    let mut client = Client::new(MockConfig { faults, device_memory_bytes: 4096, ..small() });
    let (function, _, bytes) = client.lookup("mix_8");
    let at = client.alloc(4096);
    assert_eq!(bytes, 8);
    client.launch(function, STREAM, &at.0.to_le_bytes());
    client.post(MemFree { at });
    let again = client.alloc(4096);
    assert_eq!((again, client.gpu.is_idle()), (at, true));
    assert_eq!(client.worker.errors.first(), None);
}

#[test]
fn scrubbing_zeroes_freed_memory() {
    let first_byte = |scrub_on_free| {
        let mut client = Client::new(MockConfig { scrub_on_free, ..small() });
        let at = client.alloc(256);
        client.post(MemsetD8 { dst: at, count: 256, stream: STREAM, value: 9 });
        client.post(MemFree { at });
        assert_eq!(client.alloc(256), at);
        let dst = ArenaRef::new(0, 0, 1).unwrap();
        client.post(MemcpyDtoH { dst, src: at, stream: STREAM });
        let mut byte = [0xff];
        client.worker.arena.read(dst, &mut byte).unwrap();
        byte[0]
    };
    assert_eq!((first_byte(true), first_byte(false)), (0, 9));
}

const ABORT: &str = "RINGBAR_MOCK_TEST_ABORT";

#[test]
fn the_process_aborts_at_the_chosen_command_and_not_before() {
    if std::env::var_os(ABORT).is_some() {
        let mut client = with_faults(Faults { abort_at_command: Some(5), ..Faults::default() });
        for token in 3..10 {
            client.call(Ping { token }).unwrap();
            eprintln!("command {token} done");
        }
        return;
    }
    let this = std::env::current_exe().unwrap();
    let name = "the_process_aborts_at_the_chosen_command_and_not_before";
    let mut command = std::process::Command::new(this);
    let output = command.args([name, "--exact", "--nocapture"]).env(ABORT, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(6), "{said}");
    assert!(said.contains("command 4 done") && !said.contains("command 5 done"), "{said}");
}

#[test]
fn a_configuration_that_cannot_be_is_refused() {
    let config = MockConfig { device_memory_bytes: 1 << 62, ..small() };
    assert!(MockGpu::new(config).is_err());
    let config = MockConfig { device_memory_bytes: 0, ..small() };
    assert!(MockGpu::new(config).is_err());
}
