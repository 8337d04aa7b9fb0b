//! Reserved addresses and physical memory that is mapped at them.

use crate::pool::DEVICE_BASE;
use crate::space::Access;
use ringbar_vocabulary::{DevicePtr, Status};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// The unit of sizes and addresses.
pub(crate) const GRANULARITY_BYTES: u64 = 2 << 20;
/// How many times the memory of all devices can be reserved.
const WINDOW_RATIO: u64 = 16;
const READ: u32 = 1;
const READ_WRITE: u32 = 3;

/// Physical memory. Its bytes are in the window while it is mapped.
pub(crate) struct Physical {
    pub(crate) device: u32,
    pub(crate) bytes: u64,
    released: bool,
    mapped: bool,
    /// Its bytes while it is not mapped; none if it never was.
    saved: Option<Box<[u8]>>,
}

struct Mapping {
    bytes: u64,
    memory: u32,
    /// `CUmemAccess_flags` of each device.
    access: Vec<u32>,
}

/// Where mapped memory's bytes go, and the bytes if it was mapped before.
pub(crate) type Placed = (Range<usize>, Option<Box<[u8]>>);

/// What became of a mapping that ended.
pub(crate) struct Unmapped {
    pub(crate) range: Range<usize>,
    /// The memory, if somebody can still map it again.
    pub(crate) memory: Option<u32>,
    /// Device and bytes, if the memory is gone with its mapping.
    pub(crate) gone: Option<(u32, u64)>,
}

/// All offsets count from the start of the pool, as in a heap.
pub(crate) struct Vmm {
    devices: u32,
    window: Range<u64>,
    reserved: BTreeMap<u64, u64>,
    mappings: BTreeMap<u64, Mapping>,
    physical: HashMap<u32, Physical>,
}

fn offset_of(at: DevicePtr) -> Result<u64, Status> {
    at.0.checked_sub(DEVICE_BASE).ok_or(Status::INVALID_VALUE)
}

fn whole_units(bytes: u64) -> Result<(), Status> {
    let whole = bytes > 0 && bytes.is_multiple_of(GRANULARITY_BYTES);
    if whole { Ok(()) } else { Err(Status::INVALID_VALUE) }
}

impl Vmm {
    pub(crate) fn new(devices: u32, memory_bytes: u64) -> Self {
        let start = memory_bytes.next_multiple_of(GRANULARITY_BYTES);
        let window = start..start.saturating_add(memory_bytes.saturating_mul(WINDOW_RATIO));
        let (reserved, mappings) = (BTreeMap::new(), BTreeMap::new());
        Self { devices, window, reserved, mappings, physical: HashMap::new() }
    }

    /// The offsets that can be reserved.
    pub(crate) fn window(&self) -> Range<u64> {
        self.window.clone()
    }

    fn overlaps<T>(map: &BTreeMap<u64, T>, range: Range<u64>, len: impl Fn(&T) -> u64) -> bool {
        let before = map.range(..range.end).next_back();
        before.is_some_and(|(&start, entry)| start + len(entry) > range.start)
    }

    pub(crate) fn reserve(
        &mut self,
        bytes: u64,
        align: u64,
        near: DevicePtr,
    ) -> Result<DevicePtr, Status> {
        whole_units(bytes)?;
        if align != 0 && !align.is_power_of_two() {
            return Err(Status::INVALID_VALUE);
        }
        let align = align.max(GRANULARITY_BYTES);
        let wanted = offset_of(near).ok().filter(|offset| offset.is_multiple_of(align));
        let offset = wanted.filter(|&offset| self.is_free(offset, bytes));
        let offset = match offset {
            Some(offset) => offset,
            None => self.first_free(bytes, align).ok_or(Status::OUT_OF_MEMORY)?,
        };
        self.reserved.insert(offset, bytes);
        Ok(DevicePtr(DEVICE_BASE + offset))
    }

    fn is_free(&self, offset: u64, bytes: u64) -> bool {
        let Some(end) = offset.checked_add(bytes) else { return false };
        let inside = offset >= self.window.start && end <= self.window.end;
        inside && !Self::overlaps(&self.reserved, offset..end, |&len| len)
    }

    fn first_free(&self, bytes: u64, align: u64) -> Option<u64> {
        // Addresses, not offsets, are aligned; the base is a multiple of every alignment in use.
        let mut at = self.window.start.checked_next_multiple_of(align)?;
        for (&start, &len) in &self.reserved {
            if at.checked_add(bytes)? <= start {
                break;
            }
            at = at.max(start + len).checked_next_multiple_of(align)?;
        }
        self.is_free(at, bytes).then_some(at)
    }

    pub(crate) fn free(&mut self, at: DevicePtr, bytes: u64) -> Result<(), Status> {
        let offset = offset_of(at)?;
        let exact = self.reserved.get(&offset) == Some(&bytes);
        let end = offset.checked_add(bytes).ok_or(Status::INVALID_VALUE)?;
        if !exact || Self::overlaps(&self.mappings, offset..end, |mapping| mapping.bytes) {
            return Err(Status::INVALID_VALUE);
        }
        self.reserved.remove(&offset);
        Ok(())
    }

    /// Whether memory could be created under a number.
    pub(crate) fn check_new(&self, memory: u32, bytes: u64) -> Result<(), Status> {
        whole_units(bytes)?;
        let used = memory == 0 || self.physical.contains_key(&memory);
        if used { Err(Status::INVALID_HANDLE) } else { Ok(()) }
    }

    pub(crate) fn create(&mut self, memory: u32, device: u32, bytes: u64) {
        let physical = Physical { device, bytes, released: false, mapped: false, saved: None };
        self.physical.insert(memory, physical);
    }

    /// Releases memory; answers device and bytes if it is gone now.
    pub(crate) fn release(&mut self, memory: u32) -> Result<Option<(u32, u64)>, Status> {
        let found = self.physical.get_mut(&memory).filter(|physical| !physical.released);
        let physical = found.ok_or(Status::INVALID_VALUE)?;
        if physical.mapped {
            physical.released = true;
            return Ok(None);
        }
        let gone = (physical.device, physical.bytes);
        self.physical.remove(&memory);
        Ok(Some(gone))
    }

    /// Maps memory; answers where its bytes go, and the bytes.
    pub(crate) fn map(&mut self, at: DevicePtr, bytes: u64, memory: u32) -> Result<Placed, Status> {
        let offset = offset_of(at)?;
        let end = offset.checked_add(bytes).ok_or(Status::INVALID_VALUE)?;
        let (&start, &len) =
            self.reserved.range(..=offset).next_back().ok_or(Status::INVALID_VALUE)?;
        let taken = Self::overlaps(&self.mappings, offset..end, |mapping| mapping.bytes);
        let found = self.physical.get_mut(&memory).filter(|physical| !physical.released);
        let physical = found.ok_or(Status::INVALID_VALUE)?;
        let fits = end <= start + len && offset.is_multiple_of(GRANULARITY_BYTES);
        if !fits || taken || physical.bytes != bytes {
            return Err(Status::INVALID_VALUE);
        }
        if physical.mapped {
            tracing::warn!(memory, "the mock maps physical memory at one place at a time");
            return Err(Status::NOT_SUPPORTED);
        }
        physical.mapped = true;
        let saved = physical.saved.take();
        let access = vec![0; self.devices as usize];
        self.mappings.insert(offset, Mapping { bytes, memory, access });
        Ok((offset as usize..end as usize, saved))
    }

    /// The mappings that lie exactly in a range.
    fn exactly(&self, at: DevicePtr, bytes: u64) -> Result<Vec<u64>, Status> {
        let offset = offset_of(at)?;
        let end = offset.checked_add(bytes).ok_or(Status::INVALID_VALUE)?;
        let mut next = offset;
        let mut found = Vec::new();
        for (&start, mapping) in self.mappings.range(offset..end) {
            if start != next {
                return Err(Status::INVALID_VALUE);
            }
            next = start + mapping.bytes;
            found.push(start);
        }
        if next == end && bytes > 0 { Ok(found) } else { Err(Status::INVALID_VALUE) }
    }

    /// Ends mappings.
    pub(crate) fn unmap(&mut self, at: DevicePtr, bytes: u64) -> Result<Vec<Unmapped>, Status> {
        let starts = self.exactly(at, bytes)?;
        let mut ended = Vec::new();
        for start in starts {
            let Some(mapping) = self.mappings.remove(&start) else { continue };
            let range = start as usize..(start + mapping.bytes) as usize;
            let physical = self.physical.get_mut(&mapping.memory);
            let released = physical.map(|physical| {
                physical.mapped = false;
                (physical.released, (physical.device, physical.bytes))
            });
            let gone = released.filter(|(released, _)| *released).map(|(_, gone)| gone);
            if gone.is_some() {
                self.physical.remove(&mapping.memory);
            }
            let memory = gone.is_none().then_some(mapping.memory);
            ended.push(Unmapped { range, memory, gone });
        }
        Ok(ended)
    }

    /// Keeps the bytes of memory that is not mapped any more.
    pub(crate) fn save(&mut self, memory: u32, bytes: Box<[u8]>) {
        if let Some(physical) = self.physical.get_mut(&memory) {
            physical.saved = Some(bytes);
        }
    }

    pub(crate) fn set_access(
        &mut self,
        at: DevicePtr,
        bytes: u64,
        device: u32,
        flags: u32,
    ) -> Result<(), Status> {
        if device >= self.devices {
            return Err(Status::INVALID_DEVICE);
        }
        if ![0, READ, READ_WRITE].contains(&flags) {
            return Err(Status::INVALID_VALUE);
        }
        for start in self.exactly(at, bytes)? {
            if let Some(mapping) = self.mappings.get_mut(&start) {
                mapping.access[device as usize] = flags;
            }
        }
        Ok(())
    }

    pub(crate) fn access(&self, at: DevicePtr, device: u32) -> Result<u32, Status> {
        let offset = offset_of(at)?;
        let found = self.mappings.range(..=offset).next_back();
        let found = found.filter(|(start, mapping)| offset - **start < mapping.bytes);
        let (_, mapping) = found.ok_or(Status::INVALID_VALUE)?;
        mapping.access.get(device as usize).copied().ok_or(Status::INVALID_DEVICE)
    }

    /// Where `bytes` at `at` are, if neighbouring mappings cover them and some device may use
    /// each of them so.
    pub(crate) fn find(&self, at: DevicePtr, bytes: u64, access: Access) -> Option<Range<usize>> {
        let offset = at.0.checked_sub(DEVICE_BASE)?;
        let end = offset.checked_add(bytes)?;
        let wanted = if access == Access::Read { READ } else { READ_WRITE };
        let mut next = offset;
        let (&first, _) = self.mappings.range(..=offset).next_back()?;
        for (&start, mapping) in self.mappings.range(first..) {
            let usable = mapping.access.iter().any(|flags| flags & wanted == wanted);
            if start > next || next >= start + mapping.bytes || !usable {
                return None;
            }
            next = start + mapping.bytes;
            if next >= end {
                return Some(offset as usize..end as usize);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: u64 = GRANULARITY_BYTES;

    fn vmm() -> Vmm {
        Vmm::new(1, 64 * UNIT)
    }

    #[test]
    fn reservations_never_overlap_and_come_where_they_were_asked_for() {
        let mut vmm = vmm();
        let first = vmm.reserve(4 * UNIT, 0, DevicePtr(0)).unwrap();
        let wanted = first.offset(32 * UNIT);
        assert_eq!(vmm.reserve(UNIT, 0, wanted), Ok(wanted));
        let elsewhere = vmm.reserve(2 * UNIT, 0, wanted).unwrap();
        assert_eq!(elsewhere, first.offset(4 * UNIT));
        assert_eq!(vmm.free(first, UNIT), Err(Status::INVALID_VALUE));
        vmm.free(first, 4 * UNIT).unwrap();
        assert_eq!(vmm.reserve(4 * UNIT, 0, DevicePtr(0)), Ok(first));
        assert_eq!(vmm.reserve(UNIT + 1, 0, DevicePtr(0)), Err(Status::INVALID_VALUE));
        assert_eq!(vmm.reserve(1 << 60, 0, DevicePtr(0)), Err(Status::OUT_OF_MEMORY));
    }

    #[test]
    fn only_what_is_mapped_with_access_is_found_across_neighbours() {
        let mut vmm = vmm();
        let at = vmm.reserve(4 * UNIT, 0, DevicePtr(0)).unwrap();
        for (i, memory) in [(0, 1), (1, 2)] {
            vmm.create(memory, 0, UNIT);
            vmm.map(at.offset(i * UNIT), UNIT, memory).unwrap();
        }
        let across = at.offset(UNIT - 8);
        assert_eq!(vmm.find(across, 16, Access::Read), None);
        vmm.set_access(at, 2 * UNIT, 0, READ_WRITE).unwrap();
        assert!(vmm.find(across, 16, Access::Write).is_some());
        assert_eq!(vmm.find(at, 2 * UNIT + 1, Access::Read), None);
        vmm.set_access(at, UNIT, 0, READ).unwrap();
        assert_eq!(vmm.find(across, 16, Access::Write), None);
        assert!(vmm.find(across, 16, Access::Read).is_some());
    }

    #[test]
    fn released_memory_lives_on_while_it_is_mapped() {
        let mut vmm = vmm();
        let at = vmm.reserve(UNIT, 0, DevicePtr(0)).unwrap();
        vmm.create(9, 0, UNIT);
        vmm.map(at, UNIT, 9).unwrap();
        assert_eq!(vmm.release(9), Ok(None));
        assert_eq!(vmm.release(9), Err(Status::INVALID_VALUE));
        let ended = vmm.unmap(at, UNIT).unwrap();
        assert_eq!(ended[0].gone, Some((0, UNIT)));
        assert_eq!(vmm.unmap(at, UNIT).err(), Some(Status::INVALID_VALUE));
    }
}
