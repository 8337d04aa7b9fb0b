//! Real images of nvcc, several devices, printing, memory of graphs.

use ringbar_backend::HostMemory;
use ringbar_backend::testing::FakeWorker;
use ringbar_mock::{KernelArgs, KernelFault, KernelSpec, MockConfig, MockGpu};
use ringbar_vocabulary::*;

const FAT: &[u8] = include_bytes!("../../images/fixtures/kernels.fatbin");
const PTX: &[u8] = include_bytes!("../../images/fixtures/kernels.ptx");
const MODULE: ModuleId = ModuleId(1);
const STREAM: StreamId = StreamId::DEFAULT;

/// `say` of the fixture: counts in the module's variable and prints.
fn say(args: &mut KernelArgs<'_>) -> Result<(), KernelFault> {
    let counter = args.variable("counter")?;
    let found = i32::from_le_bytes(args.load(counter)?);
    args.store(counter, &(found + 1).to_le_bytes())?;
    let text = format!("{} {}\n", args.i32(0)?, args.f64(3)?);
    args.print(&text);
    Ok(())
}

struct Client {
    gpu: MockGpu,
    worker: FakeWorker,
}

impl Client {
    fn new(devices: u32) -> Self {
        let say = |name: &str, param_bytes: &[u16]| KernelSpec {
            name: name.into(),
            param_bytes: param_bytes.into(),
            run: say,
        };
        let kernels = vec![say("_Z3sayic3Oddd", &[4, 1, 24, 8]), say("_Z5storeIfEvT_PS0_", &[4])];
        let device_memory_bytes = 64 << 20;
        let config = MockConfig { devices, device_memory_bytes, kernels, ..MockConfig::default() };
        let gpu = MockGpu::new(config).expect("a mock GPU");
        let mut client = Self { gpu, worker: FakeWorker::new(1 << 20, 16) };
        client.call(Init { flags: 0 }).expect("init");
        client
    }

    fn call<C: SyncCommand>(&mut self, command: C) -> Result<C::Reply, Status> {
        self.worker.call(&mut self.gpu, command).expect("no violation")
    }

    fn post(&mut self, command: impl PostCommand) {
        self.worker.post(&mut self.gpu, command).expect("no violation");
    }

    fn load(&mut self, image: &[u8]) -> Result<ModuleLoadReply, Status> {
        let place = ArenaRef::new(0, 0, image.len() as u64).unwrap();
        self.worker.arena.write(place, image).unwrap();
        let (context, image) = (ContextId::FIRST, Tail::Arena(place));
        self.call(ModuleLoad { context, module: MODULE, image })
    }

    fn lookup(&mut self, name: &str) -> Result<FunctionLookupReply, Status> {
        let (function, layout) = (FunctionId(1), ArenaRef::new(0, 0, 4096).unwrap());
        let name = Tail::Inline(name.as_bytes());
        self.call(FunctionLookup { module: MODULE, function, layout, name })
    }

    fn variable(&mut self, name: &str) -> ModuleGlobalReply {
        let name = Tail::Inline(name.as_bytes());
        self.call(ModuleGlobal { module: MODULE, name }).expect("a variable")
    }

    fn download(&mut self, src: DevicePtr, bytes: u64) -> Vec<u8> {
        let dst = ArenaRef::new(0, 500_000, bytes).unwrap();
        self.post(MemcpyDtoH { dst, src, stream: STREAM });
        let mut found = vec![0; bytes as usize];
        self.worker.arena.read(dst, &mut found).unwrap();
        found
    }
}

#[test]
fn a_real_image_gives_layouts_variables_and_registered_bodies() {
    for image in [FAT, PTX] {
        let mut client = Client::new(1);
        client.load(image).expect("an image of nvcc");
        let reply = client.lookup("_Z3sayic3Oddd").expect("a registered kernel");
        assert_eq!((reply.params, reply.param_bytes), (4, 40));
        let counter = client.variable("counter");
        assert_eq!((client.download(counter.at, 4), counter.bytes), (vec![7, 0, 0, 0], 4));
        let mut params = vec![0; 40];
        params[..4].copy_from_slice(&42i32.to_le_bytes());
        params[32..].copy_from_slice(&1.5f64.to_le_bytes());
        let (one, params) = ([1; 3], Tail::Inline(&params));
        let (function, shared_bytes, stream) = (FunctionId(1), 0, STREAM);
        client.post(LaunchKernel { function, grid: one, block: one, shared_bytes, stream, params });
        assert_eq!(client.download(counter.at, 4), [8, 0, 0, 0]);
        let text = ArenaRef::new(0, 0, 100).unwrap();
        let bytes = client.call(OutputTake { text, context: ContextId::FIRST }).unwrap().bytes;
        let mut printed = vec![0; bytes as usize];
        client.worker.arena.read(text.part(0, bytes.into()).unwrap(), &mut printed).unwrap();
        assert_eq!(printed, b"42 1.5\n");
        assert_eq!(client.worker.errors.first(), None);
    }
}

#[test]
fn a_kernel_without_a_registered_body_is_refused_by_name() {
    let mut client = Client::new(1);
    client.load(FAT).expect("an image of nvcc");
    assert_eq!(client.lookup("_Z4huge4HugePi"), Err(Status::NOT_FOUND), "nobody wrote it");
    let other_parameters = "_Z5storeIfEvT_PS0_";
    assert_eq!(client.lookup(other_parameters), Err(Status::NOT_FOUND));
}

#[test]
fn what_is_refused_is_told_in_the_log_of_errors() {
    let mut client = Client::new(1);
    let block = ArenaRef::new(0, 0, 96).expect("a block");
    let compile = |image| ModuleCompile {
        context: ContextId::FIRST,
        module: MODULE,
        count: 0,
        info_bytes: 32,
        error_bytes: 64,
        block,
        image: Tail::Inline(image),
    };
    let image = ringbar_mock::image(&["no_such_kernel"]);
    let reply = client.call(compile(&image)).expect("an answer");
    assert_eq!((Status(reply.status), reply.info_bytes), (Status::NOT_FOUND, 0));
    let mut log = vec![0; 64];
    client.worker.arena.read(block.part(32, 64).unwrap(), &mut log).unwrap();
    let log = std::ffi::CStr::from_bytes_until_nul(&log).expect("text that ends");
    assert_eq!(log.to_bytes().len(), reply.error_bytes as usize);
    assert!(log.to_str().unwrap().contains("no_such_kernel"), "{log:?}");
}

#[test]
fn unloading_gives_the_variables_back() {
    let mut client = Client::new(1);
    let context = ContextId::FIRST;
    let before = client.call(MemGetInfo { context }).unwrap();
    client.load(FAT).expect("an image of nvcc");
    assert!(client.call(MemGetInfo { context }).unwrap().free_bytes < before.free_bytes);
    client.post(ModuleUnload { module: MODULE });
    assert_eq!(client.call(MemGetInfo { context }), Ok(before));
}

#[test]
fn devices_have_memory_of_their_own_and_reach_each_others() {
    let mut client = Client::new(2);
    assert_eq!(client.call(Init { flags: 0 }).unwrap().device_count, 2);
    let second = ContextId(1);
    let [a, b] = [ContextId::FIRST, second].map(|context| {
        client.call(MemAlloc { context, bytes: 40 << 20 }).expect("memory of each").at
    });
    client.post(MemsetD8 { dst: b, count: 64, stream: second.default_stream(), value: 7 });
    client.post(MemcpyDtoD { dst: a, src: b, bytes: 64, stream: STREAM });
    assert_eq!(client.download(a, 64), [7; 64]);
    let query = DevicePeerQuery { device: 0, peer: 1, attribute: CAN_ACCESS_PEER };
    assert_eq!(client.call(query), Ok(DevicePeerQueryReply { value: 1 }));
    let peers = ContextPeerAccess { context: ContextId::FIRST, peer: second, enable: 1 };
    assert!(client.call(peers).is_ok());
    assert_eq!(client.call(peers), Err(Status(704)), "already");
}

#[test]
fn memory_that_was_captured_lives_as_long_as_its_graph() {
    let mut client = Client::new(1);
    let context = ContextId::FIRST;
    let (stream, graph, exec) = (StreamId(5), GraphId(1), GraphExecId(1));
    client.post(StreamCreate { context, stream, flags: 1, priority: 0 });
    let before = client.call(MemGetInfo { context }).unwrap();
    client.call(StreamBeginCapture { stream, mode: 2 }).unwrap();
    let ask = MemAllocAsync { pool: PoolId::CURRENT, bytes: 4096, stream };
    let at = client.call(ask).expect("memory of the graph").at;
    client.post(MemsetD8 { dst: at, count: 64, stream, value: 9 });
    client.post(MemFreeAsync { at, stream });
    client.call(StreamEndCapture { stream, graph }).unwrap();
    client.call(GraphInstantiate { graph, exec, flags: 0 }).unwrap();
    client.post(GraphDestroy { graph });
    client.post(GraphLaunch { exec, stream });
    assert_eq!(client.download(at, 64), [9; 64]);
    client.post(GraphExecDestroy { exec });
    assert_eq!(client.call(MemGetInfo { context }), Ok(before));
    assert_eq!(client.worker.errors.first(), None);
}
