//! Values that a stream writes to memory, or waits for there.

use crate::arg::In;
use crate::failure::Outcome;
use crate::memory;
use crate::session::{self, Live};
use crate::stream::{Working, working};
use crate::types::{CUdeviceptr, CUstream};
use ringbar_vocabulary::{DevicePtr, Status, StreamWaitValue, StreamWriteValue};

/// `CUstreamBatchMemOpParams`, as its parts lie in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUstreamBatchMemOpParams {
    operation: u32,
    _padding: u32,
    address: u64,
    value: u64,
    flags: u32,
    _unused: [u32; 5],
}
const _: () = assert!(size_of::<CUstreamBatchMemOpParams>() == 48);

/// `CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER`.
const WRITE_FLAGS: u32 = 1;
/// `CU_STREAM_WAIT_VALUE_GEQ`, `EQ`, `AND`, `NOR` and `FLUSH`.
const WAIT_FLAGS: u32 = 3 | 1 << 30;
/// Most operations of a batch.
const BATCH_MAX: u32 = 256;

fn write(live: &Live, stream: &Working, at: u64, value: u64, flags: u32, bits: u32) -> Outcome {
    if flags & !WRITE_FLAGS != 0 {
        return Err(Status::INVALID_VALUE.into());
    }
    let at = place(at, bits)?;
    live.post(&StreamWriteValue { stream: stream.id, at, value, flags, bits })?;
    Ok(())
}

fn wait(live: &Live, stream: &Working, at: u64, value: u64, flags: u32, bits: u32) -> Outcome {
    if flags & !WAIT_FLAGS != 0 {
        return Err(Status::INVALID_VALUE.into());
    }
    let at = place(at, bits)?;
    live.post(&StreamWaitValue { stream: stream.id, at, value, flags, bits })?;
    Ok(())
}

/// The device's address of a value: aligned, and inside memory that the device reaches.
fn place(at: u64, bits: u32) -> Outcome<DevicePtr> {
    let bytes = u64::from(bits / 8);
    if !at.is_multiple_of(bytes) {
        return Err(Status::INVALID_VALUE.into());
    }
    Ok(DevicePtr(memory::reachable(at, bytes)?))
}

fn batch(
    live: &Live,
    stream: &Working,
    count: u32,
    operations: In<CUstreamBatchMemOpParams>,
    flags: u32,
) -> Outcome {
    if flags != 0 || count > BATCH_MAX {
        return Err(Status::INVALID_VALUE.into());
    }
    let operations = operations.all(count as usize)?;
    if let Some(unknown) = operations.iter().find(|o| !matches!(o.operation, 1 | 2 | 4 | 5 | 6)) {
        // 3 flushes writes of other devices over the bus.
        let known = unknown.operation == 3;
        let status = if known { Status::NOT_SUPPORTED } else { Status::INVALID_VALUE };
        return Err(status.into());
    }
    for o in operations {
        let low = o.value & 0xffff_ffff;
        match o.operation {
            1 => wait(live, stream, o.address, low, o.flags, 32)?,
            2 => write(live, stream, o.address, low, o.flags, 32)?,
            4 => wait(live, stream, o.address, o.value, o.flags, 64)?,
            5 => write(live, stream, o.address, o.value, o.flags, 64)?,
            // Each operation is ordered behind the one before already.
            _ => {}
        }
    }
    Ok(())
}

stream_entry! {
    /// Writes a 32-bit value when the stream gets there.
    post fn cuStreamWriteValue32_v2 | cuStreamWriteValue32_v2_ptsz[flavour](stream: CUstream, at: CUdeviceptr, value: u32, flags: u32) {
        write(session::live()?, &working(stream, flavour)?, at, value.into(), flags, 32)
    }

    /// Writes a 64-bit value when the stream gets there.
    post fn cuStreamWriteValue64_v2 | cuStreamWriteValue64_v2_ptsz[flavour](stream: CUstream, at: CUdeviceptr, value: u64, flags: u32) {
        write(session::live()?, &working(stream, flavour)?, at, value, flags, 64)
    }

    /// Makes later work of the stream wait for a 32-bit value.
    post fn cuStreamWaitValue32_v2 | cuStreamWaitValue32_v2_ptsz[flavour](stream: CUstream, at: CUdeviceptr, value: u32, flags: u32) {
        wait(session::live()?, &working(stream, flavour)?, at, value.into(), flags, 32)
    }

    /// Makes later work of the stream wait for a 64-bit value.
    post fn cuStreamWaitValue64_v2 | cuStreamWaitValue64_v2_ptsz[flavour](stream: CUstream, at: CUdeviceptr, value: u64, flags: u32) {
        wait(session::live()?, &working(stream, flavour)?, at, value, flags, 64)
    }

    /// Several of these, in order.
    post fn cuStreamBatchMemOp_v2 | cuStreamBatchMemOp_v2_ptsz[flavour](stream: CUstream, count: u32, operations[count]: In<CUstreamBatchMemOpParams>, flags: u32) {
        batch(session::live()?, &working(stream, flavour)?, count, operations, flags)
    }
}
