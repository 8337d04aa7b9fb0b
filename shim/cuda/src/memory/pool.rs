//! Memory pools, and allocation in stream order.

use super::map::{Entry, What};
use super::reserve;
use crate::arg::{In, Out};
use crate::capturing;
use crate::device::{self, Device};
use crate::failure::{Failure, Outcome};
use crate::handles::{Handle, Kind, Table};
use crate::session;
use crate::stream::{Working, working};
use crate::types::{CUdeviceptr, CUmemoryPool, CUstream};
use ringbar_vocabulary::{
    DevicePtr, DeviceSetPool, MemAllocAsync, MemFreeAsync, PoolAccess, PoolCreate, PoolDestroy,
    PoolGetAttribute, PoolId, PoolSetAttribute, PoolTrim, Status,
};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `CUmemLocation`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CUmemLocation {
    /// `CUmemLocationType`.
    pub kind: u32,
    /// The device's visible ordinal.
    pub id: i32,
}

/// `CUmemAccessDesc`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUmemAccessDesc {
    /// Who reaches the memory.
    pub location: CUmemLocation,
    /// `CUmemAccess_flags`.
    pub flags: u32,
}

/// `CUmemPoolProps`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUmemPoolProps {
    allocation_type: u32,
    handle_types: u32,
    location: CUmemLocation,
    _win32: usize,
    max_bytes: usize,
    usage: u16,
    _reserved: [u8; 54],
}
const _: () = assert!(size_of::<CUmemPoolProps>() == 88);

/// `CU_MEM_ALLOCATION_TYPE_PINNED`.
pub(super) const ALLOCATION_PINNED: u32 = 1;
/// `CU_MEM_LOCATION_TYPE_DEVICE`.
const LOCATION_DEVICE: u32 = 1;

/// A pool. Never freed.
#[derive(Debug)]
struct Pool {
    id: PoolId,
    /// The visible ordinal of its device.
    device: i32,
}

static POOLS: Table<Pool> = Table::new(Kind::Pool);

#[derive(Clone, Copy)]
struct OfDevice {
    default: Handle,
    current: Handle,
}

static OF_DEVICES: Mutex<Option<HashMap<i32, OfDevice>>> = Mutex::new(None);

impl CUmemPoolProps {
    /// Memory of a device, and nothing else said of it.
    pub(crate) fn of_device(visible: i32) -> Self {
        Self {
            allocation_type: ALLOCATION_PINNED,
            handle_types: 0,
            location: CUmemLocation::of_device(visible),
            _win32: 0,
            max_bytes: 0,
            usage: 0,
            _reserved: [0; 54],
        }
    }

    /// The device that has the memory of a graph: it leaves no process.
    pub(crate) fn device(&self) -> Outcome<&'static Device> {
        if self.allocation_type != ALLOCATION_PINNED || self.handle_types != 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        self.location.device()
    }
}

impl CUmemLocation {
    /// A device by its visible ordinal.
    pub(crate) fn of_device(visible: i32) -> Self {
        Self { kind: LOCATION_DEVICE, id: visible }
    }

    /// The device that is named; NOT_SUPPORTED for memory of the host, INVALID_VALUE for no place.
    pub(crate) fn device(self) -> Outcome<&'static Device> {
        match self.kind {
            LOCATION_DEVICE => device::resolve(self.id),
            2..=4 => Err(Status::NOT_SUPPORTED.into()),
            _ => Err(Status::INVALID_VALUE.into()),
        }
    }
}

fn of_devices() -> MutexGuard<'static, Option<HashMap<i32, OfDevice>>> {
    OF_DEVICES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The default and the current pool of a device.
fn of_device(device: &Device) -> Outcome<OfDevice> {
    let mut all = of_devices();
    let all = all.get_or_insert_default();
    if let Some(found) = all.get(&device.visible) {
        return Ok(*found);
    }
    let id = PoolId(PoolId::DEFAULTS | device.ordinal);
    let (default, _) = POOLS.insert(|_| Pool { id, device: device.visible })?;
    let found = OfDevice { default, current: default };
    all.insert(device.visible, found);
    Ok(found)
}

fn set_current(device: &Device, pool: Handle) -> Outcome {
    let found = get(pool)?;
    if found.device != device.visible {
        return Err(Status::INVALID_VALUE.into());
    }
    let known = of_device(device)?;
    let command = DeviceSetPool { device: device.ordinal, pool: found.id };
    session::live()?.call(&command)?;
    let current = OfDevice { current: pool, ..known };
    of_devices().get_or_insert_default().insert(device.visible, current);
    Ok(())
}

fn get(pool: CUmemoryPool) -> Outcome<&'static Pool> {
    POOLS.get(pool).ok_or(Failure(Status::INVALID_VALUE))
}

fn alloc(
    place: Out<CUdeviceptr>,
    bytes: usize,
    pool: PoolId,
    named: Option<Handle>,
    stream: &Working,
) -> Outcome {
    let place = place.required()?;
    if bytes == 0 {
        return place.set(0);
    }
    let device = stream.context.visible;
    let handle = match named {
        Some(handle) => handle,
        None => of_device(device::resolve(device)?)?.current,
    };
    let owner = get(handle)?.device;
    let (live, bytes) = (session::live()?, bytes as u64);
    let command = MemAllocAsync { pool, bytes, stream: stream.id };
    let (at, what) = if capturing::is_capturing(stream)? {
        // A node is what the capture has now; another try would be another node.
        let at = live.call(&command)?.at.0;
        reserve::claim_where_it_is(at, bytes, reserve::GRAPH_MEMORY)?;
        (at, What::Graph)
    } else {
        capturing::unsafe_call()?;
        let give_back = |at, _| {
            live.post(&MemFreeAsync { at: DevicePtr(at), stream: stream.id })?;
            Ok(())
        };
        let (at, ()) = reserve::apart(|| Ok((live.call(&command)?.at.0, bytes, ())), give_back)?;
        (at, What::Pool(handle))
    };
    super::remember_as(at, bytes, what, Handle::NULL, owner);
    place.set(at)
}

/// Whether an attribute is an `int`, and not 64 bits; INVALID_VALUE for what is none.
fn is_int(attribute: u32) -> Outcome<bool> {
    match attribute {
        1..=3 => Ok(true),
        4..=8 => Ok(false),
        _ => Err(Status::INVALID_VALUE.into()),
    }
}

/// Destroys a pool. What was allocated from it stays.
fn destroy(pool: CUmemoryPool) -> Outcome {
    let found = get(pool)?;
    if found.id.0 & PoolId::DEFAULTS != 0 {
        return Err(Status::INVALID_VALUE.into());
    }
    POOLS.remove(pool).ok_or(Failure(Status::INVALID_VALUE))?;
    if let Some(of_device) = of_devices().as_mut().and_then(|all| all.get_mut(&found.device))
        && of_device.current == pool
    {
        of_device.current = of_device.default;
    }
    session::live()?.post(&PoolDestroy { pool: found.id })?;
    Ok(())
}

entry! {
    /// Creates a pool on a device. Pools that are shared between processes, or lie in host memory, are not supported.
    sync fn cuMemPoolCreate(pool: Out<CUmemoryPool>, properties: In<CUmemPoolProps>) {
        let (place, properties) = (pool.required()?, properties.get()?);
        if properties.allocation_type != ALLOCATION_PINNED {
            return Err(Status::INVALID_VALUE.into());
        }
        let device = properties.location.device()?;
        if properties.handle_types != 0 || properties.usage != 0 {
            return Err(Status::NOT_SUPPORTED.into());
        }
        let live = session::live()?;
        let id = live.session.pool_id()?;
        let max_bytes = properties.max_bytes as u64;
        live.call(&PoolCreate { pool: id, device: device.ordinal, max_bytes })?;
        let (handle, _) = POOLS.insert(|_| Pool { id, device: device.visible })?;
        place.set(handle)
    }

    /// Destroys a pool. A device's default pool cannot be destroyed.
    post fn cuMemPoolDestroy(pool: CUmemoryPool) {
        destroy(pool)
    }

    /// An attribute of a pool.
    sync fn cuMemPoolGetAttribute(pool: CUmemoryPool, attribute: u32, place[attribute]: *mut c_void) {
        let (pool, int) = (get(pool)?.id, is_int(attribute)?);
        let value = session::live()?.call(&PoolGetAttribute { pool, attribute })?.value;
        match int {
            true => Out::<i32>::at_address(place.cast()).set(value as i32),
            false => Out::<u64>::at_address(place.cast()).set(value),
        }
    }

    /// Sets an attribute of a pool.
    sync fn cuMemPoolSetAttribute(pool: CUmemoryPool, attribute: u32, place[attribute]: *const c_void) {
        let pool = get(pool)?.id;
        let value = match is_int(attribute)? {
            true => In::<i32>::at_address(place.cast()).get()? as u32 as u64,
            false => In::<u64>::at_address(place.cast()).get()?,
        };
        session::live()?.call(&PoolSetAttribute { pool, attribute, value })?;
        Ok(())
    }

    /// Gives unused memory of a pool back to the device.
    sync fn cuMemPoolTrimTo(pool: CUmemoryPool, keep_bytes: usize) {
        let pool = get(pool)?.id;
        capturing::unsafe_call()?;
        session::live()?.call(&PoolTrim { pool, keep_bytes: keep_bytes as u64 })?;
        Ok(())
    }

    /// Sets which devices reach memory of a pool.
    sync fn cuMemPoolSetAccess(pool: CUmemoryPool, descriptions[count]: In<CUmemAccessDesc>, count: usize) {
        let pool = get(pool)?.id;
        for description in descriptions.all(count)? {
            let (device, flags) = (description.location.device()?.ordinal, description.flags);
            session::live()?.call(&PoolAccess { pool, device, set: 1, flags })?;
        }
        Ok(())
    }

    /// How a device reaches memory of a pool.
    sync fn cuMemPoolGetAccess(flags: Out<u32>, pool: CUmemoryPool, location: In<CUmemLocation>) {
        let (place, pool) = (flags.required()?, get(pool)?.id);
        let device = location.get()?.device()?.ordinal;
        place.set(session::live()?.call(&PoolAccess { pool, device, set: 0, flags: 0 })?.flags)
    }

    /// A device's default pool.
    local fn cuDeviceGetDefaultMemPool(pool: Out<CUmemoryPool>, device: i32) {
        pool.required()?.set(of_device(device::resolve(device)?)?.default)
    }

    /// The pool that allocations on a device come from by themselves.
    local fn cuDeviceGetMemPool(pool: Out<CUmemoryPool>, device: i32) {
        pool.required()?.set(of_device(device::resolve(device)?)?.current)
    }

    /// Makes a pool the current one of a device.
    sync fn cuDeviceSetMemPool(device: i32, pool: CUmemoryPool) {
        set_current(device::resolve(device)?, pool)
    }

    /// The default pool of a place.
    local fn cuMemGetDefaultMemPool(pool: Out<CUmemoryPool>, location: In<CUmemLocation>, allocation_type: u32) {
        let (pool, device) = (pool.required()?, located(location, allocation_type)?);
        pool.set(of_device(device)?.default)
    }

    /// The current pool of a place.
    local fn cuMemGetMemPool(pool: Out<CUmemoryPool>, location: In<CUmemLocation>, allocation_type: u32) {
        let (pool, device) = (pool.required()?, located(location, allocation_type)?);
        pool.set(of_device(device)?.current)
    }

    /// Makes a pool the current one of a place.
    sync fn cuMemSetMemPool(location: In<CUmemLocation>, allocation_type: u32, pool: CUmemoryPool) {
        set_current(located(location, allocation_type)?, pool)
    }
}

fn located(location: In<CUmemLocation>, allocation_type: u32) -> Outcome<&'static Device> {
    match allocation_type {
        ALLOCATION_PINNED => location.get()?.device(),
        2 => Err(Status::NOT_SUPPORTED.into()),
        _ => Err(Status::INVALID_VALUE.into()),
    }
}

stream_entry! {
    /// Allocates from the current pool of the stream's device, in stream order.
    sync fn cuMemAllocAsync | cuMemAllocAsync_ptsz[flavour](place: Out<CUdeviceptr>, bytes: usize, stream: CUstream) {
        alloc(place, bytes, PoolId::CURRENT, None, &working(stream, flavour)?)
    }

    /// Allocates from a pool, in stream order.
    sync fn cuMemAllocFromPoolAsync | cuMemAllocFromPoolAsync_ptsz[flavour](place: Out<CUdeviceptr>, bytes: usize, pool: CUmemoryPool, stream: CUstream) {
        let stream = working(stream, flavour)?;
        alloc(place, bytes, get(pool)?.id, Some(pool), &stream)
    }

    /// Frees memory of a pool, or other device memory, in stream order.
    post fn cuMemFreeAsync | cuMemFreeAsync_ptsz[flavour](at: CUdeviceptr, stream: CUstream) {
        let stream = working(stream, flavour)?;
        if at == 0 {
            return Ok(());
        }
        if !capturing::is_capturing(&stream)? {
            capturing::unsafe_call()?;
        }
        let live = session::live()?;
        let entry = super::read().at(at).copied();
        let of_graph = entry.is_some_and(|entry| entry.what == What::Graph);
        if entry.is_some_and(|entry| matches!(entry.what, What::Managed(_))) {
            return Err(Status::NOT_SUPPORTED.into());
        }
        let freed = |entry: &Entry| matches!(entry.what, What::Device | What::Pool(_));
        let entry = entry.filter(|entry| of_graph || freed(entry));
        let id = entry.ok_or(Status::INVALID_VALUE)?.id;
        let position = live.post(&MemFreeAsync { at: DevicePtr(at), stream: stream.id })?;
        if of_graph {
            // Whether it is there now, between the graph's launches, the device alone knows.
            return Ok(live.session.wait_executed(position)?);
        }
        // Only now: a capture refuses memory that was allocated outside it. The address may be another allocation's by now.
        super::write().remove_if(at, |entry| entry.id == id);
        Ok(())
    }
}
