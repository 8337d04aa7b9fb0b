//! What lies at an address: device memory, mapped physical memory, or a pinned block of the arena.

use crate::heap::Heap;
use crate::pool::DEVICE_BASE;
use crate::texture::{Surface, Texture};
use crate::vmm::Vmm;
use ringbar_vocabulary::{ArenaRef, DevicePtr, Status};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// Where the bytes at an address are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In the pool.
    Device(Range<usize>),
    /// In the client's arena.
    Host(ArenaRef),
}

/// What is done to the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Everything that has addresses.
pub(crate) struct Space {
    heaps: Vec<Heap>,
    pub(crate) vmm: Vmm,
    /// Pinned blocks by the address of their first byte.
    pinned: BTreeMap<u64, ArenaRef>,
    /// Texture and surface objects by their values.
    pub(crate) textures: HashMap<u64, Texture>,
    pub(crate) surfaces: HashMap<u64, Surface>,
    /// What kernels printed and nobody took yet.
    pub(crate) output: Vec<u8>,
}

/// What kernels may print before the rest is dropped, as a device's buffer drops it.
const OUTPUT_MAX_BYTES: usize = 1 << 20;

impl Space {
    /// The memory of `devices`, each of `bytes`.
    pub(crate) fn new(devices: u32, bytes: u64) -> Self {
        let heaps = (0..u64::from(devices)).map(|device| Heap::new(device * bytes, bytes));
        let vmm = Vmm::new(devices, u64::from(devices) * bytes);
        Self {
            heaps: heaps.collect(),
            vmm,
            pinned: BTreeMap::new(),
            textures: HashMap::new(),
            surfaces: HashMap::new(),
            output: Vec::new(),
        }
    }

    /// The allocator of a device.
    pub(crate) fn heap(&mut self, device: u32) -> Result<&mut Heap, Status> {
        self.heaps.get_mut(device as usize).ok_or(Status::INVALID_DEVICE)
    }

    pub(crate) fn heaps(&self) -> &[Heap] {
        &self.heaps
    }

    pub(crate) fn heap_at(&mut self, at: DevicePtr) -> Option<&mut Heap> {
        let offset = at.0.wrapping_sub(DEVICE_BASE);
        self.heaps.iter_mut().find(|heap| heap.has(offset))
    }

    /// The device whose memory an address is.
    pub(crate) fn device_at(&self, at: DevicePtr) -> Option<u32> {
        let offset = at.0.wrapping_sub(DEVICE_BASE);
        self.heaps.iter().position(|heap| heap.has(offset)).map(|device| device as u32)
    }

    /// Marks an allocation as freed and answers its offset.
    pub(crate) fn doom(&mut self, at: DevicePtr) -> Result<u64, Status> {
        self.heap_at(at).ok_or(Status::INVALID_VALUE)?.doom(at)
    }

    /// Gives an allocation back; answers its offset and bytes.
    pub(crate) fn retire(&mut self, offset: u64) -> (u64, u64) {
        let heap = self.heaps.iter_mut().find(|heap| heap.has(offset));
        heap.map_or((offset, 0), |heap| heap.retire(offset))
    }

    /// What is in use on all devices, in bytes.
    pub(crate) fn allocated(&self) -> u64 {
        self.heaps.iter().map(Heap::allocated).sum()
    }

    /// Where `bytes` at `at` are, for a command that is taken now.
    #[inline]
    pub(crate) fn command(
        &self,
        at: DevicePtr,
        bytes: u64,
        access: Access,
    ) -> Result<Place, Status> {
        let offset = at.0.wrapping_sub(DEVICE_BASE);
        if let Some(heap) = self.heaps.iter().find(|heap| heap.has(offset)) {
            let start = heap.check_command(at, bytes)?;
            return Ok(Place::Device(start as usize..(start + bytes) as usize));
        }
        self.elsewhere(at, bytes, access).ok_or(Status::INVALID_VALUE)
    }

    /// The same for a running kernel.
    #[inline]
    pub(crate) fn kernel(&mut self, at: DevicePtr, bytes: u64, access: Access) -> Option<Place> {
        if let Some(heap) = self.heap_at(at) {
            let start = heap.check_kernel(at, bytes)?;
            return Some(Place::Device(start as usize..(start + bytes) as usize));
        }
        self.elsewhere(at, bytes, access)
    }

    fn elsewhere(&self, at: DevicePtr, bytes: u64, access: Access) -> Option<Place> {
        if let Some(range) = self.vmm.find(at, bytes, access) {
            return Some(Place::Device(range));
        }
        let (&address, block) = self.pinned.range(..=at.0).next_back()?;
        block.part(at.0 - address, bytes).map(Place::Host)
    }

    /// Makes a pinned block device memory at the address that both sides have it at.
    pub(crate) fn pin(&mut self, address: u64, block: ArenaRef) {
        self.pinned.insert(address, block);
    }

    pub(crate) fn unpin(&mut self, address: u64) {
        self.pinned.remove(&address);
    }

    pub(crate) fn print(&mut self, text: &str) {
        let room = OUTPUT_MAX_BYTES - self.output.len();
        self.output.extend_from_slice(&text.as_bytes()[..text.len().min(room)]);
    }
}
