//! What a copy of a box means in addresses: `CUDA_MEMCPY2D` and `CUDA_MEMCPY3D`, checked and made one form.

use super::place::Declared;
use crate::failure::Outcome;
use ringbar_session::{Extent, Pitch};
use ringbar_vocabulary::Status;

/// `CUDA_MEMCPY2D`, as it lies in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CUDA_MEMCPY2D {
    /// The source.
    pub src: Side2D,
    /// The destination.
    pub dst: Side2D,
    /// Bytes of a row.
    pub width_bytes: usize,
    /// Rows.
    pub height: usize,
}

/// One end of a [`CUDA_MEMCPY2D`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Side2D {
    /// Bytes before the box in a row.
    pub x_bytes: usize,
    /// Rows before the box.
    pub y: usize,
    /// `CUmemorytype`.
    pub memory_type: u32,
    /// Host address.
    pub host: usize,
    /// Device or unified address.
    pub device: u64,
    /// An array.
    pub array: usize,
    /// Bytes from row to row.
    pub pitch: usize,
}
const _: () = assert!(size_of::<CUDA_MEMCPY2D>() == 128);

/// `CUDA_MEMCPY3D` and `CUDA_MEMCPY3D_PEER`, as they lie in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CUDA_MEMCPY3D {
    /// The source.
    pub src: Side3D,
    /// The destination.
    pub dst: Side3D,
    /// Bytes of a row.
    pub width_bytes: usize,
    /// Rows of a slice.
    pub height: usize,
    /// Slices.
    pub depth: usize,
}

/// One end of a [`CUDA_MEMCPY3D`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Side3D {
    /// Bytes before the box in a row.
    pub x_bytes: usize,
    /// Rows before the box in a slice.
    pub y: usize,
    /// Slices before the box.
    pub z: usize,
    /// Level of detail of an array.
    pub lod: usize,
    /// `CUmemorytype`.
    pub memory_type: u32,
    /// Host address.
    pub host: usize,
    /// Device or unified address.
    pub device: u64,
    /// An array.
    pub array: usize,
    /// A context, in a copy between peers; else nothing.
    pub context: usize,
    /// Bytes from row to row.
    pub pitch: usize,
    /// Rows of a slice.
    pub height: usize,
}
const _: () = assert!(size_of::<CUDA_MEMCPY3D>() == 200);

/// One end: its first byte, and how rows lie behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Side {
    /// The box's first byte.
    pub at: u64,
    /// Distances.
    pub pitch: Pitch,
    /// What the caller says it is.
    pub declared: Declared,
}

/// A copy of a box, checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The destination.
    pub dst: Side,
    /// The source.
    pub src: Side,
    /// The box.
    pub extent: Extent,
}

impl From<Side2D> for Side3D {
    fn from(side: Side2D) -> Self {
        let Side2D { x_bytes, y, memory_type, host, device, array, pitch } = side;
        Self { x_bytes, y, memory_type, host, device, array, pitch, ..Self::default() }
    }
}

impl From<CUDA_MEMCPY2D> for CUDA_MEMCPY3D {
    fn from(copy: CUDA_MEMCPY2D) -> Self {
        let CUDA_MEMCPY2D { src, dst, width_bytes, height } = copy;
        Self { src: src.into(), dst: dst.into(), width_bytes, height, depth: 1 }
    }
}

impl Side3D {
    /// The address and what it is said to be. An array has none: see [`super::array`].
    fn base(&self) -> Outcome<(u64, Declared)> {
        match self.memory_type {
            1 => Ok((self.host as u64, Declared::Host)),
            2 => Ok((self.device, Declared::Device)),
            3 => Err(Status::NOT_SUPPORTED.into()),
            4 => Ok((self.device, Declared::Any)),
            _ => Err(Status::INVALID_VALUE.into()),
        }
    }

    pub(super) fn plan(&self, extent: Extent) -> Outcome<Side> {
        let (base, declared) = self.base()?;
        let invalid = Status::INVALID_VALUE;
        let row_end = (self.x_bytes as u64).checked_add(extent.width_bytes).ok_or(invalid)?;
        let slice_end = (self.y as u64).checked_add(extent.height).ok_or(invalid)?;
        let one_row = extent.height == 1 && self.y == 0 && extent.depth == 1 && self.z == 0;
        let row = match self.pitch as u64 {
            0 => row_end,
            pitch if pitch < row_end && !one_row => return Err(invalid.into()),
            pitch => pitch.max(row_end),
        };
        let rows = match self.height as u64 {
            height if extent.depth == 1 && self.z == 0 => height.max(slice_end),
            height if height < slice_end => return Err(invalid.into()),
            height => height,
        };
        let slice = row.checked_mul(rows).ok_or(invalid)?;
        let before = [(self.z as u64, slice), (self.y as u64, row), (self.x_bytes as u64, 1)];
        let at = before
            .iter()
            .try_fold(base, |at, (count, bytes)| at.checked_add(count.checked_mul(*bytes)?));
        let at = at.ok_or(invalid)?;
        Ok(Side { at, pitch: Pitch { row, slice }, declared })
    }
}

impl CUDA_MEMCPY3D {
    /// Checks and plans; `None` if there is nothing to copy.
    pub fn plan(&self) -> Outcome<Option<Plan>> {
        let extent = Extent {
            width_bytes: self.width_bytes as u64,
            height: self.height as u64,
            depth: self.depth as u64,
        };
        if [extent.width_bytes, extent.height, extent.depth].contains(&0) {
            return Ok(None);
        }
        let (dst, src) = (self.dst.plan(extent)?, self.src.plan(extent)?);
        let plan = Plan { dst, src, extent };
        // Both spans fit 64 bits with room to the end of the address space.
        for side in [dst, src] {
            let span = extent.span(side.pitch).and_then(|span| side.at.checked_add(span));
            span.ok_or(Status::INVALID_VALUE)?;
        }
        Ok(Some(plan.merged()))
    }
}

impl Plan {
    /// The same copy with rows that follow each other without a gap on both ends made one, and slices likewise.
    fn merged(mut self) -> Self {
        let Extent { width_bytes, height, depth } = self.extent;
        let tight = |side: &Side| side.pitch.row == width_bytes || height == 1;
        if tight(&self.dst) && tight(&self.src) {
            let bytes = width_bytes * height;
            self.extent = Extent { width_bytes: bytes, height: depth, depth: 1 };
            for side in [&mut self.dst, &mut self.src] {
                side.pitch.row = side.pitch.slice;
            }
            let whole = |side: &Side| side.pitch.row == bytes || depth == 1;
            if whole(&self.dst) && whole(&self.src) {
                self.extent = Extent { width_bytes: bytes * depth, height: 1, depth: 1 };
            }
            for side in [&mut self.dst, &mut self.src] {
                side.pitch.slice = side.pitch.row.saturating_mul(self.extent.height);
            }
        }
        self
    }

    /// Bytes from the first to the last on that end.
    pub fn span(&self, side: &Side) -> u64 {
        self.extent.span(side.pitch).unwrap_or(u64::MAX)
    }

    /// The bytes in a row, if it is one.
    pub fn in_a_row(&self) -> Option<u64> {
        (self.extent.height == 1 && self.extent.depth == 1).then_some(self.extent.width_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(at: usize, pitch: usize, height: usize) -> Side3D {
        Side3D { memory_type: 1, host: at, pitch, height, ..Side3D::default() }
    }

    fn device(at: u64, pitch: usize, height: usize) -> Side3D {
        Side3D { memory_type: 2, device: at, pitch, height, ..Side3D::default() }
    }

    fn copy(src: Side3D, dst: Side3D, box_: [usize; 3]) -> CUDA_MEMCPY3D {
        let [width_bytes, height, depth] = box_;
        CUDA_MEMCPY3D { src, dst, width_bytes, height, depth }
    }

    #[test]
    fn a_box_begins_behind_its_slices_rows_and_bytes() {
        let src = Side3D { x_bytes: 3, y: 2, z: 1, ..host(1000, 10, 5) };
        let plan = copy(src, device(5000, 0, 2), [4, 2, 2]).plan().expect("valid").expect("bytes");
        assert_eq!(plan.src.at, 1000 + 50 + 20 + 3);
        assert_eq!(plan.src.pitch, Pitch { row: 10, slice: 50 });
        assert_eq!(plan.dst.pitch, Pitch { row: 4, slice: 8 });
        assert_eq!(plan.span(&plan.src), 50 + 10 + 4);
    }

    #[test]
    fn rows_and_slices_without_gaps_become_one_row() {
        let plan = copy(host(1000, 8, 4), device(5000, 8, 4), [8, 4, 3]).plan();
        assert_eq!(plan.expect("valid").expect("bytes").in_a_row(), Some(96));
        let plan = copy(host(1000, 8, 4), device(5000, 8, 6), [8, 4, 3]).plan();
        let plan = plan.expect("valid").expect("bytes");
        assert_eq!(plan.extent, Extent { width_bytes: 32, height: 3, depth: 1 });
        assert_eq!((plan.src.pitch.row, plan.dst.pitch.row), (32, 48));
        let plan = copy(host(1000, 9, 4), device(5000, 8, 4), [8, 4, 3]).plan();
        assert_eq!(plan.expect("valid").expect("bytes").extent.depth, 3);
    }

    #[test]
    fn a_pitch_below_the_row_and_a_slice_below_its_rows_are_refused() {
        let invalid = Err(Status::INVALID_VALUE.into());
        let good = device(5000, 64, 8);
        assert_eq!(copy(host(1000, 7, 0), good, [8, 2, 1]).plan(), invalid);
        assert_eq!(copy(host(1000, 8, 3), good, [8, 4, 2]).plan(), invalid);
        assert_eq!(copy(host(1000, usize::MAX, 4), good, [8, 4, 2]).plan(), invalid);
        assert_eq!(copy(host(usize::MAX - 3, 0, 0), good, [8, 1, 1]).plan(), invalid);
        assert!(copy(host(1000, 7, 0), good, [8, 1, 1]).plan().is_ok(), "one row has no next");
    }

    #[test]
    fn an_empty_box_copies_nothing_and_an_array_is_not_supported() {
        let (src, dst) = (host(1000, 8, 8), device(5000, 8, 8));
        assert_eq!(copy(src, dst, [8, 0, 1]).plan(), Ok(None));
        let array = Side3D { memory_type: 3, ..src };
        assert_eq!(copy(array, dst, [8, 1, 1]).plan(), Err(Status::NOT_SUPPORTED.into()));
        let none = Side3D { memory_type: 0, ..src };
        assert_eq!(copy(none, dst, [8, 1, 1]).plan(), Err(Status::INVALID_VALUE.into()));
    }
}
