//! What texture and surface objects are made of.

use crate::{ArrayId, ContextId, DevicePtr, TextureCreate};

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
