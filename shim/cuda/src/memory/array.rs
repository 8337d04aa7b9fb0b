//! Copies from and to CUDA arrays.

use super::attributes::waits_for;
use super::copy::{Return, recorded, refuse_captured};
use super::host;
use super::place::{Declared, Place, classify};
use super::plan::{CUDA_MEMCPY3D, Side3D};
use crate::arg::{InBytes, OutBytes};
use crate::array::{ARRAYS, Array};
use crate::failure::Outcome;
use crate::handles::Handle;
use crate::output;
use crate::session;
use crate::stream::{Working, working};
use crate::types::{CUarray, CUdeviceptr, CUstream, DefaultStream};
use ringbar_session::{DeviceBox, Extent, Pitch};
use ringbar_vocabulary::{Corner, Status};

/// `CU_MEMORYTYPE_ARRAY`.
const ARRAY: u32 = 3;

/// One end of a copy.
#[derive(Clone, Copy)]
enum End {
    Memory { place: Place, pitch: Pitch, span: u64 },
    Array { array: &'static Array, before: [u64; 3] },
}

impl Side3D {
    /// Whether it is an array.
    pub(super) fn is_array(&self) -> bool {
        self.memory_type == ARRAY
    }

    fn end(&self, extent: Extent) -> Outcome<End> {
        if self.is_array() {
            let array = ARRAYS.get(Handle(self.array)).ok_or(Status::INVALID_VALUE)?;
            let before = [self.x_bytes, self.y, self.z].map(|count| count as u64);
            array.check(before, [extent.width_bytes, extent.height, extent.depth])?;
            return Ok(End::Array { array, before });
        }
        let side = self.plan(extent)?;
        let span = extent.span(side.pitch).ok_or(Status::INVALID_VALUE)?;
        let place = classify(&super::read(), side.at, span, side.declared)?;
        Ok(End::Memory { place, pitch: side.pitch, span })
    }
}

impl End {
    fn place(&self) -> Option<Place> {
        match *self {
            Self::Memory { place, .. } => Some(place),
            Self::Array { .. } => None,
        }
    }

    fn is_host(&self) -> bool {
        self.place().is_some_and(Place::is_host)
    }

    /// As commands name it.
    fn on_device(&self) -> DeviceBox {
        match *self {
            Self::Array { array, before } => DeviceBox::Array { array: array.id, before },
            Self::Memory { place, pitch, .. } => {
                DeviceBox::Memory(Corner { at: place.wire(), pitch: pitch.row, slice: pitch.slice })
            }
        }
    }
}

/// Copies a box of which at least one end is an array.
pub(super) fn run(copy: &CUDA_MEMCPY3D, stream: &Working, when: Return) -> Outcome {
    let CUDA_MEMCPY3D { width_bytes, height, depth, .. } = *copy;
    let [width_bytes, height, depth] = [width_bytes, height, depth].map(|size| size as u64);
    let extent = Extent { width_bytes, height, depth };
    if [width_bytes, height, depth].contains(&0) {
        return Ok(());
    }
    let (dst, src) = (copy.dst.end(extent)?, copy.src.end(extent)?);
    move_box((dst, src), extent, stream, when)
}

fn move_box((dst, src): (End, End), extent: Extent, stream: &Working, when: Return) -> Outcome {
    let live = session::live()?;
    let session = &live.session;
    recorded(dst.is_host(), src.is_host(), extent.bytes());
    let pageable = |end: End| end.place().is_some_and(Place::is_pageable);
    if pageable(dst) || pageable(src) {
        refuse_captured(stream)?;
    }
    match (dst, src) {
        (_, End::Memory { place: Place::Pageable(at), pitch, span }) => {
            let from = (host::bytes(at, span), pitch);
            session.memcpy_rect_htod(dst.on_device(), from, extent, stream.id)?;
            return Ok(());
        }
        (End::Memory { place: Place::Pageable(at), pitch, span }, _) => {
            let into = (host::bytes_mut(at, span), pitch);
            session.memcpy_rect_dtoh(into, src.on_device(), extent, stream.id)?;
            return output::flush(stream.context);
        }
        _ => {}
    }
    let bit = |end: End, bit: u32| if end.is_host() { bit } else { 0 };
    let host = bit(dst, 1) | bit(src, 2);
    session.post_box(dst.on_device(), src.on_device(), extent, host, stream.id)?;
    live.settle_capture()?;
    let addresses: Vec<u64> =
        [dst, src].iter().filter_map(End::place).map(Place::address).collect();
    let must_wait = host != 0 || waits_for(stream.context, &addresses);
    if when == Return::Done && must_wait {
        session.synchronise(stream.id)?;
        output::flush(stream.context)?;
    }
    Ok(())
}

/// One end of a copy of bytes in a row: an array and how many bytes lie before, or an address.
#[derive(Clone, Copy)]
enum Row {
    Array(CUarray, usize),
    Address(u64, Declared),
}

impl Row {
    fn side(self, bytes: usize) -> Side3D {
        match self {
            Self::Array(array, x_bytes) => {
                Side3D { memory_type: ARRAY, array: array.0, x_bytes, ..Side3D::default() }
            }
            Self::Address(at, declared) => {
                let memory_type = if declared == Declared::Host { 1 } else { 2 };
                let (host, pitch) = (at as usize, bytes);
                Side3D { memory_type, host, device: at, pitch, ..Side3D::default() }
            }
        }
    }
}

/// Copies within the first row of the arrays.
fn row(
    dst: Row,
    src: Row,
    bytes: usize,
    stream: CUstream,
    flavour: DefaultStream,
    when: Return,
) -> Outcome {
    let stream = working(stream, flavour)?;
    let (src, dst) = (src.side(bytes), dst.side(bytes));
    let copy = CUDA_MEMCPY3D { src, dst, width_bytes: bytes, height: 1, depth: 1 };
    run(&copy, &stream, when)
}

fn host_at(at: usize) -> Row {
    Row::Address(at as u64, Declared::Host)
}

fn device_at(at: CUdeviceptr) -> Row {
    Row::Address(at, Declared::Device)
}

/// No stream handle: the default stream.
const NONE: CUstream = CUstream::NULL;

stream_entry! {
    /// Copies to an array of one dimension.
    sync fn cuMemcpyHtoA_v2 | cuMemcpyHtoA_v2_ptds[flavour](array: CUarray, offset: usize, src[bytes]: InBytes, bytes: usize) {
        row(Row::Array(array, offset), host_at(src), bytes, NONE, flavour, Return::Done)
    }

    /// Copies to an array of one dimension, in stream order.
    post fn cuMemcpyHtoAAsync_v2 | cuMemcpyHtoAAsync_v2_ptsz[flavour](array: CUarray, offset: usize, src[bytes]: InBytes, bytes: usize, stream: CUstream) {
        row(Row::Array(array, offset), host_at(src), bytes, stream, flavour, Return::Early)
    }

    /// Copies from an array of one dimension.
    sync fn cuMemcpyAtoH_v2 | cuMemcpyAtoH_v2_ptds[flavour](dst[bytes]: OutBytes, array: CUarray, offset: usize, bytes: usize) {
        row(host_at(dst), Row::Array(array, offset), bytes, NONE, flavour, Return::Done)
    }

    /// Copies from an array of one dimension, in stream order; waits where the memory is not pinned.
    post fn cuMemcpyAtoHAsync_v2 | cuMemcpyAtoHAsync_v2_ptsz[flavour](dst[bytes]: OutBytes, array: CUarray, offset: usize, bytes: usize, stream: CUstream) {
        row(host_at(dst), Row::Array(array, offset), bytes, stream, flavour, Return::Early)
    }

    /// Copies device memory to an array of one dimension.
    post fn cuMemcpyDtoA_v2 | cuMemcpyDtoA_v2_ptds[flavour](array: CUarray, offset: usize, src: CUdeviceptr, bytes: usize) {
        row(Row::Array(array, offset), device_at(src), bytes, NONE, flavour, Return::Done)
    }

    /// Copies an array of one dimension to device memory.
    post fn cuMemcpyAtoD_v2 | cuMemcpyAtoD_v2_ptds[flavour](dst: CUdeviceptr, array: CUarray, offset: usize, bytes: usize) {
        row(device_at(dst), Row::Array(array, offset), bytes, NONE, flavour, Return::Done)
    }

    /// Copies between arrays of one dimension.
    post fn cuMemcpyAtoA_v2 | cuMemcpyAtoA_v2_ptds[flavour](array: CUarray, offset: usize, src_array: CUarray, src_offset: usize, bytes: usize) {
        row(Row::Array(array, offset), Row::Array(src_array, src_offset), bytes, NONE, flavour, Return::Done)
    }
}
