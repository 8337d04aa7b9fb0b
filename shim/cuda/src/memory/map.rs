//! Which memory lies where: every allocation by its address range, so that questions about pointers are answered here.

use crate::handles::Handle;
use ringbar::client::PinnedBlock;
use std::collections::BTreeMap;

/// A range of addresses that one allocation has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// The first address.
    pub start: u64,
    /// Bytes, at least 1.
    pub len: u64,
    /// What is there.
    pub what: What,
    /// The context it belongs to; null for what belongs to a device.
    pub context: Handle,
    /// The device's visible ordinal.
    pub device: i32,
    /// A number that no other allocation of this process ever has.
    pub id: u64,
    /// `CU_POINTER_ATTRIBUTE_SYNC_MEMOPS`.
    pub sync_memops: bool,
}

/// What kind of memory a range is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// Device memory of `cuMemAlloc` and `cuMemAllocPitch`.
    Device,
    /// Device memory of a pool.
    Pool(Handle),
    /// A variable of a module.
    Global(Handle),
    /// A managed variable of a module: the device has it, and the program a copy at the same address.
    ManagedVariable(Handle),
    /// Physical memory that the program mapped.
    Mapped(Handle),
    /// Device memory of another process.
    Imported,
    /// Device memory that a graph allocates.
    Graph,
    /// Pinned host memory in the arena.
    Pinned {
        /// The block.
        block: PinnedBlock,
        /// `CU_MEMHOSTALLOC_*`.
        flags: u32,
    },
    /// Managed memory: pinned host memory too.
    Managed(PinnedBlock),
    /// Memory of the program's own that it registered.
    Registered {
        /// `CU_MEMHOSTREGISTER_*`.
        flags: u32,
    },
}

impl Entry {
    /// The address behind the last.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    /// Whether it is managed memory.
    pub fn is_managed(&self) -> bool {
        matches!(self.what, What::Managed(_) | What::ManagedVariable(_))
    }

    /// The block of the arena, for memory that is one.
    pub fn block(&self) -> Option<PinnedBlock> {
        match self.what {
            What::Pinned { block, .. } | What::Managed(block) => Some(block),
            _ => None,
        }
    }

    /// Whether it is memory of a device.
    pub fn is_device(&self) -> bool {
        match self.what {
            What::Device | What::Pool(_) | What::Global(_) | What::Mapped(_) => true,
            What::ManagedVariable(_) | What::Imported | What::Graph => true,
            What::Pinned { .. } | What::Managed(_) | What::Registered { .. } => false,
        }
    }
}

/// Disjoint ranges by their first address.
#[derive(Debug, Default)]
pub struct Map {
    entries: BTreeMap<u64, Entry>,
    last_id: u64,
}

impl Map {
    /// An empty map.
    pub const fn new() -> Self {
        Self { entries: BTreeMap::new(), last_id: 0 }
    }

    /// Adds a range; the entry's number is chosen here. What it overlaps was freed without a word, and is forgotten.
    pub fn insert(&mut self, entry: Entry) -> u64 {
        while let Some(old) = self.overlapping(entry.start, entry.len).map(|old| old.start) {
            self.entries.remove(&old);
        }
        self.last_id += 1;
        self.entries.insert(entry.start, Entry { id: self.last_id, ..entry });
        self.last_id
    }

    /// The range that holds an address.
    pub fn find(&self, address: u64) -> Option<&Entry> {
        let (_, entry) = self.entries.range(..=address).next_back()?;
        (address < entry.end()).then_some(entry)
    }

    /// The range that begins at an address.
    pub fn at(&self, start: u64) -> Option<&Entry> {
        self.entries.get(&start)
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, start: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&start)
    }

    /// Removes the range that begins at an address, if `which` agrees.
    pub fn remove_if(&mut self, start: u64, which: impl FnOnce(&Entry) -> bool) -> Option<Entry> {
        if !which(self.entries.get(&start)?) {
            return None;
        }
        self.entries.remove(&start)
    }

    /// Some range that has an address of this one.
    pub fn overlapping(&self, start: u64, len: u64) -> Option<&Entry> {
        let end = start.saturating_add(len);
        let (_, entry) = self.entries.range(..end).next_back()?;
        (entry.end() > start && len > 0).then_some(entry)
    }

    /// Whether an access stays inside what lies at its beginning: one allocation, or physical memory mapped piece by piece.
    pub fn holds(&self, start: u64, len: u64) -> bool {
        let Some(entry) = self.find(start) else { return false };
        let inside = start.checked_add(len).is_some_and(|end| end <= entry.end());
        let mapped = |entry: &Entry| matches!(entry.what, What::Mapped(_));
        inside || mapped(entry) && self.covers(start, len, mapped)
    }

    /// Whether ranges of which `which` holds cover every address of this one, in one or several pieces.
    pub fn covers(&self, start: u64, len: u64, which: impl Fn(&Entry) -> bool) -> bool {
        let Some(end) = start.checked_add(len) else { return false };
        let mut at = start;
        while at < end {
            match self.find(at) {
                Some(entry) if which(entry) => at = entry.end(),
                _ => return false,
            }
        }
        true
    }

    /// Removes the ranges of which `which` holds.
    pub fn take(&mut self, which: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let found: Vec<_> =
            self.entries.iter().filter(|(_, entry)| which(entry)).map(|(&at, _)| at).collect();
        found.into_iter().filter_map(|at| self.entries.remove(&at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(start: u64, len: u64) -> Entry {
        let (what, context) = (What::Device, Handle::NULL);
        Entry { start, len, what, context, device: 0, id: 0, sync_memops: false }
    }

    fn map(ranges: &[(u64, u64)]) -> Map {
        let mut map = Map::new();
        for &(start, len) in ranges {
            map.insert(entry(start, len));
        }
        map
    }

    #[test]
    fn an_address_is_found_in_its_range_and_nowhere_else() {
        let map = map(&[(100, 10), (110, 5), (200, 1)]);
        let found = |address| map.find(address).map(|entry| entry.start);
        assert_eq!([99, 100, 109].map(found), [None, Some(100), Some(100)]);
        assert_eq!([110, 114, 115].map(found), [Some(110), Some(110), None]);
        assert_eq!([200, 201, u64::MAX].map(found), [Some(200), None, None]);
    }

    #[test]
    fn a_range_covers_what_touching_ranges_cover_and_no_gap() {
        let map = map(&[(100, 10), (110, 5), (116, 4)]);
        let covers = |start, len| map.covers(start, len, |_| true);
        assert!(covers(100, 15) && covers(105, 10) && covers(7, 0));
        assert!(!covers(100, 16) && !covers(99, 2) && !covers(118, u64::MAX));
        assert!(!map.covers(100, 1, Entry::is_managed));
    }

    #[test]
    fn an_access_stays_in_one_allocation_but_goes_through_mapped_pieces() {
        let mut map = map(&[(100, 10), (110, 10)]);
        assert!(map.holds(105, 5) && !map.holds(105, 6), "the neighbour is another allocation");
        for start in [200, 210] {
            map.insert(Entry { what: What::Mapped(Handle::NULL), ..entry(start, 10) });
        }
        assert!(map.holds(205, 15) && !map.holds(205, 16) && !map.holds(99, 0));
    }

    #[test]
    fn overlaps_are_found_at_either_end_and_within() {
        let map = map(&[(100, 10)]);
        for (start, len) in [(95, 6), (109, 1), (102, 2), (90, 100)] {
            assert!(map.overlapping(start, len).is_some(), "{start} {len}");
        }
        for (start, len) in [(90, 10), (110, 5), (102, 0)] {
            assert!(map.overlapping(start, len).is_none(), "{start} {len}");
        }
    }

    #[test]
    fn a_new_range_replaces_what_it_overlaps_and_has_a_number_of_its_own() {
        let mut map = map(&[(100, 10), (110, 10)]);
        let id = map.insert(entry(105, 10));
        assert_eq!(map.find(105).map(|entry| (entry.start, entry.id)), Some((105, id)));
        assert_eq!((map.find(100), map.find(116)), (None, None));
        assert_eq!(id, 3);
    }

    #[test]
    fn a_range_is_removed_only_by_its_beginning_and_kind() {
        let mut map = map(&[(100, 10)]);
        assert_eq!(map.remove_if(101, |_| true), None);
        assert_eq!(map.remove_if(100, Entry::is_managed), None);
        assert!(map.remove_if(100, Entry::is_device).is_some());
        assert_eq!(map.remove_if(100, |_| true), None, "it was freed");
    }
}
