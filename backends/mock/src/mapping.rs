//! Reserved addresses and physical memory, as commands ask for them.

use crate::gpu::MockGpu;
use crate::vmm::GRANULARITY_BYTES;
use ringbar_backend::Context;
use ringbar_vocabulary::*;

/// `PhysicalCreate`'s flag for memory that compresses: a wish. The other, RDMA, is a demand.
const COMPRESS: u32 = 1;
const RDMA: u32 = 2;

impl MockGpu {
    pub(crate) fn address_reserve(
        &mut self,
        _cx: &mut Context<'_>,
        command: AddressReserve,
    ) -> Result<AddressReserveReply, Status> {
        self.ready()?;
        let AddressReserve { bytes, align, near } = command;
        let at = self.engine.with_memory(|pool, space| {
            pool.open_window(space.vmm.window()).map_err(|error| {
                tracing::warn!(%error, "no addresses to reserve; a limit on address space (ulimit -v)?");
                Status::OUT_OF_MEMORY
            })?;
            space.vmm.reserve(bytes, align, near)
        })?;
        Ok(AddressReserveReply { at })
    }

    pub(crate) fn address_free(
        &mut self,
        _cx: &mut Context<'_>,
        command: AddressFree,
    ) -> Result<AddressFreeReply, Status> {
        self.ready()?;
        self.engine.with_space_now(|space| space.vmm.free(command.at, command.bytes))?;
        Ok(AddressFreeReply {})
    }

    pub(crate) fn physical_create(
        &mut self,
        _cx: &mut Context<'_>,
        command: PhysicalCreate,
    ) -> Result<PhysicalCreateReply, Status> {
        let PhysicalCreate { memory, device, bytes, flags } = command;
        self.check_device(device)?;
        if flags & RDMA != 0 {
            return Err(Status::NOT_SUPPORTED);
        }
        if flags & !COMPRESS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        self.engine.with_space(|space| {
            space.vmm.check_new(memory.0, bytes)?;
            space.heap(device)?.take_physical(bytes)?;
            space.vmm.create(memory.0, device, bytes);
            Ok(())
        })?;
        Ok(PhysicalCreateReply {})
    }

    pub(crate) fn physical_release(
        &mut self,
        _cx: &mut Context<'_>,
        command: PhysicalRelease,
    ) -> Result<PhysicalReleaseReply, Status> {
        self.ready()?;
        self.engine.with_space_now(|space| {
            if let Some((device, bytes)) = space.vmm.release(command.memory.0)? {
                space.heap(device)?.give_physical(bytes);
            }
            Ok(())
        })?;
        Ok(PhysicalReleaseReply {})
    }

    pub(crate) fn mem_map(
        &mut self,
        _cx: &mut Context<'_>,
        command: MemMap,
    ) -> Result<MemMapReply, Status> {
        self.ready()?;
        let MemMap { at, bytes, offset, memory } = command;
        if offset != 0 {
            return Err(Status::INVALID_VALUE);
        }
        self.engine.with_memory(|pool, space| {
            let (range, saved) = space.vmm.map(at, bytes, memory.0)?;
            if let Some(saved) = saved {
                pool.get_mut(range).copy_from_slice(&saved);
            }
            Ok(())
        })?;
        Ok(MemMapReply {})
    }

    pub(crate) fn mem_unmap(
        &mut self,
        _cx: &mut Context<'_>,
        command: MemUnmap,
    ) -> Result<MemUnmapReply, Status> {
        self.ready()?;
        self.engine.quiet(|pool, space| {
            for ended in space.vmm.unmap(command.at, command.bytes)? {
                if let Some(memory) = ended.memory {
                    space.vmm.save(memory, pool.get(ended.range.clone()).into());
                }
                // Whatever is mapped here next starts as zeros and never with these bytes.
                pool.fill(ended.range, &[0]);
                if let Some((device, bytes)) = ended.gone {
                    space.heap(device)?.give_physical(bytes);
                }
            }
            Ok(())
        })?;
        Ok(MemUnmapReply {})
    }

    pub(crate) fn mem_set_access(
        &mut self,
        _cx: &mut Context<'_>,
        command: MemSetAccess,
    ) -> Result<MemSetAccessReply, Status> {
        self.ready()?;
        let MemSetAccess { at, bytes, device, flags } = command;
        self.engine.with_space_now(|space| space.vmm.set_access(at, bytes, device, flags))?;
        Ok(MemSetAccessReply {})
    }

    pub(crate) fn mem_get_access(
        &mut self,
        _cx: &mut Context<'_>,
        command: MemGetAccess,
    ) -> Result<MemGetAccessReply, Status> {
        self.check_device(command.device)?;
        let flags =
            self.engine.with_space_now(|space| space.vmm.access(command.at, command.device))?;
        Ok(MemGetAccessReply { flags: flags.into() })
    }

    pub(crate) fn physical_granularity(
        &mut self,
        _cx: &mut Context<'_>,
        command: PhysicalGranularity,
    ) -> Result<PhysicalGranularityReply, Status> {
        self.check_device(command.device)?;
        if command.option > 1 {
            return Err(Status::INVALID_VALUE);
        }
        Ok(PhysicalGranularityReply { bytes: GRANULARITY_BYTES })
    }
}
