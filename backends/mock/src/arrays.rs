//! CUDA arrays: elements in rows without gaps, in memory that no address of the client's names.

use crate::gpu::MockGpu;
use crate::heap::Owner;
use crate::work::{Copy, Work};
use ringbar_backend::Context;
use ringbar_vocabulary::resource::{ARRAY_FLAGS_NOT_OFFERED, format_bytes};
use ringbar_vocabulary::*;

/// `CUDA_ARRAY3D_*`.
const LAYERED: u32 = 1;
pub(crate) const CUBEMAP: u32 = 4;
const GATHER: u32 = 8;
/// A depth texture and a colour attachment change nothing here.
const KNOWN: u32 = 0x3f;
/// An array: where it lies, and what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Array {
    pub(crate) context: u32,
    pub(crate) at: DevicePtr,
    pub(crate) shape: Shape,
}

/// What an array is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Elements, rows, slices; 0 for a dimension that is not there.
    pub(crate) extent: [u64; 3],
    pub(crate) format: u32,
    pub(crate) channels: u32,
    pub(crate) flags: u32,
    pub(crate) element_bytes: u64,
}

/// Attributes of a device that bound an array's sizes, by its flags and dimensions; more than one list: any may hold.
fn bounds(flags: u32, [_, height, depth]: [u64; 3]) -> &'static [&'static [u32]] {
    match (flags & CUBEMAP != 0, flags & LAYERED != 0, height > 0, depth > 0) {
        (true, true, ..) => &[&[53, 53, 54]],
        (true, ..) => &[&[52, 52]],
        (_, true, true, _) => &[&[27, 28, 29]],
        (_, true, false, _) => &[&[42, 0, 43]],
        (.., true) => &[&[24, 25, 26], &[47, 48, 49]],
        (_, _, true, _) if flags & GATHER != 0 => &[&[45, 46]],
        (_, _, true, _) => &[&[22, 23]],
        _ => &[&[21]],
    }
}

impl Shape {
    /// The shape of an array that may be, as far as that does not depend on the device.
    pub(crate) fn new(command: &ArrayCreate) -> Result<Self, Status> {
        let ArrayCreate { extent, format, channels, flags, .. } = *command;
        let channel = format_bytes(format)?;
        if flags & ARRAY_FLAGS_NOT_OFFERED != 0 {
            return Err(Status::NOT_SUPPORTED);
        }
        let [width, height, depth] = extent;
        let layers = flags & (LAYERED | CUBEMAP) != 0;
        let cube = flags & CUBEMAP == 0
            || width == height && depth.is_multiple_of(6) && (flags & LAYERED != 0 || depth == 6);
        let gather = flags & GATHER == 0 || height > 0 && depth == 0;
        let possible = flags & !KNOWN == 0
            && matches!(channels, 1 | 2 | 4)
            && width > 0
            && (!layers || depth > 0)
            && (layers || height > 0 || depth == 0);
        if !possible || !cube || !gather {
            return Err(Status::INVALID_VALUE);
        }
        let element_bytes = channel * u64::from(channels);
        Ok(Self { extent, format, channels, flags, element_bytes })
    }

    /// Bytes of a row, rows, slices: each at least 1.
    pub(crate) fn box_bytes(&self) -> [u64; 3] {
        let [width, height, depth] = self.extent;
        [width * self.element_bytes, height.max(1), depth.max(1)]
    }

    /// How its rows and slices lie.
    pub(crate) fn pitches(&self) -> (u64, u64) {
        let [row, rows, _] = self.box_bytes();
        (row, row * rows)
    }
}

impl Array {
    /// The corner of a box in it, as an address; INVALID_VALUE if the box reaches out of it.
    fn corner(&self, before: Corner, extent: [u64; 3]) -> Result<Corner, Status> {
        let before = [before.at, before.pitch, before.slice];
        let room = self.shape.box_bytes();
        let fits = |i: usize| before[i].checked_add(extent[i]).is_some_and(|end| end <= room[i]);
        if !(0..3).all(fits) {
            return Err(Status::INVALID_VALUE);
        }
        let (pitch, slice) = self.shape.pitches();
        let at = self.at.0 + before[2] * slice + before[1] * pitch + before[0];
        Ok(Corner { at, pitch, slice })
    }
}

impl MockGpu {
    fn check_bounds(&self, device: u32, shape: &Shape) -> Result<(), Status> {
        let facts = self.facts.get(device as usize).ok_or(Status::INVALID_DEVICE)?;
        let fits = |bounds: &&[u32]| {
            bounds.iter().zip(shape.extent).all(|(&attribute, size)| {
                let most = facts.attribute(attribute).map_or(u64::MAX, |most| most as u64);
                size <= most
            })
        };
        let possible = bounds(shape.flags, shape.extent).iter().any(fits);
        if possible { Ok(()) } else { Err(Status::INVALID_VALUE) }
    }

    pub(crate) fn array_create(
        &mut self,
        _cx: &mut Context<'_>,
        command: ArrayCreate,
    ) -> Result<ArrayCreateReply, Status> {
        let device = self.context(command.context)?.device;
        if command.array == ArrayId::NONE {
            return Err(Status::INVALID_HANDLE);
        }
        self.arrays.check_new(command.array.0)?;
        let shape = Shape::new(&command)?;
        self.check_bounds(device, &shape)?;
        let bytes = shape.box_bytes().into_iter().try_fold(1_u64, u64::checked_mul);
        let bytes = bytes.ok_or(Status::OUT_OF_MEMORY)?;
        let at = self.allocate_for(command.context, bytes, Owner::Array)?;
        let array = Array { context: command.context.0, at, shape };
        self.arrays.insert(command.array.0, array);
        Ok(ArrayCreateReply {})
    }

    pub(crate) fn array_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        command: ArrayDestroy,
    ) -> Result<(), Status> {
        self.ready()?;
        let array = self.arrays.remove(command.array.0)?;
        self.engine.free(array.at)
    }

    /// Ends the arrays of a context.
    pub(crate) fn destroy_arrays_of(&mut self, context: u32) -> Result<(), Status> {
        for array in self.arrays.which(|array| array.context == context) {
            let array = self.arrays.remove(array)?;
            self.engine.free(array.at)?;
        }
        Ok(())
    }

    pub(crate) fn memcpy_array(
        &mut self,
        cx: &mut Context<'_>,
        command: MemcpyArray,
    ) -> Result<(), Status> {
        self.stream(command.stream)?;
        let MemcpyArray { dst_array, src_array, host, stream, .. } = command;
        let MemcpyArray { width_bytes: width, height, depth, .. } = command;
        let is_array = |array: ArrayId| array != ArrayId::NONE;
        // An end is in the arena or in an array, and one is in an array.
        let both = is_array(dst_array) && host & 1 != 0 || is_array(src_array) && host & 2 != 0;
        if both || !is_array(dst_array) && !is_array(src_array) {
            return Err(Status::INVALID_VALUE);
        }
        let place = |array: ArrayId, corner: Corner| match array {
            ArrayId::NONE => Ok(corner),
            array => self.arrays.get(array.0)?.corner(corner, [width, height, depth]),
        };
        let (dst, src) = (place(dst_array, command.dst)?, place(src_array, command.src)?);
        let copy = Copy { dst, src, width, height, depth, host };
        self.issue(cx, stream, Work::ArrayCopy(copy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(extent: [u64; 3], flags: u32) -> Result<Shape, Status> {
        let (context, array) = (ContextId::FIRST, ArrayId(1));
        Shape::new(&ArrayCreate { context, array, extent, format: 0x20, channels: 2, flags })
    }

    #[test]
    fn an_array_has_the_dimensions_that_its_flags_allow() {
        let invalid = Err(Status::INVALID_VALUE);
        assert!(shape([8, 0, 0], 0).is_ok() && shape([8, 4, 0], 0).is_ok());
        assert!(shape([8, 4, 2], 0).is_ok() && shape([8, 0, 2], LAYERED).is_ok());
        assert_eq!(shape([0, 4, 0], 0), invalid);
        assert_eq!(shape([8, 0, 2], 0), invalid, "slices without rows");
        assert_eq!(shape([8, 4, 0], LAYERED), invalid, "no layers");
        assert!(shape([8, 8, 6], CUBEMAP).is_ok() && shape([8, 8, 12], CUBEMAP | LAYERED).is_ok());
        assert_eq!(shape([8, 8, 12], CUBEMAP), invalid);
        assert_eq!(shape([8, 4, 6], CUBEMAP), invalid);
        assert_eq!(shape([8, 4, 2], GATHER), invalid);
        assert_eq!(shape([8, 4, 0], 0x40), Err(Status::NOT_SUPPORTED));
        assert_eq!(shape([8, 4, 0], 0x200), invalid);
    }

    #[test]
    fn a_box_in_an_array_is_inside_it() {
        let shape = shape([8, 4, 2], 0).unwrap();
        let array = Array { context: 0, at: DevicePtr(4096), shape };
        let before = |at, pitch, slice| Corner { at, pitch, slice };
        let corner = array.corner(before(16, 2, 1), [48, 2, 1]).unwrap();
        assert_eq!(corner, Corner { at: 4096 + 256 + 128 + 16, pitch: 64, slice: 256 });
        for (corner, extent) in [
            (before(16, 0, 0), [56, 1, 1]),
            (before(0, 3, 0), [8, 2, 1]),
            (before(0, 0, 2), [8, 1, 1]),
            (before(u64::MAX - 7, 0, 0), [8, 1, 1]),
        ] {
            assert_eq!(array.corner(corner, extent), Err(Status::INVALID_VALUE));
        }
    }
}
