//! Copies of boxes between pageable host memory and the device: rows are packed into pieces, so that gaps do not travel.

use crate::{Session, SessionError};
use ringbar::sync::Ordering::Relaxed;
use ringbar_vocabulary::{ArrayId, Corner, DevicePtr, MemcpyArray, MemcpyRect, StreamId};

/// Bit of [`MemcpyRect::host`]: the destination is an arena address.
const HOST_DST: u32 = 1;
/// Bit of [`MemcpyRect::host`]: the source is an arena address.
const HOST_SRC: u32 = 2;

/// The size of a box of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of a row.
    pub width_bytes: u64,
    /// Rows of a slice.
    pub height: u64,
    /// Slices.
    pub depth: u64,
}

/// How the rows of a box lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pitch {
    /// Bytes from row to row.
    pub row: u64,
    /// Bytes from slice to slice.
    pub slice: u64,
}

impl Extent {
    /// Bytes of the box.
    pub fn bytes(self) -> u64 {
        self.width_bytes.saturating_mul(self.height).saturating_mul(self.depth)
    }

    /// Bytes from the first of the box to its last, as `pitch` lays it; `None` if that needs over 64 bits. 0 for an empty
    /// box.
    pub fn span(self, pitch: Pitch) -> Option<u64> {
        if self.bytes() == 0 {
            return Some(0);
        }
        let slices = pitch.slice.checked_mul(self.depth - 1)?;
        let rows = pitch.row.checked_mul(self.height - 1)?;
        slices.checked_add(rows)?.checked_add(self.width_bytes)
    }
}

/// Where a box is on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceBox {
    /// At an address.
    Memory(Corner),
    /// In an array.
    Array {
        /// The array.
        array: ArrayId,
        /// What lies before the box: bytes of a row, rows, slices.
        before: [u64; 3],
    },
}

impl DeviceBox {
    /// The part of the box that begins with a piece.
    fn at_piece(self, piece: Piece) -> Self {
        match self {
            Self::Memory(corner) => {
                let pitch = Pitch { row: corner.pitch, slice: corner.slice };
                Self::Memory(moved(corner, piece.offset(pitch)))
            }
            Self::Array { array, before: [x, y, z] } => {
                let before = [x, y.wrapping_add(piece.row), z.wrapping_add(piece.slice)];
                Self::Array { array, before }
            }
        }
    }

    /// The part of it that begins `bytes` further on in each row.
    fn at_byte(self, bytes: u64) -> Self {
        match self {
            Self::Memory(corner) => Self::Memory(moved(corner, bytes)),
            Self::Array { array, before: [x, y, z] } => {
                Self::Array { array, before: [x.wrapping_add(bytes), y, z] }
            }
        }
    }

    /// As commands name it: its corner, and its array if there is one.
    pub fn wire(self) -> (Corner, ArrayId) {
        match self {
            Self::Memory(corner) => (corner, ArrayId::NONE),
            Self::Array { array, before: [at, pitch, slice] } => {
                (Corner { at, pitch, slice }, array)
            }
        }
    }
}

/// Pieces of whole rows of one slice each.
#[derive(Clone, Copy)]
struct Cut {
    extent: Extent,
    rows: u64,
    per_slice: u64,
}

/// One piece: where it begins, and how many rows it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    slice: u64,
    row: u64,
    rows: u64,
}

impl Cut {
    /// For rows that fit a piece.
    fn new(extent: Extent, piece_bytes: u64) -> Self {
        let rows = (piece_bytes / extent.width_bytes.max(1)).clamp(1, extent.height.max(1));
        Self { extent, rows, per_slice: extent.height.div_ceil(rows) }
    }

    fn pieces(self) -> u64 {
        self.per_slice * self.extent.depth
    }

    fn piece(self, number: u64) -> Piece {
        let (slice, row) = (number / self.per_slice, number % self.per_slice * self.rows);
        Piece { slice, row, rows: self.rows.min(self.extent.height - row) }
    }
}

impl Piece {
    fn offset(self, pitch: Pitch) -> u64 {
        self.slice.wrapping_mul(pitch.slice).wrapping_add(self.row.wrapping_mul(pitch.row))
    }
}

impl Session {
    /// Copies a box to the device, in stream order. `src` begins with the box's first byte and reaches at least to its
    /// last; returns when it may be reused.
    pub fn memcpy_rect_htod(
        &self,
        dst: DeviceBox,
        (src, pitch): (&[u8], Pitch),
        extent: Extent,
        stream: StreamId,
    ) -> Result<(), SessionError> {
        let room = src.len() as u64;
        self.check_span(extent, pitch, room)?;
        if extent.width_bytes > self.piece_bytes() as u64 {
            let DeviceBox::Memory(corner) = dst else {
                return self.each_strip(extent, |start, extent| {
                    let part = (&src[start as usize..], pitch);
                    self.memcpy_rect_htod(dst.at_byte(start), part, extent, stream)
                });
            };
            let to = Pitch { row: corner.pitch, slice: corner.slice };
            return each_row(extent, |row| {
                let at = row.offset(pitch) as usize;
                let bytes = &src[at..at + extent.width_bytes as usize];
                self.memcpy_htod(DevicePtr(corner.at).offset(row.offset(to)), bytes, stream)
            });
        }
        self.shared.counters.htod_bytes.fetch_add(extent.bytes(), Relaxed);
        let cut = Cut::new(extent, self.piece_bytes() as u64);
        for piece in (0..cut.pieces()).map(|number| cut.piece(number)) {
            let width = extent.width_bytes;
            let block = self.stage_patiently(width * piece.rows)?;
            for row in 0..piece.rows {
                let at = (piece.offset(pitch) + row * pitch.row) as usize;
                let bytes = &src[at..at + width as usize];
                self.shared.client.arena().write(block.address() + row * width, bytes)?;
            }
            let src = Corner { at: block.address(), pitch: width, slice: width * piece.rows };
            let (dst, src) = (dst.at_piece(piece), DeviceBox::Memory(src));
            let position = self.post_piece(dst, src, piece, extent, HOST_SRC, stream)?;
            block.posted(self, position, stream)?;
        }
        Ok(())
    }

    /// Copies a box to the host, in stream order, and waits for the bytes; then reports failures of posts. `dst` begins
    /// with the box's first byte and reaches at least to its last; gaps between rows are left alone.
    pub fn memcpy_rect_dtoh(
        &self,
        (dst, pitch): (&mut [u8], Pitch),
        src: DeviceBox,
        extent: Extent,
        stream: StreamId,
    ) -> Result<(), SessionError> {
        self.check_span(extent, pitch, dst.len() as u64)?;
        let width = extent.width_bytes as usize;
        if width > self.piece_bytes() {
            let DeviceBox::Memory(corner) = src else {
                return self.each_strip(extent, |start, extent| {
                    let part = (&mut dst[start as usize..], pitch);
                    self.memcpy_rect_dtoh(part, src.at_byte(start), extent, stream)
                });
            };
            let from = Pitch { row: corner.pitch, slice: corner.slice };
            return each_row(extent, |row| {
                let at = row.offset(pitch) as usize;
                let src = DevicePtr(corner.at).offset(row.offset(from));
                self.memcpy_dtoh(&mut dst[at..at + width], src, stream)
            });
        }
        self.shared.counters.dtoh_bytes.fetch_add(extent.bytes(), Relaxed);
        let cut = Cut::new(extent, self.piece_bytes() as u64);
        let begin = |number: usize, at: u64| {
            let piece = cut.piece(number as u64);
            let pitch = extent.width_bytes;
            let dst = DeviceBox::Memory(Corner { at, pitch, slice: pitch * piece.rows });
            self.post_piece(dst, src.at_piece(piece), piece, extent, HOST_DST, stream)
        };
        let finish = |number: usize, from: u64| {
            let piece = cut.piece(number as u64);
            for row in 0..piece.rows {
                let at = (piece.offset(pitch) + row * pitch.row) as usize;
                let place = &mut dst[at..at + width];
                self.shared.client.arena().read(from + row * extent.width_bytes, place)?;
            }
            Ok(())
        };
        self.pump_out(cut.pieces() as usize, stream, begin, finish)?;
        self.check()
    }

    fn post_piece(
        &self,
        dst: DeviceBox,
        src: DeviceBox,
        piece: Piece,
        extent: Extent,
        host: u32,
        stream: StreamId,
    ) -> Result<u64, SessionError> {
        let extent = Extent { height: piece.rows, depth: 1, ..extent };
        self.post_box(dst, src, extent, host, stream)
    }

    /// Posts a copy of a box. Bits of `host`: 0, the destination's corner is an arena address; 1, the source's. Not both.
    pub fn post_box(
        &self,
        dst: DeviceBox,
        src: DeviceBox,
        extent: Extent,
        host: u32,
        stream: StreamId,
    ) -> Result<u64, SessionError> {
        let ((dst, dst_array), (src, src_array)) = (dst.wire(), src.wire());
        let Extent { width_bytes, height, depth } = extent;
        if (dst_array, src_array) == (ArrayId::NONE, ArrayId::NONE) {
            return self.post(&MemcpyRect { dst, src, width_bytes, height, depth, stream, host });
        }
        self.post(&MemcpyArray {
            dst,
            src,
            dst_array,
            src_array,
            width_bytes,
            height,
            depth,
            stream,
            host,
        })
    }

    /// Calls `copy` for strips of the box whose rows fit a piece: where each begins in a row, and how large it is.
    fn each_strip(
        &self,
        extent: Extent,
        mut copy: impl FnMut(u64, Extent) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        // A multiple of 64: no element of an array is cut.
        let strip = self.piece_bytes() as u64;
        let width = extent.width_bytes;
        (0..width.div_ceil(strip)).map(|number| number * strip).try_for_each(|start| {
            copy(start, Extent { width_bytes: strip.min(width - start), ..extent })
        })
    }

    fn check_span(&self, extent: Extent, pitch: Pitch, limit: u64) -> Result<(), SessionError> {
        let len = extent.span(pitch).unwrap_or(u64::MAX);
        if len <= limit { Ok(()) } else { Err(SessionError::OutsideBlock { at: 0, len, limit }) }
    }
}

fn moved(corner: Corner, by: u64) -> Corner {
    Corner { at: corner.at.wrapping_add(by), ..corner }
}

/// Calls `copy` for every row of the box.
fn each_row(
    extent: Extent,
    mut copy: impl FnMut(Piece) -> Result<(), SessionError>,
) -> Result<(), SessionError> {
    let slices = 0..extent.depth;
    let mut places =
        slices.flat_map(|slice| (0..extent.height).map(move |row| Piece { slice, row, rows: 1 }));
    places.try_for_each(&mut copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Extent = Extent { width_bytes: 10, height: 7, depth: 3 };

    #[test]
    fn pieces_cover_every_row_once_and_stay_inside_a_slice() {
        for piece_bytes in [1, 10, 25, 69, 70, 1000] {
            let cut = Cut::new(EXTENT, piece_bytes);
            let mut rows = Vec::new();
            for piece in (0..cut.pieces()).map(|number| cut.piece(number)) {
                assert!(piece.rows >= 1 && piece.row + piece.rows <= 7);
                rows.extend((0..piece.rows).map(|row| (piece.slice, piece.row + row)));
            }
            let all: Vec<_> =
                (0..3).flat_map(|slice| (0..7).map(move |row| (slice, row))).collect();
            assert_eq!(rows, all);
        }
    }

    #[test]
    fn the_span_of_a_box_ends_with_its_last_byte_and_never_wraps() {
        assert_eq!(EXTENT.span(Pitch { row: 16, slice: 200 }), Some(400 + 96 + 10));
        assert_eq!(EXTENT.span(Pitch { row: u64::MAX / 2, slice: 1 }), None);
        let empty = Extent { height: 0, ..EXTENT };
        assert_eq!(empty.span(Pitch { row: u64::MAX, slice: u64::MAX }), Some(0));
    }
}
