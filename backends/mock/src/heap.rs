//! Which parts of device memory are allocated. Offsets count from the start of the pool.

use ringbar_vocabulary::{DevicePtr, Status};
use std::collections::{BTreeMap, BTreeSet};

use crate::pool::DEVICE_BASE;

/// Allocations start at multiples of this many bytes.
pub(crate) const ALIGN_BYTES: u64 = 256;

/// Who gave an allocation its life, and so who ends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// The client, in a context.
    Context(u32),
    /// A memory pool.
    Pool(u32),
    /// A module's variable.
    Module,
    /// A graph that was captured.
    Graph,
    /// A CUDA array: no address of it is the client's.
    Array,
    /// Another process, of which it was opened in a context.
    Import(u32),
}

struct Block {
    /// Bytes asked for; accesses are checked against these.
    bytes: u64,
    owner: Owner,
    /// Freed by the client, but earlier work may still use it.
    dying: bool,
}

/// The allocator of one device: best fit, lowest address first, free neighbours joined.
pub(crate) struct Heap {
    start: u64,
    capacity: u64,
    /// Bytes of physical memory that is mapped elsewhere.
    physical: u64,
    live: BTreeMap<u64, Block>,
    /// Free ranges by offset, never adjacent to each other.
    free: BTreeMap<u64, u64>,
    /// The same ranges as (bytes, offset).
    free_by_size: BTreeSet<(u64, u64)>,
    /// Bytes of `live`, each rounded up to the alignment.
    allocated: u64,
    /// The last allocation that a kernel used, (start, end): most accesses hit it again.
    recent: (u64, u64),
}

impl Heap {
    pub(crate) fn new(start: u64, capacity: u64) -> Self {
        let capacity = capacity & !(ALIGN_BYTES - 1);
        let mut heap = Self {
            start,
            capacity,
            physical: 0,
            live: BTreeMap::new(),
            free: BTreeMap::new(),
            free_by_size: BTreeSet::new(),
            allocated: 0,
            recent: (0, 0),
        };
        heap.add_free(start, capacity);
        heap
    }

    /// Whether an offset is one of this device's memory.
    pub(crate) fn has(&self, offset: u64) -> bool {
        offset.wrapping_sub(self.start) < self.capacity
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// What is in use, in bytes.
    pub(crate) fn allocated(&self) -> u64 {
        self.allocated + self.physical
    }

    fn check_room(&self, bytes: u64) -> Result<(), Status> {
        let fits = self.allocated().checked_add(bytes).is_some_and(|all| all <= self.capacity);
        if fits { Ok(()) } else { Err(Status::OUT_OF_MEMORY) }
    }

    /// Takes physical memory that will be mapped elsewhere.
    pub(crate) fn take_physical(&mut self, bytes: u64) -> Result<(), Status> {
        self.check_room(bytes)?;
        self.physical += bytes;
        Ok(())
    }

    /// Gives such memory back.
    pub(crate) fn give_physical(&mut self, bytes: u64) {
        self.physical -= bytes;
    }

    /// An allocation of `bytes`, above 0.
    pub(crate) fn alloc(&mut self, bytes: u64, owner: Owner) -> Result<DevicePtr, Status> {
        let size = bytes.checked_next_multiple_of(ALIGN_BYTES).ok_or(Status::OUT_OF_MEMORY)?;
        self.check_room(size)?;
        let &(found, offset) =
            self.free_by_size.range((size, 0)..).next().ok_or(Status::OUT_OF_MEMORY)?;
        self.remove_free(offset, found);
        self.add_free(offset + size, found - size);
        self.live.insert(offset, Block { bytes, owner, dying: false });
        self.allocated += size;
        Ok(DevicePtr(DEVICE_BASE + offset))
    }

    /// Marks an allocation as freed and answers its offset; [`Heap::retire`] gives it back.
    pub(crate) fn doom(&mut self, at: DevicePtr) -> Result<u64, Status> {
        let offset = at.0.checked_sub(DEVICE_BASE).ok_or(Status::INVALID_VALUE)?;
        match self.live.get_mut(&offset) {
            Some(block) if !block.dying => {
                block.dying = true;
                Ok(offset)
            }
            _ => Err(Status::INVALID_VALUE),
        }
    }

    /// Who owns the allocation that begins at an address.
    pub(crate) fn owner(&self, at: DevicePtr) -> Option<Owner> {
        let block = self.live.get(&at.0.checked_sub(DEVICE_BASE)?)?;
        (!block.dying).then_some(block.owner)
    }

    /// How many bytes were asked for at an address; 0 if no allocation begins there.
    pub(crate) fn bytes(&self, at: DevicePtr) -> u64 {
        self.live.get(&at.0.wrapping_sub(DEVICE_BASE)).map_or(0, |block| block.bytes)
    }

    /// Everything that an owner has and that was not freed.
    pub(crate) fn owned_by(&self, owner: Owner) -> Vec<DevicePtr> {
        let owned = self.live.iter().filter(|(_, block)| block.owner == owner && !block.dying);
        owned.map(|(&offset, _)| DevicePtr(DEVICE_BASE + offset)).collect()
    }

    /// How much an owner has, in bytes.
    pub(crate) fn bytes_of(&self, owner: Owner) -> u64 {
        let owned = self.live.values().filter(|block| block.owner == owner && !block.dying);
        owned.map(|block| block.bytes.next_multiple_of(ALIGN_BYTES)).sum()
    }

    /// Gives back an allocation; answers its offset and bytes.
    pub(crate) fn retire(&mut self, offset: u64) -> (u64, u64) {
        let Some(block) = self.live.remove(&offset) else { return (offset, 0) };
        let size = block.bytes.next_multiple_of(ALIGN_BYTES);
        self.allocated -= size;
        self.recent = (0, 0);
        let (mut start, mut end) = (offset, offset + size);
        if let Some((&before, &bytes)) = self.free.range(..offset).next_back()
            && before + bytes == start
        {
            self.remove_free(before, bytes);
            start = before;
        }
        if let Some(&bytes) = self.free.get(&end) {
            self.remove_free(end, bytes);
            end += bytes;
        }
        self.add_free(start, end - start);
        (offset, block.bytes)
    }

    fn add_free(&mut self, offset: u64, bytes: u64) {
        if bytes > 0 {
            self.free.insert(offset, bytes);
            self.free_by_size.insert((bytes, offset));
        }
    }

    fn remove_free(&mut self, offset: u64, bytes: u64) {
        self.free.remove(&offset);
        self.free_by_size.remove(&(bytes, offset));
    }

    /// The offset of `bytes` at `at`, all inside one allocation that the client has not freed.
    pub(crate) fn check_command(&self, at: DevicePtr, bytes: u64) -> Result<u64, Status> {
        match self.find(at, bytes) {
            Some((_, block, offset)) if !block.dying => Ok(offset),
            _ => Err(Status::INVALID_VALUE),
        }
    }

    /// The same for a running kernel, for which what was freed after its launch is still there.
    #[inline]
    pub(crate) fn check_kernel(&mut self, at: DevicePtr, bytes: u64) -> Option<u64> {
        let offset = at.0.wrapping_sub(DEVICE_BASE);
        let (start, end) = self.recent;
        if offset >= start && offset < end && bytes <= end - offset {
            return Some(offset);
        }
        let (start, end) = {
            let (start, block, _) = self.find(at, bytes)?;
            (start, start + block.bytes)
        };
        self.recent = (start, end);
        Some(offset)
    }

    fn find(&self, at: DevicePtr, bytes: u64) -> Option<(u64, &Block, u64)> {
        let offset = at.0.checked_sub(DEVICE_BASE)?;
        let end = offset.checked_add(bytes)?;
        let (&start, block) = self.live.range(..=offset).next_back()?;
        (end <= start + block.bytes).then_some((start, block, offset))
    }

    /// Offset and bytes of everything that the client allocated, in address order.
    pub(crate) fn live(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let hidden = [Owner::Module, Owner::Array];
        let client = self.live.iter().filter(move |(_, block)| !hidden.contains(&block.owner));
        client.map(|(&offset, block)| (offset, block.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringbar_vocabulary::Draw;

    const OWNER: Owner = Owner::Context(0);

    #[test]
    fn the_smallest_hole_that_fits_is_used() {
        let mut heap = Heap::new(0, 1 << 20);
        let blocks: Vec<_> = (0..5).map(|_| heap.alloc(1024, OWNER).unwrap()).collect();
        let big = heap.alloc(4096, OWNER).unwrap();
        heap.alloc(256, OWNER).unwrap();
        for at in [blocks[1], blocks[3], big] {
            let offset = heap.doom(at).unwrap();
            heap.retire(offset);
        }
        assert_eq!(heap.alloc(1000, OWNER).unwrap(), blocks[1]);
        assert_eq!(heap.alloc(700, OWNER).unwrap(), blocks[3]);
        assert_eq!(heap.alloc(1025, OWNER).unwrap(), big);
    }

    #[test]
    fn free_neighbours_join_until_all_is_one_again() {
        let mut heap = Heap::new(0, 1 << 20);
        let mut draw = Draw::new(1);
        let mut live = Vec::new();
        for _ in 0..2000 {
            if draw.below(2) == 0 {
                live.extend(heap.alloc(1 + draw.below(5000), OWNER));
            } else if !live.is_empty() {
                let at = live.swap_remove(draw.below(live.len() as u64) as usize);
                let offset = heap.doom(at).unwrap();
                heap.retire(offset);
            }
        }
        for at in live {
            let offset = heap.doom(at).unwrap();
            heap.retire(offset);
        }
        assert_eq!((heap.free.len(), heap.free_by_size.len(), heap.allocated), (1, 1, 0));
        assert_eq!(heap.alloc(1 << 20, OWNER), Ok(DevicePtr(DEVICE_BASE)));
    }

    #[test]
    fn accesses_are_checked_against_the_bytes_asked_for() {
        let mut heap = Heap::new(0, 1 << 20);
        let (a, b) = (heap.alloc(100, OWNER).unwrap(), heap.alloc(100, OWNER).unwrap());
        assert_eq!(heap.check_command(b, 100), Ok(256));
        assert_eq!(heap.check_kernel(b.offset(99), 1), Some(355));
        assert_eq!(heap.check_kernel(b.offset(99), 2), None);
        assert_eq!(heap.check_kernel(a, 300), None, "not across allocations");
        assert_eq!(heap.check_kernel(a, u64::MAX), None);
        assert_eq!(heap.check_kernel(DevicePtr(DEVICE_BASE - 1), 1), None);
    }

    #[test]
    fn what_was_freed_is_gone_for_commands_before_it_is_gone_for_kernels() {
        let mut heap = Heap::new(0, 1 << 20);
        let at = heap.alloc(100, OWNER).unwrap();
        let offset = heap.doom(at).unwrap();
        assert_eq!(heap.doom(at), Err(Status::INVALID_VALUE));
        assert_eq!(heap.check_command(at, 1), Err(Status::INVALID_VALUE));
        assert!(heap.check_kernel(at, 100).is_some());
        heap.retire(offset);
        assert!(heap.check_kernel(at, 100).is_none());
    }
}
