//! The client's arena as the device sees it: registered in chunks at their first use, and its pinned blocks.

use crate::table::OBJECTS_MAX;
use ringbar_backend::Services;
use ringbar_vocabulary::ArenaRef;
use std::collections::BTreeMap;

/// Arenas up to this size are registered at once; larger ones in chunks of it.
const CHUNK_BYTES: u64 = 256 << 20;
/// Staged bytes of a stream behind which a mark is put.
const MARK_BYTES: u64 = 1 << 20;
const MARK_BYTES_MIN: u64 = 64 << 10;

/// What is known of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Unknown,
    Registered,
    /// The driver refused it: copies work all the same, as from any other memory.
    Refused,
}

struct Segment {
    address: u64,
    bytes: u64,
    chunks: Vec<Chunk>,
}

/// The segments and blocks.
#[derive(Default)]
pub struct ArenaMap {
    segments: Vec<Option<Segment>>,
    /// Pinned blocks: arena address and length.
    pinned: BTreeMap<u64, u64>,
}

/// A part of a block that lies in one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its first byte in this process.
    pub address: usize,
    /// Where it begins in the block.
    pub start: u64,
    /// Its bytes.
    pub bytes: u64,
}

impl ArenaMap {
    /// Staged bytes of a stream behind which a mark is put: an eighth of the arena, 64 KiB to 1 MiB.
    pub fn mark_bytes(&self) -> u64 {
        let arena = self.segments.first().and_then(Option::as_ref).map_or(0, |found| found.bytes);
        (arena / 8).clamp(MARK_BYTES_MIN, MARK_BYTES)
    }

    /// The chunks that a block touches and that were never offered to the driver: segment, number, address, bytes.
    pub fn unregistered(
        &mut self,
        services: &Services,
        at: ArenaRef,
    ) -> Vec<(u16, usize, u64, u64)> {
        let Some(segment) = self.segment(services, at.segment()) else { return Vec::new() };
        let last = (at.offset() + at.len.max(1) - 1) / CHUNK_BYTES;
        let touched = at.offset() / CHUNK_BYTES..=last;
        let unknown = touched.filter(|&n| segment.chunks.get(n as usize) == Some(&Chunk::Unknown));
        let chunk = |n: u64| {
            let start = n * CHUNK_BYTES;
            let bytes = CHUNK_BYTES.min(segment.bytes - start);
            (at.segment(), n as usize, segment.address + start, bytes)
        };
        unknown.map(chunk).collect()
    }

    /// Remembers what the driver said.
    pub fn set_registered(&mut self, segment: u16, chunk: usize, registered: bool) {
        let place = self.segments.get_mut(usize::from(segment)).and_then(Option::as_mut);
        if let Some(place) = place.and_then(|segment| segment.chunks.get_mut(chunk)) {
            *place = if registered { Chunk::Registered } else { Chunk::Refused };
        }
    }

    /// The context that had registered them is gone.
    pub fn forget_registrations(&mut self) {
        self.segments.clear();
    }

    /// The part of a block that begins at `start`, up to the end of its chunk: the driver takes no copy that reaches over
    /// two registrations. The block lies in a segment, which [`ArenaMap::unregistered`] has seen.
    pub fn piece(&self, at: ArenaRef, start: u64) -> Option<Piece> {
        let segment = self.segments.get(usize::from(at.segment()))?.as_ref()?;
        let left = at.len.checked_sub(start).filter(|&left| left > 0)?;
        let offset = at.offset() + start;
        let bytes = left.min(CHUNK_BYTES - offset % CHUNK_BYTES);
        (offset + bytes <= segment.bytes).then(|| Piece {
            address: (segment.address + offset) as usize,
            start,
            bytes,
        })
    }

    fn segment(&mut self, services: &Services, number: u16) -> Option<&Segment> {
        let at = usize::from(number);
        if self.segments.len() <= at {
            self.segments.resize_with(at + 1, || None);
        }
        if self.segments[at].is_none() {
            let mapped = services.arena.mapped(number)?;
            let chunks = vec![Chunk::Unknown; mapped.bytes.div_ceil(CHUNK_BYTES) as usize];
            let segment = Segment { address: mapped.address, bytes: mapped.bytes, chunks };
            self.segments[at] = Some(segment);
        }
        self.segments[at].as_ref()
    }

    /// Takes a block for pinned; false if it was, or there are too many.
    pub fn pin(&mut self, block: ArenaRef) -> bool {
        let is_new = !self.pinned.contains_key(&block.addr) && self.pinned.len() < OBJECTS_MAX;
        if is_new {
            self.pinned.insert(block.addr, block.len);
        }
        is_new
    }

    /// Forgets a pinned block; false if it is none.
    pub fn unpin(&mut self, block: ArenaRef) -> bool {
        let is_pinned = self.pinned.get(&block.addr) == Some(&block.len);
        if is_pinned {
            self.pinned.remove(&block.addr);
        }
        is_pinned
    }

    /// Whether a range lies in a pinned block: its bytes are the application's until it frees the block.
    pub fn is_pinned(&self, at: ArenaRef) -> bool {
        let before = self.pinned.range(..=at.addr).next_back();
        before.is_some_and(|(&start, &bytes)| {
            at.addr - start <= bytes && at.len <= bytes - (at.addr - start)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringbar_backend::testing::FakeWorker;
    use ringbar_backend::{ArenaFault, HostMemory, Mapped};
    use std::sync::Arc;

    /// Two segments that nobody touches.
    struct Large;

    impl HostMemory for Large {
        fn check(&self, _at: ArenaRef) -> Result<(), ArenaFault> {
            Ok(())
        }
        fn read(&self, _at: ArenaRef, _into: &mut [u8]) -> Result<(), ArenaFault> {
            Ok(())
        }
        fn write(&self, _at: ArenaRef, _from: &[u8]) -> Result<(), ArenaFault> {
            Ok(())
        }
        fn mapped(&self, segment: u16) -> Option<Mapped> {
            let bytes = [CHUNK_BYTES * 2 + 4096, 1 << 20].get(usize::from(segment)).copied()?;
            Some(Mapped { address: 0x6f00_0000_0000 + (u64::from(segment) << 36), bytes })
        }
    }

    fn services() -> Services {
        let worker = FakeWorker::new(64, 8);
        Services { arena: Arc::new(Large), ..Services::clone(worker.services()) }
    }

    fn at(segment: u16, offset: u64, len: u64) -> ArenaRef {
        ArenaRef::new(segment, offset, len).unwrap()
    }

    #[test]
    fn only_the_chunks_that_a_block_touches_are_registered_and_each_once() {
        let (mut map, services) = (ArenaMap::default(), services());
        let block = at(0, CHUNK_BYTES - 8, 16);
        let found = map.unregistered(&services, block);
        let base = 0x6f00_0000_0000;
        assert_eq!(found, [(0, 0, base, CHUNK_BYTES), (0, 1, base + CHUNK_BYTES, CHUNK_BYTES)]);
        map.set_registered(0, 0, true);
        map.set_registered(0, 1, false);
        assert!(map.unregistered(&services, block).is_empty());
        let last = map.unregistered(&services, at(0, 2 * CHUNK_BYTES, 1));
        assert_eq!(last, [(0, 2, base + 2 * CHUNK_BYTES, 4096)]);
        map.forget_registrations();
        assert_eq!(map.unregistered(&services, block).len(), 2);
    }

    #[test]
    fn a_block_is_copied_in_pieces_that_end_with_their_chunks() {
        let (mut map, services) = (ArenaMap::default(), services());
        let block = at(0, CHUNK_BYTES - 8, 24);
        map.unregistered(&services, block);
        let first = map.piece(block, 0).unwrap();
        assert_eq!((first.start, first.bytes), (0, 8));
        let second = map.piece(block, 8).unwrap();
        let address = (0x6f00_0000_0000 + CHUNK_BYTES) as usize;
        assert_eq!(second, Piece { address, start: 8, bytes: 16 });
        assert_eq!(map.piece(block, 24), None);
        assert_eq!(map.piece(at(1, 0, 8), 0), None, "a segment that nobody has seen");
    }

    #[test]
    fn marks_come_after_an_eighth_of_a_small_arena() {
        let (mut map, services) = (ArenaMap::default(), services());
        assert_eq!(map.mark_bytes(), MARK_BYTES_MIN);
        map.unregistered(&services, at(0, 0, 8));
        assert_eq!(map.mark_bytes(), MARK_BYTES);
    }

    #[test]
    fn a_pinned_block_is_known_by_its_exact_place_and_holds_its_parts() {
        let mut map = ArenaMap::default();
        assert!(map.pin(at(1, 4096, 8192)));
        assert!(!map.pin(at(1, 4096, 8192)));
        assert!(map.is_pinned(at(1, 4096, 8192)) && map.is_pinned(at(1, 12_280, 8)));
        assert!(!map.is_pinned(at(1, 12_280, 9)) && !map.is_pinned(at(1, 4095, 1)));
        assert!(!map.unpin(at(1, 4096, 4096)));
        assert!(map.unpin(at(1, 4096, 8192)));
        assert!(!map.is_pinned(at(1, 4096, 1)));
    }
}
