//! What arrays, texture and surface objects are made of.

use crate::{ArrayId, ContextId, DevicePtr, Status, TextureCreate};

/// Flags of arrays that are not offered, `CUDA_ARRAY3D_SPARSE`, `_DEFERRED_MAPPING` and `_VIDEO_ENCODE_DECODE`: there is no
/// command that maps memory into such an array.
pub const ARRAY_FLAGS_NOT_OFFERED: u32 = 0x1c0;

/// Bytes of a number of a `CUarray_format`.
///
/// # Errors
/// NOT_SUPPORTED for the formats of pictures, of compressed blocks, and of numbers that stand for fractions; INVALID_VALUE for
/// what is none.
pub fn format_bytes(format: u32) -> Result<u64, Status> {
    match format {
        1 | 8 => Ok(1),
        2 | 9 | 0x10 => Ok(2),
        3 | 10 | 0x20 => Ok(4),
        0x40..=0x1ff => Err(Status::NOT_SUPPORTED),
        _ => Err(Status::INVALID_VALUE),
    }
}

/// `CU_RESOURCE_TYPE_ARRAY`.
pub const ARRAY: u32 = 0;
/// `CU_RESOURCE_TYPE_MIPMAPPED_ARRAY`.
pub const MIPMAPPED: u32 = 1;
/// `CU_RESOURCE_TYPE_LINEAR`.
pub const LINEAR: u32 = 2;
/// `CU_RESOURCE_TYPE_PITCH2D`.
pub const PITCHED: u32 = 3;

impl TextureCreate {
    /// A command that says nothing yet but what kind of resource it is about: everything else is 0.
    pub fn of(context: ContextId, kind: u32) -> Self {
        Self {
            context,
            kind,
            array: ArrayId::NONE,
            format: 0,
            channels: 0,
            at: DevicePtr(0),
            size: [0; 3],
            address_modes: [0; 3],
            filter: 0,
            flags: 0,
            anisotropy: 0,
            mipmap_filter: 0,
            mipmap: [0; 3],
            border: [0; 4],
            has_view: 0,
            view_format: 0,
            view_ranges: [0; 4],
            view_size: [0; 3],
        }
    }
}
