//! Copies and fills. Copies from and to the arena are asynchronous; the command's bytes are held until they are done.

use crate::api::Raw;
use crate::arena::Piece;
use crate::live::{CAPTURE_UNSUPPORTED, Live};
use cudarc::driver::sys::{CUDA_MEMCPY2D, CUDA_MEMCPY3D, CUmemorytype};
use ringbar_backend::Context;
use ringbar_vocabulary::*;
use std::ffi::c_void;

/// Arena blocks below this are copied out before the driver sees them: it stages so small copies by itself, and the
/// client's block is free at once.
const COPIED_OUT_BYTES_MAX: u64 = 64 << 10;

/// A box of bytes and where its corners are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoxCopy {
    pub dst: Corner,
    pub src: Corner,
    pub width: u64,
    pub height: u64,
    pub depth: u64,
    /// Bit 0: `dst` is an arena address; bit 1: `src` is one.
    pub host: u32,
}

/// Where the corners of a box are for the driver.
pub struct Placed {
    /// `None` if its block reaches over two registrations.
    pub dst: Option<u64>,
    /// The same.
    pub src: Option<u64>,
    /// The arena block of the side that lies in the arena.
    pub block: Option<ArenaRef>,
}

impl BoxCopy {
    pub const DST_HOST: u32 = 1;
    pub const SRC_HOST: u32 = 2;

    /// Bytes from the first to the last byte of one side; `None` if they do not fit.
    pub fn extent(&self, corner: Corner) -> Option<u64> {
        if self.width == 0 || self.height == 0 || self.depth == 0 {
            return Some(0);
        }
        let rows = corner.pitch.checked_mul(self.height - 1)?;
        let slices = corner.slice.checked_mul(self.depth - 1)?;
        rows.checked_add(slices)?.checked_add(self.width)
    }

    /// The arena block of one side.
    fn block(&self, corner: Corner) -> Result<ArenaRef, Status> {
        let len = self.extent(corner).ok_or(Status::INVALID_VALUE)?;
        Ok(ArenaRef { addr: corner.at, len })
    }

    /// Rows from slice to slice, as CUDA wants them.
    pub fn rows_a_slice(&self, corner: Corner) -> Result<u64, Status> {
        if self.depth <= 1 {
            return Ok(self.height);
        }
        let whole = corner.pitch != 0 && corner.slice.is_multiple_of(corner.pitch);
        if whole { Ok(corner.slice / corner.pitch) } else { Err(Status::INVALID_VALUE) }
    }

    /// Where one row begins on a side.
    pub fn row(corner: Corner, row: u64, slice: u64) -> u64 {
        corner.at.wrapping_add(row * corner.pitch).wrapping_add(slice * corner.slice)
    }

    /// The driver's description; `dst` and `src` are addresses.
    pub fn describe(&self, dst: u64, src: u64) -> Result<CUDA_MEMCPY3D, Status> {
        let kind = |bit| match self.host & bit {
            0 => CUmemorytype::CU_MEMORYTYPE_DEVICE,
            _ => CUmemorytype::CU_MEMORYTYPE_HOST,
        };
        let (dst_kind, src_kind) = (kind(Self::DST_HOST), kind(Self::SRC_HOST));
        let device = |kind, at| if kind == CUmemorytype::CU_MEMORYTYPE_DEVICE { at } else { 0 };
        let host = |kind, at: u64| match kind {
            CUmemorytype::CU_MEMORYTYPE_HOST => std::ptr::with_exposed_provenance_mut(at as usize),
            _ => std::ptr::null_mut(),
        };
        let pitch =
            |corner: Corner| corner.pitch.max(if self.height <= 1 { self.width } else { 0 });
        Ok(CUDA_MEMCPY3D {
            srcXInBytes: 0,
            srcY: 0,
            srcZ: 0,
            srcLOD: 0,
            srcMemoryType: src_kind,
            srcHost: host(src_kind, src),
            srcDevice: device(src_kind, src),
            srcArray: std::ptr::null_mut(),
            reserved0: std::ptr::null_mut(),
            srcPitch: pitch(self.src) as usize,
            srcHeight: self.rows_a_slice(self.src)? as usize,
            dstXInBytes: 0,
            dstY: 0,
            dstZ: 0,
            dstLOD: 0,
            dstMemoryType: dst_kind,
            dstHost: host(dst_kind, dst),
            dstDevice: device(dst_kind, dst),
            dstArray: std::ptr::null_mut(),
            reserved1: std::ptr::null_mut(),
            dstPitch: pitch(self.dst) as usize,
            dstHeight: self.rows_a_slice(self.dst)? as usize,
            WidthInBytes: self.width as usize,
            Height: self.height as usize,
            Depth: self.depth as usize,
        })
    }
}

/// The same box without slices.
fn flat(copy: &CUDA_MEMCPY3D) -> CUDA_MEMCPY2D {
    CUDA_MEMCPY2D {
        srcXInBytes: 0,
        srcY: 0,
        srcMemoryType: copy.srcMemoryType,
        srcHost: copy.srcHost,
        srcDevice: copy.srcDevice,
        srcArray: copy.srcArray,
        srcPitch: copy.srcPitch,
        dstXInBytes: 0,
        dstY: 0,
        dstMemoryType: copy.dstMemoryType,
        dstHost: copy.dstHost,
        dstDevice: copy.dstDevice,
        dstArray: copy.dstArray,
        dstPitch: copy.dstPitch,
        WidthInBytes: copy.WidthInBytes,
        Height: copy.Height,
    }
}

impl Live {
    /// Checks a block and has the driver know its pages. Returns whether it lies in one registration.
    pub fn open_block(&mut self, cx: &mut Context<'_>, at: ArenaRef) -> Result<bool, Status> {
        cx.check_arena(at)?;
        for run in self.arena.unregistered(cx.services(), at) {
            let (address, bytes) = (run.address, run.bytes);
            let back = self.current;
            self.enter(ContextId::FIRST)?;
            let registered = self.register(address as usize, bytes as usize);
            if let Err(status) = registered {
                tracing::warn!(%status, bytes, "the arena cannot be registered: copies are slower");
            }
            self.arena.set_registered(run, registered.is_ok());
            self.api.cuCtxSetCurrent(back)?;
            self.current = back;
        }
        let first = self.arena.piece(at, 0);
        Ok(at.len == 0 || first.is_some_and(|piece| piece.bytes == at.len))
    }

    /// Its bytes stay in use until the stream is done with them, unless they are the application's own: pinned, or in a
    /// graph that is being captured.
    pub fn hold_block(
        &mut self,
        cx: &Context<'_>,
        stream: (StreamId, Raw),
        at: ArenaRef,
    ) -> Result<(), Status> {
        if self.arena.is_pinned(at) || self.captures(stream.1) {
            return Ok(());
        }
        self.hold(cx, stream, at.len)
    }

    pub fn memcpy_htod(&mut self, cx: &mut Context<'_>, c: MemcpyHtoD<'_>) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        self.counts.htod_bytes += c.data.byte_len();
        match c.data {
            Tail::Inline(_) if self.captures(stream) => Err(CAPTURE_UNSUPPORTED),
            Tail::Inline(bytes) => self.copy_from(c.dst.0, bytes, stream),
            Tail::Arena(at) => {
                let is_staged = !self.captures(stream) && !self.arena.is_pinned(at);
                if is_staged && at.len <= COPIED_OUT_BYTES_MAX {
                    return self.copy_out(cx, c, stream);
                }
                self.open_block(cx, at)?;
                let mut start = 0;
                while let Some(piece) = self.arena.piece(at, start) {
                    self.piece_to_device(c.dst.offset(start), piece, stream)?;
                    start += piece.bytes;
                }
                self.hold_block(cx, (c.stream, stream), at)
            }
        }
    }

    /// Copies a small block out of the arena first.
    fn copy_out(
        &mut self,
        cx: &mut Context<'_>,
        c: MemcpyHtoD<'_>,
        stream: Raw,
    ) -> Result<(), Status> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let bytes = cx.tail(c.data, &mut scratch, COPIED_OUT_BYTES_MAX as usize);
        let copied = bytes.and_then(|bytes| self.copy_from(c.dst.0, bytes, stream));
        self.scratch = scratch;
        copied
    }

    /// Copies private bytes; the driver has taken them when it returns.
    fn copy_from(&self, dst: u64, bytes: &[u8], stream: Raw) -> Result<(), Status> {
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: the bytes are this process's and unregistered: the driver copies them before it returns.
        unsafe { self.api.cuMemcpyHtoDAsync_v2(dst, bytes.as_ptr().cast(), bytes.len(), stream) }
    }

    fn piece_to_device(&self, dst: DevicePtr, piece: Piece, stream: Raw) -> Result<(), Status> {
        let src = std::ptr::with_exposed_provenance::<c_void>(piece.address);
        // SAFETY: the piece lies inside the arena, which is mapped for as long as this process lives; whoever writes it
        // meanwhile spoils its own bytes only.
        unsafe { self.api.cuMemcpyHtoDAsync_v2(dst.0, src, piece.bytes as usize, stream) }
    }

    fn piece_to_host(&self, piece: Piece, src: DevicePtr, stream: Raw) -> Result<(), Status> {
        let dst = std::ptr::with_exposed_provenance_mut::<c_void>(piece.address);
        // SAFETY: as in `piece_to_device`; nobody has a reference to arena bytes.
        unsafe { self.api.cuMemcpyDtoHAsync_v2(dst, src.0, piece.bytes as usize, stream) }
    }

    pub fn memcpy_dtoh(&mut self, cx: &mut Context<'_>, c: MemcpyDtoH) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        self.open_block(cx, c.dst)?;
        self.counts.dtoh_bytes += c.dst.len;
        let mut start = 0;
        while let Some(piece) = self.arena.piece(c.dst, start) {
            self.piece_to_host(piece, c.src.offset(start), stream)?;
            start += piece.bytes;
        }
        self.hold_block(cx, (c.stream, stream), c.dst)
    }

    pub fn memcpy_dtod(&mut self, _cx: &mut Context<'_>, c: MemcpyDtoD) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        if c.bytes == 0 {
            return Ok(());
        }
        self.api.cuMemcpyDtoDAsync_v2(c.dst.0, c.src.0, c.bytes as usize, stream)
    }

    pub fn memcpy_rect(&mut self, cx: &mut Context<'_>, c: MemcpyRect) -> Result<(), Status> {
        let MemcpyRect { dst, src, width_bytes: width, height, depth, stream: id, host } = c;
        let copy = BoxCopy { dst, src, width, height, depth, host };
        let stream = self.stream(id)?;
        if host > 2 {
            return Err(Status::INVALID_VALUE);
        }
        let placed = self.place_box(cx, &copy)?;
        if copy.extent(dst) == Some(0) {
            return Ok(());
        }
        match (placed.dst, placed.src) {
            (Some(dst_at), Some(src_at)) => {
                let described = copy.describe(dst_at, src_at)?;
                self.copy_box(&described, stream)?;
            }
            _ => self.copy_rows(&copy, stream)?,
        }
        match placed.block {
            Some(block) => self.hold_block(cx, (id, stream), block),
            None => Ok(()),
        }
    }

    /// The addresses of both corners, `None` for one whose block reaches over two registrations; and the block.
    pub fn place_box(&mut self, cx: &mut Context<'_>, copy: &BoxCopy) -> Result<Placed, Status> {
        let mut block = None;
        let mut place = |live: &mut Self, corner: Corner, bit: u32| {
            if copy.host & bit == 0 {
                return Ok(Some(corner.at));
            }
            let at = copy.block(corner)?;
            let is_whole = live.open_block(cx, at)?;
            block = Some(at);
            let piece = live.arena.piece(at, 0).filter(|_| is_whole);
            Ok::<_, Status>(piece.map(|piece| piece.address as u64))
        };
        let dst = place(self, copy.dst, BoxCopy::DST_HOST)?;
        let src = place(self, copy.src, BoxCopy::SRC_HOST)?;
        Ok(Placed { dst, src, block })
    }

    fn copy_box(&self, copy: &CUDA_MEMCPY3D, stream: Raw) -> Result<(), Status> {
        if copy.Depth == 1 {
            // SAFETY: a description of this frame; its host side lies inside the arena.
            return unsafe { self.api.cuMemcpy2DAsync_v2(&flat(copy), stream) };
        }
        // SAFETY: as above.
        unsafe { self.api.cuMemcpy3DAsync_v2(copy, stream) }
    }

    /// Row by row, for a block that reaches over two registrations.
    fn copy_rows(&self, copy: &BoxCopy, stream: Raw) -> Result<(), Status> {
        let rows = (0..copy.depth).flat_map(|slice| (0..copy.height).map(move |row| (row, slice)));
        for (row, slice) in rows {
            let (dst, src) =
                (BoxCopy::row(copy.dst, row, slice), BoxCopy::row(copy.src, row, slice));
            let arena = if copy.host & BoxCopy::DST_HOST != 0 { dst } else { src };
            let at = ArenaRef { addr: arena, len: copy.width };
            let mut start = 0;
            while let Some(piece) = self.arena.piece(at, start) {
                match copy.host {
                    BoxCopy::DST_HOST => self.piece_to_host(piece, DevicePtr(src + start), stream),
                    _ => self.piece_to_device(DevicePtr(dst + start), piece, stream),
                }?;
                start += piece.bytes;
            }
        }
        Ok(())
    }

    pub fn memset_d8(&mut self, _cx: &mut Context<'_>, c: MemsetD8) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        if c.count == 0 {
            return Ok(());
        }
        self.api.cuMemsetD8Async(c.dst.0, c.value, c.count as usize, stream)
    }

    pub fn memset_d16(&mut self, _cx: &mut Context<'_>, c: MemsetD16) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        if c.count == 0 {
            return Ok(());
        }
        self.api.cuMemsetD16Async(c.dst.0, c.value, c.count as usize, stream)
    }

    pub fn memset_d32(&mut self, _cx: &mut Context<'_>, c: MemsetD32) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        if c.count == 0 {
            return Ok(());
        }
        self.api.cuMemsetD32Async(c.dst.0, c.value, c.count as usize, stream)
    }

    pub fn memset_rect(&mut self, _cx: &mut Context<'_>, c: MemsetRect) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        let (at, pitch) = (c.dst.0, c.pitch as usize);
        let (width, height) = (c.width as usize, c.height as usize);
        let api = &self.api;
        match c.element_bytes {
            1 => api.cuMemsetD2D8Async(at, pitch, c.value as u8, width, height, stream),
            2 => api.cuMemsetD2D16Async(at, pitch, c.value as u16, width, height, stream),
            4 => api.cuMemsetD2D32Async(at, pitch, c.value, width, height, stream),
            _ => Err(Status::INVALID_VALUE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy() -> BoxCopy {
        let dst = Corner { at: 0x1000, pitch: 64, slice: 640 };
        let src = Corner { at: 0x9000, pitch: 100, slice: 1000 };
        BoxCopy { dst, src, width: 50, height: 4, depth: 3, host: BoxCopy::SRC_HOST }
    }

    #[test]
    fn a_box_reaches_from_its_first_to_its_last_byte() {
        assert_eq!(copy().extent(copy().dst), Some(2 * 640 + 3 * 64 + 50));
        assert_eq!(BoxCopy { depth: 0, ..copy() }.extent(copy().dst), Some(0));
        let huge = Corner { at: 0, pitch: u64::MAX / 2, slice: 0 };
        assert_eq!(copy().extent(huge), None);
    }

    #[test]
    fn each_side_is_described_as_host_or_device() {
        let described = copy().describe(0x1000, 0x9000).unwrap();
        assert_eq!(described.dstMemoryType, CUmemorytype::CU_MEMORYTYPE_DEVICE);
        assert_eq!((described.dstDevice, described.dstHost.addr()), (0x1000, 0));
        assert_eq!(described.srcMemoryType, CUmemorytype::CU_MEMORYTYPE_HOST);
        assert_eq!((described.srcDevice, described.srcHost.addr()), (0, 0x9000));
        assert_eq!((described.srcHeight, described.dstHeight), (10, 10));
        assert_eq!((described.srcPitch, described.dstPitch), (100, 64));
        let plane = flat(&described);
        assert_eq!((plane.WidthInBytes, plane.Height, plane.srcPitch), (50, 4, 100));
    }

    #[test]
    fn slices_that_are_no_whole_rows_are_refused_where_they_matter() {
        let odd = Corner { slice: 650, ..copy().dst };
        assert_eq!(
            BoxCopy { dst: odd, ..copy() }.describe(0, 0).err(),
            Some(Status::INVALID_VALUE)
        );
        assert!(BoxCopy { dst: odd, depth: 1, ..copy() }.describe(0, 0).is_ok());
    }

    #[test]
    fn a_single_row_may_come_without_a_pitch() {
        let bare = Corner { at: 0x1000, pitch: 0, slice: 0 };
        let one = BoxCopy { dst: bare, height: 1, depth: 1, ..copy() };
        assert_eq!(one.describe(0, 0).unwrap().dstPitch, 50);
    }
}
