//! Texture and surface objects: the driver's, described in the runtime's words.

use crate::driver;
use crate::error::{Error, Outcome};
use crate::pointer::{In, Out};
use crate::types::{ChannelFormat, DriverResource, DriverTexture, DriverView, Resource, Texture};

/// `cudaResourceType` and `CUresourcetype`.
const ARRAY: u32 = 0;
const MIPMAPPED: u32 = 1;
const LINEAR: u32 = 2;
const PITCHED: u32 = 3;
/// `CU_TRSF_*`.
const READ_AS_INTEGER: u32 = 1;
const NORMALIZED: u32 = 2;
const SRGB: u32 = 0x10;
const NO_TRILINEAR: u32 = 0x20;
const SEAMLESS: u32 = 0x40;
/// `cudaReadModeNormalizedFloat`.
const FRACTIONS: u32 = 1;

impl Resource {
    /// In the driver's words.
    fn driver(&self) -> Outcome<DriverResource> {
        let mut resource =
            DriverResource { kind: self.kind, flags: self.flags, ..DriverResource::default() };
        match self.kind {
            ARRAY | MIPMAPPED => {
                resource.words[0] = self.words[0];
                if self.words[0] == 0 {
                    return Err(Error::INVALID_HANDLE);
                }
            }
            LINEAR | PITCHED => {
                let (format, channels) = self.format().element()?;
                resource.words[0] = self.words[0];
                resource.words[1] = u64::from(format) | u64::from(channels) << 32;
                resource.words[2..5].copy_from_slice(&self.words[4..7]);
            }
            _ => return Err(Error::INVALID_VALUE),
        }
        Ok(resource)
    }

    /// Of memory: five numbers behind the address.
    fn format(&self) -> ChannelFormat {
        let half = |i: usize| (self.words[1 + i / 2] >> (32 * (i % 2))) as u32;
        ChannelFormat { bits: [0, 1, 2, 3].map(|i| half(i).cast_signed()), kind: half(4) }
    }

    /// In the runtime's words.
    fn of(resource: &DriverResource) -> Outcome<Self> {
        let mut found = Self { kind: resource.kind, flags: resource.flags, ..Self::default() };
        found.words[0] = resource.words[0];
        if matches!(resource.kind, LINEAR | PITCHED) {
            let element = resource.words[1];
            let format = ChannelFormat::of(element as u32, (element >> 32) as u32)?;
            let [x, y, z, w] = format.bits.map(|bits| u64::from(bits.cast_unsigned()));
            found.words[1..4].copy_from_slice(&[x | y << 32, z | w << 32, format.kind.into()]);
            found.words[4..7].copy_from_slice(&resource.words[2..5]);
        }
        Ok(found)
    }
}

/// The driver's format of what a resource consists of.
fn format_of(resource: &DriverResource) -> Outcome<u32> {
    match resource.kind {
        ARRAY => Ok(crate::array::descriptor(resource.words[0] as usize)?.format),
        // A level of a mipmapped array would be asked here.
        MIPMAPPED => Err(Error::NOT_SUPPORTED),
        _ => Ok(resource.words[1] as u32),
    }
}

impl Texture {
    /// In the driver's words; `format` is `CUarray_format` of what it reads.
    fn driver(&self, format: u32) -> Outcome<DriverTexture> {
        let small = matches!(format, 1 | 2 | 8 | 9);
        let whole = small || matches!(format, 3 | 10);
        if self.read_mode == FRACTIONS && !small {
            return Err(Error::INVALID_NORM_SETTING);
        }
        if self.read_mode != FRACTIONS && whole && self.filter != 0 {
            return Err(Error::INVALID_FILTER_SETTING);
        }
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        Ok(DriverTexture {
            address_modes: self.address_modes,
            filter: self.filter,
            flags: flag(self.read_mode != FRACTIONS, READ_AS_INTEGER)
                | flag(self.normalized != 0, NORMALIZED)
                | flag(self.srgb != 0, SRGB)
                | flag(self.no_trilinear != 0, NO_TRILINEAR)
                | flag(self.seamless != 0, SEAMLESS),
            anisotropy: self.anisotropy,
            mipmap_filter: self.mipmap_filter,
            mipmap: self.mipmap,
            border: self.border,
            reserved: [0; 12],
        })
    }

    /// In the runtime's words.
    fn of(found: &DriverTexture) -> Self {
        let has = |flag: u32| i32::from(found.flags & flag != 0);
        Self {
            address_modes: found.address_modes,
            filter: found.filter,
            read_mode: if found.flags & READ_AS_INTEGER != 0 { 0 } else { FRACTIONS },
            srgb: has(SRGB),
            border: found.border,
            normalized: has(NORMALIZED),
            anisotropy: found.anisotropy,
            mipmap_filter: found.mipmap_filter,
            mipmap: found.mipmap,
            no_trilinear: has(NO_TRILINEAR),
            seamless: has(SEAMLESS),
        }
    }
}

entries! {
    sync fn cudaCreateTextureObject(place: Out<'_, u64>, resource: In<'_, Resource>, texture: In<'_, Texture>, view: In<'_, DriverView>) {
        let (place, resource) = (place.present()?, resource.get()?);
        let driver = driver::bind()?;
        let resource = resource.driver()?;
        if texture.is_null() {
            return Err(Error::INVALID_HANDLE);
        }
        let texture = texture.get()?.driver(format_of(&resource)?)?;
        // The views of both interfaces lie alike in memory.
        driver.cuTexObjectCreate(place, In::to(&resource), In::to(&texture), view)
    }

    local fn cudaGetTextureObjectResourceDesc(resource: Out<'_, Resource>, texture: u64) {
        let mut found = DriverResource::default();
        let resource = resource.present()?;
        driver::bind()?.cuTexObjectGetResourceDesc(Out::to(&mut found), texture)?;
        resource.set(Resource::of(&found)?)
    }

    local fn cudaGetTextureObjectTextureDesc(description: Out<'_, Texture>, texture: u64) {
        let mut found = DriverTexture::default();
        let description = description.present()?;
        driver::bind()?.cuTexObjectGetTextureDesc(Out::to(&mut found), texture)?;
        description.set(Texture::of(&found))
    }

    local fn cudaGetTextureObjectResourceViewDesc(view: Out<'_, DriverView>, texture: u64) {
        let mut found = DriverView::default();
        let view = view.present()?;
        driver::bind()?.cuTexObjectGetResourceViewDesc(Out::to(&mut found), texture)?;
        view.set(found)
    }

    sync fn cudaCreateSurfaceObject(place: Out<'_, u64>, resource: In<'_, Resource>) {
        let (place, resource) = (place.present()?, resource.get()?);
        let driver = driver::bind()?;
        driver.cuSurfObjectCreate(place, In::to(&resource.driver()?))
    }

    local fn cudaGetSurfaceObjectResourceDesc(resource: Out<'_, Resource>, surface: u64) {
        let mut found = DriverResource::default();
        let resource = resource.present()?;
        driver::bind()?.cuSurfObjectGetResourceDesc(Out::to(&mut found), surface)?;
        resource.set(Resource::of(&found)?)
    }
}

passed! {
    post fn cudaDestroyTextureObject(texture: u64) = cuTexObjectDestroy;
    post fn cudaDestroySurfaceObject(surface: u64) = cuSurfObjectDestroy;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_described_in_either_interfaces_words_and_back() {
        let mut resource = Resource { kind: PITCHED, ..Resource::default() };
        resource.words[..7].copy_from_slice(&[4096, 8 | 8 << 32, 8 | 8 << 32, 1, 50, 20, 512]);
        let driver = resource.driver().unwrap();
        assert_eq!(driver.words[..5], [4096, 1 | 4 << 32, 50, 20, 512]);
        assert_eq!(Resource::of(&driver).unwrap().words, resource.words);
    }

    #[test]
    fn what_cannot_be_filtered_or_read_as_fractions_is_refused() {
        let linear = Texture { filter: 1, ..Texture::default() };
        assert_eq!(linear.driver(1).err(), Some(Error::INVALID_FILTER_SETTING));
        assert!(linear.driver(0x20).is_ok());
        let fractions = Texture { read_mode: FRACTIONS, ..linear };
        assert!(fractions.driver(1).is_ok());
        assert_eq!(fractions.driver(0x20).err(), Some(Error::INVALID_NORM_SETTING));
        let found =
            Texture::of(&Texture { srgb: 1, normalized: 7, ..fractions }.driver(8).unwrap());
        assert_eq!((found.read_mode, found.srgb, found.normalized), (FRACTIONS, 1, 1));
    }
}
