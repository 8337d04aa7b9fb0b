//! Fills.

use super::attributes::waits_for;
use super::copy::Return;
use super::{find, reachable};
use crate::failure::Outcome;
use crate::output;
use crate::session;
use crate::stream::{Working, working};
use crate::types::{CUdeviceptr, CUstream};
use ringbar_vocabulary::{DevicePtr, MemsetD8, MemsetD16, MemsetD32, MemsetRect, Status};

/// A value of 1, 2 or 4 bytes.
#[derive(Clone, Copy)]
struct Value {
    value: u32,
    bytes: u32,
}

const fn value(value: u32, bytes: u32) -> Value {
    Value { value, bytes }
}

/// Fills `count` values in a row.
fn row(dst: u64, value: Value, count: usize, stream: &Working, when: Return) -> Outcome {
    let bytes = (count as u64).checked_mul(value.bytes.into()).ok_or(Status::INVALID_VALUE)?;
    if !dst.is_multiple_of(value.bytes.into()) {
        return Err(Status::INVALID_VALUE.into());
    }
    if bytes == 0 {
        return Ok(());
    }
    let live = session::live()?;
    let dst = DevicePtr(reachable(dst, bytes)?);
    let (count, stream_id) = (count as u64, stream.id);
    match value.bytes {
        1 => live.post(&MemsetD8 { dst, count, stream: stream_id, value: value.value as u8 })?,
        2 => live.post(&MemsetD16 { dst, count, stream: stream_id, value: value.value as u16 })?,
        _ => live.post(&MemsetD32 { dst, count, stream: stream_id, value: value.value })?,
    };
    settle(dst.0, stream, when)
}

/// Fills `height` rows of `width` values.
fn rows(
    (dst, pitch): (u64, usize),
    value: Value,
    (width, height): (usize, usize),
    stream: &Working,
    when: Return,
) -> Outcome {
    let (pitch, width, height) = (pitch as u64, width as u64, height as u64);
    let row_bytes = width.checked_mul(value.bytes.into()).ok_or(Status::INVALID_VALUE)?;
    if row_bytes == 0 || height == 0 {
        return Ok(());
    }
    let aligned = |n: u64| n.is_multiple_of(value.bytes.into());
    if height > 1 && (pitch < row_bytes || !aligned(pitch)) || !aligned(dst) {
        return Err(Status::INVALID_VALUE.into());
    }
    let above = pitch.checked_mul(height - 1).and_then(|above| above.checked_add(row_bytes));
    let at = reachable(dst, above.ok_or(Status::INVALID_VALUE)?)?;
    let command = MemsetRect {
        dst: DevicePtr(at),
        pitch: pitch.max(row_bytes),
        width,
        height,
        value: value.value,
        element_bytes: value.bytes,
        stream: stream.id,
    };
    session::live()?.post(&command)?;
    settle(at, stream, when)
}

/// A fill of host memory is done when the function returns; one of device memory need not be, unless the program wants it.
fn settle(at: u64, stream: &Working, when: Return) -> Outcome {
    let must = || {
        let on_host = find(at).is_some_and(|entry| !entry.is_device());
        on_host || waits_for(stream.context, &[at])
    };
    if when == Return::Done && must() {
        session::live()?.session.synchronise(stream.id)?;
        output::flush(stream.context)?;
    }
    Ok(())
}

/// No stream handle: the default stream.
const NONE: CUstream = CUstream::NULL;

stream_entry! {
    /// Fills with an 8-bit value.
    post fn cuMemsetD8_v2 | cuMemsetD8_v2_ptds[flavour](dst: CUdeviceptr, v: u8, count: usize) {
        row(dst, value(v.into(), 1), count, &working(NONE, flavour)?, Return::Done)
    }

    /// Fills with a 16-bit value.
    post fn cuMemsetD16_v2 | cuMemsetD16_v2_ptds[flavour](dst: CUdeviceptr, v: u16, count: usize) {
        row(dst, value(v.into(), 2), count, &working(NONE, flavour)?, Return::Done)
    }

    /// Fills with a 32-bit value.
    post fn cuMemsetD32_v2 | cuMemsetD32_v2_ptds[flavour](dst: CUdeviceptr, v: u32, count: usize) {
        row(dst, value(v, 4), count, &working(NONE, flavour)?, Return::Done)
    }

    /// Fills with an 8-bit value, in stream order.
    post fn cuMemsetD8Async | cuMemsetD8Async_ptsz[flavour](dst: CUdeviceptr, v: u8, count: usize, stream: CUstream) {
        row(dst, value(v.into(), 1), count, &working(stream, flavour)?, Return::Early)
    }

    /// Fills with a 16-bit value, in stream order.
    post fn cuMemsetD16Async | cuMemsetD16Async_ptsz[flavour](dst: CUdeviceptr, v: u16, count: usize, stream: CUstream) {
        row(dst, value(v.into(), 2), count, &working(stream, flavour)?, Return::Early)
    }

    /// Fills with a 32-bit value, in stream order.
    post fn cuMemsetD32Async | cuMemsetD32Async_ptsz[flavour](dst: CUdeviceptr, v: u32, count: usize, stream: CUstream) {
        row(dst, value(v, 4), count, &working(stream, flavour)?, Return::Early)
    }

    /// Fills rows with an 8-bit value.
    post fn cuMemsetD2D8_v2 | cuMemsetD2D8_v2_ptds[flavour](dst: CUdeviceptr, pitch: usize, v: u8, width: usize, height: usize) {
        rows((dst, pitch), value(v.into(), 1), (width, height), &working(NONE, flavour)?, Return::Done)
    }

    /// Fills rows with a 16-bit value.
    post fn cuMemsetD2D16_v2 | cuMemsetD2D16_v2_ptds[flavour](dst: CUdeviceptr, pitch: usize, v: u16, width: usize, height: usize) {
        rows((dst, pitch), value(v.into(), 2), (width, height), &working(NONE, flavour)?, Return::Done)
    }

    /// Fills rows with a 32-bit value.
    post fn cuMemsetD2D32_v2 | cuMemsetD2D32_v2_ptds[flavour](dst: CUdeviceptr, pitch: usize, v: u32, width: usize, height: usize) {
        rows((dst, pitch), value(v, 4), (width, height), &working(NONE, flavour)?, Return::Done)
    }

    /// Fills rows with an 8-bit value, in stream order.
    post fn cuMemsetD2D8Async | cuMemsetD2D8Async_ptsz[flavour](dst: CUdeviceptr, pitch: usize, v: u8, width: usize, height: usize, stream: CUstream) {
        rows((dst, pitch), value(v.into(), 1), (width, height), &working(stream, flavour)?, Return::Early)
    }

    /// Fills rows with a 16-bit value, in stream order.
    post fn cuMemsetD2D16Async | cuMemsetD2D16Async_ptsz[flavour](dst: CUdeviceptr, pitch: usize, v: u16, width: usize, height: usize, stream: CUstream) {
        rows((dst, pitch), value(v.into(), 2), (width, height), &working(stream, flavour)?, Return::Early)
    }

    /// Fills rows with a 32-bit value, in stream order.
    post fn cuMemsetD2D32Async | cuMemsetD2D32Async_ptsz[flavour](dst: CUdeviceptr, pitch: usize, v: u32, width: usize, height: usize, stream: CUstream) {
        rows((dst, pitch), value(v, 4), (width, height), &working(stream, flavour)?, Return::Early)
    }
}
