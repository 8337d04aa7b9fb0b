//! Physical memory, reserved addresses, and mapping the one at the other.

use super::map::{Entry, What};
use super::pool::{ALLOCATION_PINNED, CUmemAccessDesc, CUmemLocation};
use super::reserve;
use crate::arg::{In, Out};
use crate::failure::{Failure, Outcome};
use crate::handles::{Handle, Kind, Table};
use crate::session;
use crate::types::CUdeviceptr;
use ringbar_vocabulary::{
    AddressFree, AddressReserve, DevicePtr, MemGetAccess, MemMap, MemSetAccess, MemUnmap, MemoryId,
    PhysicalCreate, PhysicalGranularity, PhysicalRelease, Status,
};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `CUmemAllocationProp`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUmemAllocationProp {
    kind: u32,
    handle_types: u32,
    location: CUmemLocation,
    win32: usize,
    compression: u8,
    rdma: u8,
    usage: u16,
    reserved: [u8; 4],
}
const _: () = assert!(size_of::<CUmemAllocationProp>() == 32);

impl CUmemAllocationProp {
    /// Plain memory at a place.
    pub fn on(location: CUmemLocation) -> Self {
        let (handle_types, win32) = (0, 0);
        let kind = ALLOCATION_PINNED;
        let (compression, rdma, usage, reserved) = (0, 0, 0, [0; 4]);
        Self { kind, handle_types, location, win32, compression, rdma, usage, reserved }
    }
}

/// Physical memory. It lives while a handle or a mapping of it does.
#[derive(Debug)]
struct Memory {
    id: MemoryId,
    bytes: u64,
    properties: CUmemAllocationProp,
    held: Mutex<Held>,
}

/// What keeps physical memory alive.
#[derive(Clone, Copy, Debug)]
struct Held {
    handles: u32,
    mappings: u32,
}

static MEMORIES: Table<Memory> = Table::new(Kind::Memory);
/// Reserved ranges: first address to bytes.
static RESERVED: Mutex<BTreeMap<u64, u64>> = Mutex::new(BTreeMap::new());

fn reserved() -> MutexGuard<'static, BTreeMap<u64, u64>> {
    RESERVED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the range lies in one that is reserved.
fn is_reserved(at: u64, bytes: u64) -> bool {
    let reserved = reserved();
    let around = reserved.range(..=at).next_back();
    around.is_some_and(|(start, len)| at.checked_add(bytes).is_some_and(|end| end <= start + len))
}

impl Held {
    fn is_gone(self) -> bool {
        self.handles == 0 && self.mappings == 0
    }
}

impl Memory {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory of a handle that the program holds.
fn get(memory: Handle) -> Outcome<&'static Memory> {
    let found = MEMORIES.get(memory).filter(|memory| memory.held().handles > 0);
    found.ok_or(Failure(Status::INVALID_VALUE))
}

/// Changes what holds the memory, and releases it once nothing does. Answers INVALID_VALUE if `change` refuses.
fn change(handle: Handle, change: impl FnOnce(&mut Held) -> Option<()>) -> Outcome {
    let memory = MEMORIES.get(handle).ok_or(Failure(Status::INVALID_VALUE))?;
    let mut held = memory.held();
    change(&mut held).ok_or(Failure(Status::INVALID_VALUE))?;
    if held.is_gone() && MEMORIES.remove(handle).is_some() {
        session::live()?.call(&PhysicalRelease { memory: memory.id })?;
    }
    Ok(())
}

fn check_properties(properties: &CUmemAllocationProp) -> Outcome {
    if properties.kind != ALLOCATION_PINNED {
        return Err(Status::INVALID_VALUE.into());
    }
    // Memory that other processes open, and memory for tiles.
    if properties.handle_types != 0 || properties.usage != 0 {
        return Err(Status::NOT_SUPPORTED.into());
    }
    Ok(())
}

/// Maps; what is there already stays.
fn map(at: u64, bytes: u64, handle: Handle) -> Outcome {
    let memory = get(handle)?;
    if bytes == 0 || bytes > memory.bytes || !is_reserved(at, bytes) {
        return Err(Status::INVALID_VALUE.into());
    }
    if super::read().overlapping(at, bytes).is_some() {
        return Err(Status::INVALID_VALUE.into());
    }
    session::live()?.call(&MemMap { at: DevicePtr(at), bytes, offset: 0, memory: memory.id })?;
    memory.held().mappings += 1;
    let device = memory.properties.location.id;
    super::remember_as(at, bytes, What::Mapped(handle), Handle::NULL, device);
    Ok(())
}

/// Unmaps whole mappings only.
fn unmap(at: u64, bytes: u64) -> Outcome {
    let end = at.checked_add(bytes).ok_or(Failure(Status::INVALID_VALUE))?;
    let inside = |entry: &Entry| {
        matches!(entry.what, What::Mapped(_)) && entry.start >= at && entry.end() <= end
    };
    if bytes == 0 || !super::read().covers(at, bytes, inside) {
        return Err(Status::INVALID_VALUE.into());
    }
    session::live()?.call(&MemUnmap { at: DevicePtr(at), bytes })?;
    for entry in super::write().take(inside) {
        if let What::Mapped(handle) = entry.what {
            change(handle, |held| {
                held.mappings = held.mappings.checked_sub(1)?;
                Some(())
            })?;
        }
    }
    Ok(())
}

entry! {
    /// Reserves device addresses.
    sync fn cuMemAddressReserve(place: Out<CUdeviceptr>, bytes: usize, alignment: usize, near: CUdeviceptr, flags: u64) {
        let place = place.required()?;
        if bytes == 0 || flags != 0 || alignment != 0 && !alignment.is_power_of_two() {
            return Err(Status::INVALID_VALUE.into());
        }
        let (bytes, align, near) = (bytes as u64, alignment as u64, DevicePtr(near));
        let live = session::live()?;
        let allocate = || -> Outcome<_> {
            Ok((live.call(&AddressReserve { bytes, align, near })?.at.0, bytes, ()))
        };
        let give_back = |at, bytes| -> Outcome {
            live.call(&AddressFree { at: DevicePtr(at), bytes })?;
            Ok(())
        };
        let (at, ()) = reserve::apart(allocate, give_back)?;
        reserved().insert(at, bytes);
        place.set(at)
    }

    /// Gives reserved addresses back. Nothing may be mapped there.
    sync fn cuMemAddressFree(at: CUdeviceptr, bytes: usize) {
        let bytes = bytes as u64;
        let mapped = |entry: &Entry| matches!(entry.what, What::Mapped(_));
        let used = super::read().overlapping(at, bytes).is_some_and(mapped);
        if used || reserved().get(&at) != Some(&bytes) {
            return Err(Status::INVALID_VALUE.into());
        }
        session::live()?.call(&AddressFree { at: DevicePtr(at), bytes })?;
        reserved().remove(&at);
        Ok(())
    }

    /// Creates physical memory on a device. Memory that other processes can open is not supported.
    sync fn cuMemCreate(memory: Out<Handle>, bytes: usize, properties: In<CUmemAllocationProp>, flags: u64) {
        let (place, properties) = (memory.required()?, properties.get()?);
        if bytes == 0 || flags != 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        check_properties(&properties)?;
        let device = properties.location.device()?.ordinal;
        let live = session::live()?;
        let (id, bytes) = (live.session.memory_id()?, bytes as u64);
        let flags = u32::from(properties.compression != 0) | u32::from(properties.rdma != 0) << 1;
        live.call(&PhysicalCreate { memory: id, device, bytes, flags })?;
        let held = Mutex::new(Held { handles: 1, mappings: 0 });
        let (handle, _) = MEMORIES.insert(|_| Memory { id, bytes, properties, held })?;
        place.set(handle)
    }

    /// Releases a handle of physical memory, which lives on while it is mapped.
    sync fn cuMemRelease(memory: Handle) {
        change(memory, |held| {
            held.handles = held.handles.checked_sub(1)?;
            Some(())
        })
    }

    /// Maps physical memory at reserved addresses.
    sync fn cuMemMap(at: CUdeviceptr, bytes: usize, offset: usize, memory: Handle, flags: u64) {
        if offset != 0 || flags != 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        map(at, bytes as u64, memory)
    }

    /// Unmaps physical memory.
    sync fn cuMemUnmap(at: CUdeviceptr, bytes: usize) {
        unmap(at, bytes as u64)
    }

    /// Sets how devices reach mapped memory.
    sync fn cuMemSetAccess(at: CUdeviceptr, bytes: usize, descriptions[count]: In<CUmemAccessDesc>, count: usize) {
        let bytes = bytes as u64;
        let mapped = |entry: &Entry| matches!(entry.what, What::Mapped(_));
        if count == 0 || bytes == 0 || !super::read().covers(at, bytes, mapped) {
            return Err(Status::INVALID_VALUE.into());
        }
        for description in descriptions.all(count)? {
            let (device, flags) = (description.location.device()?.ordinal, description.flags);
            session::live()?.call(&MemSetAccess { at: DevicePtr(at), bytes, device, flags })?;
        }
        Ok(())
    }

    /// How a device reaches mapped memory.
    sync fn cuMemGetAccess(flags: Out<u64>, location: In<CUmemLocation>, at: CUdeviceptr) {
        let (place, device) = (flags.required()?, location.get()?.device()?.ordinal);
        place.set(session::live()?.call(&MemGetAccess { at: DevicePtr(at), device })?.flags)
    }

    /// A handle of the physical memory that is mapped at an address, to be released too.
    local fn cuMemRetainAllocationHandle(memory: Out<Handle>, at: usize) {
        let place = memory.required()?;
        let Some(What::Mapped(handle)) = super::find(at as u64).map(|entry| entry.what) else {
            return Err(Status::INVALID_VALUE.into());
        };
        change(handle, |held| {
            held.handles = held.handles.checked_add(1)?;
            Some(())
        })?;
        place.set(handle)
    }

    /// What physical memory was created as.
    local fn cuMemGetAllocationPropertiesFromHandle(properties: Out<CUmemAllocationProp>, memory: Handle) {
        let place = properties.required()?;
        place.set(get(memory)?.properties)
    }

    /// The unit of sizes of physical memory.
    sync fn cuMemGetAllocationGranularity(bytes: Out<usize>, properties: In<CUmemAllocationProp>, option: u32) {
        let (place, properties) = (bytes.required()?, properties.get()?);
        if properties.kind != ALLOCATION_PINNED || option > 1 {
            return Err(Status::INVALID_VALUE.into());
        }
        let device = properties.location.device()?.ordinal;
        let reply = session::live()?.call(&PhysicalGranularity { device, option })?;
        place.set(reply.bytes as usize)
    }
}
