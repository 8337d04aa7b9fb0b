//! Fat binaries: several images in one, each for another device, most of them compressed.

use crate::measure::FAT_MAGIC;
use crate::{IMAGE_MAX_BYTES, ImageError, number};
use std::borrow::Cow;
use std::io::Read;

const COMPRESSED_LZ4: u64 = 0x2000;
const COMPRESSED_ZSTD: u64 = 0x8000;
/// The fixed fields of an entry's header, in bytes.
const ENTRY_HEAD_BYTES: usize = 64;
/// No byte of LZ4 stands for more than this many.
const LZ4_RATIO_MAX: u64 = 255;

/// What an entry of a fat binary is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// PTX text.
    Ptx,
    /// Machine code.
    Cubin,
    /// Something else, by its number.
    Other(u16),
}

/// One image in a fat binary.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// What it is.
    pub kind: EntryKind,
    /// The compute capability it is for: major times 10 plus minor.
    pub sm: u32,
    /// Its flags, as they stand in the header.
    pub flags: u64,
    /// Its bytes, still compressed if it is.
    pub payload: &'a [u8],
    /// How long it is when unpacked; 0 if it is not compressed.
    pub unpacked_bytes: u64,
}

/// The entries of a fat binary, in their order.
///
/// # Errors
/// [`ImageError`] if the bytes are no fat binary or an entry reaches outside it.
pub fn entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>, ImageError> {
    let short = ImageError::Truncated { part: "a fat binary's header" };
    let magic = number::<4>(bytes, 0).ok_or(short.clone())? as u32;
    if magic != FAT_MAGIC {
        return Err(ImageError::Unknown { found: magic });
    }
    let header = number::<2>(bytes, 6).ok_or(short.clone())? as usize;
    let size = number::<8>(bytes, 8).ok_or(short.clone())?;
    let body = bytes.get(header..).ok_or(short)?;
    let missing = ImageError::Truncated { part: "a fat binary" };
    let mut rest = usize::try_from(size).ok().and_then(|size| body.get(..size)).ok_or(missing)?;
    let mut entries = Vec::new();
    while rest.len() >= ENTRY_HEAD_BYTES {
        let (entry, stride) = entry(rest)?;
        entries.push(entry);
        rest = &rest[stride..];
    }
    Ok(entries)
}

/// The first entry and how far it is to the next.
fn entry(bytes: &[u8]) -> Result<(Entry<'_>, usize), ImageError> {
    let missing = ImageError::Truncated { part: "an entry of a fat binary" };
    let field = |at: usize| number::<4>(bytes, at).unwrap_or(0);
    let header = field(4) as usize;
    let payload = usize::try_from(number::<8>(bytes, 8).unwrap_or(u64::MAX)).ok();
    let stride = payload.and_then(|payload| payload.checked_add(header));
    let stride = stride.filter(|&stride| stride <= bytes.len()).ok_or(missing.clone())?;
    if header < ENTRY_HEAD_BYTES {
        return Err(ImageError::malformed(
            "an entry of a fat binary",
            format_args!("a header of {header} bytes: expected {ENTRY_HEAD_BYTES} or more"),
        ));
    }
    let flags = number::<8>(bytes, 40).unwrap_or(0);
    let mut payload = &bytes[header..stride];
    if flags & (COMPRESSED_LZ4 | COMPRESSED_ZSTD) != 0 {
        payload = payload.get(..field(16) as usize).ok_or(missing)?;
    }
    let kind = match number::<2>(bytes, 0).unwrap_or(0) as u16 {
        1 => EntryKind::Ptx,
        2 => EntryKind::Cubin,
        other => EntryKind::Other(other),
    };
    let unpacked_bytes = number::<8>(bytes, 56).unwrap_or(0);
    Ok((Entry { kind, sm: field(28) as u32, flags, payload, unpacked_bytes }, stride))
}

impl<'a> Entry<'a> {
    /// The image itself, unpacked if it is compressed.
    ///
    /// # Errors
    /// [`ImageError`] if it cannot be unpacked, or only to more than [`IMAGE_MAX_BYTES`].
    pub fn unpack(&self) -> Result<Cow<'a, [u8]>, ImageError> {
        if self.unpacked_bytes > IMAGE_MAX_BYTES {
            let found = self.unpacked_bytes;
            return Err(ImageError::TooLong { found, expected: IMAGE_MAX_BYTES });
        }
        if self.flags & COMPRESSED_ZSTD != 0 {
            return self.unpack_zstd().map(Cow::Owned);
        }
        if self.flags & COMPRESSED_LZ4 != 0 {
            return self.unpack_lz4().map(Cow::Owned);
        }
        Ok(Cow::Borrowed(self.payload))
    }

    fn unpack_zstd(&self) -> Result<Vec<u8>, ImageError> {
        let failed = |error: &dyn std::fmt::Display| {
            ImageError::malformed("a zstd entry of a fat binary", error)
        };
        let decoder = ruzstd::decoding::StreamingDecoder::new(self.payload);
        let decoder = decoder.map_err(|error| failed(&error))?;
        let mut out = Vec::new();
        decoder.take(self.unpacked_bytes).read_to_end(&mut out).map_err(|error| failed(&error))?;
        self.complete(out)
    }

    fn unpack_lz4(&self) -> Result<Vec<u8>, ImageError> {
        let most = (self.payload.len() as u64).saturating_mul(LZ4_RATIO_MAX);
        // A length that the payload cannot reach is not even allocated.
        let size = self.unpacked_bytes.min(most) as usize;
        let out = lz4_flex::block::decompress(self.payload, size)
            .map_err(|error| ImageError::malformed("an LZ4 entry of a fat binary", error))?;
        self.complete(out)
    }

    fn complete(&self, out: Vec<u8>) -> Result<Vec<u8>, ImageError> {
        if out.len() as u64 == self.unpacked_bytes {
            return Ok(out);
        }
        let (found, expected) = (out.len(), self.unpacked_bytes);
        Err(ImageError::malformed(
            "an entry of a fat binary",
            format_args!("it unpacks to {found} bytes: expected {expected}"),
        ))
    }
}
