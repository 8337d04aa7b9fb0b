//! Copies of boxes between pageable host memory and the device: rows are packed into pieces, so that gaps do not travel.

use crate::{Session, SessionError};
use ringbar::sync::Ordering::Relaxed;
use ringbar_vocabulary::{Corner, DevicePtr, MemcpyRect, StreamId};

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
        dst: Corner,
        (src, pitch): (&[u8], Pitch),
        extent: Extent,
        stream: StreamId,
    ) -> Result<(), SessionError> {
        let room = src.len() as u64;
        self.check_span(extent, pitch, room)?;
        let to = Pitch { row: dst.pitch, slice: dst.slice };
        if extent.width_bytes > self.piece_bytes() as u64 {
            return each_row(extent, |row| {
                let at = row.offset(pitch) as usize;
                let bytes = &src[at..at + extent.width_bytes as usize];
                self.memcpy_htod(DevicePtr(dst.at).offset(row.offset(to)), bytes, stream)
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
            let position = self.post_piece(
                moved(dst, piece.offset(to)),
                src,
                piece,
                extent,
                HOST_SRC,
                stream,
            )?;
            block.posted(self, position, stream)?;
        }
        Ok(())
    }

    /// Copies a box to the host, in stream order, and waits for the bytes; then reports failures of posts. `dst` begins
    /// with the box's first byte and reaches at least to its last; gaps between rows are left alone.
    pub fn memcpy_rect_dtoh(
        &self,
        (dst, pitch): (&mut [u8], Pitch),
        src: Corner,
        extent: Extent,
        stream: StreamId,
    ) -> Result<(), SessionError> {
        self.check_span(extent, pitch, dst.len() as u64)?;
        let from = Pitch { row: src.pitch, slice: src.slice };
        let width = extent.width_bytes as usize;
        if width > self.piece_bytes() {
            return each_row(extent, |row| {
                let at = row.offset(pitch) as usize;
                let src = DevicePtr(src.at).offset(row.offset(from));
                self.memcpy_dtoh(&mut dst[at..at + width], src, stream)
            });
        }
        self.shared.counters.dtoh_bytes.fetch_add(extent.bytes(), Relaxed);
        let cut = Cut::new(extent, self.piece_bytes() as u64);
        let begin = |number: usize, at: u64| {
            let piece = cut.piece(number as u64);
            let pitch = extent.width_bytes;
            let dst = Corner { at, pitch, slice: pitch * piece.rows };
            self.post_piece(dst, moved(src, piece.offset(from)), piece, extent, HOST_DST, stream)
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
        dst: Corner,
        src: Corner,
        piece: Piece,
        extent: Extent,
        host: u32,
        stream: StreamId,
    ) -> Result<u64, SessionError> {
        let (width_bytes, height) = (extent.width_bytes, piece.rows);
        self.post(&MemcpyRect { dst, src, width_bytes, height, depth: 1, stream, host })
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
