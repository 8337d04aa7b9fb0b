//! A backend under test with a fake worker and a small client over it.

use super::Subject;
use crate::testing::FakeWorker;
use crate::{Backend, Executed, HostMemory, Violation};
use ringbar_vocabulary::*;
use std::collections::BTreeSet;
use std::time::Duration;

/// The bytes of the rig's arena. The lower half is for uploads, the upper for downloads.
const ARENA_BYTES: usize = 1 << 20;
const FENCES: usize = 64;
/// Long enough that only a backend that never finishes fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A function with its layout, as a client keeps it.
pub struct Kernel {
    pub(super) id: FunctionId,
    pub(super) params: Vec<Param>,
    pub(super) param_bytes: usize,
}

impl Kernel {
    /// A parameter block with each argument where the layout wants it.
    pub(super) fn pack(&self, arguments: &[&[u8]]) -> Vec<u8> {
        assert_eq!(arguments.len(), self.params.len(), "one argument a parameter");
        let mut block = vec![0; self.param_bytes];
        for (param, argument) in self.params.iter().zip(arguments) {
            assert_eq!(argument.len(), usize::from(param.size), "an argument of the right size");
            block[usize::from(param.offset)..param.end()].copy_from_slice(argument);
        }
        block
    }
}

/// Which rows were done, and which were refused.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    done: BTreeSet<u16>,
    refused: BTreeSet<u16>,
}

impl Uses {
    /// Adds those of another check.
    pub fn add(&mut self, other: &Uses) {
        self.done.extend(&other.done);
        self.refused.extend(&other.refused);
    }

    /// Whether the row was done without a failure of its own.
    pub fn was_done(&self, row: &Row) -> bool {
        self.done.contains(&row.opcode)
    }

    /// Whether the row was answered with an error of its own.
    pub fn was_refused(&self, row: &Row) -> bool {
        self.refused.contains(&row.opcode)
    }

    fn note(&mut self, row: &Row, succeeded: bool) {
        let list = if succeeded { &mut self.done } else { &mut self.refused };
        list.insert(row.opcode);
    }
}

/// What a check works with.
pub struct Rig {
    pub(super) backend: Box<dyn Backend>,
    pub(super) worker: FakeWorker,
    pub(super) image: Vec<u8>,
    pub(super) uses: Uses,
    fence_value: u64,
    next_id: u32,
}

impl Rig {
    pub(super) fn new(subject: Subject) -> Self {
        let worker = FakeWorker::new(ARENA_BYTES, FENCES);
        let Subject { backend, image } = subject;
        Self { backend, worker, image, uses: Uses::default(), fence_value: 0, next_id: 1 }
    }

    /// Initialises the backend, as nearly every check begins.
    pub(super) fn init(&mut self) -> InitReply {
        self.call(Init { flags: 0 }).expect("init succeeds")
    }

    pub(super) fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    /// Posts a command of an honest client.
    #[track_caller]
    pub(super) fn post<C: PostCommand>(&mut self, command: C) {
        let failures = self.worker.errors.count();
        self.worker.post(&mut *self.backend, command).expect("no violation");
        self.uses.note(C::ROW, self.worker.errors.count() == failures);
    }

    /// Posts a command that must fail, as the first one that does.
    #[track_caller]
    pub(super) fn post_fails<C: PostCommand>(&mut self, command: C, status: Status) {
        let failures = self.worker.errors.count();
        let position = self.worker.position();
        self.uses.note(C::ROW, false);
        self.worker.post(&mut *self.backend, command).expect("no violation");
        self.backend.drain();
        assert_eq!(self.worker.errors.count(), failures + 1, "one failure more");
        if failures == 0 {
            assert_eq!(self.worker.errors.first(), Some((position, status)));
        }
    }

    /// Calls a command of an honest client.
    #[track_caller]
    pub(super) fn call<C: SyncCommand>(&mut self, command: C) -> Result<C::Reply, Status> {
        let answer = self.worker.call(&mut *self.backend, command).expect("no violation");
        self.uses.note(C::ROW, answer.is_ok());
        answer
    }

    /// Calls a command that must fail, whatever the code.
    #[track_caller]
    pub(super) fn refused<C: SyncCommand>(&mut self, command: C) {
        assert!(self.call(command).is_err(), "{} is not refused", C::ROW.name);
    }

    /// Posts a command that must fail, whatever the code.
    #[track_caller]
    pub(super) fn post_refused<C: PostCommand>(&mut self, command: C) {
        let failures = self.worker.errors.count();
        self.uses.note(C::ROW, false);
        self.worker.post(&mut *self.backend, command).expect("no violation");
        self.backend.drain();
        assert_eq!(self.worker.errors.count(), failures + 1, "{} is not refused", C::ROW.name);
    }

    /// Executes bytes, whatever they are.
    pub(super) fn execute(&mut self, bytes: &[u8]) -> Result<Executed, Violation> {
        self.worker.execute(&mut *self.backend, bytes)
    }

    /// Executes a command that breaks the protocol.
    #[track_caller]
    pub(super) fn violation(&mut self, command: impl Command) -> Violation {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        self.execute(&bytes).expect_err("a violation")
    }

    /// Waits for a stream's work by a fence, as a client does.
    #[track_caller]
    pub(super) fn wait(&mut self, stream: StreamId) {
        self.fence_value += 1;
        let value = self.fence_value;
        self.post(Fence { stream, index: 0, value });
        assert!(self.worker.fences.wait(0, value, PATIENCE), "the fence is written");
    }

    #[track_caller]
    pub(super) fn no_failure(&self) {
        assert_eq!(self.worker.errors.first(), None, "nothing failed");
    }

    #[track_caller]
    pub(super) fn alloc(&mut self, bytes: u64) -> DevicePtr {
        self.call(MemAlloc { context: ContextId::FIRST, bytes }).expect("an allocation").at
    }

    pub(super) fn stream(&mut self) -> StreamId {
        let stream = StreamId(self.id());
        self.post(StreamCreate { context: ContextId::FIRST, stream, flags: 0, priority: 0 });
        stream
    }

    pub(super) fn event(&mut self) -> EventId {
        let event = EventId(self.id());
        self.post(EventCreate { context: ContextId::FIRST, event, flags: 0 });
        event
    }

    pub(super) fn upload(&mut self, dst: DevicePtr, stream: StreamId, bytes: &[u8]) {
        self.post(MemcpyHtoD { dst, stream, data: Tail::Inline(bytes) });
    }

    /// Posts a download into the arena; the bytes are there after the stream was waited for.
    pub(super) fn start_download(
        &mut self,
        src: DevicePtr,
        bytes: u64,
        stream: StreamId,
    ) -> ArenaRef {
        let dst = ArenaRef::new(0, ARENA_BYTES as u64 / 2, bytes).expect("an offset");
        self.post(MemcpyDtoH { dst, src, stream });
        dst
    }

    pub(super) fn read_arena(&self, at: ArenaRef) -> Vec<u8> {
        let mut bytes = vec![0; at.len as usize];
        self.worker.arena.read(at, &mut bytes).expect("a block of the arena");
        bytes
    }

    /// The bytes at `src` after all earlier work of the stream.
    #[track_caller]
    pub(super) fn download(&mut self, src: DevicePtr, bytes: u64, stream: StreamId) -> Vec<u8> {
        let at = self.start_download(src, bytes, stream);
        self.wait(stream);
        self.read_arena(at)
    }

    /// Puts bytes into the lower half of the arena.
    pub(super) fn stage(&self, offset: u64, bytes: &[u8]) -> ArenaRef {
        let at = ArenaRef::new(0, offset, bytes.len() as u64).expect("an offset");
        self.worker.arena.write(at, bytes).expect("a block of the arena");
        at
    }

    pub(super) fn module(&mut self) -> ModuleId {
        let module = ModuleId(self.id());
        let image = self.image.clone();
        self.call(ModuleLoad { context: ContextId::FIRST, module, image: Tail::Inline(&image) })
            .expect("the suite's image");
        module
    }

    pub(super) fn lookup(&mut self, module: ModuleId, name: &str) -> Result<Kernel, Status> {
        let id = FunctionId(self.id());
        let layout = ArenaRef::new(0, 0, 4096).expect("an offset");
        let name = Tail::Inline(name.as_bytes());
        let reply = self.call(FunctionLookup { module, function: id, layout, name })?;
        let count = reply.params as usize;
        assert!(count <= INLINE_PARAMS, "the suite's kernels have few parameters");
        let params = reply.inline[..count].iter().map(|&word| Param::from_word(word)).collect();
        Ok(Kernel { id, params, param_bytes: reply.param_bytes as usize })
    }

    pub(super) fn kernel(&mut self, name: &str) -> Kernel {
        let module = self.module();
        self.lookup(module, name).expect("a kernel of the suite")
    }

    pub(super) fn launch(&mut self, kernel: &Kernel, stream: StreamId, arguments: &[&[u8]]) {
        let block = kernel.pack(arguments);
        self.post(launch(kernel.id, stream, Tail::Inline(&block)));
    }
}

/// A launch of one block of one thread.
pub(super) fn launch(function: FunctionId, stream: StreamId, params: Tail<'_>) -> LaunchKernel<'_> {
    let one = [1; 3];
    LaunchKernel { function, grid: one, block: one, shared_bytes: 0, stream, params }
}

/// Bytes that differ everywhere.
pub(super) fn pattern(bytes: usize, seed: u64) -> Vec<u8> {
    let mut draw = Draw::new(seed);
    (0..bytes).map(|_| draw.next() as u8).collect()
}

pub(super) const DEFAULT: StreamId = StreamId::DEFAULT;
