//! Texture and surface objects: how kernels read elements of arrays and of memory, as CUDA documents it.
//!
//! A texture is read at coordinates. Unless they are normalised they count elements, element 0 reaching from 0 to 1. Point
//! filtering takes the element that the coordinate lies in. Linear filtering takes the two elements (four, eight) whose
//! middles lie around it, weighted by the distance in 256ths.

use crate::arrays::{Array, Shape};
use crate::kernel::{KernelArgs, KernelFault};
use ringbar_vocabulary::DevicePtr;

/// `CUaddress_mode`.
const WRAP: u32 = 0;
const MIRROR: u32 = 2;
const BORDER: u32 = 3;
/// Steps of a weight between two elements.
const WEIGHTS: f64 = 256.0;

/// What a texture reads, and how.
#[derive(Clone, Debug)]
pub(crate) struct Texture {
    pub(crate) context: u32,
    pub(crate) source: Source,
    /// `CUaddress_mode` of each dimension.
    pub(crate) modes: [u32; 3],
    pub(crate) linear: bool,
    pub(crate) normalized: bool,
    /// Whole numbers are read as what they are, and not as fractions of the greatest one.
    pub(crate) as_integer: bool,
    /// What is read beyond the edges in the mode for it.
    pub(crate) border: [f32; 4],
}

/// Where elements lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) at: DevicePtr,
    /// Bytes from row to row, and from slice to slice.
    pub(crate) pitch: u64,
    pub(crate) slice: u64,
    /// Elements, rows, slices: each at least 1.
    pub(crate) extent: [u64; 3],
    /// Whether the third number counts layers, between which nothing is filtered.
    pub(crate) layers: bool,
    pub(crate) format: u32,
    pub(crate) channels: u32,
    pub(crate) element_bytes: u64,
}

impl Source {
    /// The whole of an array.
    pub(crate) fn array(array: &Array) -> Self {
        let Shape { extent, format, channels, flags, element_bytes } = array.shape;
        let (pitch, slice) = array.shape.pitches();
        let extent = extent.map(|size| size.max(1));
        // The flag of layers, and that of cube maps.
        let layers = flags & 5 != 0;
        Self { at: array.at, pitch, slice, extent, layers, format, channels, element_bytes }
    }

    fn place(&self, [x, y, z]: [u64; 3]) -> DevicePtr {
        self.at.offset(z * self.slice + y * self.pitch + x * self.element_bytes)
    }
}

/// A surface: an array that kernels read and write by elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surface {
    pub(crate) context: u32,
    pub(crate) source: Source,
}

/// A 16-bit float as a number.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    match exponent {
        0 => sign * fraction * 2f64.powi(-24),
        0x1f if fraction == 0.0 => sign * f64::INFINITY,
        0x1f => f64::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

/// A channel's number.
fn number(format: u32, as_integer: bool, bytes: &[u8]) -> f64 {
    let mut wide = [0; 4];
    wide[..bytes.len()].copy_from_slice(bytes);
    let unsigned = u32::from_le_bytes(wide);
    let low = unsigned as u16;
    match format {
        0x20 => f64::from(f32::from_bits(unsigned)),
        0x10 => half(low),
        1 if !as_integer => f64::from(unsigned) / 255.0,
        2 if !as_integer => f64::from(unsigned) / 65_535.0,
        8 if !as_integer => (f64::from(low as u8 as i8) / 127.0).max(-1.0),
        9 if !as_integer => (f64::from(low as i16) / 32_767.0).max(-1.0),
        8 => f64::from(low as u8 as i8),
        9 => f64::from(low as i16),
        10 => f64::from(unsigned as i32),
        _ => f64::from(unsigned),
    }
}

/// The element that a number of a dimension with `count` elements means in an address mode; none beyond the edge, or if
/// there are no elements.
fn wrapped(index: i64, count: u64, mode: u32, normalized: bool) -> Option<u64> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    if count == 0 {
        return None;
    }
    let inside = match mode {
        // Only normalised coordinates repeat.
        WRAP if normalized => index.rem_euclid(count),
        MIRROR if normalized => {
            let place = index.rem_euclid(count.saturating_mul(2));
            if place < count { place } else { 2 * count - 1 - place }
        }
        BORDER if !(0..count).contains(&index) => return None,
        _ => index.clamp(0, count - 1),
    };
    Some(inside as u64)
}

impl Texture {
    /// Elements around a coordinate of one dimension, each with its weight.
    fn around(&self, dimension: usize, coordinate: f32) -> Vec<(Option<u64>, f64)> {
        let count = self.source.extent[dimension];
        let is_layer = dimension == 2 && self.source.layers;
        let scale = if self.normalized && !is_layer { count as f64 } else { 1.0 };
        let at = f64::from(coordinate) * scale;
        let mode = if is_layer { 1 } else { self.modes[dimension] };
        let element = |index: f64| wrapped(index as i64, count, mode, self.normalized);
        let missing = self.source.extent[dimension..].iter().all(|&size| size == 1);
        if !self.linear || is_layer || missing {
            return vec![(element(at.floor()), 1.0)];
        }
        let before = at - 0.5;
        let first = before.floor();
        let second = ((before - first) * WEIGHTS).round() / WEIGHTS;
        vec![(element(first), 1.0 - second), (element(first + 1.0), second)]
    }
}

impl KernelArgs<'_> {
    fn texture(&self, texture: u64) -> Result<Texture, KernelFault> {
        let found = self.space.textures.get(&texture).cloned();
        found.ok_or(KernelFault::Failed("there is no such texture object"))
    }

    fn surface(&self, surface: u64) -> Result<Source, KernelFault> {
        let found = self.space.surfaces.get(&surface).map(|surface| surface.source);
        found.ok_or(KernelFault::Failed("there is no such surface object"))
    }

    fn numbers(
        &mut self,
        source: &Source,
        place: [u64; 3],
        as_integer: bool,
    ) -> Result<[f64; 4], KernelFault> {
        let channel = (source.element_bytes / u64::from(source.channels)) as usize;
        let bytes = self.memory(source.place(place), source.element_bytes)?;
        let mut numbers = [0.0; 4];
        for (number_of, bytes) in numbers.iter_mut().zip(bytes.chunks(channel)) {
            *number_of = number(source.format, as_integer, bytes);
        }
        Ok(numbers)
    }

    /// What a texture object reads at coordinates, as `tex1D`, `tex2D` and `tex3D` do: up to four numbers. A layer is the
    /// third coordinate.
    ///
    /// # Errors
    /// If there is no such texture object, or what it reads is no longer allocated.
    pub fn sample(&mut self, texture: u64, at: [f32; 3]) -> Result<[f32; 4], KernelFault> {
        let texture = self.texture(texture)?;
        let [columns, rows, slices] =
            [0, 1, 2].map(|dimension| texture.around(dimension, at[dimension]));
        let mut sum = [0.0; 4];
        for &(z, slice_weight) in &slices {
            for &(y, row_weight) in &rows {
                for &(x, weight) in &columns {
                    let element = match (x, y, z) {
                        (Some(x), Some(y), Some(z)) => {
                            self.numbers(&texture.source, [x, y, z], texture.as_integer)?
                        }
                        _ => texture.border.map(f64::from),
                    };
                    let weight = weight * row_weight * slice_weight;
                    sum.iter_mut().zip(element).for_each(|(sum, number)| *sum += weight * number);
                }
            }
        }
        Ok(sum.map(|number| number as f32))
    }

    /// Element `index` of memory in a row, as `tex1Dfetch` reads it: zeros beyond its ends.
    ///
    /// # Errors
    /// As [`KernelArgs::sample`].
    pub fn fetch(&mut self, texture: u64, index: i32) -> Result<[f64; 4], KernelFault> {
        let texture = self.texture(texture)?;
        match u64::try_from(index) {
            Ok(index) if index < texture.source.extent[0] => {
                self.numbers(&texture.source, [index, 0, 0], texture.as_integer)
            }
            _ => Ok([0.0; 4]),
        }
    }

    /// Where bytes of a surface are; coordinates in bytes, rows, slices.
    fn surface_place(
        &self,
        surface: u64,
        [x, y, z]: [u64; 3],
        bytes: u64,
    ) -> Result<DevicePtr, KernelFault> {
        let source = self.surface(surface)?;
        let inside =
            x.checked_add(bytes).is_some_and(|end| end <= source.extent[0] * source.element_bytes)
                && y < source.extent[1]
                && z < source.extent[2];
        if !inside || !x.is_multiple_of(bytes) {
            return Err(KernelFault::Failed(
                "a surface is used beyond its edges, or between two elements",
            ));
        }
        Ok(source.at.offset(z * source.slice + y * source.pitch + x))
    }

    /// `N` bytes of a surface, as `surf2Dread` reads them: behind so many bytes of a row, rows, slices.
    ///
    /// # Errors
    /// If there is no such surface object, or the place is not in it.
    pub fn surface_read<const N: usize>(
        &mut self,
        surface: u64,
        place: [u64; 3],
    ) -> Result<[u8; N], KernelFault> {
        let at = self.surface_place(surface, place, N as u64)?;
        self.load(at)
    }

    /// Changes bytes of a surface, as `surf2Dwrite` does.
    ///
    /// # Errors
    /// As [`KernelArgs::surface_read`].
    pub fn surface_write(
        &mut self,
        surface: u64,
        place: [u64; 3],
        bytes: &[u8],
    ) -> Result<(), KernelFault> {
        let at = self.surface_place(surface, place, bytes.len() as u64)?;
        self.store(at, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texture(linear: bool, normalized: bool, mode: u32) -> Texture {
        let source = Source {
            at: DevicePtr(0),
            pitch: 16,
            slice: 64,
            extent: [4, 4, 1],
            layers: false,
            format: 0x20,
            channels: 1,
            element_bytes: 4,
        };
        let (modes, border) = ([mode; 3], [0.0; 4]);
        Texture { context: 0, source, modes, linear, normalized, as_integer: false, border }
    }

    #[test]
    fn a_point_is_the_element_that_the_coordinate_lies_in() {
        let clamp = texture(false, false, 1);
        assert_eq!(clamp.around(0, 2.75), [(Some(2), 1.0)]);
        assert_eq!(clamp.around(0, -3.0), [(Some(0), 1.0)]);
        assert_eq!(clamp.around(0, 9.0), [(Some(3), 1.0)]);
        assert_eq!(texture(false, false, BORDER).around(0, 4.0), [(None, 1.0)]);
        let wrap = texture(false, true, WRAP);
        assert_eq!(wrap.around(0, 1.3), [(Some(1), 1.0)]);
        assert_eq!(wrap.around(0, -0.1), [(Some(3), 1.0)]);
        let mirror = texture(false, true, MIRROR);
        assert_eq!(mirror.around(0, 1.1), [(Some(3), 1.0)]);
        assert_eq!(mirror.around(0, -0.1), [(Some(0), 1.0)]);
    }

    #[test]
    fn between_two_middles_both_count_by_their_distance_in_256ths() {
        let clamp = texture(true, false, 1);
        assert_eq!(clamp.around(0, 2.0), [(Some(1), 0.5), (Some(2), 0.5)]);
        assert_eq!(clamp.around(0, 1.5), [(Some(1), 1.0), (Some(2), 0.0)]);
        assert_eq!(clamp.around(0, 0.0), [(Some(0), 0.5), (Some(0), 0.5)]);
        let third = clamp.around(0, 1.5 + 1.0 / 3.0);
        assert_eq!(third[1].1, 85.0 / 256.0);
        assert_eq!(texture(true, true, WRAP).around(0, 1.0), [(Some(3), 0.5), (Some(0), 0.5)]);
        assert_eq!(clamp.around(2, 0.0), [(Some(0), 1.0)], "one slice is no dimension");
    }

    #[test]
    fn numbers_are_read_as_fractions_or_as_what_they_are() {
        assert_eq!(number(1, false, &[255]), 1.0);
        assert_eq!(number(1, true, &[200]), 200.0);
        assert_eq!(number(8, false, &[0x80]), -1.0);
        assert_eq!(number(9, true, &(-5i16).to_le_bytes()), -5.0);
        assert_eq!(number(10, false, &(-7i32).to_le_bytes()), -7.0);
        assert_eq!(number(0x20, false, &1.5f32.to_le_bytes()), 1.5);
        assert_eq!(
            [half(0x3c00), half(0xc000), half(1), half(0x7c00)],
            [1.0, -2.0, 2f64.powi(-24), f64::INFINITY]
        );
    }
}
