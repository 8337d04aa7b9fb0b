//! Plays the steps of one application thread over its end of a transport.

use super::error::ReplayError;
use super::launch::LaunchWithPointer;
use super::link::Link;
use super::measure::Times;
use super::pace::Pace;
use super::scene::{Scene, event, kernel_name, module_image, stream};
use crate::recording::{PlannedStep, Step};
use ringbar_vocabulary::*;
use std::ops::Range;
use std::time::Instant;
use xxhash_rust::xxh3::Xxh3;

/// A library call with more bytes is several, the same on every transport.
const LIBRARY_PIECE_BYTES: usize = 64 << 10;
/// Modules and functions that a thread keeps at most; recordings load more of them than they unload.
const MODULES_MAX: u32 = 256;
const FUNCTIONS_MAX: u32 = 4096;
/// Numbers of a thread's modules and functions begin here, `MODULES_MAX` and `FUNCTIONS_MAX` apart.
const FIRST_MODULE: u32 = 1 << 16;
const FIRST_FUNCTION: u32 = 1 << 24;
/// Numbers of the modules in which threads look functions up.
const LOOKUP_MODULES: u32 = 1 << 8;

/// One thread of a replay.
pub struct Player<'s, L> {
    scene: &'s Scene<'s>,
    pub link: L,
    thread: u16,
    /// Where copies to the host land.
    landing: Vec<u8>,
    /// Everything that came back, while a round is verified.
    returned: Option<Xxh3>,
    modules: u32,
    functions: u32,
    pub times: Times,
}

/// How steps are to be played.
#[derive(Clone, Copy)]
pub struct Manner<'a> {
    /// When the round began.
    pub start: Instant,
    /// Wait until each step is due.
    pub pace: Option<&'a Pace>,
    /// Time each step.
    pub timed: bool,
}

impl<'s, L: Link> Player<'s, L> {
    /// A player for the steps of `thread`.
    pub fn new(scene: &'s Scene<'s>, link: L, thread: u16) -> Result<Self, ReplayError> {
        let own = || scene.plan.steps().iter().filter(move |step| step.thread == thread);
        let landing = own().map(|step| step.step.d2h_bytes()).max().unwrap_or(0);
        let looks_up = own().any(|step| step.step == Step::FunctionLookup);
        let mut player = Self {
            scene,
            link,
            thread,
            landing: vec![0; landing],
            returned: None,
            modules: 0,
            functions: 0,
            times: Times::new(),
        };
        if looks_up {
            player.load(player.lookup_module())?;
        }
        Ok(player)
    }

    /// Begins to digest what comes back.
    pub fn begin_digest(&mut self) {
        self.returned = Some(Xxh3::new());
    }

    /// The digest of what came back since.
    pub fn end_digest(&mut self) -> u64 {
        self.returned.take().map_or(0, |returned| returned.digest())
    }

    /// Plays a range of this thread's steps.
    pub fn play(&mut self, steps: Range<usize>, manner: Manner<'_>) -> Result<(), ReplayError> {
        for index in steps {
            if let Some(pace) = manner.pace {
                let since = Instant::now();
                pace.wait(manner.start, index);
                self.times.record_pause(since.elapsed());
            }
            if manner.timed {
                self.timed_step(index)?;
            } else {
                self.step(index)?;
            }
        }
        Ok(())
    }

    fn timed_step(&mut self, index: usize) -> Result<(), ReplayError> {
        let waits = self.link.full_waits();
        let before = Instant::now();
        self.step(index)?;
        let took = before.elapsed();
        let waited = self.link.full_waits() != waits;
        self.times.record(self.scene.kind(index), took, waited);
        Ok(())
    }

    #[inline]
    fn step(&mut self, index: usize) -> Result<(), ReplayError> {
        let scene = self.scene;
        let planned = &scene.plan.steps()[index];
        match planned.step {
            Step::Launch { .. } => self.launch(index, planned),
            Step::LibraryCall { call, .. } => self.library_call(call, planned),
            _ => self.rare_step(planned),
        }
    }

    #[inline]
    fn launch(&mut self, index: usize, planned: &PlannedStep) -> Result<(), ReplayError> {
        let scene = self.scene;
        let kernel = scene.kernel(index);
        let launch = LaunchKernel {
            function: kernel.function,
            grid: [1; 3],
            block: [1; 3],
            shared_bytes: 0,
            stream: self.stream(),
            params: Tail::Inline(scene.payloads.inline(planned)),
        };
        let pointer = scene.state(self.thread);
        self.post(planned, &LaunchWithPointer { launch, pointer_at: kernel.pointer_at, pointer })
    }

    #[inline]
    fn library_call(&mut self, call: u64, planned: &PlannedStep) -> Result<(), ReplayError> {
        let bytes = self.scene.payloads.inline(planned);
        let (library, function, stream) = (call as u32, (call >> 32) as u32, self.stream());
        let (pieces, last) = split_last(bytes);
        for arguments in pieces {
            let arguments = Tail::Inline(arguments);
            self.link.post(&LibraryCall { library, function, stream, arguments })?;
        }
        let arguments = Tail::Inline(last);
        self.post(planned, &LibraryCall { library, function, stream, arguments })
    }

    /// Posts, and waits for the execution if the recorded call did.
    #[inline]
    fn post<C: PostCommand>(
        &mut self,
        planned: &PlannedStep,
        command: &C,
    ) -> Result<(), ReplayError> {
        if planned.wait { self.link.post_and_wait(command) } else { self.link.post(command) }
    }

    fn rare_step(&mut self, planned: &PlannedStep) -> Result<(), ReplayError> {
        let (scene, own) = (self.scene, self.stream());
        match planned.step {
            Step::Launch { .. } | Step::LibraryCall { .. } => Ok(()),
            Step::LibraryQuery { call, .. } => self.library_query(call, planned),
            Step::CopyH2D { to, .. } => self.copy_in(planned, scene.place(to)),
            Step::CopyD2H { from, .. } => self.copy_out(planned, scene.place(from)),
            Step::CopyD2D { bytes, from, to } => {
                let (dst, src) = (scene.place(to), scene.place(from));
                self.post(planned, &MemcpyDtoD { dst, src, bytes: bytes.into(), stream: own })
            }
            Step::Memset { bytes, value, at } => {
                let (dst, count) = (scene.place(at), bytes.into());
                self.post(planned, &MemsetD8 { dst, count, stream: own, value })
            }
            Step::Alloc { buffer } => {
                let bytes = scene.plan.buffers()[buffer.0 as usize].bytes;
                scene.set_buffer(
                    buffer,
                    self.link.call(&MemAlloc { context: ContextId::FIRST, bytes })?.at,
                );
                Ok(())
            }
            Step::Free { buffer } => self.post(planned, &MemFree { at: scene.buffer(buffer) }),
            Step::StreamWaitEvent { event: number } => {
                let event = event(number.0);
                self.post(planned, &StreamWaitEvent { stream: own, event, flags: 0 })
            }
            Step::EventCreate { event: number } => self.post(
                planned,
                &EventCreate { context: ContextId::FIRST, event: event(number.0), flags: 0 },
            ),
            Step::EventDestroy { event: number } => {
                self.post(planned, &EventDestroy { event: event(number.0) })
            }
            Step::EventRecord { event: number } => self.post(
                planned,
                &EventRecord {
                    event: event(number.0),
                    stream: own,
                    flags: 0,
                    index: NO_FENCE,
                    value: 0,
                },
            ),
            Step::StreamSynchronize | Step::EventSynchronize { .. } => self.link.synchronise(own),
            Step::DeviceSynchronize => self.link.synchronise(StreamId::DEFAULT),
            Step::StreamQuery | Step::EventQuery { .. } => self.round_trip(planned),
            Step::ModuleLoad => self.module_load(),
            Step::FunctionLookup => self.function_lookup(),
            Step::HostAlloc { .. }
            | Step::HostFree { .. }
            | Step::StreamCreate { .. }
            | Step::StreamDestroy { .. } => self.object(planned),
        }
    }

    /// Objects whose making and ending is the link's business.
    fn object(&mut self, planned: &PlannedStep) -> Result<(), ReplayError> {
        match planned.step {
            Step::HostAlloc { block } => {
                let bytes = self.scene.plan.host_blocks()[block.0 as usize];
                self.link.pin(block.0, bytes)?;
            }
            Step::HostFree { block } => self.link.unpin(block.0)?,
            Step::StreamCreate { stream: number } => self.link.create_stream(stream(number.0))?,
            Step::StreamDestroy { stream: number } => self.link.destroy_stream(stream(number.0))?,
            _ => {}
        }
        if planned.wait { self.round_trip(planned) } else { Ok(()) }
    }

    fn round_trip(&mut self, planned: &PlannedStep) -> Result<(), ReplayError> {
        let token = planned.row.into();
        let reply = self.link.call(&Ping { token })?;
        self.returned(&reply.token.to_le_bytes());
        Ok(())
    }

    fn library_query(&mut self, call: u64, planned: &PlannedStep) -> Result<(), ReplayError> {
        let bytes = self.scene.payloads.inline(planned);
        let (library, function) = (call as u32, (call >> 32) as u32);
        let (pieces, last) = split_last(bytes);
        for request in pieces.chain([last]) {
            let request = Tail::Inline(request);
            let reply = self.link.call(&LibraryQuery { library, function, request })?;
            reply.answer.iter().for_each(|word| self.returned(&word.to_le_bytes()));
        }
        Ok(())
    }

    fn copy_in(&mut self, planned: &PlannedStep, dst: DevicePtr) -> Result<(), ReplayError> {
        let stream = self.stream();
        self.link.htod(dst, self.scene.payloads.bulk(planned), stream)?;
        if planned.wait { self.link.synchronise(stream) } else { Ok(()) }
    }

    fn copy_out(&mut self, planned: &PlannedStep, src: DevicePtr) -> Result<(), ReplayError> {
        let (stream, bytes) = (self.stream(), planned.step.d2h_bytes());
        let into = &mut self.landing[..bytes];
        if !planned.wait && self.returned.is_none() {
            return self.link.dtoh_posted(into, src, stream);
        }
        self.link.dtoh(into, src, stream)?;
        if let Some(returned) = &mut self.returned {
            returned.update(into);
        }
        Ok(())
    }

    fn module_load(&mut self) -> Result<(), ReplayError> {
        let module = self.module(self.modules % MODULES_MAX);
        if self.modules >= MODULES_MAX {
            self.link.post(&ModuleUnload { module })?;
        }
        self.modules += 1;
        self.load(module)
    }

    fn load(&mut self, module: ModuleId) -> Result<(), ReplayError> {
        let image = module_image();
        self.link
            .call(&ModuleLoad { context: ContextId::FIRST, module, image: Tail::Inline(&image) })
            .map(drop)
    }

    fn function_lookup(&mut self) -> Result<(), ReplayError> {
        if self.functions == FUNCTIONS_MAX {
            self.forget_functions()?;
        }
        let function = FIRST_FUNCTION + u32::from(self.thread) * FUNCTIONS_MAX + self.functions;
        self.functions += 1;
        let (function, layout) = (FunctionId(function), ArenaRef::default());
        let (module, name) = (self.lookup_module(), kernel_name(64));
        let name = Tail::Inline(name.as_bytes());
        let found = self.link.call(&FunctionLookup { module, function, layout, name })?;
        self.returned(&found.param_bytes.to_le_bytes());
        Ok(())
    }

    fn forget_functions(&mut self) -> Result<(), ReplayError> {
        self.functions = 0;
        let module = self.lookup_module();
        self.link.post(&ModuleUnload { module })?;
        self.load(module)
    }

    /// Undoes what the steps of a round left behind: nothing of it is timed.
    pub fn tear_down(&mut self) -> Result<(), ReplayError> {
        for slot in 0..std::mem::take(&mut self.modules).min(MODULES_MAX) {
            self.link.post(&ModuleUnload { module: self.module(slot) })?;
        }
        if self.functions > 0 {
            self.forget_functions()?;
        }
        Ok(())
    }

    fn module(&self, slot: u32) -> ModuleId {
        ModuleId(FIRST_MODULE + u32::from(self.thread) * MODULES_MAX + slot)
    }

    fn lookup_module(&self) -> ModuleId {
        ModuleId(LOOKUP_MODULES + u32::from(self.thread))
    }

    #[inline]
    fn stream(&self) -> StreamId {
        stream(self.thread.into())
    }

    fn returned(&mut self, bytes: &[u8]) {
        if let Some(returned) = &mut self.returned {
            returned.update(bytes);
        }
    }
}

/// Undoes what the whole plan leaves behind. Pinned blocks belong to the link of the thread that made them.
pub fn tear_down_plan<L: Link>(players: &mut [Player<'_, L>]) -> Result<(), ReplayError> {
    for player in &mut *players {
        player.tear_down()?;
        for block in &player.scene.plan.teardown().host_blocks {
            player.link.unpin(block.0)?;
        }
    }
    let Some(Player { scene, link, .. }) = players.first_mut() else { return Ok(()) };
    let teardown = scene.plan.teardown();
    for buffer in &teardown.buffers {
        link.post(&MemFree { at: scene.buffer(*buffer) })?;
    }
    for number in &teardown.events {
        link.post(&EventDestroy { event: event(number.0) })?;
    }
    for number in &teardown.streams {
        link.destroy_stream(stream(number.0))?;
    }
    link.synchronise(StreamId::DEFAULT)
}

/// Whole pieces of a library call's bytes, and what is left for the last one.
fn split_last(bytes: &[u8]) -> (impl Iterator<Item = &[u8]>, &[u8]) {
    let pieces = bytes.len().saturating_sub(1) / LIBRARY_PIECE_BYTES;
    let (whole, last) = bytes.split_at(pieces * LIBRARY_PIECE_BYTES);
    (whole.chunks(LIBRARY_PIECE_BYTES), last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_a_call_are_its_bytes() {
        for len in [0, 1, LIBRARY_PIECE_BYTES, LIBRARY_PIECE_BYTES + 1, 3 * LIBRARY_PIECE_BYTES] {
            let bytes: Vec<u8> = (0..len).map(|i| (i / 7) as u8).collect();
            let (pieces, last) = split_last(&bytes);
            let joined: Vec<u8> = pieces.flatten().chain(last).copied().collect();
            assert_eq!(joined, bytes);
            assert!(last.len() <= LIBRARY_PIECE_BYTES && (len == 0 || !last.is_empty()));
        }
    }
}
