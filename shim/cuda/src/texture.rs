//! Texture and surface objects: values that kernels take as arguments, and so the driver's own.

use crate::arg::{In, Out};
use crate::array::{self, Array};
use crate::capturing;
use crate::context::Context;
use crate::failure::Outcome;
use crate::handles::Handle;
use crate::session;
use crate::tls;
use ringbar_vocabulary::resource::{ARRAY, LINEAR, MIPMAPPED, PITCHED};
use ringbar_vocabulary::{
    ArrayId, ContextId, DevicePtr, Status, SurfaceCreate, SurfaceDestroy, TextureCreate,
    TextureDestroy,
};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// `CUtexObject` and `CUsurfObject`.
pub type CUobject = u64;

/// `CUDA_RESOURCE_DESC`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CUDA_RESOURCE_DESC {
    /// `CUresourcetype`.
    pub kind: u32,
    /// What it is, by its kind: an array; or an address, format and channels, and bytes or width, height and pitch.
    pub words: [u64; 16],
    /// Must be 0.
    pub flags: u32,
}
const _: () = assert!(size_of::<CUDA_RESOURCE_DESC>() == 144);

/// `CUDA_TEXTURE_DESC`; floats by their bits.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CUDA_TEXTURE_DESC {
    /// `CUaddress_mode` of each dimension.
    pub address_modes: [u32; 3],
    /// `CUfilter_mode`.
    pub filter: u32,
    /// `CU_TRSF_*`.
    pub flags: u32,
    /// Most anisotropy.
    pub anisotropy: u32,
    /// `CUfilter_mode` between levels of detail.
    pub mipmap_filter: u32,
    /// Bias, least and greatest level of detail.
    pub mipmap: [u32; 3],
    /// What lies beyond the edges.
    pub border: [u32; 4],
    /// Nothing.
    pub reserved: [u32; 12],
}
const _: () = assert!(size_of::<CUDA_TEXTURE_DESC>() == 104);

/// `CUDA_RESOURCE_VIEW_DESC`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CUDA_RESOURCE_VIEW_DESC {
    /// `CUresourceViewFormat`.
    pub format: u32,
    /// Width, height, depth.
    pub size: [u64; 3],
    /// First and last level of detail, first and last layer.
    pub ranges: [u32; 4],
    /// Nothing.
    pub reserved: [u32; 16],
}
const _: () = assert!(size_of::<CUDA_RESOURCE_VIEW_DESC>() == 112);

/// What an object was created as.
#[derive(Clone, Copy)]
struct Created {
    resource: CUDA_RESOURCE_DESC,
    texture: Option<CUDA_TEXTURE_DESC>,
    view: Option<CUDA_RESOURCE_VIEW_DESC>,
}

/// Objects of one kind by context and value: two contexts may have the same value.
type Objects = LazyLock<Mutex<HashMap<(Handle, CUobject), Created>>>;

static TEXTURES: Objects = LazyLock::new(Mutex::default);
static SURFACES: Objects = LazyLock::new(Mutex::default);

fn lock(objects: &Objects) -> MutexGuard<'_, HashMap<(Handle, CUobject), Created>> {
    objects.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The object of the current context; INVALID_VALUE for what is none.
fn get(objects: &Objects, object: CUobject) -> Outcome<Created> {
    let key = (tls::current()?.handle, object);
    lock(objects).get(&key).copied().ok_or(Status::INVALID_VALUE.into())
}

/// Forgets an object of the current context; none if it is none of its.
fn remove(objects: &Objects, object: CUobject) -> Outcome<Option<ContextId>> {
    let context = tls::current()?;
    let removed = lock(objects).remove(&(context.handle, object));
    Ok(removed.map(|_| context.id))
}

/// A context is destroyed with its objects.
pub fn forget_context(context: &Context) {
    for objects in [&TEXTURES, &SURFACES] {
        lock(objects).retain(|(owner, _), _| *owner != context.handle);
    }
}

impl CUDA_RESOURCE_DESC {
    fn array(&self) -> Outcome<&'static Array> {
        let found = array::get(Handle(self.words[0] as usize));
        found.map_err(|_| Status::INVALID_VALUE.into())
    }

    /// The second word of memory: format in the lower half, channels in the upper one.
    fn element(&self) -> (u32, u32) {
        (self.words[1] as u32, (self.words[1] >> 32) as u32)
    }
}

/// What of the command comes from the resource.
fn described(resource: &CUDA_RESOURCE_DESC, context: &Context) -> Outcome<TextureCreate> {
    let refused = Err(Status::INVALID_VALUE.into());
    if resource.flags != 0 {
        return refused;
    }
    let mut command = TextureCreate::of(context.id, resource.kind);
    match resource.kind {
        ARRAY => command.array = resource.array()?.id,
        LINEAR | PITCHED => {
            (command.format, command.channels) = resource.element();
            array::element_bytes(command.format, command.channels)?;
            command.at = DevicePtr(resource.words[0]);
            command.size.copy_from_slice(&resource.words[2..5]);
            if resource.kind == LINEAR {
                command.size[1..].fill(0);
            }
        }
        MIPMAPPED => {
            tracing::warn!(
                "textures of mipmapped arrays are not supported; try one of a level's size"
            );
            return Err(Status::NOT_SUPPORTED.into());
        }
        _ => return refused,
    }
    Ok(command)
}

fn create_texture(
    place: Out<CUobject>,
    resource: CUDA_RESOURCE_DESC,
    texture: CUDA_TEXTURE_DESC,
    view: Option<CUDA_RESOURCE_VIEW_DESC>,
) -> Outcome {
    let context = tls::current()?;
    let mut command = described(&resource, context)?;
    // Of memory there are no views, and nobody minds one.
    let view = view.filter(|_| command.array != ArrayId::NONE);
    let shown = view.unwrap_or_default();
    let CUDA_TEXTURE_DESC { address_modes, filter, flags, anisotropy, .. } = texture;
    let CUDA_TEXTURE_DESC { mipmap_filter, mipmap, border, .. } = texture;
    (command.address_modes, command.filter, command.flags) = (address_modes, filter, flags);
    (command.anisotropy, command.mipmap_filter) = (anisotropy, mipmap_filter);
    (command.mipmap, command.border) = (mipmap, border);
    command.has_view = view.is_some().into();
    (command.view_format, command.view_size, command.view_ranges) =
        (shown.format, shown.size, shown.ranges);
    capturing::unsafe_call()?;
    let object = session::live()?.call(&command)?.texture;
    let created = Created { resource, texture: Some(texture), view };
    lock(&TEXTURES).insert((context.handle, object), created);
    place.set(object)
}

entry! {
    /// Creates a texture object of an array or of memory.
    sync fn cuTexObjectCreate(place: Out<CUobject>, resource: In<CUDA_RESOURCE_DESC>, texture: In<CUDA_TEXTURE_DESC>, view: In<CUDA_RESOURCE_VIEW_DESC>) {
        let place = place.required()?;
        let (resource, texture) = (resource.get()?, texture.get()?);
        let view = if view.is_null() { None } else { Some(view.get()?) };
        create_texture(place, resource, texture, view)
    }

    /// Destroys a texture object. Nothing happens if it is none.
    post fn cuTexObjectDestroy(texture: CUobject) {
        if let Some(context) = remove(&TEXTURES, texture)? {
            session::live()?.post(&TextureDestroy { context, texture })?;
        }
        Ok(())
    }

    /// What a texture object reads.
    local fn cuTexObjectGetResourceDesc(resource: Out<CUDA_RESOURCE_DESC>, texture: CUobject) {
        let created = get(&TEXTURES, texture)?;
        resource.set(created.resource)
    }

    /// How a texture object reads; like the driver it does not tell what lies beyond the edges.
    local fn cuTexObjectGetTextureDesc(description: Out<CUDA_TEXTURE_DESC>, texture: CUobject) {
        let created = get(&TEXTURES, texture)?;
        let texture = created.texture.ok_or(Status::INVALID_VALUE)?;
        description.set(CUDA_TEXTURE_DESC { border: [0; 4], reserved: [0; 12], ..texture })
    }

    /// As what else a texture object reads its array. Nothing is written if it reads it as it is, which is what the driver
    /// does, though it is documented as an error.
    local fn cuTexObjectGetResourceViewDesc(view: Out<CUDA_RESOURCE_VIEW_DESC>, texture: CUobject) {
        let created = get(&TEXTURES, texture)?;
        match created.view {
            Some(found) => view.set(found),
            None => Ok(()),
        }
    }

    /// Creates a surface object of an array.
    sync fn cuSurfObjectCreate(place: Out<CUobject>, resource: In<CUDA_RESOURCE_DESC>) {
        let (place, resource) = (place.required()?, resource.get()?);
        let context = tls::current()?;
        if resource.kind != ARRAY || resource.flags != 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        let array = resource.array()?.id;
        capturing::unsafe_call()?;
        let object = session::live()?.call(&SurfaceCreate { context: context.id, array })?.surface;
        let created = Created { resource, texture: None, view: None };
        lock(&SURFACES).insert((context.handle, object), created);
        place.set(object)
    }

    /// Destroys a surface object. Nothing happens if it is none.
    post fn cuSurfObjectDestroy(surface: CUobject) {
        if let Some(context) = remove(&SURFACES, surface)? {
            session::live()?.post(&SurfaceDestroy { context, surface })?;
        }
        Ok(())
    }

    /// What a surface object reads and writes.
    local fn cuSurfObjectGetResourceDesc(resource: Out<CUDA_RESOURCE_DESC>, surface: CUobject) {
        let created = get(&SURFACES, surface)?;
        resource.set(created.resource)
    }
}
