//! CUDA arrays, and copies from and to them.

use crate::api::{ArrayDescriptor, Copy3D, CopyEnd, Raw};
use crate::copy::BoxCopy;
use crate::live::{Live, Owned};
use ringbar_backend::Context;
use ringbar_vocabulary::resource::ARRAY_FLAGS_NOT_OFFERED;
use ringbar_vocabulary::*;

/// `CUmemorytype`.
const HOST: u32 = 1;
const DEVICE: u32 = 2;
const ARRAY: u32 = 3;

/// One end of a copy, with its array if it is one.
#[derive(Clone, Copy)]
struct End {
    corner: Corner,
    array: Option<Raw>,
    /// Bit of the command's `host` for this end.
    bit: u32,
}

impl End {
    /// As the driver takes it; `at` is the address of an end that is none of an array.
    fn describe(&self, copy: &BoxCopy, at: u64) -> Result<CopyEnd, Status> {
        let Corner { at: x, pitch: y, slice: z } = self.corner;
        if let Some(array) = self.array {
            let (x_bytes, y, z) = (x as usize, y as usize, z as usize);
            return Ok(CopyEnd { x_bytes, y, z, memory_type: ARRAY, array, ..CopyEnd::default() });
        }
        let pitch = self.corner.pitch.max(if copy.height <= 1 { copy.width } else { 0 }) as usize;
        let height = copy.rows_a_slice(self.corner)? as usize;
        let end = CopyEnd { pitch, height, ..CopyEnd::default() };
        Ok(match copy.host & self.bit {
            0 => CopyEnd { memory_type: DEVICE, device: at, ..end },
            _ => CopyEnd { memory_type: HOST, host: at as usize, ..end },
        })
    }

    /// Where one row begins: in memory `bytes` further on, in an array that many bytes, rows and slices.
    fn row(&self, [bytes, row, slice]: [u64; 3]) -> Self {
        let Corner { at, pitch, slice: z } = self.corner;
        let corner = match self.array {
            Some(_) => Corner {
                at: at.wrapping_add(bytes),
                pitch: pitch.wrapping_add(row),
                slice: z.wrapping_add(slice),
            },
            None => Corner {
                at: BoxCopy::row(self.corner, row, slice).wrapping_add(bytes),
                ..self.corner
            },
        };
        Self { corner, ..*self }
    }
}

impl Live {
    pub fn array_create(
        &mut self,
        _cx: &mut Context<'_>,
        c: ArrayCreate,
    ) -> Result<ArrayCreateReply, Status> {
        self.enter(c.context)?;
        if c.array == ArrayId::NONE {
            return Err(Status::INVALID_HANDLE);
        }
        self.arrays.check_new(c.array.0)?;
        if c.flags & ARRAY_FLAGS_NOT_OFFERED != 0 {
            return Err(Status::NOT_SUPPORTED);
        }
        let (extent, context) = (c.extent.map(|size| size as usize), c.context);
        let ArrayCreate { format, channels, flags, .. } = c;
        let mut raw = 0;
        let descriptor = ArrayDescriptor { extent, format, channels, flags };
        self.api.cuArray3DCreate_v2(&mut raw, &descriptor)?;
        self.arrays.insert(c.array.0, Owned { raw, context });
        Ok(ArrayCreateReply {})
    }

    pub fn array_destroy(&mut self, _cx: &mut Context<'_>, c: ArrayDestroy) -> Result<(), Status> {
        let Owned { raw, context } = *self.arrays.get(c.array.0)?;
        self.enter(context)?;
        self.api.cuArrayDestroy(raw)?;
        self.arrays.remove(c.array.0).map(drop)
    }

    fn end(&self, corner: Corner, array: ArrayId, bit: u32, host: u32) -> Result<End, Status> {
        let array = match array {
            ArrayId::NONE => None,
            // An end is in the arena or in an array.
            _ if host & bit != 0 => return Err(Status::INVALID_VALUE),
            array => Some(self.arrays.get(array.0)?.raw),
        };
        Ok(End { corner, array, bit })
    }

    pub fn memcpy_array(&mut self, cx: &mut Context<'_>, c: MemcpyArray) -> Result<(), Status> {
        let MemcpyArray { dst, src, width_bytes: width, height, depth, stream: id, host, .. } = c;
        let copy = BoxCopy { dst, src, width, height, depth, host };
        let stream = self.stream(id)?;
        let dst = self.end(dst, c.dst_array, BoxCopy::DST_HOST, host)?;
        let src = self.end(src, c.src_array, BoxCopy::SRC_HOST, host)?;
        if host > 2 || dst.array.is_none() && src.array.is_none() {
            return Err(Status::INVALID_VALUE);
        }
        let placed = self.place_box(cx, &copy)?;
        if width == 0 || height == 0 || depth == 0 {
            return Ok(());
        }
        match (placed.dst, placed.src) {
            (Some(dst_at), Some(src_at)) => {
                self.copy_ends(&copy, (dst, dst_at), (src, src_at), stream)?;
            }
            _ => self.array_rows(&copy, dst, src, stream)?,
        }
        match placed.block {
            Some(block) => self.hold_block(cx, (id, stream), block),
            None => Ok(()),
        }
    }

    fn copy_ends(
        &self,
        copy: &BoxCopy,
        dst: (End, u64),
        src: (End, u64),
        stream: Raw,
    ) -> Result<(), Status> {
        let described = Copy3D {
            src: src.0.describe(copy, src.1)?,
            dst: dst.0.describe(copy, dst.1)?,
            width_bytes: copy.width as usize,
            height: copy.height as usize,
            depth: copy.depth as usize,
        };
        let pointer: *const Copy3D = &described;
        // SAFETY: a description of this frame, of the layout that is asserted beside its type, with types of memory that
        // exist; its arrays are live ones, its host side lies inside the arena.
        unsafe { self.api.cuMemcpy3DAsync_v2(pointer.cast(), stream) }
    }

    /// Row by row, for a block that reaches over two registrations.
    fn array_rows(&self, copy: &BoxCopy, dst: End, src: End, stream: Raw) -> Result<(), Status> {
        let rows = (0..copy.depth).flat_map(|slice| (0..copy.height).map(move |row| (row, slice)));
        for (row, slice) in rows {
            let at = |start| [start, row, slice];
            let arena = if dst.array.is_some() { src } else { dst }.row(at(0));
            let block = ArenaRef { addr: arena.corner.at, len: copy.width };
            let mut start = 0;
            while let Some(piece) = self.arena.piece(block, start) {
                let one = BoxCopy { width: piece.bytes, height: 1, depth: 1, ..*copy };
                let address = piece.address as u64;
                let (to, from) = (dst.row(at(start)), src.row(at(start)));
                self.copy_ends(&one, (to, address), (from, address), stream)?;
                start += piece.bytes;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(host: u32) -> BoxCopy {
        let dst = Corner { at: 8, pitch: 2, slice: 1 };
        let src = Corner { at: 0x9000, pitch: 100, slice: 1000 };
        BoxCopy { dst, src, width: 48, height: 4, depth: 3, host }
    }

    #[test]
    fn an_end_that_is_an_array_is_told_by_what_lies_before_the_box() {
        let copy = copy(BoxCopy::SRC_HOST);
        let array = End { corner: copy.dst, array: Some(77), bit: BoxCopy::DST_HOST };
        let end = array.describe(&copy, 0).unwrap();
        assert_eq!((end.memory_type, end.array, end.device, end.host), (ARRAY, 77, 0, 0));
        assert_eq!((end.x_bytes, end.y, end.z), (8, 2, 1));
        let memory = End { corner: copy.src, array: None, bit: BoxCopy::SRC_HOST };
        let end = memory.describe(&copy, 0x7000).unwrap();
        assert_eq!((end.memory_type, end.host, end.pitch, end.height), (HOST, 0x7000, 100, 10));
        let end = memory.describe(&BoxCopy { host: 0, ..copy }, 0x9000).unwrap();
        assert_eq!((end.memory_type, end.device, end.array), (DEVICE, 0x9000, 0));
    }

    #[test]
    fn rows_begin_further_on_in_memory_and_further_down_in_an_array() {
        let copy = copy(BoxCopy::SRC_HOST);
        let array = End { corner: copy.dst, array: Some(77), bit: BoxCopy::DST_HOST };
        assert_eq!(array.row([16, 3, 1]).corner, Corner { at: 24, pitch: 5, slice: 2 });
        let memory = End { corner: copy.src, array: None, bit: BoxCopy::SRC_HOST };
        assert_eq!(memory.row([16, 3, 1]).corner.at, 0x9000 + 1000 + 300 + 16);
    }
}
