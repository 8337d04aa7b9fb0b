//! What the mock does for each command.

use crate::facts::DRIVER_VERSION;
use crate::gpu::MockGpu;
use crate::mixing;
use crate::work::{LAUNCH_NS, Work};
use ringbar_backend::Context;
use ringbar_vocabulary::*;

/// The most bytes of a library call's arguments.
const ARGUMENTS_MAX_BYTES: usize = 1 << 20;

/// Methods of the handler that are methods of the device, in whatever file they belong to.
macro_rules! rows {
    ($($method:ident($Command:ty) $(-> $Reply:ident)?;)+) => {
        $(rows! { @ $method $Command, $($Reply)? })+
    };
    (@ $method:ident $Command:ty, $Reply:ident) => {
        fn $method(
            &mut self,
            cx: &mut Context<'_>,
            command: $Command,
        ) -> Result<$Reply, Status> {
            MockGpu::$method(self, cx, command)
        }
    };
    (@ $method:ident $Command:ty,) => {
        #[inline]
        fn $method(&mut self, cx: &mut Context<'_>, command: $Command) -> Result<(), Status> {
            MockGpu::$method(self, cx, command)
        }
    };
}

impl Handler<Context<'_>> for MockGpu {
    fn unsupported(&mut self, cx: &mut Context<'_>, row: &'static Row) -> Status {
        self.count_unsupported(cx, row);
        Status::NOT_SUPPORTED
    }

    fn ping(&mut self, _cx: &mut Context<'_>, command: Ping) -> Result<PingReply, Status> {
        Ok(PingReply { token: command.token })
    }

    fn init(&mut self, cx: &mut Context<'_>, command: Init) -> Result<InitReply, Status> {
        if command.flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        for device in 0..self.config.devices {
            cx.check_pageable(device as i32, self.config.pageable_memory_access.into())?;
        }
        self.initialised = true;
        let device_count = self.config.devices;
        Ok(InitReply { driver_version: DRIVER_VERSION, device_count })
    }

    fn device_facts(
        &mut self,
        cx: &mut Context<'_>,
        command: DeviceFacts,
    ) -> Result<DeviceFactsReply, Status> {
        self.check_device(command.device)?;
        cx.check_arena(command.facts)?;
        let mut facts = self.facts[command.device as usize].clone();
        for (number, value) in &mut facts.attributes {
            *value = cx.services().origin.offered(*number, *value);
        }
        let facts = facts.to_bytes();
        let bytes = facts.len() as u64;
        if let Some(place) = command.facts.part(0, bytes) {
            cx.write_arena(place, &facts)?;
        }
        Ok(DeviceFactsReply { bytes })
    }

    fn library_call(
        &mut self,
        cx: &mut Context<'_>,
        command: LibraryCall<'_>,
    ) -> Result<(), Status> {
        let serial = self.stream(command.stream)?;
        let capturing = self.is_capturing(command.stream)?;
        let bytes = cx.tail(command.arguments, &mut self.scratch, ARGUMENTS_MAX_BYTES)?;
        let call = (command.library, command.function, command.stream.0);
        if capturing {
            let work = Work::Library { call, bytes: bytes.into() };
            return self.capture(command.stream, work);
        }
        self.counts.library_calls += 1;
        self.clock_ns += LAUNCH_NS;
        self.engine.library_call(cx, serial, call, bytes)
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
        self.engine.digest()
    }

    fn failure_status(
        &mut self,
        cx: &mut Context<'_>,
        command: FailureStatus,
    ) -> Result<FailureStatusReply, Status> {
        Ok(cx.failure(command))
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

    rows! {
        mem_alloc(MemAlloc) -> MemAllocReply;
        mem_free(MemFree);
        memcpy_htod(MemcpyHtoD<'_>);
        memcpy_dtoh(MemcpyDtoH);
        memcpy_dtod(MemcpyDtoD);
        memset_d8(MemsetD8);
        memset_d16(MemsetD16);
        memset_d32(MemsetD32);
        host_alloc(HostAlloc);
        host_free(HostFree);
        stream_create(StreamCreate);
        stream_destroy(StreamDestroy);
        stream_wait_event(StreamWaitEvent);
        event_create(EventCreate);
        event_record(EventRecord);
        event_destroy(EventDestroy);
        module_load(ModuleLoad<'_>) -> ModuleLoadReply;
        module_load_known(ModuleLoadKnown) -> ModuleLoadKnownReply;
        module_compile(ModuleCompile<'_>) -> ModuleCompileReply;
        link(Link<'_>) -> LinkReply;
        context_set_flags(ContextSetFlags) -> ContextSetFlagsReply;
        module_unload(ModuleUnload);
        function_lookup(FunctionLookup<'_>) -> FunctionLookupReply;
        launch_kernel(LaunchKernel<'_>);
        fence(Fence);
        mem_get_info(MemGetInfo) -> MemGetInfoReply;
        primary_context_retain(PrimaryContextRetain) -> PrimaryContextRetainReply;
        primary_context_reset(PrimaryContextReset) -> PrimaryContextResetReply;
        context_create(ContextCreate) -> ContextCreateReply;
        context_destroy(ContextDestroy) -> ContextDestroyReply;
        context_get_limit(ContextGetLimit) -> ContextGetLimitReply;
        context_set_limit(ContextSetLimit) -> ContextSetLimitReply;
        context_peer_access(ContextPeerAccess) -> ContextPeerAccessReply;
        device_peer_query(DevicePeerQuery) -> DevicePeerQueryReply;
        module_global(ModuleGlobal<'_>) -> ModuleGlobalReply;
        module_functions(ModuleFunctions) -> ModuleFunctionsReply;
        function_get_attribute(FunctionGetAttribute) -> FunctionGetAttributeReply;
        function_set_attribute(FunctionSetAttribute) -> FunctionSetAttributeReply;
        function_set_cache_config(FunctionSetCacheConfig);
        occupancy_blocks(OccupancyBlocks) -> OccupancyBlocksReply;
        occupancy_block_size(OccupancyBlockSize) -> OccupancyBlockSizeReply;
        occupancy_shared_bytes(OccupancySharedBytes) -> OccupancySharedBytesReply;
        occupancy_clusters(OccupancyClusters) -> OccupancyClustersReply;
        launch_kernel_ex(LaunchKernelEx<'_>);
        mem_alloc_pitch(MemAllocPitch) -> MemAllocPitchReply;
        memcpy_rect(MemcpyRect);
        memset_rect(MemsetRect);
        stream_set_attribute(StreamSetAttribute);
        stream_get_attribute(StreamGetAttribute) -> StreamGetAttributeReply;
        stream_copy_attributes(StreamCopyAttributes);
        stream_write_value(StreamWriteValue);
        stream_wait_value(StreamWaitValue);
        host_function_setup(HostFunctionSetup) -> HostFunctionSetupReply;
        launch_host_function(LaunchHostFunction);
        event_elapsed(EventElapsed) -> EventElapsedReply;
        event_status(EventStatus) -> EventStatusReply;
        fence_status(FenceStatus) -> FenceStatusReply;
        output_take(OutputTake) -> OutputTakeReply;
        mem_alloc_async(MemAllocAsync) -> MemAllocAsyncReply;
        mem_free_async(MemFreeAsync);
        pool_create(PoolCreate) -> PoolCreateReply;
        pool_destroy(PoolDestroy);
        pool_get_attribute(PoolGetAttribute) -> PoolGetAttributeReply;
        pool_set_attribute(PoolSetAttribute) -> PoolSetAttributeReply;
        pool_trim(PoolTrim) -> PoolTrimReply;
        pool_access(PoolAccess) -> PoolAccessReply;
        device_set_pool(DeviceSetPool) -> DeviceSetPoolReply;
        address_reserve(AddressReserve) -> AddressReserveReply;
        address_free(AddressFree) -> AddressFreeReply;
        physical_create(PhysicalCreate) -> PhysicalCreateReply;
        physical_release(PhysicalRelease) -> PhysicalReleaseReply;
        mem_map(MemMap) -> MemMapReply;
        mem_unmap(MemUnmap) -> MemUnmapReply;
        mem_set_access(MemSetAccess) -> MemSetAccessReply;
        mem_get_access(MemGetAccess) -> MemGetAccessReply;
        physical_granularity(PhysicalGranularity) -> PhysicalGranularityReply;
        stream_begin_capture(StreamBeginCapture) -> StreamBeginCaptureReply;
        stream_end_capture(StreamEndCapture) -> StreamEndCaptureReply;
        stream_capture_info(StreamCaptureInfo) -> StreamCaptureInfoReply;
        stream_capture_dependencies(StreamCaptureDependencies<'_>) -> StreamCaptureDependenciesReply;
        graph_create(GraphCreate) -> GraphCreateReply;
        graph_destroy(GraphDestroy);
        graph_clone(GraphClone) -> GraphCloneReply;
        graph_nodes(GraphNodes) -> GraphNodesReply;
        graph_edges(GraphEdges) -> GraphEdgesReply;
        graph_add_kernel(GraphAddKernel<'_>) -> GraphAddKernelReply;
        graph_add_memset(GraphAddMemset<'_>) -> GraphAddMemsetReply;
        graph_add_memcpy(GraphAddMemcpy<'_>) -> GraphAddMemcpyReply;
        graph_add_host(GraphAddHost<'_>) -> GraphAddHostReply;
        graph_add_empty(GraphAddEmpty<'_>) -> GraphAddEmptyReply;
        graph_add_event(GraphAddEvent<'_>) -> GraphAddEventReply;
        graph_add_child(GraphAddChild<'_>) -> GraphAddChildReply;
        graph_dependencies(GraphDependencies<'_>) -> GraphDependenciesReply;
        graph_node_type(GraphNodeType) -> GraphNodeTypeReply;
        graph_node_destroy(GraphNodeDestroy) -> GraphNodeDestroyReply;
        graph_kernel_params(GraphKernelParams) -> GraphKernelParamsReply;
        graph_set_kernel_params(GraphSetKernelParams<'_>) -> GraphSetKernelParamsReply;
        graph_set_memset(GraphSetMemset) -> GraphSetMemsetReply;
        graph_set_memcpy(GraphSetMemcpy) -> GraphSetMemcpyReply;
        graph_instantiate(GraphInstantiate) -> GraphInstantiateReply;
        graph_exec_update(GraphExecUpdate) -> GraphExecUpdateReply;
        graph_upload(GraphUpload);
        graph_launch(GraphLaunch);
        graph_exec_destroy(GraphExecDestroy);
        graph_dot(GraphDot) -> GraphDotReply;
        stream_capture_invalidate(StreamCaptureInvalidate) -> StreamCaptureInvalidateReply;
        context_reset_l2(ContextResetL2) -> ContextResetL2Reply;
        device_texture_width(DeviceTextureWidth) -> DeviceTextureWidthReply;
        graph_node_find_in_clone(GraphNodeFindInClone) -> GraphNodeFindInCloneReply;
        graph_set_host(GraphSetHost) -> GraphSetHostReply;
        graph_set_event(GraphSetEvent) -> GraphSetEventReply;
        graph_set_child(GraphSetChild) -> GraphSetChildReply;
        graph_memset_params(GraphMemsetParams) -> GraphMemsetParamsReply;
        graph_memcpy_params(GraphMemcpyParams) -> GraphMemcpyParamsReply;
        graph_node_object(GraphNodeObject) -> GraphNodeObjectReply;
        graph_node_enabled(GraphNodeEnabled) -> GraphNodeEnabledReply;
        graph_kernel_attribute(GraphKernelAttribute) -> GraphKernelAttributeReply;
        graph_kernel_copy_attributes(GraphKernelCopyAttributes) -> GraphKernelCopyAttributesReply;
        ipc_memory_handle(IpcMemoryHandle) -> IpcMemoryHandleReply;
        ipc_memory_open(IpcMemoryOpen) -> IpcMemoryOpenReply;
        ipc_memory_close(IpcMemoryClose) -> IpcMemoryCloseReply;
        stream_begin_capture_to_graph(StreamBeginCaptureToGraph<'_>) -> StreamBeginCaptureToGraphReply;
        graph_add_mem_alloc(GraphAddMemAlloc<'_>) -> GraphAddMemAllocReply;
        graph_add_mem_free(GraphAddMemFree<'_>) -> GraphAddMemFreeReply;
        graph_memory_params(GraphMemoryParams) -> GraphMemoryParamsReply;
        device_graph_memory(DeviceGraphMemory) -> DeviceGraphMemoryReply;
        array_create(ArrayCreate) -> ArrayCreateReply;
        array_destroy(ArrayDestroy);
        memcpy_array(MemcpyArray);
        texture_create(TextureCreate) -> TextureCreateReply;
        texture_destroy(TextureDestroy);
        surface_create(SurfaceCreate) -> SurfaceCreateReply;
        surface_destroy(SurfaceDestroy);
        device_graph_memory_trim(DeviceGraphMemoryTrim) -> DeviceGraphMemoryTrimReply;
    }
}
