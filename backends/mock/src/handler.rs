//! What the mock does for each command.

use crate::facts::{BLOCK_THREADS_MAX, DRIVER_VERSION, GRID_YZ_MAX, SHARED_BYTES_MAX};
use crate::gpu::{MockGpu, twist};
use crate::ids::OBJECTS_MAX;
use crate::kernel::{Geometry, Kernel};
use crate::mixing;
use crate::module::{IMAGE_MAX_BYTES, NAME_MAX_BYTES};
use ringbar_backend::Context;
use ringbar_vocabulary::*;
use std::sync::Arc;

/// The most bytes of a library call's arguments.
const ARGUMENTS_MAX_BYTES: usize = 1 << 20;
/// Stream flags that exist: only `CU_STREAM_NON_BLOCKING`.
const STREAM_NON_BLOCKING: u32 = 1;

impl Handler<Context<'_>> for MockGpu {
    fn unsupported(&mut self, _cx: &mut Context<'_>, row: &'static Row) -> Status {
        self.count_unsupported(row);
        Status::NOT_SUPPORTED
    }

    fn ping(&mut self, _cx: &mut Context<'_>, command: Ping) -> Result<PingReply, Status> {
        Ok(PingReply { token: command.token })
    }

    fn init(&mut self, _cx: &mut Context<'_>, command: Init) -> Result<InitReply, Status> {
        if command.flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        self.initialised = true;
        Ok(InitReply { driver_version: DRIVER_VERSION, device_count: 1 })
    }

    fn device_facts(
        &mut self,
        cx: &mut Context<'_>,
        command: DeviceFacts,
    ) -> Result<DeviceFactsReply, Status> {
        self.ready()?;
        if command.device != 0 {
            return Err(Status::INVALID_DEVICE);
        }
        cx.check_arena(command.facts)?;
        let bytes = self.facts.len() as u64;
        if let Some(place) = command.facts.part(0, bytes) {
            cx.write_arena(place, &self.facts)?;
        }
        Ok(DeviceFactsReply { bytes })
    }

    fn mem_alloc(
        &mut self,
        _cx: &mut Context<'_>,
        command: MemAlloc,
    ) -> Result<MemAllocReply, Status> {
        self.ready()?;
        if command.bytes == 0 {
            return Err(Status::INVALID_VALUE);
        }
        self.counts.allocs += 1;
        if self.config.faults.out_of_memory_at_alloc == Some(self.counts.allocs) {
            return Err(Status::OUT_OF_MEMORY);
        }
        let at = self.engine.with_heap(|heap| heap.alloc(command.bytes))?;
        Ok(MemAllocReply { at })
    }

    fn mem_free(&mut self, _cx: &mut Context<'_>, command: MemFree) -> Result<(), Status> {
        self.ready()?;
        self.engine.free(command.at)
    }

    fn mem_get_info(
        &mut self,
        _cx: &mut Context<'_>,
        _command: MemGetInfo,
    ) -> Result<MemGetInfoReply, Status> {
        self.ready()?;
        let (total_bytes, used) = self.engine.with_heap(|heap| (heap.capacity(), heap.allocated()));
        Ok(MemGetInfoReply { free_bytes: total_bytes - used, total_bytes })
    }

    fn memcpy_htod(&mut self, cx: &mut Context<'_>, command: MemcpyHtoD<'_>) -> Result<(), Status> {
        let serial = self.stream(command.stream)?;
        let bytes = command.data.byte_len();
        // A block outside the arena is a violation, whatever else is wrong.
        if let Tail::Arena(at) = command.data {
            cx.check_arena(at)?;
        }
        let dst = self.engine.range(command.dst, bytes)?;
        self.engine.copy_in(cx, serial, dst, command.data)?;
        self.counts.htod_bytes += bytes;
        Ok(())
    }

    fn memcpy_dtoh(&mut self, cx: &mut Context<'_>, command: MemcpyDtoH) -> Result<(), Status> {
        let serial = self.stream(command.stream)?;
        cx.check_arena(command.dst)?;
        let src = self.engine.range(command.src, command.dst.len)?;
        self.engine.copy_out(cx, serial, command.dst, src)?;
        self.counts.dtoh_bytes += command.dst.len;
        Ok(())
    }

    fn memcpy_dtod(&mut self, cx: &mut Context<'_>, command: MemcpyDtoD) -> Result<(), Status> {
        let serial = self.stream(command.stream)?;
        let dst = self.engine.range(command.dst, command.bytes)?;
        let src = self.engine.range(command.src, command.bytes)?;
        self.engine.copy(cx, serial, dst, src);
        Ok(())
    }

    fn memset_d8(&mut self, cx: &mut Context<'_>, command: MemsetD8) -> Result<(), Status> {
        let MemsetD8 { dst, count, stream, value } = command;
        self.fill(cx, stream, dst, count, &value.to_le_bytes())
    }

    fn memset_d16(&mut self, cx: &mut Context<'_>, command: MemsetD16) -> Result<(), Status> {
        let MemsetD16 { dst, count, stream, value } = command;
        self.fill(cx, stream, dst, count, &value.to_le_bytes())
    }

    fn memset_d32(&mut self, cx: &mut Context<'_>, command: MemsetD32) -> Result<(), Status> {
        let MemsetD32 { dst, count, stream, value } = command;
        self.fill(cx, stream, dst, count, &value.to_le_bytes())
    }

    fn host_alloc(&mut self, cx: &mut Context<'_>, command: HostAlloc) -> Result<(), Status> {
        self.ready()?;
        cx.check_arena(command.block)?;
        let ArenaRef { addr, len } = command.block;
        if self.pinned.contains_key(&addr) {
            return Err(Status::INVALID_VALUE);
        }
        if self.pinned.len() >= OBJECTS_MAX {
            return Err(Status::OUT_OF_MEMORY);
        }
        self.pinned.insert(addr, len);
        Ok(())
    }

    fn host_free(&mut self, _cx: &mut Context<'_>, command: HostFree) -> Result<(), Status> {
        self.ready()?;
        let ArenaRef { addr, len } = command.block;
        if self.pinned.get(&addr) != Some(&len) {
            return Err(Status::INVALID_VALUE);
        }
        self.pinned.remove(&addr);
        Ok(())
    }

    fn stream_create(
        &mut self,
        _cx: &mut Context<'_>,
        command: StreamCreate,
    ) -> Result<(), Status> {
        self.ready()?;
        if command.flags & !STREAM_NON_BLOCKING != 0 {
            return Err(Status::INVALID_VALUE);
        }
        if command.stream == StreamId::DEFAULT {
            return Err(Status::INVALID_HANDLE);
        }
        self.streams.check_new(command.stream.0)?;
        let serial = self.engine.add_stream(command.flags & STREAM_NON_BLOCKING == 0);
        self.streams.insert(command.stream.0, serial)
    }

    fn stream_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        command: StreamDestroy,
    ) -> Result<(), Status> {
        self.ready()?;
        let serial = self.streams.remove(command.stream.0)?;
        self.engine.remove_stream(serial);
        Ok(())
    }

    fn stream_wait_event(
        &mut self,
        cx: &mut Context<'_>,
        command: StreamWaitEvent,
    ) -> Result<(), Status> {
        let serial = self.stream(command.stream)?;
        let mark = *self.events.get(command.event.0)?;
        if command.flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        self.engine.wait_for(cx, serial, mark);
        Ok(())
    }

    fn event_create(&mut self, _cx: &mut Context<'_>, command: EventCreate) -> Result<(), Status> {
        self.ready()?;
        self.events.insert(command.event.0, None)
    }

    fn event_record(&mut self, cx: &mut Context<'_>, command: EventRecord) -> Result<(), Status> {
        let serial = self.stream(command.stream)?;
        let record = self.events.get_mut(command.event.0)?;
        *record = self.engine.mark(cx, serial);
        Ok(())
    }

    fn event_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        command: EventDestroy,
    ) -> Result<(), Status> {
        self.ready()?;
        self.events.remove(command.event.0).map(|_| ())
    }

    fn module_load(
        &mut self,
        cx: &mut Context<'_>,
        command: ModuleLoad<'_>,
    ) -> Result<ModuleLoadReply, Status> {
        self.ready()?;
        self.modules.check_new(command.module.0)?;
        let image = cx.tail(command.image, &mut self.scratch, IMAGE_MAX_BYTES)?;
        let module = self.registry.load(image)?;
        self.modules.insert(command.module.0, module)?;
        Ok(ModuleLoadReply {})
    }

    fn module_unload(
        &mut self,
        _cx: &mut Context<'_>,
        command: ModuleUnload,
    ) -> Result<(), Status> {
        self.ready()?;
        let module = self.modules.remove(command.module.0)?;
        for function in module.functions {
            // Each was put there when it was added to the table.
            let _ = self.functions.remove(function);
        }
        Ok(())
    }

    fn function_lookup(
        &mut self,
        cx: &mut Context<'_>,
        command: FunctionLookup<'_>,
    ) -> Result<FunctionLookupReply, Status> {
        self.ready()?;
        self.functions.check_new(command.function.0)?;
        let module = self.modules.get_mut(command.module.0)?;
        let name = cx.tail(command.name, &mut self.scratch, NAME_MAX_BYTES)?;
        let kernel = self.registry.find(module, name)?;
        let reply = FunctionLookupReply {
            params: kernel.layout.len() as u32,
            param_bytes: kernel.param_bytes as u32,
            inline: Param::inline(&kernel.layout),
        };
        if write_layout(cx, &kernel, command.layout)? {
            self.functions.insert(command.function.0, kernel)?;
            module.functions.push(command.function.0);
        }
        Ok(reply)
    }

    #[inline]
    fn launch_kernel(
        &mut self,
        cx: &mut Context<'_>,
        command: LaunchKernel<'_>,
    ) -> Result<(), Status> {
        let serial = self.stream(command.stream)?;
        let geometry = geometry(&command)?;
        let kernel = self.functions.get(command.function.0)?;
        let params = cx.tail(command.params, &mut self.scratch, PARAM_BLOCK_MAX_BYTES)?;
        if params.len() != kernel.param_bytes {
            return Err(Status::INVALID_VALUE);
        }
        self.counts.launches += 1;
        let twist = twist(&self.config.faults, self.counts.launches);
        let result = self.engine.launch(cx, serial, kernel, params, geometry, twist);
        result.inspect_err(|&status| self.lost = Some(status))
    }

    fn fence(&mut self, cx: &mut Context<'_>, command: Fence) -> Result<(), Status> {
        cx.check_fence(command.index)?;
        let serial = self.stream(command.stream)?;
        self.engine.fence(cx, serial, command.index, command.value)
    }

    fn library_call(
        &mut self,
        cx: &mut Context<'_>,
        command: LibraryCall<'_>,
    ) -> Result<(), Status> {
        let serial = self.stream(command.stream)?;
        let bytes = cx.tail(command.arguments, &mut self.scratch, ARGUMENTS_MAX_BYTES)?;
        self.counts.library_calls += 1;
        let call = (command.library, command.function, command.stream.0);
        self.engine.library_call(cx, serial, call, bytes);
        Ok(())
    }

    fn library_query(
        &mut self,
        cx: &mut Context<'_>,
        command: LibraryQuery<'_>,
    ) -> Result<LibraryQueryReply, Status> {
        self.ready()?;
        let bytes = cx.tail(command.request, &mut self.scratch, ARGUMENTS_MAX_BYTES)?;
        let mut state =
            mixing::start(u64::from(command.library) | u64::from(command.function) << 32);
        mixing::fold(&mut state, bytes);
        let [a, b, c, d] = state;
        Ok(LibraryQueryReply { bytes: 32, answer: [a, b, c, d, 0] })
    }

    fn memory_digest(
        &mut self,
        _cx: &mut Context<'_>,
        _command: MemoryDigest,
    ) -> Result<MemoryDigestReply, Status> {
        self.ready()?;
        Ok(self.engine.digest())
    }

    fn stats(&mut self, _cx: &mut Context<'_>, _command: Stats) -> Result<StatsReply, Status> {
        let counts = &self.counts;
        Ok(StatsReply {
            commands: counts.commands,
            launches: counts.launches + counts.library_calls,
            htod_bytes: counts.htod_bytes,
            dtoh_bytes: counts.dtoh_bytes,
            allocated_bytes: self.engine.allocated_bytes(),
            unsupported: counts.unsupported,
        })
    }
}

impl MockGpu {
    fn fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        dst: DevicePtr,
        count: u64,
        pattern: &[u8],
    ) -> Result<(), Status> {
        let serial = self.stream(stream)?;
        let width = pattern.len() as u64;
        let bytes = count.checked_mul(width).ok_or(Status::INVALID_VALUE)?;
        if !dst.0.is_multiple_of(width) {
            return Err(Status::INVALID_VALUE);
        }
        let range = self.engine.range(dst, bytes)?;
        self.engine.fill(cx, serial, range, pattern);
        Ok(())
    }
}

/// Writes a layout that does not fit into the reply; `false` if the block is too small for it.
fn write_layout(
    cx: &mut Context<'_>,
    kernel: &Arc<Kernel>,
    block: ArenaRef,
) -> Result<bool, Status> {
    if kernel.layout.len() <= INLINE_PARAMS {
        return Ok(true);
    }
    let bytes: Vec<u8> =
        kernel.layout.iter().flat_map(|param| param.to_word().to_le_bytes()).collect();
    let Some(place) = block.part(0, bytes.len() as u64) else {
        return Ok(false);
    };
    cx.write_arena(place, &bytes)?;
    Ok(true)
}

#[inline]
fn geometry(command: &LaunchKernel<'_>) -> Result<Geometry, Status> {
    let &LaunchKernel { grid, block, shared_bytes, stream, .. } = command;
    let threads = block.iter().try_fold(1u64, |all, &n| all.checked_mul(u64::from(n)));
    let block_fits = threads.is_some_and(|n| (1..=BLOCK_THREADS_MAX).contains(&n));
    let [x, y, z] = grid;
    let grid_fits = x >= 1
        && x <= i32::MAX as u32
        && (1..=GRID_YZ_MAX).contains(&y)
        && (1..=GRID_YZ_MAX).contains(&z);
    if !block_fits || !grid_fits || block[2] > 64 || shared_bytes > SHARED_BYTES_MAX {
        return Err(Status::INVALID_VALUE);
    }
    Ok(Geometry { grid, block, shared_bytes, stream })
}
