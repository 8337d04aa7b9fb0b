//! Work of a stream as commands and graphs name it, before its addresses are looked up.

use crate::engine::Cost;
use crate::gpu::{MockGpu, twist};
use crate::kernel::{Geometry, Kernel};
use crate::op::{Condition, FillRect, Op, Pattern, Rect, Side};
use crate::space::{Access, Place};
use ringbar_backend::Context;
use ringbar_vocabulary::*;
use std::sync::Arc;

/// What the device's own time goes on by, in nanoseconds.
pub(crate) const LAUNCH_NS: u64 = 2000;
pub(crate) const COPY_NS: u64 = 1000;
/// Bytes that a copy moves in a nanosecond.
pub(crate) const COPY_BYTES_NS: u64 = 50;

/// In a copy's `host` field: which side is in the arena.
const HOST_DST: u32 = 1;
const HOST_SRC: u32 = 2;

/// A launch.
#[derive(Clone)]
pub(crate) struct Launch {
    pub(crate) function: FunctionId,
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) params: Arc<[u8]>,
    pub(crate) geometry: Geometry,
}

/// A copy of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) dst: Corner,
    pub(crate) src: Corner,
    pub(crate) width: u64,
    pub(crate) height: u64,
    pub(crate) depth: u64,
    pub(crate) host: u32,
}

/// A fill of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) dst: DevicePtr,
    pub(crate) pitch: u64,
    /// In values.
    pub(crate) width: u64,
    pub(crate) height: u64,
    pub(crate) value: u32,
    pub(crate) element_bytes: u32,
}

/// A number in memory that a stream writes or waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) at: DevicePtr,
    pub(crate) value: u64,
    pub(crate) flags: u32,
    pub(crate) bits: u32,
}

/// One piece of a stream's work.
#[derive(Clone)]
pub(crate) enum Work {
    Kernel(Launch),
    Bytes {
        dst: DevicePtr,
        bytes: Arc<[u8]>,
    },
    Copy(Copy),
    /// The same with an end in an array, which no address tells.
    ArrayCopy(Copy),
    Fill(Fill),
    Host {
        token: u64,
    },
    Record {
        event: u32,
    },
    WaitEvent {
        event: u32,
    },
    Write(Value),
    WaitValue(Value),
    Library {
        call: (u32, u32, u32),
        bytes: Arc<[u8]>,
    },
}

/// A corner of a copy in one dimension.
pub(crate) fn line(at: u64) -> Corner {
    Corner { at, pitch: 0, slice: 0 }
}

impl Copy {
    /// A copy of bytes that lie together.
    pub(crate) fn linear(dst: u64, src: u64, bytes: u64, host: u32) -> Self {
        Self { dst: line(dst), src: line(src), width: bytes, height: 1, depth: 1, host }
    }

    pub(crate) fn to_device(dst: DevicePtr, src: ArenaRef) -> Self {
        Self::linear(dst.0, src.addr, src.len, HOST_SRC)
    }

    pub(crate) fn to_host(dst: ArenaRef, src: DevicePtr) -> Self {
        Self::linear(dst.addr, src.0, dst.len, HOST_DST)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.width == 0 || self.height == 0 || self.depth == 0
    }

    /// Bytes from a side's first to its last.
    fn extent(&self, corner: &Corner) -> Result<u64, Status> {
        let row = self.width;
        let slice = if self.height > 1 {
            let gaps = corner.pitch.checked_mul(self.height - 1);
            let fits = corner.pitch >= row;
            gaps.filter(|_| fits).and_then(|gaps| gaps.checked_add(row))
        } else {
            Some(row)
        };
        let slice = slice.ok_or(Status::INVALID_VALUE)?;
        if self.depth <= 1 {
            return Ok(slice);
        }
        let gaps = corner.slice.checked_mul(self.depth - 1).filter(|_| corner.slice >= slice);
        gaps.and_then(|gaps| gaps.checked_add(slice)).ok_or(Status::INVALID_VALUE)
    }
}

impl MockGpu {
    /// Does a piece of work in a stream now.
    pub(crate) fn perform(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        work: &Work,
    ) -> Result<(), Status> {
        match work {
            Work::Kernel(launch) => self.perform_launch(cx, serial, launch),
            Work::Bytes { dst, bytes } => {
                let place = self.engine.place(*dst, bytes.len() as u64, Access::Write)?;
                let cost = Cost::Bytes(bytes.len() as u64);
                self.pass_copy(bytes.len() as u64);
                let op = Op::Write { place, bytes: (**bytes).into() };
                self.engine.submit(cx, serial, cost, op).map(|_| ())
            }
            Work::Copy(copy) | Work::ArrayCopy(copy) => self.perform_copy(cx, serial, copy),
            Work::Fill(fill) => self.perform_fill(cx, serial, fill),
            Work::Host { token } => {
                self.start_threads()?;
                let op = Op::HostFunction { token: *token };
                self.engine.submit(cx, serial, Cost::Nothing, op).map(|_| ())
            }
            Work::Record { event } => self.record(cx, serial, *event, None),
            Work::WaitEvent { event } => self.wait_event(cx, serial, *event),
            Work::Write(value) => self.perform_write(cx, serial, value),
            Work::WaitValue(value) => self.perform_wait(cx, serial, value),
            Work::Library { call, bytes } => {
                self.counts.library_calls += 1;
                self.engine.library_call(cx, serial, *call, bytes)
            }
        }
    }

    /// Lets the device's time go on by a copy.
    pub(crate) fn pass_copy(&mut self, bytes: u64) {
        self.clock_ns += COPY_NS + bytes / COPY_BYTES_NS;
    }

    fn perform_launch(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        launch: &Launch,
    ) -> Result<(), Status> {
        self.counts.launches += 1;
        self.clock_ns += LAUNCH_NS;
        let twist = twist(&self.config.faults, self.counts.launches);
        let Launch { kernel, params, geometry, .. } = launch;
        let result = self.engine.launch(cx, serial, kernel, params, *geometry, twist);
        result.inspect_err(|&status| self.lost = Some(status))
    }

    fn side(
        &mut self,
        cx: &mut Context<'_>,
        copy: &Copy,
        corner: &Corner,
        host: bool,
        access: Access,
    ) -> Result<Side, Status> {
        let bytes = copy.extent(corner)?;
        let place = if host {
            let block = ArenaRef { addr: corner.at, len: bytes };
            cx.check_arena(block)?;
            Place::Host(block)
        } else {
            self.engine.place(DevicePtr(corner.at), bytes, access)?
        };
        Ok(Side { place, pitch: corner.pitch, slice: corner.slice })
    }

    fn perform_copy(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        copy: &Copy,
    ) -> Result<(), Status> {
        let (host_dst, host_src) = (copy.host & HOST_DST != 0, copy.host & HOST_SRC != 0);
        if copy.host & !(HOST_DST | HOST_SRC) != 0 || (host_dst && host_src) {
            return Err(Status::INVALID_VALUE);
        }
        if copy.is_empty() {
            return Ok(());
        }
        let dst = self.side(cx, copy, &copy.dst, host_dst, Access::Write)?;
        let src = self.side(cx, copy, &copy.src, host_src, Access::Read)?;
        if let (Place::Device(to), Place::Device(from), 1, 1) =
            (&dst.place, &src.place, copy.height, copy.depth)
        {
            self.pass_copy(copy.width);
            let op = Op::Copy { dst: to.start, src: from.clone() };
            return self.engine.submit(cx, serial, Cost::Bytes(copy.width), op).map(|_| ());
        }
        let rect = Rect { dst, src, width: copy.width, height: copy.height, depth: copy.depth };
        let bytes = rect.bytes();
        self.counts.htod_bytes += if host_src { bytes } else { 0 };
        self.counts.dtoh_bytes += if host_dst { bytes } else { 0 };
        self.pass_copy(bytes);
        // Only the blocks that the command itself names are in the client's staging area.
        let hold = (host_dst || host_src).then(|| cx.hold());
        let op = Op::Rect { rect: Box::new(rect), _hold: hold };
        self.engine.submit(cx, serial, Cost::Bytes(bytes), op).map(|_| ())
    }

    fn perform_fill(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        fill: &Fill,
    ) -> Result<(), Status> {
        let invalid = Status::INVALID_VALUE;
        let pattern = Pattern::new(fill.value, fill.element_bytes).ok_or(invalid)?;
        let element = u64::from(fill.element_bytes);
        let width = fill.width.checked_mul(element).ok_or(invalid)?;
        let aligned = fill.dst.0.is_multiple_of(element)
            && (fill.height <= 1 || fill.pitch.is_multiple_of(element));
        if !aligned {
            return Err(invalid);
        }
        let corner = Corner { at: fill.dst.0, pitch: fill.pitch, slice: 0 };
        let whole =
            Copy { dst: corner, src: corner, width, height: fill.height, depth: 1, host: 0 };
        if whole.is_empty() {
            return Ok(());
        }
        let dst = self.side(cx, &whole, &corner, false, Access::Write)?;
        let bytes = width * fill.height;
        self.pass_copy(bytes);
        let op = match dst.place {
            Place::Device(range) if fill.height == 1 => Op::Fill { range, pattern },
            _ => Op::FillRect(Box::new(FillRect { dst, width, height: fill.height, pattern })),
        };
        self.engine.submit(cx, serial, Cost::Bytes(bytes), op).map(|_| ())
    }

    fn value_place(&mut self, value: &Value, access: Access) -> Result<Place, Status> {
        let bytes = u64::from(value.bits / 8);
        if ![32, 64].contains(&value.bits) || !value.at.0.is_multiple_of(bytes) {
            return Err(Status::INVALID_VALUE);
        }
        self.engine.place(value.at, bytes, access)
    }

    fn perform_write(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        value: &Value,
    ) -> Result<(), Status> {
        let place = self.value_place(value, Access::Write)?;
        let bytes = value.value.to_le_bytes()[..value.bits as usize / 8].into();
        let op = Op::Write { place, bytes };
        self.engine.submit(cx, serial, Cost::Nothing, op).map(|_| ())
    }

    fn perform_wait(
        &mut self,
        cx: &mut Context<'_>,
        serial: u64,
        value: &Value,
    ) -> Result<(), Status> {
        /// The comparison; above it only the flag that flushes, which has nothing to do here.
        const COMPARE: u32 = 3;
        let place = self.value_place(value, Access::Read)?;
        let Value { value, bits, flags, .. } = *value;
        let condition = Condition { place, value, compare: flags & COMPARE, bits };
        self.start_threads()?;
        let op = Op::Wait(Box::new(condition));
        self.engine.submit(cx, serial, Cost::Nothing, op).map(|_| ())
    }
}
