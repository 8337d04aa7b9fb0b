//! Everything that one client has on the driver: its tables, and what all rows share.
//!
//! One thread, the worker's, makes all calls that need a current context, and is the only one that changes it.

use crate::api::{Api, Raw};
use crate::arena::ArenaMap;
use crate::graph::Graphs;
use crate::host_function::HostFunctions;
use crate::launches::Launches;
use crate::output::Output;
use crate::start::Started;
use crate::texture::Objects;
use crate::watch::{DeviceLook, Landing, Marks, Watch};
use ringbar::os::Mapping;
use ringbar_backend::table::{IdMap, Table};
use ringbar_backend::{Context, Hold, Services};
use ringbar_images::ImageCache;
use ringbar_vocabulary::{ContextId, GraphId, ModuleId, Param, Status, StreamId};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED`: not permitted while the stream captures.
pub const CAPTURE_UNSUPPORTED: Status = Status(900);
/// `CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED`.
const ALREADY_REGISTERED: Status = Status(712);
/// `CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP`.
pub const REGISTER_FLAGS: u32 = 3;
/// Private words for marks: streams with staged copies at once.
const MARKS: u32 = 4096;
/// `CU_EVENT_DISABLE_TIMING`.
const EVENT_DISABLE_TIMING: u32 = 2;
/// `CU_STREAM_CAPTURE_MODE_RELAXED`.
const CAPTURE_MODE_RELAXED: u32 = 2;
/// Holds of a stream after which a mark is put behind them.
const HOLDS_MAX: usize = 32;

/// An object that belongs to a context.
#[derive(Clone, Copy)]
pub struct Owned {
    pub raw: Raw,
    pub context: ContextId,
}

/// A function.
pub struct Function {
    pub raw: Raw,
    pub module: ModuleId,
    pub context: ContextId,
    pub param_bytes: u32,
    /// Where each of its parameters lies.
    pub layout: Box<[Param]>,
}

/// Device memory.
pub struct Allocation {
    pub bytes: u64,
    pub context: ContextId,
}

/// Copies of a stream whose arena bytes are in use, with no mark behind them yet.
#[derive(Default)]
pub struct Unmarked {
    pub holds: Vec<Hold>,
    pub bytes: u64,
}

/// The fence words, as the device writes them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FenceWords {
    /// Not registered yet.
    Unknown,
    /// At this device address.
    At(u64),
    /// The device cannot write them: events are asked instead.
    Unreachable,
}

/// Work done so far.
#[derive(Default)]
pub struct Counts {
    pub launches: u64,
    pub htod_bytes: u64,
    pub dtoh_bytes: u64,
}

/// A client's things.
pub struct Live {
    pub api: Arc<Api>,
    pub version: u32,
    pub devices: Vec<i32>,
    pub contexts: Table<Raw>,
    /// The current context of the worker's thread.
    pub current: Raw,
    pub streams: Table<Owned>,
    pub events: Table<Owned>,
    pub modules: Table<Owned>,
    pub images: ImageCache,
    pub functions: Table<Function>,
    pub function_ids: IdMap<Raw, u32>,
    pub pools: Table<Raw>,
    pub memories: Table<u64>,
    pub arrays: Table<Owned>,
    pub textures: Objects,
    pub surfaces: Objects,
    pub allocations: BTreeMap<u64, Allocation>,
    /// Memory that graphs allocate at launches, by its address. It stays until its context ends: a program may free what a
    /// launch allocated after the graph is gone, whose addresses the driver gives to graphs that come later.
    pub graph_memory: BTreeMap<u64, ContextId>,
    /// Memory of other processes that is open: the context it was opened in, and how often.
    pub opened: BTreeMap<u64, (ContextId, u64)>,
    pub graphs: Graphs,
    pub host_functions: HostFunctions,
    pub arena: ArenaMap,
    pub fences: FenceWords,
    pub unmarked: IdMap<u32, Unmarked>,
    pub counts: Counts,
    pub output: Option<Output>,
    /// Captures that were begun and not ended.
    pub captures: u32,
    /// Graphs that existed before streams began to capture into them.
    pub capture_targets: IdMap<u32, GraphId>,
    /// For tails that travel in the arena.
    pub scratch: Vec<u8>,
    pub launches: Launches,
    slots: IdMap<u32, u32>,
    next_slot: u32,
    next_mark: u64,
    marks: Option<Arc<Marks>>,
    pub services: Option<Arc<Services>>,
    watch: Option<Watch>,
    /// Whether work was given to the device since it was last found idle.
    busy: Cell<bool>,
    /// Whether memory was freed in stream order since the driver last synchronised: until then it keeps that memory.
    pub async_frees: Cell<bool>,
    /// The last command's.
    position: u64,
}

impl Live {
    pub fn new(started: Started, output: Option<Output>) -> Self {
        let mut contexts = Table::default();
        contexts.insert(0, started.context);
        Self {
            api: started.api,
            version: started.version,
            devices: started.devices,
            contexts,
            current: 0,
            streams: Table::default(),
            events: Table::default(),
            modules: Table::default(),
            images: ImageCache::default(),
            functions: Table::default(),
            function_ids: IdMap::default(),
            pools: Table::default(),
            memories: Table::default(),
            arrays: Table::default(),
            textures: Objects::new(),
            surfaces: Objects::new(),
            allocations: BTreeMap::new(),
            graph_memory: BTreeMap::new(),
            opened: BTreeMap::new(),
            graphs: Graphs::default(),
            host_functions: HostFunctions::default(),
            arena: ArenaMap::default(),
            fences: FenceWords::Unknown,
            unmarked: IdMap::default(),
            counts: Counts::default(),
            output,
            captures: 0,
            capture_targets: IdMap::default(),
            scratch: Vec::new(),
            launches: Launches::default(),
            slots: IdMap::default(),
            next_slot: 0,
            next_mark: 0,
            marks: None,
            services: None,
            watch: None,
            busy: Cell::new(false),
            async_frees: Cell::new(false),
            position: 0,
        }
    }

    /// The first command brings the services, and the worker's thread.
    #[inline(always)]
    pub fn attach(&mut self, cx: &Context<'_>) -> Result<(), Status> {
        self.position = cx.position();
        if self.watch.is_some() { Ok(()) } else { self.attach_first(cx) }
    }

    #[cold]
    fn attach_first(&mut self, cx: &Context<'_>) -> Result<(), Status> {
        let services = cx.services().clone();
        self.enter(ContextId::FIRST)?;
        // All of the client's threads are one thread here: what one of them may not do while another captures cannot be
        // told apart, so nothing is refused on that ground.
        let mut mode = CAPTURE_MODE_RELAXED;
        self.api.cuThreadExchangeStreamCaptureMode(&mut mode)?;
        let marks = Arc::new(self.make_marks()?);
        let look =
            DeviceLook { services: services.clone(), marks: marks.clone(), api: self.api.clone() };
        let watch = Watch::start(services.clone(), look).map_err(|error| {
            tracing::error!(%error, "no thread for the watcher");
            Status::OPERATING_SYSTEM
        })?;
        (self.marks, self.services, self.watch) = (Some(marks), Some(services), Some(watch));
        Ok(())
    }

    fn make_marks(&self) -> Result<Marks, Status> {
        let bytes = MARKS as usize * size_of::<u64>();
        let memory = Mapping::heap(bytes).map_err(|error| {
            tracing::error!(%error, "no memory for marks");
            Status::OUT_OF_MEMORY
        })?;
        let host = memory.as_ptr().expose_provenance();
        let device = self.register(host, bytes)?;
        // The device may write it as long as this process lives.
        std::mem::forget(memory);
        // SAFETY: whole pages that were just leaked.
        Ok(unsafe { Marks::new(device, host, MARKS) })
    }

    /// Registers memory with the driver; returns its device address.
    pub fn register(&self, host: usize, bytes: usize) -> Result<u64, Status> {
        let pointer = std::ptr::with_exposed_provenance_mut(host);
        // SAFETY: the range is mapped in this process and stays so until the process ends; only the device and code that
        // is ready for its writes touch it.
        let registered = unsafe { self.api.cuMemHostRegister_v2(pointer, bytes, REGISTER_FLAGS) };
        match registered {
            Err(ALREADY_REGISTERED) => {}
            other => other?,
        }
        let mut device = 0;
        // SAFETY: the pointer was registered just now; the result is a number of this frame.
        unsafe { self.api.cuMemHostGetDevicePointer_v2(&mut device, pointer, 0) }?;
        Ok(device)
    }

    /// Makes a context current.
    #[inline]
    pub fn enter(&mut self, context: ContextId) -> Result<(), Status> {
        let raw = match self.contexts.get(context.0) {
            Ok(&raw) => raw,
            Err(_) => self.retain_primary(context)?,
        };
        if raw != self.current {
            self.api.cuCtxSetCurrent(raw)?;
            self.current = raw;
        }
        Ok(())
    }

    /// The handle of a context.
    pub fn context(&mut self, context: ContextId) -> Result<Raw, Status> {
        self.enter(context)?;
        self.contexts.get(context.0).copied()
    }

    /// A primary context comes to life at its first use.
    #[cold]
    fn retain_primary(&mut self, context: ContextId) -> Result<Raw, Status> {
        if context.0 >= ContextId::FIRST_CREATED.0 {
            return Err(Status::INVALID_CONTEXT);
        }
        let device = self.device(context.0).map_err(|_| Status::INVALID_CONTEXT)?;
        let mut raw = 0;
        self.api.cuDevicePrimaryCtxRetain(&mut raw, device)?;
        self.contexts.insert(context.0, raw);
        Ok(raw)
    }

    /// The driver's number of a device.
    pub fn device(&self, ordinal: u32) -> Result<i32, Status> {
        self.devices.get(ordinal as usize).copied().ok_or(Status::INVALID_DEVICE)
    }

    /// A stream's handle; its context becomes current.
    #[inline]
    pub fn stream(&mut self, stream: StreamId) -> Result<Raw, Status> {
        self.busy.set(true);
        if stream == StreamId::DEFAULT {
            self.enter(ContextId::FIRST)?;
            return Ok(0);
        }
        if stream.0 & StreamId::DEFAULTS != 0 {
            let context = ContextId(stream.0 & !StreamId::DEFAULTS);
            self.enter(context).map_err(|status| match status {
                Status::INVALID_CONTEXT => Status::INVALID_HANDLE,
                other => other,
            })?;
            return Ok(0);
        }
        let Owned { raw, context } = *self.streams.get(stream.0)?;
        self.enter(context)?;
        Ok(raw)
    }

    /// The context of a stream.
    pub fn context_of(&self, stream: StreamId) -> Result<ContextId, Status> {
        if stream == StreamId::DEFAULT {
            return Ok(ContextId::FIRST);
        }
        if stream.0 & StreamId::DEFAULTS != 0 {
            return Ok(ContextId(stream.0 & !StreamId::DEFAULTS));
        }
        Ok(self.streams.get(stream.0)?.context)
    }

    /// Whether a stream captures, by the driver's word.
    #[inline]
    pub fn captures(&self, stream: Raw) -> bool {
        self.captures > 0 && self.asks_capture(stream)
    }

    #[cold]
    fn asks_capture(&self, stream: Raw) -> bool {
        let mut status = 0;
        self.api.cuStreamIsCapturing(stream, &mut status).is_ok() && status != 0
    }

    /// Has the device write a fence when the stream gets there; arena bytes of the stream's copies are free then too.
    pub fn write_fence(
        &mut self,
        stream: (StreamId, Raw),
        index: u32,
        value: u64,
    ) -> Result<(), Status> {
        let landing = match self.fence_words()? {
            FenceWords::At(base) => {
                let at = base + u64::from(index) * 8;
                self.api.cuStreamWriteValue64_v2(stream.1, at, value, 0)?;
                Landing::Fence { index, value }
            }
            _ => {
                let mut event = 0;
                self.api.cuEventCreate(&mut event, EVENT_DISABLE_TIMING)?;
                self.api.cuEventRecord(event, stream.1)?;
                Landing::Event { event, index, value }
            }
        };
        let holds = self.unmarked.get_mut(&stream.0.0).map(std::mem::take);
        self.push(landing, holds.unwrap_or_default().holds);
        Ok(())
    }

    fn push(&self, landing: Landing, holds: Vec<Hold>) {
        if let Some(watch) = &self.watch {
            watch.push(landing, holds);
        }
    }

    #[inline]
    fn fence_words(&mut self) -> Result<FenceWords, Status> {
        match self.fences {
            FenceWords::Unknown => self.register_fences(),
            known => Ok(known),
        }
    }

    /// Exactly the pages of the fence words, never those of the control structures beside them.
    #[cold]
    fn register_fences(&mut self) -> Result<FenceWords, Status> {
        let mapped = self.services.as_ref().and_then(|services| services.fences.mapped());
        let back = self.current;
        self.enter(ContextId::FIRST)?;
        let registered = mapped.map(|at| self.register(at.address as usize, at.bytes as usize));
        self.fences = match registered {
            Some(Ok(device)) => FenceWords::At(device),
            other => {
                tracing::warn!(?other, "the device cannot write fence words: events are asked");
                FenceWords::Unreachable
            }
        };
        self.api.cuCtxSetCurrent(back)?;
        self.current = back;
        Ok(self.fences)
    }

    /// Keeps the arena bytes of this command in use until the stream's work up to here is done.
    pub fn hold(
        &mut self,
        cx: &Context<'_>,
        stream: (StreamId, Raw),
        bytes: u64,
    ) -> Result<(), Status> {
        let unmarked = self.unmarked.entry(stream.0.0).or_default();
        unmarked.holds.push(cx.hold());
        unmarked.bytes += bytes;
        if unmarked.bytes >= self.arena.mark_bytes() || unmarked.holds.len() >= HOLDS_MAX {
            self.mark(stream, false)?;
        }
        Ok(())
    }

    /// Puts a mark behind what a stream has to do: when it lands, the stream's holds end.
    pub fn mark(&mut self, stream: (StreamId, Raw), last: bool) -> Result<(), Status> {
        let holds = self.unmarked.remove(&stream.0.0).unwrap_or_default().holds;
        if holds.is_empty() && !self.slots.contains_key(&stream.0.0) {
            return Ok(());
        }
        let Some(slot) = self.slot(stream.0) else {
            // All slots belong to streams with outstanding copies: wait for this one instead.
            return self.wait_for(stream.1);
        };
        self.next_mark += 1;
        let value = self.next_mark;
        let at = self.marks.as_ref().map_or(0, |marks| marks.device) + u64::from(slot) * 8;
        self.api.cuStreamWriteValue64_v2(stream.1, at, value, 0)?;
        if last {
            self.slots.remove(&stream.0.0);
        }
        self.push(Landing::Mark { slot, value, last }, holds);
        Ok(())
    }

    fn slot(&mut self, stream: StreamId) -> Option<u32> {
        if let Some(&slot) = self.slots.get(&stream.0) {
            return Some(slot);
        }
        let freed = self.watch.as_ref().and_then(Watch::take_free_slot);
        let slot = match freed {
            Some(slot) => slot,
            None if self.next_slot < MARKS => {
                self.next_slot += 1;
                self.next_slot - 1
            }
            None => return None,
        };
        self.slots.insert(stream.0, slot);
        Some(slot)
    }

    /// Polls a stream to its end: only where there is no other way.
    fn wait_for(&self, stream: Raw) -> Result<(), Status> {
        loop {
            match self.api.cuStreamQuery(stream) {
                Err(Status::NOT_READY) => std::thread::sleep(Duration::from_micros(50)),
                other => return other,
            }
        }
    }

    /// The ring is empty: marks behind all copies that have none.
    pub fn rest(&mut self) {
        let streams: Vec<u32> = self.unmarked.keys().copied().collect();
        for stream in streams.into_iter().map(StreamId) {
            let marked = self.stream(stream).and_then(|raw| {
                if self.captures(raw) { Ok(()) } else { self.mark((stream, raw), false) }
            });
            if let Err(status) = marked {
                tracing::debug!(%status, "no mark");
            }
        }
        if let Some(output) = &mut self.output {
            output.bound();
        }
    }

    /// Whether a fence of the client's is outstanding.
    pub fn is_waited_for(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::is_waited_for)
    }

    /// Whether the device has nothing to do, and its failure if it failed.
    pub fn is_idle(&self) -> Result<bool, Status> {
        if !self.busy.get() {
            return Ok(true);
        }
        if self.captures > 0 {
            return Ok(self.watch.as_ref().is_none_or(Watch::is_idle));
        }
        let streams = self.streams.iter().map(|(_, stream)| stream.raw);
        for stream in std::iter::once(0).chain(streams) {
            match self.api.cuStreamQuery(stream) {
                Ok(()) => {}
                Err(Status::NOT_READY) => return Ok(false),
                Err(other) => return Err(other),
            }
        }
        self.busy.set(false);
        if self.async_frees.replace(false) {
            // Waits for nothing, since all is done, and has the driver give back what pools need not keep: a client
            // synchronises by fences, of which the driver knows nothing.
            self.api.cuCtxSynchronize()?;
        }
        Ok(true)
    }

    /// Latches a failure that no command brought to light.
    pub fn latch(&self, status: Status) {
        if let Some(services) = &self.services {
            services.errors.latch(self.position, status);
        }
    }

    /// Waits for all work of all contexts, and for what the watcher has to do after it.
    pub fn drain(&mut self) -> Result<(), Status> {
        let contexts: Vec<u32> = self.contexts.iter().map(|(id, _)| id).collect();
        contexts.into_iter().try_for_each(|context| self.drain_context(ContextId(context)))?;
        self.busy.set(false);
        Ok(())
    }

    /// The same for one context. What captures in others goes on.
    pub fn drain_context(&mut self, context: ContextId) -> Result<(), Status> {
        self.rest();
        self.enter(context)?;
        match self.api.cuCtxSynchronize() {
            // A capture in it ends with it.
            Err(CAPTURE_UNSUPPORTED) => {}
            other => other?,
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.watch.as_ref().is_some_and(|watch| !watch.is_idle()) && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(())
    }

    /// Forgets what lives in a context that is about to be destroyed.
    pub fn forget_context(&mut self, context: ContextId) {
        let gone: Vec<u32> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.context == context)
            .map(|(id, _)| id)
            .chain([context.default_stream().0])
            .collect();
        for stream in gone {
            self.unmarked.remove(&stream);
            self.slots.remove(&stream);
        }
        self.streams.retain(|stream| stream.context != context);
        self.events.retain(|event| event.context != context);
        self.arrays.retain(|array| array.context != context);
        self.textures.retain(|(owner, _)| *owner != context);
        self.surfaces.retain(|(owner, _)| *owner != context);
        self.modules.retain(|module| module.context != context);
        self.functions.retain(|function| function.context != context);
        let functions = &self.functions;
        self.function_ids.retain(|_, id| functions.get(*id).is_ok());
        self.allocations.retain(|_, allocation| allocation.context != context);
        self.graph_memory.retain(|_, of_context| *of_context != context);
        self.opened.retain(|_, (opened_in, _)| *opened_in != context);
        if context == ContextId::FIRST {
            // Registered by it; the next command does that anew.
            self.fences = FenceWords::Unknown;
            self.arena.forget_registrations();
            (self.watch, self.marks, self.next_slot) = (None, None, 0);
            self.slots.clear();
        }
    }
}
