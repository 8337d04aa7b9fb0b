//! The mock GPU: its objects and what they need at each command.

use crate::config::{Faults, MockConfig, MockError};
use crate::engine::Engine;
use crate::facts::facts;
use crate::ids::Table;
use crate::kernel::Kernel;
use crate::module::{Module, Registry};
use crate::schedule::{DEFAULT_SERIAL, Mark, Twist};
use ringbar_backend::{Backend, Context};
use ringbar_vocabulary::{Row, Status, StreamId};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// A deterministic software GPU for one client. See the crate's documentation.
pub struct MockGpu {
    pub(crate) config: MockConfig,
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
    pub(crate) facts: Vec<u8>,
    pub(crate) initialised: bool,
    /// Serial numbers of the streams that the client created.
    pub(crate) streams: Table<u64>,
    /// The latest record of each event, unless its work was done at once.
    pub(crate) events: Table<Option<Mark>>,
    pub(crate) modules: Table<Module>,
    pub(crate) functions: Table<Arc<Kernel>>,
    /// Length in bytes of the pinned blocks by address.
    pub(crate) pinned: HashMap<u64, u64>,
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
    /// A device with those properties.
    ///
    /// # Errors
    /// [`MockError`] if the system gives no memory or no threads, or a kernel's parameters fit no
    /// parameter block.
    pub fn new(config: MockConfig) -> Result<Self, MockError> {
        let registry = Registry::new(&config)?;
        let mut engine = Engine::new(&config)?;
        let total = engine.with_heap(|heap| heap.capacity());
        Ok(Self {
            facts: facts(&config, total).to_bytes(),
            config,
            engine,
            registry,
            initialised: false,
            streams: Table::default(),
            events: Table::default(),
            modules: Table::default(),
            functions: Table::default(),
            pinned: HashMap::new(),
            scratch: Vec::new(),
            counts: Counts::default(),
            lost: None,
            unsupported_logged: BTreeSet::new(),
        })
    }

    #[inline]
    pub(crate) fn ready(&self) -> Result<(), Status> {
        if self.initialised { Ok(()) } else { Err(Status::NOT_INITIALIZED) }
    }

    /// The serial number of a stream.
    #[inline]
    pub(crate) fn stream(&self, stream: StreamId) -> Result<u64, Status> {
        self.ready()?;
        if stream == StreamId::DEFAULT {
            return Ok(DEFAULT_SERIAL);
        }
        self.streams.get(stream.0).copied()
    }

    /// Counts and logs a command that has no behaviour here.
    pub(crate) fn count_unsupported(&mut self, row: &Row) {
        self.counts.unsupported += 1;
        if self.unsupported_logged.insert(row.opcode) {
            tracing::warn!(command = row.method, "the mock does not implement this command");
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
