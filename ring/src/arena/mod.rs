//! The arena: bulk bytes that both sides reach, in one or more segments.
//!
//! An arena address is a segment number in the top 16 bits and an offset in the low 48. The client owns the arena: its
//! allocators ([`alloc`]) live in its private memory, and the worker only ever checks that what a command names lies
//! inside. Bytes are copied between arena and private memory by [`copy`]; no reference to them is ever formed.

pub mod alloc;
pub mod copy;

use crate::os::mapping::SubMapping;
use crate::spsc::Violation;
use std::sync::OnceLock;

/// Most segments of an arena.
pub const SEGMENTS_MAX: usize = 64;
const OFFSET_BITS: u32 = 48;
const OFFSET_MASK: u64 = (1 << OFFSET_BITS) - 1;

/// The arena address of `offset` in `segment`.
pub const fn address(segment: u16, offset: u64) -> u64 {
    (segment as u64) << OFFSET_BITS | (offset & OFFSET_MASK)
}

/// Segment and offset of an arena address.
pub const fn split(address: u64) -> (u16, u64) {
    ((address >> OFFSET_BITS) as u16, address & OFFSET_MASK)
}

/// A block of the arena, checked to lie inside. Its bytes may change at any time.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    start: *mut u8,
    len: usize,
}

impl Block {
    /// First byte, in this process. Valid while the [`Arena`] lives.
    pub fn as_ptr(self) -> *mut u8 {
        self.start
    }

    /// Bytes.
    pub fn len(self) -> usize {
        self.len
    }

    /// True for a block of no bytes.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// Further segments of an arena at an agreed address begin on multiples of this.
const SEGMENT_ALIGN: u64 = 2 << 20;

/// The segments of an arena, as mapped by this process.
#[derive(Debug)]
pub struct Arena {
    segments: [OnceLock<SubMapping>; SEGMENTS_MAX],
    /// Both sides map every segment at the same address.
    agreed: bool,
    /// Memory that the processor does not cache: copied by the widest loads and stores, with fences.
    uncached: bool,
}

impl Arena {
    /// An arena whose segment 0 is `first`.
    pub fn new(first: SubMapping) -> Self {
        let segments = [const { OnceLock::new() }; SEGMENTS_MAX];
        let arena = Self { segments, agreed: false, uncached: false };
        arena.segments[0].get_or_init(|| first);
        arena
    }

    /// The same, mapped at the address that both sides agreed on: further segments follow it in the address space.
    pub fn at_agreed_address(first: SubMapping) -> Self {
        Self { agreed: true, ..Self::new(first) }
    }

    /// Whether both sides map every segment at the same address, so that an address means the same to both.
    pub fn is_at_agreed_address(&self) -> bool {
        self.agreed
    }

    /// Where this process has segment `number`: its first byte's address, and its bytes.
    pub fn place(&self, number: u16) -> Option<(u64, u64)> {
        let segment = self.segment(number)?;
        Some((segment.as_ptr().addr() as u64, segment.len() as u64))
    }

    /// Where the next segment is to be mapped by both sides: behind the last one, at a multiple of 2 MiB. `None` if this
    /// arena lies anywhere, or has all its segments.
    pub fn next_address(&self) -> Option<u64> {
        let last = self.next_segment()?.checked_sub(1).filter(|_| self.agreed)?;
        let (start, bytes) = self.place(last)?;
        start.checked_add(bytes)?.checked_next_multiple_of(SEGMENT_ALIGN)
    }

    /// The same arena, over memory that the processor does not cache (the BAR of some virtual machines): bytes are copied
    /// by the widest loads and stores there are, and with the fences that such memory needs.
    pub fn over_uncached_memory(self) -> Self {
        Self { uncached: true, ..self }
    }

    /// Whether the processor caches these bytes. Where not, reading them is slow whatever one does: read them once.
    pub fn is_cached(&self) -> bool {
        !self.uncached
    }

    /// Adds segment `number`. `false` if there is one already, or the number is too large.
    pub fn add(&self, number: u16, segment: SubMapping) -> bool {
        self.segments.get(usize::from(number)).is_some_and(|place| place.set(segment).is_ok())
    }

    /// Bytes of segment `number`, 0 if there is none.
    pub fn segment_bytes(&self, number: u16) -> u64 {
        self.segment(number).map_or(0, |segment| segment.len() as u64)
    }

    /// The number of the first segment that does not exist yet.
    pub fn next_segment(&self) -> Option<u16> {
        let next = self.segments.iter().position(|segment| segment.get().is_none())?;
        Some(next as u16)
    }

    fn segment(&self, number: u16) -> Option<&SubMapping> {
        self.segments.get(usize::from(number))?.get()
    }

    /// The `len` bytes at `address`, if they lie inside one segment.
    #[inline]
    pub fn block(&self, address: u64, len: u64) -> Result<Block, Violation> {
        let (number, offset) = split(address);
        let limit = self.segment_bytes(number);
        let outside = Violation::Range { what: "arena block", start: address, len, limit };
        if offset.checked_add(len).is_none_or(|end| end > limit) {
            return Err(outside);
        }
        let Some(segment) = self.segment(number) else { return Err(outside) };
        // Not `add`: the bound is checked above, and an integer offset needs no proof of provenance.
        let start = segment.as_ptr().wrapping_add(offset as usize);
        Ok(Block { start, len: len as usize })
    }

    /// Copies arena bytes at `address` into private memory. The peer may change them meanwhile.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Violation> {
        let block = self.block(address, into.len() as u64)?;
        if self.uncached {
            // SAFETY: as below.
            unsafe { copy::copy_in_uncached(into.as_mut_ptr(), block.start, block.len) };
            return Ok(());
        }
        // SAFETY: `block` checked that the bytes lie inside a segment, which lives as long as the arena; `into` is
        // private memory of the same length.
        unsafe { copy::copy_in(into.as_mut_ptr(), block.start, block.len) };
        Ok(())
    }

    /// The same, past the cache: for large blocks whose destination is not read again soon.
    pub fn read_streaming(&self, address: u64, into: &mut [u8]) -> Result<(), Violation> {
        if self.uncached {
            return self.read(address, into);
        }
        let block = self.block(address, into.len() as u64)?;
        // SAFETY: as in `read`.
        unsafe { copy::copy_in_streaming(into.as_mut_ptr(), block.start, block.len) };
        Ok(())
    }

    /// As [`write`](Self::write), past the cache: for blocks that this side does not read again soon.
    pub fn write_streaming(&self, address: u64, from: &[u8]) -> Result<(), Violation> {
        if self.uncached {
            return self.write(address, from);
        }
        let block = self.block(address, from.len() as u64)?;
        // SAFETY: as in `write`.
        unsafe { copy::copy_out_streaming(block.start, from.as_ptr(), block.len) };
        Ok(())
    }

    /// Copies private memory into the arena at `address`.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), Violation> {
        let block = self.block(address, from.len() as u64)?;
        if self.uncached {
            // SAFETY: as below.
            unsafe { copy::copy_out_uncached(block.start, from.as_ptr(), block.len) };
            return Ok(());
        }
        // SAFETY: `block` checked that the bytes lie inside a segment, which lives as long as the arena; `from` is
        // private memory of the same length.
        unsafe { copy::copy_out(block.start, from.as_ptr(), block.len) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::zeroed;

    fn arena(bytes: usize) -> Arena {
        Arena::new(zeroed(bytes).subrange(0, bytes).expect("the whole mapping"))
    }

    #[test]
    fn bytes_written_are_read_back_at_the_same_address() {
        let arena = arena(8192);
        arena.write(address(0, 4090), &[7; 9]).expect("inside");
        let mut back = [0; 11];
        arena.read(address(0, 4089), &mut back).expect("inside");
        assert_eq!(back, [0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0]);
    }

    #[cfg(all(target_arch = "x86_64", not(miri), not(ringbar_loom)))]
    #[test]
    fn of_an_uncached_arena_nothing_but_ragged_ends_is_copied_without_streaming() {
        let arena = arena(1 << 17).over_uncached_memory();
        let bytes: Vec<u8> = (0..100_003_u32).map(|i| i as u8).collect();
        let mut back = vec![0; bytes.len()];
        let before = copy::plain_bytes();
        arena.write(address(0, 9), &bytes).expect("inside");
        arena.read(address(0, 9), &mut back).expect("inside");
        assert_eq!(back, bytes);
        arena.write_streaming(address(0, 77), &bytes).expect("inside");
        arena.read_streaming(address(0, 77), &mut back).expect("inside");
        assert_eq!(back, bytes);
        let plainly = copy::plain_bytes() - before;
        assert!(plainly <= 4 * 128, "{plainly} bytes were copied one by one");
    }

    #[test]
    fn no_offset_or_length_reaches_outside() {
        let arena = arena(8192);
        let outside = [
            (address(0, 8192), 1),
            (address(0, 8191), 2),
            (address(0, OFFSET_MASK), 1),
            (address(0, OFFSET_MASK), u64::MAX),
            (address(0, 1), u64::MAX),
            (address(1, 0), 1),
            (address(64, 0), 0x10),
            (u64::MAX, u64::MAX),
        ];
        for (at, len) in outside {
            let error = arena.block(at, len).expect_err("outside");
            assert!(matches!(error, Violation::Range { start, .. } if start == at));
        }
        assert!(arena.block(address(0, 8192), 0).is_ok(), "nothing at the end is inside");
    }

    #[test]
    fn only_an_arena_at_an_agreed_address_says_where_its_next_segment_lies() {
        let first = zeroed(8192).subrange(0, 8192).expect("the whole mapping");
        let anywhere = Arena::new(first.clone());
        assert_eq!(anywhere.next_address(), None);
        let arena = Arena::at_agreed_address(first);
        let (start, bytes) = arena.place(0).expect("segment 0");
        let next = arena.next_address().expect("room");
        assert!(next >= start + bytes && next.is_multiple_of(SEGMENT_ALIGN));
        assert_eq!(bytes, 8192);
        assert_eq!(arena.place(1), None);
    }

    #[test]
    fn a_further_segment_is_addressed_by_its_number() {
        let arena = arena(4096);
        let more = zeroed(4096).subrange(0, 4096).expect("whole");
        assert_eq!(arena.next_segment(), Some(1));
        assert!(arena.add(1, more.clone()));
        assert!(!arena.add(1, more), "it is there already");
        arena.write(address(1, 5), b"far").expect("inside");
        let mut near = [1; 3];
        arena.read(address(0, 5), &mut near).expect("inside");
        assert_eq!(near, [0; 3]);
    }
}
