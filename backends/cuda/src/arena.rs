//! The client's arena as the device sees it: registered in runs of chunks at their first use, and its pinned blocks.
//!
//! What the driver copies in one piece, a box or a graph's copy, must lie in one registration. So a segment that was added
//! for pinned memory is one chunk, and the chunks that a block is the first to touch become one run.

use ringbar_backend::Services;
use ringbar_backend::table::OBJECTS_MAX;
use ringbar_vocabulary::ArenaRef;
use std::collections::BTreeMap;
use std::ops::Range;

/// First segments up to this size are registered at once; larger ones in chunks of it.
const CHUNK_BYTES: u64 = 256 << 20;
/// The same for further segments, which the client asks for when it has pinned memory to put there.
const FURTHER_CHUNK_BYTES: u64 = 8 << 30;
/// Staged bytes of a stream behind which a mark is put.
const MARK_BYTES: u64 = 1 << 20;
const MARK_BYTES_MIN: u64 = 64 << 10;

/// What is known of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Unknown,
    /// With all others of the run that begins with this chunk.
    Registered(usize),
    /// The driver refused it: copies work all the same, as from any other memory.
    Refused,
}

struct Segment {
    address: u64,
    bytes: u64,
    chunk_bytes: u64,
    chunks: Vec<Chunk>,
}

impl Segment {
    /// Where the registration ends that the byte at `offset` lies in, or the chunk, if there is none.
    fn end_of_run(&self, offset: u64) -> u64 {
        let at = (offset / self.chunk_bytes) as usize;
        let same = |chunk: &&Chunk| match self.chunks.get(at) {
            Some(run @ Chunk::Registered(_)) => *chunk == run,
            _ => false,
        };
        let further = self.chunks.iter().skip(at + 1).take_while(same).count();
        (at + 1 + further) as u64 * self.chunk_bytes
    }
}

/// Chunks in a row that nobody registered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    segment: u16,
    chunks: Range<usize>,
    /// Its first byte in this process.
    pub address: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// The segments and blocks.
#[derive(Default)]
pub struct ArenaMap {
    segments: Vec<Option<Segment>>,
    /// Pinned blocks: arena address and length.
    pinned: BTreeMap<u64, u64>,
}

/// A part of a block that lies in one registration.
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

    /// The runs of chunks that a block touches and that were never offered to the driver.
    #[inline]
    pub fn unregistered(&mut self, services: &Services, at: ArenaRef) -> Vec<Run> {
        let Some(segment) = self.segment(services, at.segment()) else { return Vec::new() };
        let chunk_bytes = segment.chunk_bytes;
        let last = (at.offset() + at.len.max(1) - 1) / chunk_bytes;
        let touched = at.offset() / chunk_bytes..=last;
        let unknown = touched.filter(|&n| segment.chunks.get(n as usize) == Some(&Chunk::Unknown));
        let mut runs: Vec<Run> = Vec::new();
        for n in unknown {
            let (start, n) = (n * chunk_bytes, n as usize);
            let bytes = chunk_bytes.min(segment.bytes - start);
            match runs.last_mut().filter(|run| run.chunks.end == n) {
                Some(run) => (run.chunks.end, run.bytes) = (n + 1, run.bytes + bytes),
                None => {
                    let address = segment.address + start;
                    runs.push(Run { segment: at.segment(), chunks: n..n + 1, address, bytes });
                }
            }
        }
        runs
    }

    /// Remembers what the driver said.
    pub fn set_registered(&mut self, run: Run, registered: bool) {
        let segment = self.segments.get_mut(usize::from(run.segment)).and_then(Option::as_mut);
        let chunk = if registered { Chunk::Registered(run.chunks.start) } else { Chunk::Refused };
        if let Some(chunks) = segment.and_then(|segment| segment.chunks.get_mut(run.chunks)) {
            chunks.fill(chunk);
        }
    }

    /// The context that had registered them is gone.
    pub fn forget_registrations(&mut self) {
        self.segments.clear();
    }

    /// The part of a block that begins at `start`, up to the end of its registration: the driver takes no copy that reaches over
    /// two registrations. The block lies in a segment, which [`ArenaMap::unregistered`] has seen.
    pub fn piece(&self, at: ArenaRef, start: u64) -> Option<Piece> {
        let segment = self.segments.get(usize::from(at.segment()))?.as_ref()?;
        let left = at.len.checked_sub(start).filter(|&left| left > 0)?;
        let offset = at.offset() + start;
        let bytes = left.min(segment.end_of_run(offset) - offset);
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
            let chunk_bytes = if number == 0 { CHUNK_BYTES } else { FURTHER_CHUNK_BYTES };
            let chunks = vec![Chunk::Unknown; mapped.bytes.div_ceil(chunk_bytes) as usize];
            let (address, bytes) = (mapped.address, mapped.bytes);
            let segment = Segment { address, bytes, chunk_bytes, chunks };
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
            let bytes =
                [CHUNK_BYTES * 2 + 4096, CHUNK_BYTES * 3].get(usize::from(segment)).copied()?;
            Some(Mapped { address: 0x6f00_0000_0000 + (u64::from(segment) << 36), bytes })
        }
    }

    fn services() -> Services {
        let worker = FakeWorker::new(64, 8);
        Services { arena: Arc::new(Large), ..Services::clone(worker.services()) }
    }

    /// Registers what a block needs; says where in the first segment, and how many bytes.
    fn offer(map: &mut ArenaMap, services: &Services, block: ArenaRef) -> Vec<(u64, u64)> {
        let runs = map.unregistered(services, block);
        runs.into_iter()
            .map(|run| {
                let found = (run.address - 0x6f00_0000_0000, run.bytes);
                map.set_registered(run, true);
                found
            })
            .collect()
    }

    fn at(segment: u16, offset: u64, len: u64) -> ArenaRef {
        ArenaRef::new(segment, offset, len).unwrap()
    }

    #[test]
    fn only_the_chunks_that_a_block_touches_are_registered_and_each_once() {
        let (mut map, services) = (ArenaMap::default(), services());
        assert_eq!(offer(&mut map, &services, at(0, 0, 8)), [(0, CHUNK_BYTES)]);
        let block = at(0, CHUNK_BYTES - 8, CHUNK_BYTES + 16);
        let found = offer(&mut map, &services, block);
        assert_eq!(found, [(CHUNK_BYTES, CHUNK_BYTES + 4096)], "in one run, to the segment's end");
        assert_eq!(offer(&mut map, &services, block), []);
        map.forget_registrations();
        assert_eq!(offer(&mut map, &services, block), [(0, 2 * CHUNK_BYTES + 4096)]);
    }

    #[test]
    fn a_block_that_was_the_first_in_its_chunks_is_one_piece() {
        let (mut map, services) = (ArenaMap::default(), services());
        for block in [at(0, CHUNK_BYTES - 8, 24), at(1, CHUNK_BYTES - 8, 2 * CHUNK_BYTES)] {
            offer(&mut map, &services, block);
            assert_eq!(map.piece(block, 0).map(|piece| piece.bytes), Some(block.len));
        }
    }

    #[test]
    fn a_run_that_the_driver_refused_is_copied_from_chunk_by_chunk() {
        let (mut map, services) = (ArenaMap::default(), services());
        let block = at(0, CHUNK_BYTES - 8, 24);
        for run in map.unregistered(&services, block) {
            map.set_registered(run, false);
        }
        assert_eq!(offer(&mut map, &services, block), [], "it is not asked again");
        assert_eq!(map.piece(block, 0).map(|piece| piece.bytes), Some(8));
    }

    #[test]
    fn a_block_is_copied_in_pieces_that_end_with_their_registrations() {
        let (mut map, services) = (ArenaMap::default(), services());
        let block = at(0, CHUNK_BYTES - 8, 24);
        offer(&mut map, &services, at(0, 0, 8));
        offer(&mut map, &services, block);
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
