//! Copies of boxes by the batch: each is checked before the first one is made.

use super::batch::{DURING_CALL, FLAGS, ORDERS, read_sources};
use super::copy::Return;
use super::plan::{CUDA_MEMCPY3D, Side3D};
use super::pool::CUmemLocation;
use super::rect;
use crate::arg::{In, Out};
use crate::failure::Outcome;
use crate::stream::{Working, working};
use crate::types::{CUdeviceptr, CUstream, DefaultStream};
use ringbar_vocabulary::Status;

/// `CU_MEMCPY_OPERAND_TYPE_POINTER` and `_ARRAY`.
const POINTER: u32 = 1;
const ARRAY: u32 = 2;
/// `CU_MEMORYTYPE_UNIFIED`.
const UNIFIED: u32 = 4;

/// `CUmemcpy3DOperand`, of the kind that is a pointer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CUmemcpy3DOperand {
    /// `CUmemcpy3DOperandType`.
    kind: u32,
    /// The box's first byte.
    at: CUdeviceptr,
    /// Bytes from row to row; 0 for rows without gaps.
    row: usize,
    /// Rows from slice to slice; 0 for slices without gaps.
    rows: usize,
    /// A hint, which concerns no memory that is here.
    _place: CUmemLocation,
}

/// `CUDA_MEMCPY3D_BATCH_OP`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CUDA_MEMCPY3D_BATCH_OP {
    src: CUmemcpy3DOperand,
    dst: CUmemcpy3DOperand,
    /// Bytes of a row, rows, slices.
    extent: [usize; 3],
    /// `CUmemcpySrcAccessOrder`.
    source_order: u32,
    /// `CUmemcpyFlags`.
    flags: u32,
}
const _: () = assert!(size_of::<CUDA_MEMCPY3D_BATCH_OP>() == 112);

impl CUmemcpy3DOperand {
    /// As copies of boxes take it.
    fn side(&self, [width, height, _]: [usize; 3]) -> Outcome<Side3D> {
        let refused = Err(Status::INVALID_VALUE.into());
        match self.kind {
            POINTER => {}
            ARRAY => return Err(Status::NOT_SUPPORTED.into()),
            _ => return refused,
        }
        if self.row != 0 && self.row < width || self.rows != 0 && self.rows < height {
            return refused;
        }
        let (pitch, height) = (self.row.max(width), self.rows.max(height));
        Ok(Side3D { memory_type: UNIFIED, device: self.at, pitch, height, ..Side3D::default() })
    }
}

impl CUDA_MEMCPY3D_BATCH_OP {
    fn copy(&self) -> Outcome<CUDA_MEMCPY3D> {
        let known = ORDERS.contains(&self.source_order) && self.flags & !FLAGS == 0;
        if !known || self.extent.contains(&0) {
            return Err(Status::INVALID_VALUE.into());
        }
        let [width_bytes, height, depth] = self.extent;
        let (src, dst) = (self.src.side(self.extent)?, self.dst.side(self.extent)?);
        Ok(CUDA_MEMCPY3D { src, dst, width_bytes, height, depth })
    }
}

fn copy_all(
    list: In<CUDA_MEMCPY3D_BATCH_OP>,
    count: usize,
    flags: u64,
    stream: &Working,
    failed: &mut usize,
) -> Outcome {
    if count == 0 || flags != 0 || stream.is_legacy() {
        return Err(Status::INVALID_VALUE.into());
    }
    let mut copies = Vec::new();
    let mut during_call = false;
    for (at, copy) in list.all(count)?.into_iter().enumerate() {
        let checked = copy.copy().and_then(|plain| rect::check(&plain));
        let checked = checked.inspect_err(|_| *failed = at)?;
        let pinned = checked.as_ref().is_some_and(|(_, _, src)| src.is_pinned());
        during_call |= copy.source_order == DURING_CALL && pinned;
        copies.extend(checked.map(|checked| (at, checked)));
    }
    for (at, checked) in copies {
        let copied = rect::run_checked(checked, stream, Return::Early);
        copied.inspect_err(|_| *failed = at)?;
    }
    if during_call { read_sources(stream) } else { Ok(()) }
}

/// The same for a function that wants to know which copy failed: the largest number if none of them did.
fn run(
    (list, count): (In<CUDA_MEMCPY3D_BATCH_OP>, usize),
    flags: u64,
    failed: Out<usize>,
    stream: CUstream,
    flavour: DefaultStream,
) -> Outcome {
    let mut at = usize::MAX;
    let stream = working(stream, flavour);
    let outcome = stream.and_then(|stream| copy_all(list, count, flags, &stream, &mut at));
    if outcome.is_err() {
        failed.set_if_wanted(at);
    }
    outcome
}

stream_entry! {
    /// Copies boxes by the batch, in stream order as a whole.
    post fn cuMemcpy3DBatchAsync_v2 | cuMemcpy3DBatchAsync_v2_ptsz[flavour](count: usize, list[count]: In<CUDA_MEMCPY3D_BATCH_OP>, flags: u64, stream: CUstream) {
        run((list, count), flags, Out::null(), stream, flavour)
    }

    /// The same, as CUDA 12.8 spelled it: it says which copy was refused.
    post fn cuMemcpy3DBatchAsync | cuMemcpy3DBatchAsync_ptsz[flavour](count: usize, list[count]: In<CUDA_MEMCPY3D_BATCH_OP>, failed: Out<usize>, flags: u64, stream: CUstream) {
        run((list, count), flags, failed, stream, flavour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(row: usize, rows: usize) -> CUDA_MEMCPY3D_BATCH_OP {
        let end = CUmemcpy3DOperand { kind: POINTER, at: 4096, row, rows, ..Default::default() };
        CUDA_MEMCPY3D_BATCH_OP { src: end, dst: end, extent: [16, 4, 2], source_order: 1, flags: 0 }
    }

    #[test]
    fn what_is_not_said_lies_without_gaps() {
        let packed = one(0, 0).copy().expect("a copy");
        assert_eq!((packed.src.pitch, packed.src.height), (16, 4));
        let apart = one(32, 8).copy().expect("a copy");
        assert_eq!((apart.dst.pitch, apart.dst.height), (32, 8));
    }

    #[test]
    fn boxes_that_overlap_themselves_or_are_empty_are_refused() {
        assert!(one(15, 0).copy().is_err() && one(0, 3).copy().is_err());
        assert!(CUDA_MEMCPY3D_BATCH_OP { extent: [16, 0, 1], ..one(0, 0) }.copy().is_err());
        assert!(CUDA_MEMCPY3D_BATCH_OP { source_order: 0, ..one(0, 0) }.copy().is_err());
        let array = CUmemcpy3DOperand { kind: ARRAY, ..one(0, 0).src };
        let of_array = CUDA_MEMCPY3D_BATCH_OP { dst: array, ..one(0, 0) }.copy().err();
        assert_eq!(of_array, Some(Status::NOT_SUPPORTED.into()));
    }
}
