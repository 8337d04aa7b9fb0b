//! What the two ends of a copy are: device memory, a pinned block, or memory of the program's own.

use super::map::{Entry, Map};
use crate::failure::Outcome;
use ringbar::client::PinnedBlock;
use ringbar_vocabulary::Status;

/// One end of a copy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// Device memory.
    Device(u64),
    /// Pinned memory: the address, and the block that holds it.
    Pinned(u64, PinnedBlock),
    /// Memory of the program's own, registered or not.
    Pageable(u64),
}

/// What the function that is called says an end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Declared {
    /// A `CUdeviceptr`: device or pinned memory.
    Device,
    /// A host pointer.
    Host,
    /// Either.
    Any,
}

impl Place {
    /// The address.
    pub fn address(self) -> u64 {
        match self {
            Self::Device(at) | Self::Pinned(at, _) | Self::Pageable(at) => at,
        }
    }

    /// Whether it is memory of the host, pinned or not.
    pub fn is_host(self) -> bool {
        !matches!(self, Self::Device(_))
    }

    /// Whether it is pinned.
    pub fn is_pinned(self) -> bool {
        matches!(self, Self::Pinned(..))
    }

    /// Whether it is memory of the program's own.
    pub fn is_pageable(self) -> bool {
        matches!(self, Self::Pageable(_))
    }

    /// How commands name it: an arena address for pinned memory, else the address itself.
    pub fn wire(self) -> u64 {
        match self {
            Self::Pinned(at, block) => block.address + (at - block.pointer as u64),
            _ => self.address(),
        }
    }
}

/// What `bytes` bytes at an address are. INVALID_VALUE if they are not what the function says, or reach out of an
/// allocation.
pub fn classify(map: &Map, at: u64, bytes: u64, declared: Declared) -> Outcome<Place> {
    let refused = Err(Status::INVALID_VALUE.into());
    let found = map.find(at);
    // A managed variable may be named by either kind of pointer.
    let only_device = !found.is_some_and(Entry::is_managed);
    match found.map(|entry| (entry.is_device(), entry.block(), entry.end())) {
        Some((true, ..)) if declared == Declared::Host && only_device => refused,
        Some((true, ..)) if map.holds(at, bytes) => Ok(Place::Device(at)),
        Some((true, ..)) => refused,
        Some((_, Some(block), end)) if at.checked_add(bytes).is_some_and(|last| last <= end) => {
            Ok(Place::Pinned(at, block))
        }
        Some((_, Some(_), _)) => refused,
        _ if declared == Declared::Device || at == 0 || at.checked_add(bytes).is_none() => refused,
        _ => Ok(Place::Pageable(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::map::What;
    use super::*;
    use crate::handles::Handle;

    const BLOCK: PinnedBlock = PinnedBlock { address: 1 << 48 | 64, len: 4096, pointer: 0x70_0000 };

    fn map() -> Map {
        let mut map = Map::new();
        let entry = |start, len, what| Entry {
            start,
            len,
            what,
            context: Handle::NULL,
            device: 0,
            id: 0,
            sync_memops: false,
        };
        map.insert(entry(0x1000, 0x100, What::Device));
        map.insert(entry(0x1100, 0x100, What::Mapped(Handle::NULL)));
        map.insert(entry(BLOCK.pointer as u64, BLOCK.len, What::Pinned { block: BLOCK, flags: 0 }));
        map.insert(entry(0x9000, 0x100, What::Registered { flags: 0 }));
        map
    }

    #[test]
    fn an_end_is_what_lies_there_and_not_what_the_function_hopes() {
        let map = map();
        let is = |at, bytes, declared| classify(&map, at, bytes, declared).ok();
        assert_eq!(is(0x1010, 0xf0, Declared::Device), Some(Place::Device(0x1010)));
        assert_eq!(is(0x1010, 0xf1, Declared::Any), None, "it ends behind its allocation");
        assert_eq!(is(0x1010, 8, Declared::Host), None);
        assert_eq!(is(0x9000, 0x200, Declared::Any), Some(Place::Pageable(0x9000)));
        assert_eq!(is(0x9000, 8, Declared::Device), None);
        assert_eq!(is(0, 8, Declared::Host), None);
        assert_eq!(is(u64::MAX, 8, Declared::Host), None);
    }

    #[test]
    fn pinned_memory_is_named_by_its_arena_address_and_ends_with_its_block() {
        let map = map();
        let at = BLOCK.pointer as u64 + 100;
        for declared in [Declared::Device, Declared::Host, Declared::Any] {
            let place = classify(&map, at, 8, declared).expect("it is there");
            assert_eq!((place, place.wire()), (Place::Pinned(at, BLOCK), BLOCK.address + 100));
            assert!(classify(&map, at, 4096, declared).is_err());
        }
    }
}
