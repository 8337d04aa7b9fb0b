//! Texture and surface objects. Their values are the driver's own, since kernels take them as arguments.

use crate::live::Live;
use ringbar_backend::Context;
use ringbar_backend::table::OBJECTS_MAX;
use ringbar_vocabulary::resource::{ARRAY, LINEAR, PITCHED};
use ringbar_vocabulary::*;
use std::collections::BTreeSet;

/// Objects of one kind, by context and value: two contexts may have the same value.
pub type Objects = BTreeSet<(ContextId, u64)>;

/// `CUDA_RESOURCE_DESC` with a kind that may be any number.
#[repr(C)]
#[derive(Default)]
pub struct ResourceDescriptor {
    pub kind: u32,
    /// An array; or an address, format and channels, and bytes or width, height and pitch.
    pub words: [u64; 16],
    pub flags: u32,
}

const _: () = {
    use cudarc::driver::sys::CUDA_RESOURCE_DESC;
    assert!(size_of::<ResourceDescriptor>() == size_of::<CUDA_RESOURCE_DESC>());
    let flags = std::mem::offset_of!(ResourceDescriptor, flags);
    assert!(flags == std::mem::offset_of!(CUDA_RESOURCE_DESC, flags));
};

/// `CUDA_TEXTURE_DESC` with modes that may be any number; floats by their bits.
#[repr(C)]
pub struct TextureDescriptor {
    pub address_modes: [u32; 3],
    pub filter: u32,
    pub flags: u32,
    pub anisotropy: u32,
    pub mipmap_filter: u32,
    pub mipmap: [u32; 3],
    pub border: [u32; 4],
    pub reserved: [u32; 12],
}

const _: () = {
    use cudarc::driver::sys::CUDA_TEXTURE_DESC;
    assert!(size_of::<TextureDescriptor>() == size_of::<CUDA_TEXTURE_DESC>());
    let border = std::mem::offset_of!(TextureDescriptor, border);
    assert!(border == std::mem::offset_of!(CUDA_TEXTURE_DESC, borderColor));
};

/// `CUDA_RESOURCE_VIEW_DESC` with a format that may be any number.
#[repr(C)]
pub struct ViewDescriptor {
    pub format: u32,
    pub size: [u64; 3],
    pub ranges: [u32; 4],
    pub reserved: [u32; 16],
}

const _: () = {
    use cudarc::driver::sys::CUDA_RESOURCE_VIEW_DESC;
    assert!(size_of::<ViewDescriptor>() == size_of::<CUDA_RESOURCE_VIEW_DESC>());
};

/// Refuses more objects than a client may have.
fn check_room(objects: &Objects) -> Result<(), Status> {
    if objects.len() < OBJECTS_MAX { Ok(()) } else { Err(Status::OUT_OF_MEMORY) }
}

impl Live {
    fn resource(&self, c: &TextureCreate) -> Result<ResourceDescriptor, Status> {
        let mut resource = ResourceDescriptor { kind: c.kind, ..ResourceDescriptor::default() };
        match c.kind {
            ARRAY => resource.words[0] = self.arrays.get(c.array.0)?.raw as u64,
            LINEAR | PITCHED => {
                resource.words[0] = c.at.0;
                resource.words[1] = u64::from(c.format) | u64::from(c.channels) << 32;
                resource.words[2..5].copy_from_slice(&c.size);
            }
            _ => return Err(Status::NOT_SUPPORTED),
        }
        Ok(resource)
    }

    pub fn texture_create(
        &mut self,
        _cx: &mut Context<'_>,
        c: TextureCreate,
    ) -> Result<TextureCreateReply, Status> {
        self.enter(c.context)?;
        check_room(&self.textures)?;
        let resource = self.resource(&c)?;
        let TextureCreate { address_modes, filter, flags, anisotropy, .. } = c;
        let TextureCreate { mipmap_filter, mipmap, border, .. } = c;
        let sampled = TextureDescriptor {
            address_modes,
            filter,
            flags,
            anisotropy,
            mipmap_filter,
            mipmap,
            border,
            reserved: [0; 12],
        };
        let (format, size, ranges) = (c.view_format, c.view_size, c.view_ranges);
        let view = ViewDescriptor { format, size, ranges, reserved: [0; 16] };
        let view = (c.has_view != 0).then_some(&view);
        let mut texture = 0;
        self.api.cuTexObjectCreate(&mut texture, &resource, &sampled, view)?;
        self.textures.insert((c.context, texture));
        Ok(TextureCreateReply { texture })
    }

    pub fn texture_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        c: TextureDestroy,
    ) -> Result<(), Status> {
        let key = (c.context, c.texture);
        if !self.textures.contains(&key) {
            return Err(Status::INVALID_VALUE);
        }
        self.enter(c.context)?;
        self.api.cuTexObjectDestroy(c.texture)?;
        self.textures.remove(&key);
        Ok(())
    }

    pub fn surface_create(
        &mut self,
        _cx: &mut Context<'_>,
        c: SurfaceCreate,
    ) -> Result<SurfaceCreateReply, Status> {
        self.enter(c.context)?;
        check_room(&self.surfaces)?;
        let mut resource = ResourceDescriptor { kind: ARRAY, ..ResourceDescriptor::default() };
        resource.words[0] = self.arrays.get(c.array.0)?.raw as u64;
        let mut surface = 0;
        self.api.cuSurfObjectCreate(&mut surface, &resource)?;
        self.surfaces.insert((c.context, surface));
        Ok(SurfaceCreateReply { surface })
    }

    pub fn surface_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        c: SurfaceDestroy,
    ) -> Result<(), Status> {
        let key = (c.context, c.surface);
        if !self.surfaces.contains(&key) {
            return Err(Status::INVALID_VALUE);
        }
        self.enter(c.context)?;
        self.api.cuSurfObjectDestroy(c.surface)?;
        self.surfaces.remove(&key);
        Ok(())
    }
}
