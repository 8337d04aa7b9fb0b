//! Device memory: allocations, pools, physical memory and its mappings, pinned blocks.

use crate::api::{AccessDesc, Raw, device_location};
use crate::live::{Allocation, Live};
use cudarc::driver::sys;
use ringbar_backend::Context;
use ringbar_vocabulary::*;
use std::sync::Arc;

/// Memory on a device, of the one kind there is.
fn physical(device: i32, flags: u32) -> sys::CUmemAllocationProp {
    sys::CUmemAllocationProp {
        type_: sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
        requestedHandleTypes: sys::CUmemAllocationHandleType(0),
        location: device_location(device),
        win32HandleMetaData: std::ptr::null_mut(),
        allocFlags: sys::CUmemAllocationProp_st__bindgen_ty_1 {
            compressionType: (flags & 1) as u8,
            gpuDirectRDMACapable: (flags >> 1 & 1) as u8,
            usage: 0,
            reserved: [0; 4],
        },
    }
}

impl Live {
    fn allocated(&mut self, at: u64, bytes: u64, context: ContextId) -> DevicePtr {
        if at != 0 {
            self.allocations.insert(at, Allocation { bytes, context });
        }
        DevicePtr(at)
    }

    /// Bytes of all live allocations.
    pub fn allocated_bytes(&self) -> u64 {
        self.allocations.values().map(|allocation| allocation.bytes).sum()
    }

    pub fn mem_alloc(
        &mut self,
        _cx: &mut Context<'_>,
        c: MemAlloc,
    ) -> Result<MemAllocReply, Status> {
        self.enter(c.context)?;
        let mut at = 0;
        self.api.cuMemAlloc_v2(&mut at, c.bytes as usize)?;
        Ok(MemAllocReply { at: self.allocated(at, c.bytes, c.context) })
    }

    pub fn mem_alloc_pitch(
        &mut self,
        _cx: &mut Context<'_>,
        c: MemAllocPitch,
    ) -> Result<MemAllocPitchReply, Status> {
        self.enter(c.context)?;
        let (mut at, mut pitch) = (0, 0);
        let (width, height) = (c.width_bytes as usize, c.height as usize);
        self.api.cuMemAllocPitch_v2(&mut at, &mut pitch, width, height, c.element_bytes)?;
        let at = self.allocated(at, (pitch as u64).saturating_mul(c.height), c.context);
        Ok(MemAllocPitchReply { at, pitch: pitch as u64 })
    }

    pub fn mem_free(&mut self, _cx: &mut Context<'_>, c: MemFree) -> Result<(), Status> {
        let context = self.allocations.get(&c.at.0).map(|allocation| allocation.context);
        let context = context.or_else(|| self.graph_memory.get(&c.at.0).copied());
        self.enter(context.ok_or(Status::INVALID_VALUE)?)?;
        self.api.cuMemFree_v2(c.at.0)?;
        self.allocations.remove(&c.at.0);
        Ok(())
    }

    pub fn mem_get_info(
        &mut self,
        _cx: &mut Context<'_>,
        c: MemGetInfo,
    ) -> Result<MemGetInfoReply, Status> {
        self.enter(c.context)?;
        if self.async_frees.get() {
            self.is_idle()?;
        }
        let (mut free, mut total) = (0, 0);
        self.api.cuMemGetInfo_v2(&mut free, &mut total)?;
        Ok(MemGetInfoReply { free_bytes: free as u64, total_bytes: total as u64 })
    }

    pub fn host_alloc(&mut self, cx: &mut Context<'_>, c: HostAlloc) -> Result<(), Status> {
        self.enter(ContextId::FIRST)?;
        self.open_block(cx, c.block)?;
        if self.arena.pin(c.block) { Ok(()) } else { Err(Status::INVALID_VALUE) }
    }

    /// The block may be used anew by the client once every stream has passed this point: all that use pinned memory may
    /// still copy from it.
    pub fn host_free(&mut self, cx: &mut Context<'_>, c: HostFree) -> Result<(), Status> {
        cx.check_arena(c.block)?;
        if !self.arena.unpin(c.block) {
            return Err(Status::INVALID_VALUE);
        }
        let defaults: Vec<_> =
            self.contexts.iter().map(|(id, _)| ContextId(id).default_stream()).collect();
        let streams: Vec<_> = self.streams.iter().map(|(id, _)| StreamId(id)).collect();
        for id in defaults.into_iter().chain(streams) {
            let stream = self.stream(id)?;
            if self.captures(stream) || self.api.cuStreamQuery(stream).is_ok() {
                continue;
            }
            self.unmarked.entry(id.0).or_default().holds.push(cx.hold());
            self.mark((id, stream), false)?;
        }
        Ok(())
    }

    fn pool(&self, pool: PoolId) -> Result<Raw, Status> {
        if pool.0 & PoolId::DEFAULTS != 0 {
            let mut raw = 0;
            let device = self.device(pool.0 & !PoolId::DEFAULTS)?;
            self.api.cuDeviceGetDefaultMemPool(&mut raw, device)?;
            return Ok(raw);
        }
        if pool == PoolId::CURRENT {
            let mut raw = 0;
            self.api.cuDeviceGetMemPool(&mut raw, self.device(0)?)?;
            return Ok(raw);
        }
        self.pools.get(pool.0).copied()
    }

    pub fn mem_alloc_async(
        &mut self,
        _cx: &mut Context<'_>,
        c: MemAllocAsync,
    ) -> Result<MemAllocAsyncReply, Status> {
        let stream = self.stream(c.stream)?;
        let (mut at, bytes) = (0, c.bytes as usize);
        if c.pool == PoolId::CURRENT {
            self.api.cuMemAllocAsync(&mut at, bytes, stream)?;
        } else {
            let pool = self.pool(c.pool)?;
            self.api.cuMemAllocFromPoolAsync(&mut at, bytes, pool, stream)?;
        }
        let context = self.context_of(c.stream)?;
        if self.captures(stream) {
            // It is there while the graph runs, and until it is freed.
            self.graph_memory.insert(at, context);
            return Ok(MemAllocAsyncReply { at: DevicePtr(at) });
        }
        Ok(MemAllocAsyncReply { at: self.allocated(at, c.bytes, context) })
    }

    pub fn mem_free_async(&mut self, _cx: &mut Context<'_>, c: MemFreeAsync) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        self.api.cuMemFreeAsync(c.at.0, stream)?;
        self.async_frees.set(true);
        self.allocations.remove(&c.at.0);
        Ok(())
    }

    pub fn pool_create(
        &mut self,
        _cx: &mut Context<'_>,
        c: PoolCreate,
    ) -> Result<PoolCreateReply, Status> {
        if c.pool == PoolId::CURRENT || c.pool.0 >= PoolId::DEFAULTS {
            return Err(Status::INVALID_VALUE);
        }
        self.pools.check_new(c.pool.0)?;
        let props = sys::CUmemPoolProps {
            allocType: sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
            handleTypes: sys::CUmemAllocationHandleType(0),
            location: device_location(self.device(c.device)?),
            win32SecurityAttributes: std::ptr::null_mut(),
            maxSize: c.max_bytes as usize,
            usage: 0,
            reserved: [0; 54],
        };
        let mut raw = 0;
        self.api.cuMemPoolCreate(&mut raw, &props)?;
        self.pools.insert(c.pool.0, raw);
        Ok(PoolCreateReply {})
    }

    pub fn pool_destroy(&mut self, _cx: &mut Context<'_>, c: PoolDestroy) -> Result<(), Status> {
        let raw = *self.pools.get(c.pool.0)?;
        self.api.cuMemPoolDestroy(raw)?;
        self.pools.remove(c.pool.0).map(drop)
    }

    pub fn pool_get_attribute(
        &mut self,
        _cx: &mut Context<'_>,
        c: PoolGetAttribute,
    ) -> Result<PoolGetAttributeReply, Status> {
        let mut value = 0;
        self.api.cuMemPoolGetAttribute(self.pool(c.pool)?, c.attribute, &mut value)?;
        Ok(PoolGetAttributeReply { value })
    }

    pub fn pool_set_attribute(
        &mut self,
        _cx: &mut Context<'_>,
        c: PoolSetAttribute,
    ) -> Result<PoolSetAttributeReply, Status> {
        let mut value = c.value;
        self.api.cuMemPoolSetAttribute(self.pool(c.pool)?, c.attribute, &mut value)?;
        Ok(PoolSetAttributeReply {})
    }

    pub fn pool_trim(
        &mut self,
        _cx: &mut Context<'_>,
        c: PoolTrim,
    ) -> Result<PoolTrimReply, Status> {
        self.is_idle()?;
        self.api.cuMemPoolTrimTo(self.pool(c.pool)?, c.keep_bytes as usize)?;
        Ok(PoolTrimReply {})
    }

    pub fn pool_access(
        &mut self,
        _cx: &mut Context<'_>,
        c: PoolAccess,
    ) -> Result<PoolAccessReply, Status> {
        let pool = self.pool(c.pool)?;
        let mut location = device_location(self.device(c.device)?);
        if c.set != 0 {
            let access = AccessDesc { location, flags: c.flags };
            self.api.cuMemPoolSetAccess(pool, &access, 1)?;
        }
        let mut flags = 0;
        self.api.cuMemPoolGetAccess(&mut flags, pool, &mut location)?;
        Ok(PoolAccessReply { flags })
    }

    pub fn device_set_pool(
        &mut self,
        _cx: &mut Context<'_>,
        c: DeviceSetPool,
    ) -> Result<DeviceSetPoolReply, Status> {
        self.api.cuDeviceSetMemPool(self.device(c.device)?, self.pool(c.pool)?)?;
        Ok(DeviceSetPoolReply {})
    }

    pub fn address_reserve(
        &mut self,
        _cx: &mut Context<'_>,
        c: AddressReserve,
    ) -> Result<AddressReserveReply, Status> {
        self.enter(ContextId::FIRST)?;
        let mut at = 0;
        let (bytes, align) = (c.bytes as usize, c.align as usize);
        self.api.cuMemAddressReserve(&mut at, bytes, align, c.near.0, 0)?;
        Ok(AddressReserveReply { at: DevicePtr(at) })
    }

    pub fn address_free(
        &mut self,
        _cx: &mut Context<'_>,
        c: AddressFree,
    ) -> Result<AddressFreeReply, Status> {
        self.api.cuMemAddressFree(c.at.0, c.bytes as usize)?;
        Ok(AddressFreeReply {})
    }

    pub fn physical_create(
        &mut self,
        _cx: &mut Context<'_>,
        c: PhysicalCreate,
    ) -> Result<PhysicalCreateReply, Status> {
        self.enter(ContextId::FIRST)?;
        self.memories.check_new(c.memory.0)?;
        let prop = physical(self.device(c.device)?, c.flags);
        let mut raw = 0;
        self.api.cuMemCreate(&mut raw, c.bytes as usize, &prop, 0)?;
        self.memories.insert(c.memory.0, raw);
        Ok(PhysicalCreateReply {})
    }

    pub fn physical_release(
        &mut self,
        _cx: &mut Context<'_>,
        c: PhysicalRelease,
    ) -> Result<PhysicalReleaseReply, Status> {
        let raw = *self.memories.get(c.memory.0)?;
        self.api.cuMemRelease(raw)?;
        self.memories.remove(c.memory.0)?;
        Ok(PhysicalReleaseReply {})
    }

    pub fn mem_map(&mut self, _cx: &mut Context<'_>, c: MemMap) -> Result<MemMapReply, Status> {
        let raw = *self.memories.get(c.memory.0)?;
        self.api.cuMemMap(c.at.0, c.bytes as usize, c.offset as usize, raw, 0)?;
        Ok(MemMapReply {})
    }

    pub fn mem_unmap(
        &mut self,
        _cx: &mut Context<'_>,
        c: MemUnmap,
    ) -> Result<MemUnmapReply, Status> {
        self.api.cuMemUnmap(c.at.0, c.bytes as usize)?;
        Ok(MemUnmapReply {})
    }

    pub fn mem_set_access(
        &mut self,
        _cx: &mut Context<'_>,
        c: MemSetAccess,
    ) -> Result<MemSetAccessReply, Status> {
        let location = device_location(self.device(c.device)?);
        let access = AccessDesc { location, flags: c.flags };
        self.api.cuMemSetAccess(c.at.0, c.bytes as usize, &access, 1)?;
        Ok(MemSetAccessReply {})
    }

    pub fn mem_get_access(
        &mut self,
        _cx: &mut Context<'_>,
        c: MemGetAccess,
    ) -> Result<MemGetAccessReply, Status> {
        let mut flags = 0;
        let location = device_location(self.device(c.device)?);
        self.api.cuMemGetAccess(&mut flags, &location, c.at.0)?;
        Ok(MemGetAccessReply { flags })
    }

    pub fn physical_granularity(
        &mut self,
        _cx: &mut Context<'_>,
        c: PhysicalGranularity,
    ) -> Result<PhysicalGranularityReply, Status> {
        let mut bytes = 0;
        let prop = physical(self.device(c.device)?, 0);
        self.api.cuMemGetAllocationGranularity(&mut bytes, &prop, c.option)?;
        Ok(PhysicalGranularityReply { bytes: bytes as u64 })
    }

    /// Hashes all live allocations of `cuMemAlloc` in address order, after all work.
    pub fn memory_digest(
        &mut self,
        _cx: &mut Context<'_>,
        _c: MemoryDigest,
    ) -> Result<MemoryDigestReply, Status> {
        self.drain()?;
        let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
        let mut buffer = vec![0_u8; 1 << 20];
        let all: Vec<_> =
            self.allocations.iter().map(|(&at, found)| (at, found.bytes, found.context)).collect();
        for &(at, bytes, context) in &all {
            self.enter(context)?;
            hash.update(&bytes.to_le_bytes());
            let mut done = 0;
            while done < bytes {
                let part = (bytes - done).min(buffer.len() as u64) as usize;
                self.read_device(&mut buffer[..part], at + done)?;
                hash.update(&buffer[..part]);
                done += part as u64;
            }
        }
        let bytes = self.allocated_bytes();
        Ok(MemoryDigestReply { digest: hash.digest(), allocations: all.len() as u64, bytes })
    }

    fn read_device(&self, into: &mut [u8], at: u64) -> Result<(), Status> {
        let api = Arc::clone(&self.api);
        // SAFETY: the buffer is as long as the copy, which is done when the call returns.
        unsafe { api.cuMemcpyDtoH_v2(into.as_mut_ptr().cast(), at, into.len()) }
    }
}
