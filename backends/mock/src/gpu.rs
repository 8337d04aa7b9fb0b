//! The mock GPU: its objects and what they need at each command.

use crate::arrays::Array;
use crate::config::{Faults, MockConfig, MockError};
use crate::contexts::ContextState;
use crate::engine::Engine;
use crate::facts::facts;
use crate::graphs::{Abandoned, Captures, Exec, Graph};
use crate::ipc::Opened;
use crate::module::{Function, Module, Registry};
use crate::op::Twist;
use crate::pools::Pools;
use crate::schedule::{DEFAULT_SERIAL, Kind, Lane};
use crate::streams::{Event, Stream};
use ringbar_backend::table::Table;
use ringbar_backend::{Backend, Context};
use ringbar_vocabulary::{DeviceFactsBlock, Row, Status, StreamId};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// A deterministic software GPU for one client. See the crate's documentation.
pub struct MockGpu {
    pub(crate) config: MockConfig,
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
    /// Each device's facts.
    pub(crate) facts: Vec<DeviceFactsBlock>,
    pub(crate) initialised: bool,
    pub(crate) contexts: Table<ContextState>,
    /// All streams, the contexts' default ones included.
    pub(crate) streams: Table<Stream>,
    pub(crate) next_serial: u64,
    pub(crate) events: Table<Event>,
    pub(crate) modules: Table<Module>,
    pub(crate) images: ringbar_images::ImageCache,
    pub(crate) functions: Table<Function>,
    pub(crate) pools: Pools,
    pub(crate) arrays: Table<Array>,
    /// The value of the latest texture or surface object.
    pub(crate) next_object: u64,
    pub(crate) graphs: Table<Graph>,
    pub(crate) execs: Table<Exec>,
    pub(crate) captures: Captures,
    /// Memory of graphs that are gone.
    pub(crate) abandoned: Abandoned,
    /// The most memory that graphs had on each device, in bytes.
    pub(crate) graph_memory_most: HashMap<u32, u64>,
    /// The number of the next node, whatever its graph.
    pub(crate) next_node: u64,
    /// Memory of other processes.
    pub(crate) opened: Vec<Opened>,
    /// Length in bytes and address of the pinned blocks, by their place in the arena.
    pub(crate) pinned: HashMap<u64, (u64, Option<u64>)>,
    /// The device's own time in nanoseconds: it goes on by what each operation is said to take,
    /// so that the same commands take the same time.
    pub(crate) clock_ns: u64,
    /// Bytes of the tail at hand, when it came from the arena.
    pub(crate) scratch: Vec<u8>,
    pub(crate) counts: Counts,
    /// The failure of an inline launch that made the device unusable.
    pub(crate) lost: Option<Status>,
    /// Rows that were logged as unsupported.
    unsupported_logged: BTreeSet<u16>,
}

/// What the device has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) commands: u64,
    /// Kernels, for faults; library calls apart.
    pub(crate) launches: u64,
    pub(crate) library_calls: u64,
    pub(crate) allocs: u64,
    pub(crate) htod_bytes: u64,
    pub(crate) dtoh_bytes: u64,
    pub(crate) unsupported: u64,
}

impl MockGpu {
    /// Devices with those properties.
    ///
    /// # Errors
    /// [`MockError`] if the system gives no memory or no threads, or a kernel's parameters fit no
    /// parameter block.
    pub fn new(mut config: MockConfig) -> Result<Self, MockError> {
        config.devices = config.devices.max(1);
        let registry = Registry::new(&config)?;
        let first = Lane { serial: DEFAULT_SERIAL, kind: Kind::Default, context: 0 };
        let mut engine = Engine::new(&config, first)?;
        let capacity = |device| {
            let total = engine.with_space(|space| space.heap(device).map(|heap| heap.capacity()));
            facts(&config, device, total.unwrap_or(0))
        };
        let devices = config.devices;
        let facts = (0..devices).map(capacity).collect();
        let mut gpu = Self {
            facts,
            config,
            engine,
            registry,
            initialised: false,
            contexts: Table::default(),
            streams: Table::default(),
            next_serial: DEFAULT_SERIAL,
            events: Table::default(),
            modules: Table::default(),
            images: ringbar_images::ImageCache::default(),
            functions: Table::default(),
            pools: Pools::new(devices),
            arrays: Table::default(),
            next_object: 0,
            graphs: Table::default(),
            execs: Table::default(),
            captures: Captures::default(),
            abandoned: Abandoned::default(),
            graph_memory_most: HashMap::new(),
            next_node: 1,
            opened: Vec::new(),
            pinned: HashMap::new(),
            clock_ns: 0,
            scratch: Vec::new(),
            counts: Counts::default(),
            lost: None,
            unsupported_logged: BTreeSet::new(),
        };
        for device in 0..gpu.config.devices {
            gpu.add_context(device, device);
        }
        Ok(gpu)
    }

    #[inline]
    pub(crate) fn ready(&self) -> Result<(), Status> {
        if self.initialised { Ok(()) } else { Err(Status::NOT_INITIALIZED) }
    }

    /// Whether a device exists.
    pub(crate) fn check_device(&self, device: u32) -> Result<(), Status> {
        self.ready()?;
        if device < self.config.devices { Ok(()) } else { Err(Status::INVALID_DEVICE) }
    }

    /// The serial number of a stream.
    #[inline]
    pub(crate) fn stream(&self, stream: StreamId) -> Result<u64, Status> {
        self.ready()?;
        self.streams.get(stream.0).map(|stream| stream.lane.serial)
    }

    /// Has device threads execute from now on, so that a stream can wait without the worker.
    pub(crate) fn start_threads(&mut self) -> Result<(), Status> {
        if !self.engine.is_inline() {
            return Ok(());
        }
        let lanes: Vec<Lane> = self.streams.iter().map(|(_, stream)| stream.lane).collect();
        self.engine.start_threads(&lanes).map_err(|error| {
            tracing::error!(%error, "a stream would have to wait");
            Status::OPERATING_SYSTEM
        })
    }

    /// Counts and logs a command that has no behaviour here.
    pub(crate) fn count_unsupported(&mut self, cx: &Context<'_>, row: &Row) {
        self.counts.unsupported += 1;
        if self.unsupported_logged.insert(row.opcode) {
            let reason = cx.why_unsupported(row);
            tracing::warn!(row = row.name, reason, "not supported by the mock");
        }
    }
}

impl Backend for MockGpu {
    fn name(&self) -> &'static str {
        "mock"
    }

    #[inline]
    fn begin(&mut self, _cx: &mut Context<'_>) -> Result<(), Status> {
        self.counts.commands += 1;
        if self.config.faults.abort_at_command == Some(self.counts.commands) {
            tracing::error!(command = self.counts.commands, "aborting, as configured");
            std::process::abort();
        }
        self.engine.exchange();
        self.lost().map_or(Ok(()), Err)
    }

    #[inline]
    fn lost(&self) -> Option<Status> {
        self.lost.or_else(|| self.engine.lost())
    }

    fn is_idle(&self) -> bool {
        self.engine.is_idle()
    }

    fn drain(&mut self) {
        self.engine.drain();
    }
}

/// What the configured faults do to a launch, counted from 1.
#[inline]
pub(crate) fn twist(faults: &Faults, launch: u64) -> Twist {
    if faults.fail_at_launch == Some(launch) {
        return Twist::Fail;
    }
    if faults.hang_at_launch == Some(launch) {
        return Twist::Hang;
    }
    match faults.slow_at_launch {
        Some((at, ns)) if at == launch => Twist::Slow(Duration::from_nanos(ns)),
        _ => Twist::None,
    }
}
