//! Texture and surface objects: made and ended. What they read is in [`crate::texture`].

use crate::arrays::{Array, CUBEMAP};
use crate::gpu::MockGpu;
use crate::space::Access;
use crate::texture::{Source, Surface, Texture};
use ringbar_backend::Context;
use ringbar_backend::table::OBJECTS_MAX;
use ringbar_vocabulary::resource::{ARRAY, LINEAR, MIPMAPPED, PITCHED, format_bytes};
use ringbar_vocabulary::*;

/// `CU_TRSF_*`.
const READ_AS_INTEGER: u32 = 1;
const NORMALIZED: u32 = 2;
const FLAGS: u32 = 0x73;
/// Of arrays that are cube maps only.
const SEAMLESS: u32 = 0x40;
/// Memory begins at multiples of so many bytes, and so do rows.
const ALIGN_BYTES: u64 = 512;
const PITCH_ALIGN_BYTES: u64 = 32;
/// The most elements in a row of memory; elements, rows and bytes of a row of memory in rows.
const LINEAR_MAX: u64 = 1 << 30;
const PITCHED_MAX: [u64; 3] = [131_072, 65_000, 2_097_120];
/// `CU_AD_FORMAT_*` by thirds of `CUresourceViewFormat`.
const VIEW_FORMATS: [u32; 8] = [1, 8, 2, 9, 3, 10, 0x10, 0x20];
/// `CU_AD_FORMAT_*` that are whole numbers: of 32 bits they are never read as fractions.
const WHOLE: [u32; 6] = [1, 2, 3, 8, 9, 10];

/// Memory as a texture reads it; INVALID_VALUE if it cannot.
fn memory(command: &TextureCreate) -> Result<Source, Status> {
    let TextureCreate { kind, at, format, channels, size, .. } = *command;
    if !matches!(channels, 1 | 2 | 4) || !at.0.is_multiple_of(ALIGN_BYTES) {
        return Err(Status::INVALID_VALUE);
    }
    let element_bytes = format_bytes(format)? * u64::from(channels);
    let (extent, pitch, possible) = match kind {
        LINEAR => {
            let count = size[0] / element_bytes;
            ([count, 1, 1], size[0], count <= LINEAR_MAX)
        }
        // Rows may be longer than the distance between them.
        _ => {
            let fits = (0..3).all(|i| size[i] <= PITCHED_MAX[i]);
            ([size[0], size[1], 1], size[2], fits && size[2].is_multiple_of(PITCH_ALIGN_BYTES))
        }
    };
    if !possible {
        return Err(Status::INVALID_VALUE);
    }
    Ok(Source { at, pitch, slice: 0, extent, layers: false, format, channels, element_bytes })
}

/// How a texture reads; INVALID_VALUE if it cannot.
fn sampled(command: &TextureCreate, source: Source) -> Result<Texture, Status> {
    let TextureCreate { context, address_modes, filter, flags, mipmap_filter, border, .. } =
        *command;
    let known = flags & !FLAGS == 0
        && address_modes.iter().all(|&mode| mode <= 3)
        && filter <= 1
        && mipmap_filter <= 1;
    let as_integer = flags & READ_AS_INTEGER != 0 || source.format == 3 || source.format == 10;
    let whole = as_integer && WHOLE.contains(&source.format);
    if !known {
        return Err(Status::INVALID_VALUE);
    }
    Ok(Texture {
        context: context.0,
        source,
        modes: address_modes,
        // Between whole numbers nothing is filtered.
        linear: filter == 1 && !whole,
        normalized: flags & NORMALIZED != 0,
        as_integer,
        border: border.map(f32::from_bits),
    })
}

/// An array read as numbers of another format of the same size.
fn viewed(command: &TextureCreate, array: &Array, source: Source) -> Result<Source, Status> {
    let last_layer = if source.layers { source.extent[2] as u32 - 1 } else { 0 };
    let whole = command.view_size == array.shape.extent
        && command.view_ranges == [0, 0, 0, last_layer]
        && command.view_format != 0;
    if !whole {
        return Err(Status::INVALID_VALUE);
    }
    // Six kinds of whole numbers and two of floats, each of one, two and four channels; behind them compressed blocks.
    let place = command.view_format as usize - 1;
    let format = *VIEW_FORMATS.get(place / 3).ok_or(Status::NOT_SUPPORTED)?;
    let channels = [1, 2, 4][place % 3];
    let element_bytes = format_bytes(format)? * u64::from(channels);
    let same = element_bytes == source.element_bytes;
    if same { Ok(Source { format, channels, ..source }) } else { Err(Status::NOT_SUPPORTED) }
}

impl MockGpu {
    fn source(&self, command: &TextureCreate) -> Result<Source, Status> {
        let seamless = command.flags & SEAMLESS != 0;
        match command.kind {
            ARRAY => {
                let array = self.arrays.get(command.array.0)?;
                if seamless && array.shape.flags & CUBEMAP == 0 {
                    return Err(Status::INVALID_VALUE);
                }
                let source = Source::array(array);
                if command.has_view == 0 { Ok(source) } else { viewed(command, array, source) }
            }
            LINEAR | PITCHED if seamless => Err(Status::INVALID_VALUE),
            LINEAR | PITCHED => {
                let source = memory(command)?;
                let row = source.extent[0] * source.element_bytes;
                let bytes = source.extent[1].saturating_sub(1) * source.pitch + row;
                self.engine.place(source.at, bytes, Access::Read)?;
                Ok(source)
            }
            MIPMAPPED => Err(Status::NOT_SUPPORTED),
            _ => Err(Status::INVALID_VALUE),
        }
    }

    /// A value that no object had before.
    fn next_object(&mut self) -> u64 {
        self.next_object += 1;
        self.next_object
    }

    pub(crate) fn texture_create(
        &mut self,
        _cx: &mut Context<'_>,
        command: TextureCreate,
    ) -> Result<TextureCreateReply, Status> {
        self.context(command.context)?;
        let made = sampled(&command, self.source(&command)?)?;
        let texture = self.next_object();
        self.engine.with_space_now(|space| {
            if space.textures.len() >= OBJECTS_MAX {
                return Err(Status::OUT_OF_MEMORY);
            }
            space.textures.insert(texture, made);
            Ok(TextureCreateReply { texture })
        })
    }

    pub(crate) fn texture_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        command: TextureDestroy,
    ) -> Result<(), Status> {
        self.context(command.context)?;
        self.engine.quiet(|_, space| {
            let own = space.textures.get(&command.texture);
            let own = own.is_some_and(|texture| texture.context == command.context.0);
            if own && space.textures.remove(&command.texture).is_some() {
                return Ok(());
            }
            Err(Status::INVALID_VALUE)
        })
    }

    pub(crate) fn surface_create(
        &mut self,
        _cx: &mut Context<'_>,
        command: SurfaceCreate,
    ) -> Result<SurfaceCreateReply, Status> {
        self.context(command.context)?;
        let array = self.arrays.get(command.array.0)?;
        let made = Surface { context: command.context.0, source: Source::array(array) };
        let surface = self.next_object();
        self.engine.with_space_now(|space| {
            if space.surfaces.len() >= OBJECTS_MAX {
                return Err(Status::OUT_OF_MEMORY);
            }
            space.surfaces.insert(surface, made);
            Ok(SurfaceCreateReply { surface })
        })
    }

    pub(crate) fn surface_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        command: SurfaceDestroy,
    ) -> Result<(), Status> {
        self.context(command.context)?;
        self.engine.quiet(|_, space| {
            let own = space.surfaces.get(&command.surface);
            let own = own.is_some_and(|surface| surface.context == command.context.0);
            if own && space.surfaces.remove(&command.surface).is_some() {
                return Ok(());
            }
            Err(Status::INVALID_VALUE)
        })
    }

    /// Ends the texture and surface objects of a context.
    pub(crate) fn destroy_objects_of(&mut self, context: u32) -> Result<(), Status> {
        self.engine.with_space_now(|space| {
            space.textures.retain(|_, texture| texture.context != context);
            space.surfaces.retain(|_, surface| surface.context != context);
            Ok(())
        })
    }
}
