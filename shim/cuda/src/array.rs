//! CUDA arrays: memory in an order that the device alone knows, named by handles.
//!
//! Elements are of one, two or four numbers of eight formats. The formats of pictures, of compressed blocks and of numbers
//! that stand for fractions are refused, and so are sparse arrays and those that are mapped later.

use crate::arg::{In, Out};
use crate::capturing;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::handles::{Kind, Table};
use crate::session;
use crate::tls;
use crate::types::{CUarray, CUdevice};
use ringbar_vocabulary::{ArrayCreate, ArrayDestroy, ArrayId, Status, resource};

/// `CUDA_ARRAY_DESCRIPTOR`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CUDA_ARRAY_DESCRIPTOR {
    /// Elements of a row.
    pub width: usize,
    /// Rows; 0 for one dimension.
    pub height: usize,
    /// `CUarray_format`.
    pub format: u32,
    /// Numbers of an element.
    pub channels: u32,
}
const _: () = assert!(size_of::<CUDA_ARRAY_DESCRIPTOR>() == 24);

/// `CUDA_ARRAY3D_DESCRIPTOR`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CUDA_ARRAY3D_DESCRIPTOR {
    /// Elements of a row.
    pub width: usize,
    /// Rows; 0 for one dimension.
    pub height: usize,
    /// Slices or layers; 0 for none.
    pub depth: usize,
    /// `CUarray_format`.
    pub format: u32,
    /// Numbers of an element.
    pub channels: u32,
    /// `CUDA_ARRAY3D_*`.
    pub flags: u32,
}
const _: () = assert!(size_of::<CUDA_ARRAY3D_DESCRIPTOR>() == 40);

/// An array. Never freed.
#[derive(Debug)]
pub struct Array {
    /// Its number for the executor.
    pub id: ArrayId,
    /// The context it belongs to.
    pub context: &'static Context,
    /// What it was created as.
    pub descriptor: CUDA_ARRAY3D_DESCRIPTOR,
    /// Bytes of an element.
    pub element_bytes: u64,
}

/// All arrays by handle.
pub static ARRAYS: Table<Array> = Table::new(Kind::Array);

/// The array of a handle; INVALID_HANDLE for what is none.
pub fn get(array: CUarray) -> Outcome<&'static Array> {
    ARRAYS.get(array).ok_or(Failure(Status::INVALID_HANDLE))
}

/// Bytes of a number of that format.
pub(crate) fn format_bytes(format: u32) -> Outcome<u64> {
    let bytes = resource::format_bytes(format).inspect_err(|&status| {
        if status == Status::NOT_SUPPORTED {
            tracing::warn!(
                format,
                "arrays of this CUarray_format are not supported; try numbers of 8, 16 or 32 bits"
            );
        }
    });
    Ok(bytes?)
}

/// Bytes of an element: 1, 2 or 4 numbers.
pub(crate) fn element_bytes(format: u32, channels: u32) -> Outcome<u64> {
    let bytes = format_bytes(format)?;
    match channels {
        1 | 2 | 4 => Ok(bytes * u64::from(channels)),
        _ => Err(Status::INVALID_VALUE.into()),
    }
}

impl Array {
    /// Bytes of a row, rows, slices: each at least 1.
    pub fn box_bytes(&self) -> [u64; 3] {
        let CUDA_ARRAY3D_DESCRIPTOR { width, height, depth, .. } = self.descriptor;
        [width as u64 * self.element_bytes, height.max(1) as u64, depth.max(1) as u64]
    }

    /// INVALID_VALUE if a box behind so many bytes of a row, rows and slices reaches out of the array. Like the driver it
    /// does not ask for whole elements.
    pub fn check(&self, before: [u64; 3], extent: [u64; 3]) -> Outcome {
        let room = self.box_bytes();
        let fits = |i: usize| before[i].checked_add(extent[i]).is_some_and(|end| end <= room[i]);
        if (0..3).all(fits) { Ok(()) } else { Err(Status::INVALID_VALUE.into()) }
    }
}

/// Refuses what is not offered, by name, whatever the device can do.
pub(crate) fn check_flags(flags: u32) -> Outcome {
    if flags & resource::ARRAY_FLAGS_NOT_OFFERED != 0 {
        tracing::warn!(
            flags,
            "sparse arrays, arrays that are mapped later and those for video are not supported"
        );
        return Err(Status::NOT_SUPPORTED.into());
    }
    Ok(())
}

fn create(place: Out<CUarray>, descriptor: CUDA_ARRAY3D_DESCRIPTOR) -> Outcome {
    let context = tls::current()?;
    let CUDA_ARRAY3D_DESCRIPTOR { width, height, depth, format, channels, flags } = descriptor;
    let element_bytes = element_bytes(format, channels)?;
    check_flags(flags)?;
    capturing::unsafe_call()?;
    let live = session::live()?;
    let id = live.session.array_id()?;
    let extent = [width, height, depth].map(|size| size as u64);
    live.call(&ArrayCreate { context: context.id, array: id, extent, format, channels, flags })?;
    let (handle, _) = ARRAYS.insert(|_| Array { id, context, descriptor, element_bytes })?;
    place.set(handle)
}

/// A context is destroyed with its arrays.
pub fn forget_context(context: &Context) {
    for (handle, array) in ARRAYS.alive() {
        if std::ptr::eq(array.context, context) {
            ARRAYS.remove(handle);
        }
    }
}

entry! {
    /// Creates an array of one or two dimensions.
    sync fn cuArrayCreate_v2(place: Out<CUarray>, descriptor: In<CUDA_ARRAY_DESCRIPTOR>) {
        let place = place.required()?;
        let CUDA_ARRAY_DESCRIPTOR { width, height, format, channels } = descriptor.get()?;
        create(place, CUDA_ARRAY3D_DESCRIPTOR { width, height, format, channels, ..Default::default() })
    }

    /// Creates an array of up to three dimensions, or of layers.
    sync fn cuArray3DCreate_v2(place: Out<CUarray>, descriptor: In<CUDA_ARRAY3D_DESCRIPTOR>) {
        create(place.required()?, descriptor.get()?)
    }

    /// Destroys an array, once all work before is done.
    post fn cuArrayDestroy(array: CUarray) {
        let found = get(array)?;
        found.context.usable()?;
        capturing::unsafe_call()?;
        if ARRAYS.remove(array).is_some() {
            session::live()?.post(&ArrayDestroy { array: found.id })?;
        }
        Ok(())
    }

    /// What an array was created as, without slices and flags.
    local fn cuArrayGetDescriptor_v2(descriptor: Out<CUDA_ARRAY_DESCRIPTOR>, array: CUarray) {
        tls::current()?;
        let descriptor = descriptor.required()?;
        let CUDA_ARRAY3D_DESCRIPTOR { width, height, format, channels, .. } = get(array)?.descriptor;
        descriptor.set(CUDA_ARRAY_DESCRIPTOR { width, height, format, channels })
    }

    /// What an array was created as.
    local fn cuArray3DGetDescriptor_v2(descriptor: Out<CUDA_ARRAY3D_DESCRIPTOR>, array: CUarray) {
        tls::current()?;
        let descriptor = descriptor.required()?;
        descriptor.set(get(array)?.descriptor)
    }

    /// What memory an array needs that is mapped later. INVALID_VALUE for all others, and so for every array that is here.
    local fn cuArrayGetMemoryRequirements(requirements: Out<[u64; 4]>, array: CUarray, device: CUdevice) {
        requirements.required()?;
        crate::device::resolve(device)?;
        get(array)?;
        Err(Status::INVALID_VALUE.into())
    }

    /// How the memory of a sparse array lies. INVALID_VALUE for all others, and so for every array that is here.
    local fn cuArrayGetSparseProperties(properties: Out<[u64; 5]>, array: CUarray) {
        properties.required()?;
        get(array)?;
        Err(Status::INVALID_VALUE.into())
    }

    /// A plane of an array whose format has several. INVALID_VALUE for all others, and so for every array that is here.
    local fn cuArrayGetPlane(plane: Out<CUarray>, array: CUarray, index: u32) {
        let _ = index;
        plane.required()?;
        get(array)?;
        Err(Status::INVALID_VALUE.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_one_two_or_four_numbers_of_a_known_format() {
        assert_eq!(element_bytes(0x20, 4), Ok(16));
        assert_eq!(element_bytes(9, 2), Ok(4));
        assert_eq!(element_bytes(1, 3), Err(Status::INVALID_VALUE.into()));
        assert_eq!(element_bytes(7, 1), Err(Status::INVALID_VALUE.into()));
        assert_eq!(element_bytes(0xb0, 3), Err(Status::NOT_SUPPORTED.into()));
        assert_eq!(check_flags(3), Ok(()));
        assert_eq!(check_flags(0x40), Err(Status::NOT_SUPPORTED.into()));
    }
}
