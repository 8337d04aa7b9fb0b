//! Memory: allocations, copies, fills, pinned blocks.

use crate::facts::PITCH_BYTES;
use crate::gpu::MockGpu;
use crate::heap::Owner;
use crate::space::{Access, Place};
use crate::work::{self, Copy, Fill, Value, Work};
use ringbar_backend::Context;
use ringbar_backend::table::OBJECTS_MAX;
use ringbar_vocabulary::*;

impl MockGpu {
    fn allocate(&mut self, context: ContextId, bytes: u64) -> Result<DevicePtr, Status> {
        self.allocate_for(context, bytes, Owner::Context(context.0))
    }

    /// Memory of a context's device that is `owner`'s.
    pub(crate) fn allocate_for(
        &mut self,
        context: ContextId,
        bytes: u64,
        owner: Owner,
    ) -> Result<DevicePtr, Status> {
        let device = self.context(context)?.device;
        if bytes == 0 {
            return Err(Status::INVALID_VALUE);
        }
        self.counts.allocs += 1;
        if self.config.faults.out_of_memory_at_alloc == Some(self.counts.allocs) {
            return Err(Status::OUT_OF_MEMORY);
        }
        self.engine.with_space(|space| space.heap(device)?.alloc(bytes, owner))
    }

    pub(crate) fn mem_alloc(
        &mut self,
        _cx: &mut Context<'_>,
        command: MemAlloc,
    ) -> Result<MemAllocReply, Status> {
        self.allocate(command.context, command.bytes).map(|at| MemAllocReply { at })
    }

    pub(crate) fn mem_alloc_pitch(
        &mut self,
        _cx: &mut Context<'_>,
        command: MemAllocPitch,
    ) -> Result<MemAllocPitchReply, Status> {
        self.context(command.context)?;
        let MemAllocPitch { context, width_bytes, height, element_bytes } = command;
        if ![4, 8, 16].contains(&element_bytes) || width_bytes == 0 || height == 0 {
            return Err(Status::INVALID_VALUE);
        }
        let pitch = width_bytes.checked_next_multiple_of(PITCH_BYTES);
        let pitch = pitch.ok_or(Status::OUT_OF_MEMORY)?;
        let bytes = pitch.checked_mul(height).ok_or(Status::OUT_OF_MEMORY)?;
        self.allocate(context, bytes).map(|at| MemAllocPitchReply { at, pitch })
    }

    pub(crate) fn mem_free(
        &mut self,
        _cx: &mut Context<'_>,
        command: MemFree,
    ) -> Result<(), Status> {
        self.ready()?;
        let (owner, bytes) = self.engine.with_space_now(|space| {
            let heap = space.heap_at(command.at).ok_or(Status::INVALID_VALUE)?;
            let owner = heap.owner(command.at).ok_or(Status::INVALID_VALUE)?;
            Ok((owner, heap.bytes(command.at)))
        })?;
        match owner {
            Owner::Context(_) => {}
            Owner::Pool(pool) => self.pool_gives_back(pool, bytes),
            Owner::Module | Owner::Import(_) | Owner::Array => return Err(Status::INVALID_VALUE),
            // It lives as long as its graph.
            Owner::Graph => return Ok(()),
        }
        // As the driver does: who is told of the free may use what earlier work has written. What only the program can let
        // go on is not waited for.
        self.engine.quiet(|_, _| Ok(()))?;
        self.engine.free(command.at)
    }

    pub(crate) fn mem_get_info(
        &mut self,
        _cx: &mut Context<'_>,
        command: MemGetInfo,
    ) -> Result<MemGetInfoReply, Status> {
        let device = self.context(command.context)?.device;
        let (total_bytes, used) = self.engine.with_space(|space| {
            space.heap(device).map(|heap| (heap.capacity(), heap.allocated()))
        })?;
        Ok(MemGetInfoReply { free_bytes: total_bytes - used, total_bytes })
    }

    pub(crate) fn memcpy_htod(
        &mut self,
        cx: &mut Context<'_>,
        command: MemcpyHtoD<'_>,
    ) -> Result<(), Status> {
        let serial = self.stream(command.stream)?;
        let MemcpyHtoD { dst, stream, data } = command;
        let bytes = data.byte_len();
        // A block outside the arena is a violation, whatever else is wrong.
        if let Tail::Arena(at) = data {
            cx.check_arena(at)?;
        }
        let place = self.engine.place(dst, bytes, Access::Write)?;
        match (place, self.is_capturing(stream)?) {
            (Place::Device(range), false) => {
                self.engine.copy_in(cx, serial, range, data)?;
                self.counts.htod_bytes += bytes;
                self.pass_copy(bytes);
                Ok(())
            }
            _ => match data {
                Tail::Inline(bytes) => {
                    self.counts.htod_bytes += bytes.len() as u64;
                    self.issue(cx, stream, Work::Bytes { dst, bytes: bytes.into() })
                }
                Tail::Arena(at) => self.issue(cx, stream, Work::Copy(Copy::to_device(dst, at))),
            },
        }
    }

    pub(crate) fn memcpy_dtoh(
        &mut self,
        cx: &mut Context<'_>,
        command: MemcpyDtoH,
    ) -> Result<(), Status> {
        let serial = self.stream(command.stream)?;
        let MemcpyDtoH { dst, src, stream } = command;
        cx.check_arena(dst)?;
        let place = self.engine.place(src, dst.len, Access::Read)?;
        match (place, self.is_capturing(stream)?) {
            (Place::Device(range), false) => {
                self.engine.copy_out(cx, serial, dst, range)?;
                self.counts.dtoh_bytes += dst.len;
                self.pass_copy(dst.len);
                Ok(())
            }
            _ => self.issue(cx, stream, Work::Copy(Copy::to_host(dst, src))),
        }
    }

    pub(crate) fn memcpy_dtod(
        &mut self,
        cx: &mut Context<'_>,
        command: MemcpyDtoD,
    ) -> Result<(), Status> {
        self.stream(command.stream)?;
        let MemcpyDtoD { dst, src, bytes, stream } = command;
        self.issue(cx, stream, Work::Copy(Copy::linear(dst.0, src.0, bytes, 0)))
    }

    pub(crate) fn memcpy_rect(
        &mut self,
        cx: &mut Context<'_>,
        command: MemcpyRect,
    ) -> Result<(), Status> {
        self.stream(command.stream)?;
        let MemcpyRect { dst, src, width_bytes: width, height, depth, host, .. } = command;
        let copy = Copy { dst, src, width, height, depth, host };
        self.issue(cx, command.stream, Work::Copy(copy))
    }

    fn fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        dst: DevicePtr,
        width: u64,
        pattern: (u32, u32),
    ) -> Result<(), Status> {
        self.stream(stream)?;
        let (value, element_bytes) = pattern;
        let fill = Fill { dst, pitch: 0, width, height: 1, value, element_bytes };
        self.issue(cx, stream, Work::Fill(fill))
    }

    pub(crate) fn memset_d8(
        &mut self,
        cx: &mut Context<'_>,
        command: MemsetD8,
    ) -> Result<(), Status> {
        let MemsetD8 { dst, count, stream, value } = command;
        self.fill(cx, stream, dst, count, (value.into(), 1))
    }

    pub(crate) fn memset_d16(
        &mut self,
        cx: &mut Context<'_>,
        command: MemsetD16,
    ) -> Result<(), Status> {
        let MemsetD16 { dst, count, stream, value } = command;
        self.fill(cx, stream, dst, count, (value.into(), 2))
    }

    pub(crate) fn memset_d32(
        &mut self,
        cx: &mut Context<'_>,
        command: MemsetD32,
    ) -> Result<(), Status> {
        let MemsetD32 { dst, count, stream, value } = command;
        self.fill(cx, stream, dst, count, (value, 4))
    }

    pub(crate) fn memset_rect(
        &mut self,
        cx: &mut Context<'_>,
        command: MemsetRect,
    ) -> Result<(), Status> {
        self.stream(command.stream)?;
        let MemsetRect { dst, pitch, width, height, value, element_bytes, stream } = command;
        let fill = Fill { dst, pitch, width, height, value, element_bytes };
        self.issue(cx, stream, Work::Fill(fill))
    }

    pub(crate) fn stream_write_value(
        &mut self,
        cx: &mut Context<'_>,
        command: StreamWriteValue,
    ) -> Result<(), Status> {
        self.stream(command.stream)?;
        let StreamWriteValue { stream, at, value, flags, bits } = command;
        // The only flag leaves a barrier out.
        if flags > 1 {
            return Err(Status::INVALID_VALUE);
        }
        self.issue(cx, stream, Work::Write(Value { at, value, flags, bits }))
    }

    pub(crate) fn stream_wait_value(
        &mut self,
        cx: &mut Context<'_>,
        command: StreamWaitValue,
    ) -> Result<(), Status> {
        /// A comparison, and perhaps the flag that flushes remote writes.
        const KNOWN: u32 = 3 | 1 << 30;
        self.stream(command.stream)?;
        let StreamWaitValue { stream, at, value, flags, bits } = command;
        if flags & !KNOWN != 0 {
            return Err(Status::INVALID_VALUE);
        }
        self.issue(cx, stream, Work::WaitValue(Value { at, value, flags, bits }))
    }

    pub(crate) fn host_alloc(
        &mut self,
        cx: &mut Context<'_>,
        command: HostAlloc,
    ) -> Result<(), Status> {
        self.ready()?;
        let block = command.block;
        cx.check_arena(block)?;
        if self.pinned.contains_key(&block.addr) {
            return Err(Status::INVALID_VALUE);
        }
        if self.pinned.len() >= OBJECTS_MAX {
            return Err(Status::OUT_OF_MEMORY);
        }
        let segment = cx.services().arena.mapped(block.segment());
        let address = segment.and_then(|at| at.address.checked_add(block.offset()));
        self.pinned.insert(block.addr, (block.len, address));
        if let Some(address) = address {
            self.engine.with_space_now(|space| {
                space.pin(address, block);
                Ok(())
            })?;
        }
        Ok(())
    }

    pub(crate) fn host_free(
        &mut self,
        _cx: &mut Context<'_>,
        command: HostFree,
    ) -> Result<(), Status> {
        self.ready()?;
        let ArenaRef { addr, len } = command.block;
        let address = match self.pinned.get(&addr) {
            Some(&(bytes, address)) if bytes == len => address,
            _ => return Err(Status::INVALID_VALUE),
        };
        self.pinned.remove(&addr);
        match address {
            Some(address) => self.engine.with_space_now(|space| {
                space.unpin(address);
                Ok(())
            }),
            None => Ok(()),
        }
    }

    /// Has a stream do a piece of work, or a graph take it that the stream is captured into.
    #[inline]
    pub(crate) fn issue(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        work: work::Work,
    ) -> Result<(), Status> {
        if self.is_capturing(stream)? {
            return self.capture(stream, work);
        }
        let serial = self.stream(stream)?;
        self.perform(cx, serial, &work)
    }
}
