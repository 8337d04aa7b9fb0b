//! Executing at once or in device threads, behind one set of operations.

use crate::config::{MockConfig, MockError};
use crate::device::{self, Device};
use crate::kernel::{Geometry, Kernel};
use crate::op::{self, Op, Source, Twist};
use crate::pool::{DEVICE_BASE, Pool};
use crate::schedule::{Lane, Mark, SharedMailbox, Threads};
use crate::space::{Access, Place, Space};
use ringbar_backend::Context;
use ringbar_vocabulary::{ArenaRef, DevicePtr, MemoryDigestReply, Status, Tail};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Who executes.
enum Mode {
    /// The worker's thread, at once: nothing is locked or allocated.
    Inline(Box<Device>),
    /// Device threads.
    Threaded(Threads),
    /// Device threads could not be started and took the device with them.
    Gone,
}

/// Executes operations, from the first one that has to wait on in device threads.
pub(crate) struct Engine {
    mode: Mode,
    settings: Settings,
    mailbox: SharedMailbox,
}

#[derive(Clone, Copy)]
struct Settings {
    latency: Duration,
    bandwidth_bytes_per_s: u64,
    scrub: bool,
    threads: usize,
}

impl Settings {
    fn copy_cost(&self, bytes: usize) -> Duration {
        if self.bandwidth_bytes_per_s == 0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(bytes as f64 / self.bandwidth_bytes_per_s as f64)
    }
}

/// What an operation costs in time.
#[derive(Clone, Copy)]
pub(crate) enum Cost {
    Nothing,
    /// So many bytes are moved.
    Bytes(u64),
    /// A launch.
    Launch,
}

impl Engine {
    /// An engine whose only stream is `first`.
    pub(crate) fn new(config: &MockConfig, first: Lane) -> Result<Self, MockError> {
        let (devices, bytes) = (config.devices.max(1), config.device_memory_bytes);
        let all = bytes.saturating_mul(u64::from(devices));
        let pool = Pool::new(all, config.prefault_bytes)?;
        let device = Box::new(Device { pool, space: Space::new(devices, bytes) });
        let settings = Settings {
            latency: Duration::from_nanos(config.latency_ns),
            bandwidth_bytes_per_s: config.bandwidth_bytes_per_s,
            scrub: config.scrub_on_free,
            threads: config.device_threads,
        };
        let mode = Mode::Inline(device);
        let mut engine = Self { mode, settings, mailbox: SharedMailbox::default() };
        if !config.is_inline() {
            engine.start_threads(&[first])?;
        }
        Ok(engine)
    }

    /// The words through which the client runs its functions.
    pub(crate) fn mailbox(&self) -> &SharedMailbox {
        &self.mailbox
    }

    /// Has device threads execute from now on, so that a stream can wait. `lanes` are all streams.
    pub(crate) fn start_threads(&mut self, lanes: &[Lane]) -> Result<(), MockError> {
        if !matches!(self.mode, Mode::Inline(_)) {
            return Ok(());
        }
        let Mode::Inline(device) = std::mem::replace(&mut self.mode, Mode::Gone) else {
            return Ok(());
        };
        let settings = (self.settings.scrub, self.settings.threads);
        match Threads::new(*device, lanes, settings, self.mailbox.clone()) {
            Ok(threads) => self.mode = Mode::Threaded(threads),
            Err((error, device)) => {
                self.mode = device.map_or(Mode::Gone, Mode::Inline);
                return Err(error);
            }
        }
        Ok(())
    }

    pub(crate) fn is_inline(&self) -> bool {
        matches!(self.mode, Mode::Inline(_))
    }

    pub(crate) fn add_stream(&mut self, lane: Lane) {
        if let Mode::Threaded(threads) = &self.mode {
            threads.add_stream(lane);
        }
    }

    pub(crate) fn remove_stream(&mut self, serial: u64) {
        if let Mode::Threaded(threads) = &self.mode {
            threads.remove_stream(serial);
        }
    }

    /// Where `bytes` at `at` are, if a command may use them now.
    pub(crate) fn place(&self, at: DevicePtr, bytes: u64, access: Access) -> Result<Place, Status> {
        if bytes == 0 {
            return Ok(Place::Device(0..0));
        }
        match &self.mode {
            Mode::Inline(device) => device.space.command(at, bytes, access),
            Mode::Threaded(threads) => threads.space().command(at, bytes, access),
            Mode::Gone => Err(Status::OPERATING_SYSTEM),
        }
    }

    /// What lies where, after all pending frees.
    pub(crate) fn with_space<T>(
        &mut self,
        f: impl FnOnce(&mut Space) -> Result<T, Status>,
    ) -> Result<T, Status> {
        match &mut self.mode {
            Mode::Inline(device) => f(&mut device.space),
            Mode::Threaded(threads) => f(&mut threads.settled_space()),
            Mode::Gone => Err(Status::OPERATING_SYSTEM),
        }
    }

    /// What lies where, now.
    pub(crate) fn with_space_now<T>(
        &mut self,
        f: impl FnOnce(&mut Space) -> Result<T, Status>,
    ) -> Result<T, Status> {
        self.with_memory(|_, space| f(space))
    }

    /// Memory and what lies where, now: for what no work knows yet.
    pub(crate) fn with_memory<T>(
        &mut self,
        f: impl FnOnce(&mut Pool, &mut Space) -> Result<T, Status>,
    ) -> Result<T, Status> {
        match &mut self.mode {
            Mode::Inline(device) => {
                let Device { pool, space } = &mut **device;
                f(pool, space)
            }
            Mode::Threaded(threads) => threads.now(f),
            Mode::Gone => Err(Status::OPERATING_SYSTEM),
        }
    }

    /// Memory and what lies where, after all work that can go on.
    pub(crate) fn quiet<T>(
        &mut self,
        f: impl FnOnce(&mut Pool, &mut Space) -> Result<T, Status>,
    ) -> Result<T, Status> {
        if let Mode::Threaded(threads) = &self.mode {
            threads.wait_until_quiet();
        }
        self.with_memory(f)
    }

    /// What is allocated now, in bytes.
    pub(crate) fn allocated_bytes(&self) -> u64 {
        match &self.mode {
            Mode::Inline(device) => device.space.allocated(),
            Mode::Threaded(threads) => threads.space().allocated(),
            Mode::Gone => 0,
        }
    }

    /// Before each command: what other processes have too becomes one with theirs. Device threads do it before each
    /// operation.
    #[inline]
    pub(crate) fn exchange(&mut self) {
        if let Mode::Inline(device) = &mut self.mode {
            device.pool.exchange();
        }
    }

    pub(crate) fn free(&mut self, at: DevicePtr) -> Result<(), Status> {
        let start = at.0.wrapping_sub(DEVICE_BASE) as usize;
        self.quiet_if_shared(start)?;
        match &mut self.mode {
            Mode::Inline(device) => {
                let offset = device.space.doom(at)?;
                let pool = self.settings.scrub.then_some(&mut device.pool);
                device::retire(pool, &mut device.space, offset);
            }
            Mode::Threaded(threads) => {
                let offset = threads.space().doom(at)?;
                threads.free(offset);
            }
            Mode::Gone => return Err(Status::OPERATING_SYSTEM),
        }
        Ok(())
    }

    /// What is freed is shared no more, once the work that uses it is done.
    fn quiet_if_shared(&mut self, start: usize) -> Result<(), Status> {
        if self.with_memory(|pool, _| Ok(pool.shared_at(start).is_some()))? {
            self.quiet(|pool, _| {
                pool.end_sharing(start);
                Ok(())
            })?;
        }
        Ok(())
    }

    pub(crate) fn copy_in(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        dst: Range<usize>,
        data: Tail<'_>,
    ) -> Result<(), Status> {
        match (&mut self.mode, data) {
            (Mode::Inline(device), Tail::Inline(bytes)) => {
                device.pool.get_mut(dst).copy_from_slice(bytes);
            }
            (Mode::Inline(device), Tail::Arena(at)) => {
                cx.read_arena(at, device.pool.get_mut(dst))?;
            }
            (Mode::Threaded(threads), data) => {
                let source = source(cx, data)?;
                let cost = self.settings.copy_cost(dst.len());
                threads.submit(serial, cx.ticket(), cost, None, Op::CopyIn { dst, source });
            }
            (Mode::Gone, _) => return Err(Status::OPERATING_SYSTEM),
        }
        Ok(())
    }

    pub(crate) fn copy_out(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        dst: ArenaRef,
        src: Range<usize>,
    ) -> Result<(), Status> {
        match &mut self.mode {
            Mode::Inline(device) => cx.write_arena(dst, device.pool.get(src))?,
            Mode::Threaded(threads) => {
                cx.check_arena(dst)?;
                let cost = self.settings.copy_cost(src.len());
                let op = Op::CopyOut { dst, src, _hold: cx.hold() };
                threads.submit(serial, cx.ticket(), cost, None, op);
            }
            Mode::Gone => return Err(Status::OPERATING_SYSTEM),
        }
        Ok(())
    }

    /// Any operation but a launch; answers its place in its stream if it is not done.
    pub(crate) fn submit(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        cost: Cost,
        op: Op,
    ) -> Result<Option<Mark>, Status> {
        let settings = self.settings;
        match &mut self.mode {
            Mode::Inline(device) => run(cx, device, settings.scrub, op).map(|()| None),
            Mode::Threaded(threads) => {
                let cost = match cost {
                    Cost::Nothing => Duration::ZERO,
                    Cost::Bytes(bytes) => settings.copy_cost(bytes as usize),
                    Cost::Launch => settings.latency,
                };
                Ok(threads.submit(serial, cx.ticket(), cost, None, op))
            }
            Mode::Gone => Err(Status::OPERATING_SYSTEM),
        }
    }

    /// Launches a kernel. An error made the device unusable.
    #[inline]
    pub(crate) fn launch(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        kernel: &Arc<Kernel>,
        params: &[u8],
        geometry: Geometry,
        twist: Twist,
    ) -> Result<(), Status> {
        match &mut self.mode {
            Mode::Inline(..) if twist == Twist::Fail => Err(Status::LAUNCH_FAILED),
            Mode::Inline(device) => {
                let Device { pool, space } = &mut **device;
                device::launch(pool, space, &*cx.services().arena, kernel, params, geometry)
            }
            Mode::Threaded(threads) => {
                let slow = if let Twist::Slow(more) = twist { more } else { Duration::ZERO };
                let (kernel, params) = (kernel.clone(), params.into());
                let op = Op::Launch { kernel, params, geometry, twist };
                threads.submit(serial, cx.ticket(), self.settings.latency + slow, None, op);
                Ok(())
            }
            Mode::Gone => Err(Status::OPERATING_SYSTEM),
        }
    }

    #[inline]
    pub(crate) fn library_call(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        call: (u32, u32, u32),
        bytes: &[u8],
    ) -> Result<(), Status> {
        let (library, function, stream) = call;
        if let Mode::Inline(device) = &mut self.mode {
            device.pool.library_call(library, function, stream, bytes);
            return Ok(());
        }
        let op = Op::Library { library, function, stream, bytes: bytes.into() };
        self.submit(cx, serial, Cost::Launch, op).map(|_| ())
    }

    #[inline]
    pub(crate) fn fence(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        index: u32,
        value: u64,
    ) -> Result<(), Status> {
        cx.check_fence(index)?;
        self.submit(cx, serial, Cost::Nothing, Op::Fence { index, value }).map(|_| ())
    }

    /// A point in a stream for others to wait for; none if everything before it is done.
    pub(crate) fn mark(&mut self, cx: &mut Context<'_>, serial: u64) -> Option<Mark> {
        match &self.mode {
            Mode::Threaded(threads) => {
                threads.submit(serial, cx.ticket(), Duration::ZERO, None, Op::Nothing)
            }
            _ => None,
        }
    }

    /// Whether everything before a point is done.
    pub(crate) fn reached(&self, mark: Option<&Mark>) -> bool {
        match (&self.mode, mark) {
            (Mode::Threaded(threads), Some(mark)) => threads.reached(mark),
            _ => true,
        }
    }

    /// Whether a stream has nothing to do.
    pub(crate) fn is_done(&self, serial: u64) -> bool {
        match &self.mode {
            Mode::Threaded(threads) => threads.is_done(serial),
            _ => true,
        }
    }

    /// Lets later work of a stream wait for a point in another.
    pub(crate) fn wait_for(&mut self, cx: &mut Context<'_>, serial: u64, mark: Option<Mark>) {
        if let (Mode::Threaded(threads), Some(_)) = (&self.mode, mark) {
            threads.submit(serial, cx.ticket(), Duration::ZERO, mark, Op::Nothing);
        }
    }

    pub(crate) fn lost(&self) -> Option<Status> {
        match &self.mode {
            Mode::Inline(..) => None,
            Mode::Threaded(threads) => threads.lost(),
            Mode::Gone => Some(Status::OPERATING_SYSTEM),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        match &self.mode {
            Mode::Threaded(threads) => threads.is_idle(),
            _ => true,
        }
    }

    pub(crate) fn drain(&mut self) {
        if let Mode::Threaded(threads) = &self.mode {
            threads.drain();
        }
    }

    pub(crate) fn digest(&mut self) -> Result<MemoryDigestReply, Status> {
        match &self.mode {
            Mode::Inline(device) => Ok(device::digest(&device.pool, &device.space)),
            Mode::Threaded(threads) => {
                Ok(threads.drained(|pool: &Pool, space: &Space| device::digest(pool, space)))
            }
            Mode::Gone => Err(Status::OPERATING_SYSTEM),
        }
    }
}

fn source(cx: &mut Context<'_>, data: Tail<'_>) -> Result<Source, Status> {
    match data {
        Tail::Inline(bytes) => Ok(Source::Inline(bytes.into())),
        Tail::Arena(at) => {
            cx.check_arena(at)?;
            Ok(Source::Arena { at, _hold: cx.hold() })
        }
    }
}

/// Performs an operation on the worker's own thread. What has to wait cannot come here:
/// [`Engine::start_threads`] goes before it.
fn run(cx: &mut Context<'_>, device: &mut Device, scrub: bool, op: Op) -> Result<(), Status> {
    let Device { pool, space } = device;
    let changed = |_| Status::INVALID_VALUE;
    match op {
        Op::Copy { dst, src } => pool.copy_within(src, dst),
        Op::Fill { range, pattern } => pool.fill(range, pattern.bytes()),
        Op::Rect { rect, .. } => rect.run(pool, &*cx.services().arena).map_err(changed)?,
        Op::FillRect(fill) => fill.run(pool, &*cx.services().arena).map_err(changed)?,
        Op::Write { place, bytes } => {
            op::write(pool, &*cx.services().arena, &place, &bytes).map_err(changed)?;
        }
        Op::Retire { offset } => device::retire(scrub.then_some(pool), space, offset),
        Op::Fence { index, value } => cx.write_fence(index, value)?,
        Op::Library { library, function, stream, bytes } => {
            pool.library_call(library, function, stream, &bytes);
        }
        Op::Nothing | Op::Wait(_) => {}
        Op::CopyIn { .. } | Op::CopyOut { .. } | Op::Launch { .. } | Op::HostFunction { .. } => {
            return Err(Status::UNKNOWN);
        }
    }
    Ok(())
}
