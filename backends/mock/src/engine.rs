//! Executing at once or in device threads, behind one set of operations.

use crate::config::{MockConfig, MockError};
use crate::device::{self, Device};
use crate::heap::Heap;
use crate::kernel::{Geometry, Kernel};
use crate::pool::Pool;
use crate::schedule::{Mark, Op, Source, Threads, Twist};
use ringbar_backend::Context;
use ringbar_vocabulary::{ArenaRef, DevicePtr, MemoryDigestReply, Status, Tail};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Who executes.
pub(crate) enum Engine {
    /// The worker's thread, at once: nothing is locked or allocated.
    Inline(Box<Device>, Settings),
    /// Device threads.
    Threaded(Threads, Settings),
}

#[derive(Clone, Copy)]
pub(crate) struct Settings {
    latency: Duration,
    bandwidth_bytes_per_s: u64,
    scrub: bool,
}

impl Settings {
    fn copy_cost(&self, bytes: usize) -> Duration {
        if self.bandwidth_bytes_per_s == 0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(bytes as f64 / self.bandwidth_bytes_per_s as f64)
    }
}

impl Engine {
    pub(crate) fn new(config: &MockConfig) -> Result<Self, MockError> {
        let pool = Pool::new(config.device_memory_bytes, config.prefault_bytes)?;
        let device = Device { pool, heap: Heap::new(config.device_memory_bytes) };
        let settings = Settings {
            latency: Duration::from_nanos(config.latency_ns),
            bandwidth_bytes_per_s: config.bandwidth_bytes_per_s,
            scrub: config.scrub_on_free,
        };
        if config.is_inline() {
            return Ok(Engine::Inline(Box::new(device), settings));
        }
        let threads = Threads::new(device, config.scrub_on_free, config.device_threads)?;
        Ok(Engine::Threaded(threads, settings))
    }

    pub(crate) fn add_stream(&mut self, blocking: bool) -> u64 {
        match self {
            Engine::Inline(..) => 0,
            Engine::Threaded(threads, _) => threads.add_stream(blocking),
        }
    }

    pub(crate) fn remove_stream(&mut self, serial: u64) {
        if let Engine::Threaded(threads, _) = self {
            threads.remove_stream(serial);
        }
    }

    /// Where `bytes` at `at` lie, if a command may use them now.
    pub(crate) fn range(&self, at: DevicePtr, bytes: u64) -> Result<Range<usize>, Status> {
        if bytes == 0 {
            return Ok(0..0);
        }
        let start = match self {
            Engine::Inline(device, _) => device.heap.check_command(at, bytes)?,
            Engine::Threaded(threads, _) => threads.heap().check_command(at, bytes)?,
        };
        Ok(start as usize..(start + bytes) as usize)
    }

    /// The heap, after all pending frees.
    pub(crate) fn with_heap<T>(&mut self, f: impl FnOnce(&mut Heap) -> T) -> T {
        match self {
            Engine::Inline(device, _) => f(&mut device.heap),
            Engine::Threaded(threads, _) => f(&mut threads.settled_heap()),
        }
    }

    /// What is allocated now, in bytes.
    pub(crate) fn allocated_bytes(&self) -> u64 {
        match self {
            Engine::Inline(device, _) => device.heap.allocated(),
            Engine::Threaded(threads, _) => threads.heap().allocated(),
        }
    }

    pub(crate) fn free(&mut self, at: DevicePtr) -> Result<(), Status> {
        match self {
            Engine::Inline(device, settings) => {
                let offset = device.heap.doom(at)?;
                let pool = settings.scrub.then_some(&mut device.pool);
                device::retire(pool, &mut device.heap, offset);
            }
            Engine::Threaded(threads, _) => {
                let offset = threads.heap().doom(at)?;
                threads.free(offset);
            }
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
        match (self, data) {
            (Engine::Inline(device, _), Tail::Inline(bytes)) => {
                device.pool.get_mut(dst).copy_from_slice(bytes);
            }
            (Engine::Inline(device, _), Tail::Arena(at)) => {
                cx.read_arena(at, device.pool.get_mut(dst))?;
            }
            (Engine::Threaded(threads, settings), data) => {
                let source = source(cx, data)?;
                let cost = settings.copy_cost(dst.len());
                threads.submit(serial, cx.ticket(), cost, None, Op::CopyIn { dst, source });
            }
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
        match self {
            Engine::Inline(device, _) => cx.write_arena(dst, device.pool.get(src))?,
            Engine::Threaded(threads, settings) => {
                cx.check_arena(dst)?;
                let cost = settings.copy_cost(src.len());
                let op = Op::CopyOut { dst, src, _hold: cx.hold() };
                threads.submit(serial, cx.ticket(), cost, None, op);
            }
        }
        Ok(())
    }

    pub(crate) fn copy(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        dst: Range<usize>,
        src: Range<usize>,
    ) {
        match self {
            Engine::Inline(device, _) => device.pool.copy_within(src, dst.start),
            Engine::Threaded(threads, settings) => {
                let cost = settings.copy_cost(src.len());
                let op = Op::Copy { dst: dst.start, src };
                threads.submit(serial, cx.ticket(), cost, None, op);
            }
        }
    }

    pub(crate) fn fill(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        range: Range<usize>,
        pattern: &[u8],
    ) {
        match self {
            Engine::Inline(device, _) => device.pool.fill(range, pattern),
            Engine::Threaded(threads, settings) => {
                let cost = settings.copy_cost(range.len());
                let op = Op::Fill { range, pattern: pattern.into() };
                threads.submit(serial, cx.ticket(), cost, None, op);
            }
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
        match self {
            Engine::Inline(..) if twist == Twist::Fail => Err(Status::LAUNCH_FAILED),
            Engine::Inline(device, _) => {
                let Device { pool, heap } = &mut **device;
                device::launch(pool, heap, kernel, params, geometry)
            }
            Engine::Threaded(threads, settings) => {
                let slow = if let Twist::Slow(more) = twist { more } else { Duration::ZERO };
                let (kernel, params) = (kernel.clone(), params.into());
                let op = Op::Launch { kernel, params, geometry, twist };
                threads.submit(serial, cx.ticket(), settings.latency + slow, None, op);
                Ok(())
            }
        }
    }

    pub(crate) fn library_call(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        call: (u32, u32, u32),
        bytes: &[u8],
    ) {
        let (library, function, stream) = call;
        match self {
            Engine::Inline(device, _) => device.pool.library_call(library, function, stream, bytes),
            Engine::Threaded(threads, settings) => {
                let op = Op::Library { library, function, stream, bytes: bytes.into() };
                threads.submit(serial, cx.ticket(), settings.latency, None, op);
            }
        }
    }

    pub(crate) fn fence(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        index: u32,
        value: u64,
    ) -> Result<(), Status> {
        match self {
            Engine::Inline(..) => cx.write_fence(index, value),
            Engine::Threaded(threads, _) => {
                cx.check_fence(index)?;
                let op = Op::Fence { index, value };
                threads.submit(serial, cx.ticket(), Duration::ZERO, None, op);
                Ok(())
            }
        }
    }

    /// A point in a stream for others to wait for; none if everything before it is done.
    pub(crate) fn mark(&mut self, cx: &mut Context<'_>, serial: u64) -> Option<Mark> {
        match self {
            Engine::Inline(..) => None,
            Engine::Threaded(threads, _) => {
                threads.submit(serial, cx.ticket(), Duration::ZERO, None, Op::Nothing)
            }
        }
    }

    /// Lets later work of a stream wait for a point in another.
    pub(crate) fn wait_for(&mut self, cx: &mut Context<'_>, serial: u64, mark: Option<Mark>) {
        if let (Engine::Threaded(threads, _), Some(_)) = (self, mark) {
            threads.submit(serial, cx.ticket(), Duration::ZERO, mark, Op::Nothing);
        }
    }

    pub(crate) fn lost(&self) -> Option<Status> {
        match self {
            Engine::Inline(..) => None,
            Engine::Threaded(threads, _) => threads.lost(),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        match self {
            Engine::Inline(..) => true,
            Engine::Threaded(threads, _) => threads.is_idle(),
        }
    }

    pub(crate) fn drain(&mut self) {
        if let Engine::Threaded(threads, _) = self {
            threads.drain();
        }
    }

    pub(crate) fn digest(&mut self) -> MemoryDigestReply {
        match self {
            Engine::Inline(device, _) => device::digest(&device.pool, &device.heap),
            Engine::Threaded(threads, _) => {
                threads.drained(|pool: &Pool, heap: &Heap| device::digest(pool, heap))
            }
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
