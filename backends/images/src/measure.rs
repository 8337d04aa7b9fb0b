//! How long an image is, learnt from as few of its bytes as possible.

use crate::{IMAGE_MAX_BYTES, ImageError, number};

/// How many bytes to read first: no image is shorter.
pub const HEAD_BYTES: usize = 4;

/// The magic number of a fat binary.
pub(crate) const FAT_MAGIC: u32 = 0xba55_ed50;
/// The magic number of the structure that nvcc puts around a fat binary's address.
const WRAPPER_MAGIC: u32 = 0x4662_43b1;
const ELF_MAGIC: u32 = u32::from_le_bytes(*b"\x7fELF");
const FAT_HEAD_BYTES: usize = 16;
const WRAPPER_BYTES: usize = 24;
const ELF_HEAD_BYTES: usize = 64;
const SECTION_BYTES: u64 = 64;
const SEGMENT_BYTES: u64 = 56;
const NO_BITS: u64 = 8;

/// What to do next to learn an image's length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Read so many bytes from the image's start, more than last time, and ask again.
    More(usize),
    /// The image has exactly so many bytes.
    Whole(usize),
    /// The image lies at this address; begin again there. Said of nvcc's wrapper only.
    Elsewhere(u64),
    /// The image is text: it ends with the first zero byte, which belongs to it. It is at most
    /// [`IMAGE_MAX_BYTES`] long.
    Text,
}

/// What the first bytes of an image say about its length. Begin with [`HEAD_BYTES`] of them.
///
/// # Errors
/// [`ImageError`] if the bytes are no image, or one longer than [`IMAGE_MAX_BYTES`].
pub fn measure(head: &[u8]) -> Result<Need, ImageError> {
    let Some(magic) = number::<4>(head, 0) else { return Ok(Need::More(HEAD_BYTES)) };
    match magic as u32 {
        FAT_MAGIC => fat_binary(head),
        WRAPPER_MAGIC => Ok(match number::<8>(head, 8) {
            Some(address) if head.len() >= WRAPPER_BYTES => Need::Elsewhere(address),
            _ => Need::More(WRAPPER_BYTES),
        }),
        ELF_MAGIC => elf(head),
        _ if head[..HEAD_BYTES].iter().all(|&byte| is_text(byte)) => Ok(Need::Text),
        found => Err(ImageError::Unknown { found }),
    }
}

fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')
}

fn whole(bytes: u64) -> Result<usize, ImageError> {
    let fits = usize::try_from(bytes).ok().filter(|_| bytes <= IMAGE_MAX_BYTES);
    fits.ok_or(ImageError::TooLong { found: bytes, expected: IMAGE_MAX_BYTES })
}

fn fat_binary(head: &[u8]) -> Result<Need, ImageError> {
    let (Some(header), Some(size)) = (number::<2>(head, 6), number::<8>(head, 8)) else {
        return Ok(Need::More(FAT_HEAD_BYTES));
    };
    whole(size.saturating_add(header)).map(Need::Whole)
}

/// Where a table of an ELF file lies.
struct Table {
    at: u64,
    count: u64,
    entry_bytes: u64,
}

impl Table {
    fn end(&self) -> u64 {
        self.at.saturating_add(self.count.saturating_mul(self.entry_bytes))
    }
}

fn elf(head: &[u8]) -> Result<Need, ImageError> {
    if head.len() < ELF_HEAD_BYTES {
        return Ok(Need::More(ELF_HEAD_BYTES));
    }
    let field = |at, len| match len {
        2 => number::<2>(head, at).unwrap_or(0),
        _ => number::<8>(head, at).unwrap_or(0),
    };
    let mut sections = Table { at: field(40, 8), count: field(60, 2), entry_bytes: SECTION_BYTES };
    let segments = Table { at: field(32, 8), count: field(56, 2), entry_bytes: SEGMENT_BYTES };
    if sections.count == 0 && sections.at != 0 {
        // More than 65,279 sections: the first one's size says how many.
        let first = whole(sections.at.saturating_add(SECTION_BYTES))?;
        let Some(count) = number::<8>(head, first - 32) else { return Ok(Need::More(first)) };
        sections.count = count;
    }
    let tables = whole(sections.end().max(segments.end()))?.max(ELF_HEAD_BYTES);
    if head.len() < tables {
        return Ok(Need::More(tables));
    }
    let ends = ends(head, &sections, [4, 24, 32], NO_BITS);
    let end = ends.max(self::ends(head, &segments, [0, 8, 32], 0)).max(tables as u64);
    whole(end).map(Need::Whole)
}

/// The largest end of what a table's entries speak of. `places` are those of an entry's type,
/// offset and length; those of the type `empty` take no room.
fn ends(head: &[u8], table: &Table, places: [u64; 3], empty: u64) -> u64 {
    let mut largest = 0;
    for entry in (0..table.count).map(|i| table.at + i * table.entry_bytes) {
        let [kind, offset, length] = places.map(|place| (entry + place) as usize);
        let kind = number::<4>(head, kind).unwrap_or(empty);
        let (Some(offset), Some(length)) = (number::<8>(head, offset), number::<8>(head, length))
        else {
            break;
        };
        if kind != empty {
            largest = largest.max(offset.saturating_add(length));
        }
    }
    largest
}
