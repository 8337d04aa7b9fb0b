//! Arrays, and copies of rows from and to them.

use crate::copy::{DEVICE, Kind, UNIFIED, side};
use crate::driver::{self, Driver};
use crate::error::{Error, Outcome};
use crate::pointer::{In, Out};
use crate::stream;
use crate::types::{ArrayDescriptor, ChannelFormat, Copy2D, Extent, Side2D};

/// `CU_MEMORYTYPE_ARRAY`.
pub(crate) const ARRAY: u32 = 3;
/// `cudaChannelFormatKind`.
const SIGNED: u32 = 0;
const UNSIGNED: u32 = 1;
const FLOAT: u32 = 2;

impl ChannelFormat {
    /// `CUarray_format` and how many channels; INVALID_CHANNEL_DESCRIPTOR for what is none.
    pub(crate) fn element(&self) -> Outcome<(u32, u32)> {
        let refused = Err(Error::INVALID_CHANNEL_DESCRIPTOR);
        let [first, ..] = self.bits;
        let count = self.bits.iter().take_while(|&&bits| bits != 0).count();
        let alike = self.bits[..count].iter().all(|&bits| bits == first);
        if !alike || self.bits[count..].iter().any(|&bits| bits != 0) || ![1, 2, 4].contains(&count)
        {
            return refused;
        }
        let format = match (self.kind, first) {
            (UNSIGNED, 8) => 1,
            (UNSIGNED, 16) => 2,
            (UNSIGNED, 32) => 3,
            (SIGNED, 8) => 8,
            (SIGNED, 16) => 9,
            (SIGNED, 32) => 10,
            (FLOAT, 16) => 0x10,
            (FLOAT, 32) => 0x20,
            _ => return refused,
        };
        Ok((format, count as u32))
    }

    /// What `CUarray_format` and a count of channels are here.
    pub(crate) fn of(format: u32, channels: u32) -> Outcome<Self> {
        let (kind, bits) = match format {
            1 => (UNSIGNED, 8),
            2 => (UNSIGNED, 16),
            3 => (UNSIGNED, 32),
            8 => (SIGNED, 8),
            9 => (SIGNED, 16),
            10 => (SIGNED, 32),
            0x10 => (FLOAT, 16),
            0x20 => (FLOAT, 32),
            _ => return Err(Error::INVALID_CHANNEL_DESCRIPTOR),
        };
        let bits = std::array::from_fn(|i| if (i as u32) < channels { bits } else { 0 });
        Ok(Self { bits, kind })
    }
}

/// What an array is.
pub(crate) fn descriptor(array: usize) -> Outcome<ArrayDescriptor> {
    let mut found = ArrayDescriptor::default();
    driver::bind()?.cuArray3DGetDescriptor_v2(Out::to(&mut found), array)?;
    Ok(found)
}

/// Bytes of an array's element.
pub(crate) fn element_bytes(found: &ArrayDescriptor) -> usize {
    let bytes = match found.format {
        1 | 8 => 1,
        2 | 9 | 0x10 => 2,
        _ => 4,
    };
    bytes * found.channels as usize
}

fn create(
    place: Out<'_, usize>,
    format: In<'_, ChannelFormat>,
    extent: Extent,
    flags: u32,
) -> Outcome {
    let (place, format) = (place.present()?, format.get()?);
    let driver = driver::bind()?;
    let (format, channels) = format.element()?;
    let Extent { width, height, depth } = extent;
    let wanted = ArrayDescriptor { width, height, depth, format, channels, flags };
    driver.cuArray3DCreate_v2(place, In::to(&wanted))
}

/// The end of a copy that is an array.
fn in_array(array: usize, x_bytes: usize, y: usize) -> Side2D {
    Side2D { kind: ARRAY, array, x_bytes, y, ..Side2D::default() }
}

/// What memory is that is copied to an array: the direction must go to the device.
fn source_kind(kind: u32) -> Outcome<u32> {
    match Kind::new(kind)? {
        Kind::Default => Ok(UNIFIED),
        kind if kind.memory_types().1 == DEVICE => Ok(kind.memory_types().0),
        _ => Err(Error::INVALID_MEMCPY_DIRECTION),
    }
}

/// What memory is that an array is copied to: the direction must come from the device.
fn target_kind(kind: u32) -> Outcome<u32> {
    match Kind::new(kind)? {
        Kind::Default => Ok(UNIFIED),
        kind if kind.memory_types().0 == DEVICE => Ok(kind.memory_types().1),
        _ => Err(Error::INVALID_MEMCPY_DIRECTION),
    }
}

/// INVALID_HANDLE for no array, INVALID_PITCH for rows longer than their distance in memory.
fn check(arrays: &[usize], width: usize, pitch: usize) -> Outcome {
    if arrays.contains(&0) {
        return Err(Error::INVALID_HANDLE);
    }
    if width > pitch { Err(Error::INVALID_PITCH) } else { Ok(()) }
}

fn wanted(copies: &[Copy2D]) -> impl Iterator<Item = &Copy2D> {
    copies.iter().filter(|copy| copy.width_bytes != 0 && copy.height != 0)
}

/// Makes copies in stream order.
fn run_on(copies: &[Copy2D], stream: usize) -> Outcome {
    let driver: &Driver = driver::bind()?;
    wanted(copies).try_for_each(|copy| driver.cuMemcpy2DAsync_v2(In::to(copy), stream))
}

/// Makes copies, and returns when what is on the host is there.
fn run(copies: &[Copy2D], stream: usize) -> Outcome {
    if stream != stream::DEFAULT {
        run_on(copies, stream)?;
        return driver::bind()?.cuStreamSynchronize(stream);
    }
    let driver: &Driver = driver::bind()?;
    wanted(copies).try_for_each(|copy| driver.cuMemcpy2DUnaligned_v2(In::to(copy)))
}

type Place = (usize, usize, usize);

fn to_array(
    (array, x, y): Place,
    (src, pitch): (usize, usize),
    (width_bytes, height): (usize, usize),
    kind: u32,
) -> Outcome<Copy2D> {
    let kind = source_kind(kind)?;
    check(&[array], width_bytes, pitch)?;
    let (dst, src) = (in_array(array, x, y), side(src, pitch, kind));
    Ok(Copy2D { src, dst, width_bytes, height })
}

fn from_array(
    (dst, pitch): (usize, usize),
    (array, x, y): Place,
    (width_bytes, height): (usize, usize),
    kind: u32,
) -> Outcome<Copy2D> {
    let kind = target_kind(kind)?;
    check(&[array], width_bytes, pitch)?;
    let (dst, src) = (side(dst, pitch, kind), in_array(array, x, y));
    Ok(Copy2D { src, dst, width_bytes, height })
}

/// Pieces of bytes that go on in the next row where one ends: where each begins in them, its place in the array, how long
/// its rows are, and how many it has.
fn pieces(row: usize, (x, y): (usize, usize), bytes: usize) -> Outcome<Vec<(usize, [usize; 4])>> {
    if row == 0 || x > row {
        return Err(Error::INVALID_VALUE);
    }
    let mut pieces = Vec::new();
    let (mut done, mut x, mut y) = (0, x, y);
    while done < bytes {
        let left = bytes - done;
        let (width, rows) = match x {
            0 if left >= row => (row, left / row),
            _ => (left.min(row - x), 1),
        };
        if width > 0 {
            pieces.push((done, [x, y, width, rows]));
        }
        (done, x) = (done + width * rows, 0);
        y = y.checked_add(rows).ok_or(Error::INVALID_VALUE)?;
    }
    Ok(pieces)
}

/// Bytes of a row of an array, and its rows.
fn shape(array: usize) -> Outcome<(usize, usize)> {
    check(&[array], 0, 0)?;
    let found = descriptor(array)?;
    Ok((found.width * element_bytes(&found), found.height.max(1)))
}

/// Refuses what reaches beyond the last row: part of it must not be copied.
fn check_rows(rows: usize, pieces: &[(usize, [usize; 4])]) -> Outcome {
    let inside = |&(_, [_, y, _, count]): &(usize, [usize; 4])| y + count <= rows;
    if pieces.iter().all(inside) { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

fn line_to_array(
    (array, x, y): Place,
    src: usize,
    bytes: usize,
    kind: u32,
) -> Outcome<Vec<Copy2D>> {
    source_kind(kind)?;
    let (row, rows) = shape(array)?;
    let pieces = pieces(row, (x, y), bytes)?;
    check_rows(rows, &pieces)?;
    let copy = |&(done, [x, y, width, rows]): &(usize, [usize; 4])| {
        to_array((array, x, y), (src.wrapping_add(done), width), (width, rows), kind)
    };
    pieces.iter().map(copy).collect()
}

fn line_from_array(
    dst: usize,
    (array, x, y): Place,
    bytes: usize,
    kind: u32,
) -> Outcome<Vec<Copy2D>> {
    target_kind(kind)?;
    let (row, rows) = shape(array)?;
    let pieces = pieces(row, (x, y), bytes)?;
    check_rows(rows, &pieces)?;
    let copy = |&(done, [x, y, width, rows]): &(usize, [usize; 4])| {
        from_array((dst.wrapping_add(done), width), (array, x, y), (width, rows), kind)
    };
    pieces.iter().map(copy).collect()
}

fn array_to_array(
    dst: Place,
    src: Place,
    width_bytes: usize,
    height: usize,
    kind: u32,
) -> Outcome<Copy2D> {
    match Kind::new(kind)? {
        Kind::DeviceToDevice | Kind::Default => {}
        _ => return Err(Error::INVALID_MEMCPY_DIRECTION),
    }
    check(&[dst.0, src.0], 0, 0)?;
    let (dst, src) = (in_array(dst.0, dst.1, dst.2), in_array(src.0, src.1, src.2));
    Ok(Copy2D { src, dst, width_bytes, height })
}

/// Pieces that end where a row of either array does.
fn line_between(dst: Place, src: Place, bytes: usize, kind: u32) -> Outcome<Vec<Copy2D>> {
    let (dst_row, dst_rows) = shape(dst.0)?;
    let to = pieces(dst_row, (dst.1, dst.2), bytes)?;
    let (row, src_rows) = shape(src.0)?;
    let mut copies = Vec::new();
    check_rows(dst_rows, &to)?;
    for (start, [x, y, width, rows]) in to {
        for line in 0..rows {
            let at = src.1.checked_add(start + line * width).ok_or(Error::INVALID_VALUE)?;
            let from = (at % row, src.2 + at / row);
            let parts = pieces(row, from, width)?;
            check_rows(src_rows, &parts)?;
            for (done, [from_x, from_y, part, lines]) in parts {
                let (to, from) = ((dst.0, x + done, y + line), (src.0, from_x, from_y));
                copies.push(array_to_array(to, from, part, lines, kind)?);
            }
        }
    }
    Ok(copies)
}

entries! {
    sync fn cudaMallocArray(place: Out<'_, usize>, format: In<'_, ChannelFormat>, width: usize, height: usize, flags: u32) {
        create(place, format, Extent { width, height, depth: 0 }, flags)
    }

    sync fn cudaMalloc3DArray(place: Out<'_, usize>, format: In<'_, ChannelFormat>, extent: Extent, flags: u32) {
        create(place, format, extent, flags)
    }

    post fn cudaFreeArray(array: usize) {
        let driver = driver::bind()?;
        if array == 0 { Ok(()) } else { driver.cuArrayDestroy(array) }
    }

    local fn cudaArrayGetInfo(format: Out<'_, ChannelFormat>, extent: Out<'_, Extent>, flags: Out<'_, u32>, array: usize) {
        let found = descriptor(array)?;
        format.set_if_wanted(ChannelFormat::of(found.format, found.channels)?);
        let ArrayDescriptor { width, height, depth, .. } = found;
        extent.set_if_wanted(Extent { width, height, depth });
        flags.set_if_wanted(found.flags);
        Ok(())
    }

    local fn cudaGetChannelDesc(format: Out<'_, ChannelFormat>, array: usize) {
        let format = format.present()?;
        let found = descriptor(array)?;
        format.set(ChannelFormat::of(found.format, found.channels)?)
    }
}

passed! {
    local fn cudaArrayGetPlane(plane: Out<'_, usize>, array: usize, index: u32) = cuArrayGetPlane;
    local fn cudaArrayGetMemoryRequirements(requirements: Out<'_, [u64; 4]>, array: usize, device: i32) = cuArrayGetMemoryRequirements;
    local fn cudaArrayGetSparseProperties(properties: Out<'_, [u64; 5]>, array: usize) = cuArrayGetSparseProperties;
}

on_default! {
    sync fn cudaMemcpy2DToArray | cudaMemcpy2DToArray_ptds [stream](array: usize, x: usize, y: usize, src: usize, pitch: usize, width: usize, height: usize, kind: u32) {
        run(&[to_array((array, x, y), (src, pitch), (width, height), kind)?], stream)
    }

    sync fn cudaMemcpy2DFromArray | cudaMemcpy2DFromArray_ptds [stream](dst: usize, pitch: usize, array: usize, x: usize, y: usize, width: usize, height: usize, kind: u32) {
        run(&[from_array((dst, pitch), (array, x, y), (width, height), kind)?], stream)
    }

    sync fn cudaMemcpy2DArrayToArray | cudaMemcpy2DArrayToArray_ptds [stream](dst: usize, x: usize, y: usize, src: usize, src_x: usize, src_y: usize, width: usize, height: usize, kind: u32) {
        run(&[array_to_array((dst, x, y), (src, src_x, src_y), width, height, kind)?], stream)
    }

    sync fn cudaMemcpyToArray | cudaMemcpyToArray_ptds [stream](array: usize, x: usize, y: usize, src: usize, bytes: usize, kind: u32) {
        run(&line_to_array((array, x, y), src, bytes, kind)?, stream)
    }

    sync fn cudaMemcpyFromArray | cudaMemcpyFromArray_ptds [stream](dst: usize, array: usize, x: usize, y: usize, bytes: usize, kind: u32) {
        run(&line_from_array(dst, (array, x, y), bytes, kind)?, stream)
    }

    sync fn cudaMemcpyArrayToArray | cudaMemcpyArrayToArray_ptds [stream](dst: usize, x: usize, y: usize, src: usize, src_x: usize, src_y: usize, bytes: usize, kind: u32) {
        run(&line_between((dst, x, y), (src, src_x, src_y), bytes, kind)?, stream)
    }
}

streamed! {
    post fn cudaMemcpy2DToArrayAsync | cudaMemcpy2DToArrayAsync_ptsz [stream](array: usize, x: usize, y: usize, src: usize, pitch: usize, width: usize, height: usize, kind: u32, stream: usize) {
        run_on(&[to_array((array, x, y), (src, pitch), (width, height), kind)?], stream)
    }

    post fn cudaMemcpy2DFromArrayAsync | cudaMemcpy2DFromArrayAsync_ptsz [stream](dst: usize, pitch: usize, array: usize, x: usize, y: usize, width: usize, height: usize, kind: u32, stream: usize) {
        run_on(&[from_array((dst, pitch), (array, x, y), (width, height), kind)?], stream)
    }

    post fn cudaMemcpyToArrayAsync | cudaMemcpyToArrayAsync_ptsz [stream](array: usize, x: usize, y: usize, src: usize, bytes: usize, kind: u32, stream: usize) {
        run_on(&line_to_array((array, x, y), src, bytes, kind)?, stream)
    }

    post fn cudaMemcpyFromArrayAsync | cudaMemcpyFromArrayAsync_ptsz [stream](dst: usize, array: usize, x: usize, y: usize, bytes: usize, kind: u32, stream: usize) {
        run_on(&line_from_array(dst, (array, x, y), bytes, kind)?, stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_one_two_or_four_numbers_alike() {
        let format = |bits, kind| ChannelFormat { bits, kind }.element();
        assert_eq!(format([32, 32, 0, 0], FLOAT), Ok((0x20, 2)));
        assert_eq!(format([8; 4], UNSIGNED), Ok((1, 4)));
        let refused = Err(Error::INVALID_CHANNEL_DESCRIPTOR);
        for bits in [[32, 32, 32, 0], [32, 16, 0, 0], [0; 4], [32, 0, 32, 0], [24, 0, 0, 0]] {
            assert_eq!(format(bits, SIGNED), refused);
        }
        assert_eq!(format([8, 0, 0, 0], FLOAT), refused);
        assert_eq!(
            ChannelFormat::of(9, 2).map(|format| (format.bits, format.kind)),
            Ok(([16, 16, 0, 0], SIGNED))
        );
    }

    #[test]
    fn bytes_go_on_in_the_next_row_where_one_ends() {
        let found = pieces(10, (4, 2), 40).unwrap();
        assert_eq!(found, [(0, [4, 2, 6, 1]), (6, [0, 3, 10, 3]), (36, [0, 6, 4, 1])]);
        assert_eq!(pieces(10, (0, 0), 7).unwrap(), [(0, [0, 0, 7, 1])]);
        assert!(pieces(10, (11, 0), 1).is_err() && pieces(0, (0, 0), 1).is_err());
    }
}
