//! Memory pools: allocations in stream order, and what a pool keeps for the next ones.

use crate::gpu::MockGpu;
use crate::graphs::Task;
use crate::heap::Owner;
use crate::op::Op;
use crate::{engine::Cost, pool::DEVICE_BASE};
use ringbar_backend::Context;
use ringbar_backend::table::Table;
use ringbar_vocabulary::*;

/// A pool takes memory from its device in units of this many bytes.
const UNIT_BYTES: u64 = 32 << 20;
/// `CUmemPool_attribute`: the release threshold; before it three about reuse.
const THRESHOLD: u32 = 4;
const RESERVED: u32 = 5;
const RESERVED_HIGH: u32 = 6;
const USED: u32 = 7;
const USED_HIGH: u32 = 8;
/// `CUmemAccess_flags`.
const READ_WRITE: u32 = 3;

/// A pool.
struct Pool {
    device: u32,
    /// The most it may hold; 0 for no limit.
    max_bytes: u64,
    /// Whether memory is used again after events, opportunistically, by internal dependencies.
    reuse: [u64; 3],
    threshold: u64,
    used: u64,
    used_high: u64,
    reserved: u64,
    reserved_high: u64,
    /// How each device may use it.
    access: Vec<u32>,
}

impl Pool {
    fn new(device: u32, devices: u32, max_bytes: u64) -> Self {
        let access = (0..devices).map(|other| if other == device { READ_WRITE } else { 0 });
        Self {
            device,
            max_bytes,
            reuse: [1; 3],
            threshold: 0,
            used: 0,
            used_high: 0,
            reserved: 0,
            reserved_high: 0,
            access: access.collect(),
        }
    }

    fn take(&mut self, bytes: u64) {
        self.used += bytes;
        self.used_high = self.used_high.max(self.used);
        self.reserved = self.reserved.max(self.used.next_multiple_of(UNIT_BYTES));
        self.reserved_high = self.reserved_high.max(self.reserved);
    }

    /// Gives unused memory back but for so much.
    fn trim(&mut self, keep: u64) {
        let needed = self.used.next_multiple_of(UNIT_BYTES);
        self.reserved = needed.max(self.reserved.min(keep));
    }
}

/// All pools, and which one each device uses.
pub(crate) struct Pools {
    pools: Table<Pool>,
    current: Vec<u32>,
    /// Whether memory came back since the last look at what is kept.
    unsettled: bool,
}

impl Pools {
    pub(crate) fn new(devices: u32) -> Self {
        let mut pools = Table::default();
        let current = (0..devices).map(|device| PoolId::DEFAULTS | device).collect();
        for device in 0..devices {
            // The table is empty before.
            let _ = pools.add(PoolId::DEFAULTS | device, Pool::new(device, devices, 0));
        }
        Self { pools, current, unsettled: false }
    }

    fn resolve(&self, pool: PoolId, device: u32) -> Result<u32, Status> {
        match pool {
            PoolId::CURRENT => {
                self.current.get(device as usize).copied().ok_or(Status::INVALID_DEVICE)
            }
            PoolId(pool) if self.pools.contains(pool) => Ok(pool),
            _ => Err(Status::INVALID_VALUE),
        }
    }

    fn get(&mut self, pool: PoolId) -> Result<&mut Pool, Status> {
        let pool = self.resolve(pool, 0)?;
        self.pools.get_mut(pool)
    }
}

impl MockGpu {
    pub(crate) fn mem_alloc_async(
        &mut self,
        _cx: &mut Context<'_>,
        command: MemAllocAsync,
    ) -> Result<MemAllocAsyncReply, Status> {
        let MemAllocAsync { pool, bytes, stream } = command;
        self.ready()?;
        let context = self.streams.get(stream.0)?.lane.context;
        let device = self.contexts.get(context)?.device;
        let id = self.pools.resolve(pool, device)?;
        // As NVIDIA's driver does, unlike for memory that is in no pool.
        if bytes == 0 {
            return Ok(MemAllocAsyncReply { at: DevicePtr(0) });
        }
        let capturing = self.is_capturing(stream)?;
        self.counts.allocs += 1;
        if self.config.faults.out_of_memory_at_alloc == Some(self.counts.allocs) {
            return Err(Status::OUT_OF_MEMORY);
        }
        if capturing {
            return self.capture_allocation(device, bytes, stream);
        }
        let pool = self.pools.pools.get_mut(id)?;
        let full = pool.max_bytes != 0
            && pool.used.checked_add(bytes).is_none_or(|used| used > pool.max_bytes);
        if full {
            return Err(Status::OUT_OF_MEMORY);
        }
        let device = pool.device;
        let at =
            self.engine.with_space(|space| space.heap(device)?.alloc(bytes, Owner::Pool(id)))?;
        pool.take(bytes);
        Ok(MemAllocAsyncReply { at })
    }

    /// Memory of the graph that a stream is captured into: at one address for all its launches.
    fn capture_allocation(
        &mut self,
        device: u32,
        bytes: u64,
        stream: StreamId,
    ) -> Result<MemAllocAsyncReply, Status> {
        let memory = self.graph_memory(device, bytes, 0)?;
        let at = memory.at;
        self.capture_task(stream, Task::Allocation(memory))?;
        Ok(MemAllocAsyncReply { at })
    }

    pub(crate) fn mem_free_async(
        &mut self,
        cx: &mut Context<'_>,
        command: MemFreeAsync,
    ) -> Result<(), Status> {
        let serial = self.stream(command.stream)?;
        let at = command.at;
        let capturing = self.is_capturing(command.stream)?;
        let found = self.engine.with_space_now(|space| {
            let heap = space.heap_at(at).ok_or(Status::INVALID_VALUE)?;
            match heap.owner(at) {
                Some(Owner::Graph) => Ok(None),
                Some(Owner::Pool(pool)) if !capturing => {
                    let bytes = heap.bytes(at);
                    heap.doom(at)?;
                    Ok(Some(Some((pool, bytes))))
                }
                Some(Owner::Context(_)) if !capturing => heap.doom(at).map(|_| Some(None)),
                _ => Err(Status::INVALID_VALUE),
            }
        })?;
        let Some(of_pool) = found else {
            // A graph's memory lives as long as the graph.
            return if capturing {
                self.capture_task(command.stream, Task::Free(at))
            } else {
                Ok(())
            };
        };
        if let Some((pool, bytes)) = of_pool {
            self.pool_gives_back(pool, bytes);
        }
        let op = Op::Retire { offset: at.0 - DEVICE_BASE };
        self.engine.submit(cx, serial, Cost::Nothing, op).map(|_| ())
    }

    /// Counts memory that came back to a pool; one that was destroyed meanwhile counts no more.
    pub(crate) fn pool_gives_back(&mut self, pool: u32, bytes: u64) {
        if let Ok(pool) = self.pools.pools.get_mut(pool) {
            pool.used -= bytes.min(pool.used);
            self.pools.unsettled = true;
        }
    }

    /// Where the client waits for work, pools give back what they need not keep.
    #[inline]
    pub(crate) fn pools_settle(&mut self) {
        if std::mem::take(&mut self.pools.unsettled) {
            for pool in self.pools.pools.values_mut() {
                pool.trim(pool.threshold);
            }
        }
    }

    pub(crate) fn pool_create(
        &mut self,
        _cx: &mut Context<'_>,
        command: PoolCreate,
    ) -> Result<PoolCreateReply, Status> {
        self.check_device(command.device)?;
        if command.pool == PoolId::CURRENT || command.pool.0 >= PoolId::DEFAULTS {
            return Err(Status::INVALID_HANDLE);
        }
        let pool = Pool::new(command.device, self.config.devices, command.max_bytes);
        self.pools.pools.add(command.pool.0, pool)?;
        Ok(PoolCreateReply {})
    }

    pub(crate) fn pool_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        command: PoolDestroy,
    ) -> Result<(), Status> {
        self.ready()?;
        let PoolId(id) = command.pool;
        if id == PoolId::CURRENT.0 || id >= PoolId::DEFAULTS {
            return Err(Status::INVALID_VALUE);
        }
        let pool = self.pools.pools.remove(id).map_err(|_| Status::INVALID_VALUE)?;
        let current = &mut self.pools.current[pool.device as usize];
        if *current == id {
            *current = PoolId::DEFAULTS | pool.device;
        }
        Ok(())
    }

    pub(crate) fn pool_get_attribute(
        &mut self,
        _cx: &mut Context<'_>,
        command: PoolGetAttribute,
    ) -> Result<PoolGetAttributeReply, Status> {
        self.ready()?;
        let pool = self.pools.get(command.pool)?;
        let value = match command.attribute {
            reuse @ 1..THRESHOLD => pool.reuse[reuse as usize - 1],
            THRESHOLD => pool.threshold,
            RESERVED => pool.reserved,
            RESERVED_HIGH => pool.reserved_high,
            USED => pool.used,
            USED_HIGH => pool.used_high,
            _ => return Err(Status::INVALID_VALUE),
        };
        Ok(PoolGetAttributeReply { value })
    }

    pub(crate) fn pool_set_attribute(
        &mut self,
        _cx: &mut Context<'_>,
        command: PoolSetAttribute,
    ) -> Result<PoolSetAttributeReply, Status> {
        self.ready()?;
        let pool = self.pools.get(command.pool)?;
        match (command.attribute, command.value) {
            (reuse @ 1..THRESHOLD, value @ 0..=1) => pool.reuse[reuse as usize - 1] = value,
            (THRESHOLD, value) => pool.threshold = value,
            // High marks can only be set back.
            (RESERVED_HIGH, 0) => pool.reserved_high = pool.reserved,
            (USED_HIGH, 0) => pool.used_high = pool.used,
            _ => return Err(Status::INVALID_VALUE),
        }
        Ok(PoolSetAttributeReply {})
    }

    pub(crate) fn pool_trim(
        &mut self,
        _cx: &mut Context<'_>,
        command: PoolTrim,
    ) -> Result<PoolTrimReply, Status> {
        self.ready()?;
        self.pools.get(command.pool)?.trim(command.keep_bytes);
        Ok(PoolTrimReply {})
    }

    pub(crate) fn pool_access(
        &mut self,
        _cx: &mut Context<'_>,
        command: PoolAccess,
    ) -> Result<PoolAccessReply, Status> {
        self.check_device(command.device)?;
        let PoolAccess { device, set, flags, .. } = command;
        let pool = self.pools.get(command.pool)?;
        let access = &mut pool.access[device as usize];
        if set != 0 {
            if ![0, 1, READ_WRITE].contains(&flags) {
                return Err(Status::INVALID_VALUE);
            }
            // A pool's own device always has it.
            if device == pool.device && flags != READ_WRITE {
                return Err(Status::INVALID_DEVICE);
            }
            *access = flags;
        }
        Ok(PoolAccessReply { flags: *access })
    }

    pub(crate) fn device_set_pool(
        &mut self,
        _cx: &mut Context<'_>,
        command: DeviceSetPool,
    ) -> Result<DeviceSetPoolReply, Status> {
        self.check_device(command.device)?;
        let id = self.pools.resolve(command.pool, command.device)?;
        if self.pools.pools.get(id)?.device != command.device {
            return Err(Status::INVALID_DEVICE);
        }
        self.pools.current[command.device as usize] = id;
        Ok(DeviceSetPoolReply {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_keeps_memory_until_it_is_trimmed() {
        let mut pool = Pool::new(0, 1, 0);
        pool.take(40 << 20);
        pool.used = 0;
        assert_eq!(
            (pool.reserved, pool.reserved_high, pool.used_high),
            (64 << 20, 64 << 20, 40 << 20)
        );
        pool.trim(32 << 20);
        assert_eq!(pool.reserved, 32 << 20);
        pool.trim(0);
        assert_eq!(pool.reserved, 0);
    }
}
