//! Each row of the vocabulary, handed to what the client has.

use crate::gpu::CudaGpu;
use ringbar_backend::Context;
use ringbar_vocabulary::*;

/// Hands rows on, and remembers a failure that made the device unusable.
macro_rules! rows {
    ($($method:ident: $Command:ty => $Reply:ty;)+) => {$(
        #[inline]
        fn $method(&mut self, cx: &mut Context<'_>, command: $Command) -> Result<$Reply, Status> {
            let done = self.live(cx).and_then(|live| live.$method(cx, command));
            self.noted(cx, done)
        }
    )+};
}

impl Handler<Context<'_>> for CudaGpu {
    fn unsupported(&mut self, cx: &mut Context<'_>, row: &'static Row) -> Status {
        self.launch_waiting();
        self.unsupported += 1;
        if self.unsupported_seen.insert(row.opcode) {
            let reason = cx.why_unsupported(row);
            tracing::warn!(row = row.name, reason, "not supported by the cuda backend");
        }
        Status::NOT_SUPPORTED
    }

    #[inline]
    fn launch_kernel(
        &mut self,
        cx: &mut Context<'_>,
        command: LaunchKernel<'_>,
    ) -> Result<(), Status> {
        self.launch(cx, &command)
    }

    fn ping(&mut self, _cx: &mut Context<'_>, command: Ping) -> Result<PingReply, Status> {
        self.launch_waiting();
        Ok(PingReply { token: command.token })
    }

    fn init(&mut self, cx: &mut Context<'_>, command: Init) -> Result<InitReply, Status> {
        self.initialise(cx, command)
    }

    fn failure_status(
        &mut self,
        cx: &mut Context<'_>,
        command: FailureStatus,
    ) -> Result<FailureStatusReply, Status> {
        self.launch_waiting();
        Ok(cx.failure(command))
    }

    fn stats(&mut self, cx: &mut Context<'_>, _command: Stats) -> Result<StatsReply, Status> {
        let (commands, unsupported) = (self.commands, self.unsupported);
        let live = self.live(cx)?;
        Ok(StatsReply {
            commands,
            launches: live.counts.launches,
            htod_bytes: live.counts.htod_bytes,
            dtoh_bytes: live.counts.dtoh_bytes,
            allocated_bytes: live.allocated_bytes(),
            unsupported,
        })
    }

    rows! {
        device_facts: DeviceFacts => DeviceFactsReply;
        mem_alloc: MemAlloc => MemAllocReply;
        mem_free: MemFree => ();
        memcpy_htod: MemcpyHtoD<'_> => ();
        memcpy_dtoh: MemcpyDtoH => ();
        memcpy_dtod: MemcpyDtoD => ();
        memset_d8: MemsetD8 => ();
        memset_d16: MemsetD16 => ();
        memset_d32: MemsetD32 => ();
        host_alloc: HostAlloc => ();
        host_free: HostFree => ();
        stream_create: StreamCreate => ();
        stream_destroy: StreamDestroy => ();
        stream_wait_event: StreamWaitEvent => ();
        event_create: EventCreate => ();
        event_record: EventRecord => ();
        event_destroy: EventDestroy => ();
        module_load: ModuleLoad<'_> => ModuleLoadReply;
        module_load_known: ModuleLoadKnown => ModuleLoadKnownReply;
        module_compile: ModuleCompile<'_> => ModuleCompileReply;
        link: Link<'_> => LinkReply;
        context_set_flags: ContextSetFlags => ContextSetFlagsReply;
        module_unload: ModuleUnload => ();
        function_lookup: FunctionLookup<'_> => FunctionLookupReply;
        fence: Fence => ();
        memory_digest: MemoryDigest => MemoryDigestReply;
        mem_get_info: MemGetInfo => MemGetInfoReply;
        primary_context_retain: PrimaryContextRetain => PrimaryContextRetainReply;
        primary_context_reset: PrimaryContextReset => PrimaryContextResetReply;
        context_create: ContextCreate => ContextCreateReply;
        context_destroy: ContextDestroy => ContextDestroyReply;
        context_get_limit: ContextGetLimit => ContextGetLimitReply;
        context_set_limit: ContextSetLimit => ContextSetLimitReply;
        context_peer_access: ContextPeerAccess => ContextPeerAccessReply;
        device_peer_query: DevicePeerQuery => DevicePeerQueryReply;
        module_global: ModuleGlobal<'_> => ModuleGlobalReply;
        module_functions: ModuleFunctions => ModuleFunctionsReply;
        function_get_attribute: FunctionGetAttribute => FunctionGetAttributeReply;
        function_set_attribute: FunctionSetAttribute => FunctionSetAttributeReply;
        function_set_cache_config: FunctionSetCacheConfig => ();
        occupancy_blocks: OccupancyBlocks => OccupancyBlocksReply;
        occupancy_block_size: OccupancyBlockSize => OccupancyBlockSizeReply;
        occupancy_shared_bytes: OccupancySharedBytes => OccupancySharedBytesReply;
        occupancy_clusters: OccupancyClusters => OccupancyClustersReply;
        launch_kernel_ex: LaunchKernelEx<'_> => ();
        mem_alloc_pitch: MemAllocPitch => MemAllocPitchReply;
        mem_alloc_async: MemAllocAsync => MemAllocAsyncReply;
        mem_free_async: MemFreeAsync => ();
        pool_create: PoolCreate => PoolCreateReply;
        pool_destroy: PoolDestroy => ();
        pool_get_attribute: PoolGetAttribute => PoolGetAttributeReply;
        pool_set_attribute: PoolSetAttribute => PoolSetAttributeReply;
        pool_trim: PoolTrim => PoolTrimReply;
        pool_access: PoolAccess => PoolAccessReply;
        device_set_pool: DeviceSetPool => DeviceSetPoolReply;
        address_reserve: AddressReserve => AddressReserveReply;
        address_free: AddressFree => AddressFreeReply;
        physical_create: PhysicalCreate => PhysicalCreateReply;
        physical_release: PhysicalRelease => PhysicalReleaseReply;
        mem_map: MemMap => MemMapReply;
        mem_unmap: MemUnmap => MemUnmapReply;
        mem_set_access: MemSetAccess => MemSetAccessReply;
        mem_get_access: MemGetAccess => MemGetAccessReply;
        physical_granularity: PhysicalGranularity => PhysicalGranularityReply;
        memcpy_rect: MemcpyRect => ();
        memset_rect: MemsetRect => ();
        stream_set_attribute: StreamSetAttribute => ();
        stream_get_attribute: StreamGetAttribute => StreamGetAttributeReply;
        stream_copy_attributes: StreamCopyAttributes => ();
        stream_write_value: StreamWriteValue => ();
        stream_wait_value: StreamWaitValue => ();
        host_function_setup: HostFunctionSetup => HostFunctionSetupReply;
        launch_host_function: LaunchHostFunction => ();
        event_elapsed: EventElapsed => EventElapsedReply;
        event_status: EventStatus => EventStatusReply;
        fence_status: FenceStatus => FenceStatusReply;
        output_take: OutputTake => OutputTakeReply;
        stream_begin_capture: StreamBeginCapture => StreamBeginCaptureReply;
        stream_end_capture: StreamEndCapture => StreamEndCaptureReply;
        stream_capture_info: StreamCaptureInfo => StreamCaptureInfoReply;
        stream_capture_dependencies: StreamCaptureDependencies<'_> => StreamCaptureDependenciesReply;
        graph_create: GraphCreate => GraphCreateReply;
        graph_destroy: GraphDestroy => ();
        graph_clone: GraphClone => GraphCloneReply;
        graph_nodes: GraphNodes => GraphNodesReply;
        graph_edges: GraphEdges => GraphEdgesReply;
        graph_add_kernel: GraphAddKernel<'_> => GraphAddKernelReply;
        graph_add_memset: GraphAddMemset<'_> => GraphAddMemsetReply;
        graph_add_memcpy: GraphAddMemcpy<'_> => GraphAddMemcpyReply;
        graph_add_host: GraphAddHost<'_> => GraphAddHostReply;
        graph_add_empty: GraphAddEmpty<'_> => GraphAddEmptyReply;
        graph_add_event: GraphAddEvent<'_> => GraphAddEventReply;
        graph_add_child: GraphAddChild<'_> => GraphAddChildReply;
        graph_dependencies: GraphDependencies<'_> => GraphDependenciesReply;
        graph_node_type: GraphNodeType => GraphNodeTypeReply;
        graph_node_destroy: GraphNodeDestroy => GraphNodeDestroyReply;
        graph_kernel_params: GraphKernelParams => GraphKernelParamsReply;
        graph_set_kernel_params: GraphSetKernelParams<'_> => GraphSetKernelParamsReply;
        graph_set_memset: GraphSetMemset => GraphSetMemsetReply;
        graph_set_memcpy: GraphSetMemcpy => GraphSetMemcpyReply;
        graph_instantiate: GraphInstantiate => GraphInstantiateReply;
        graph_exec_update: GraphExecUpdate => GraphExecUpdateReply;
        graph_upload: GraphUpload => ();
        graph_launch: GraphLaunch => ();
        graph_exec_destroy: GraphExecDestroy => ();
        graph_dot: GraphDot => GraphDotReply;
        tensor_map_encode: TensorMapEncode<'_> => TensorMapEncodeReply;
        stream_capture_invalidate: StreamCaptureInvalidate => StreamCaptureInvalidateReply;
        context_reset_l2: ContextResetL2 => ContextResetL2Reply;
        device_texture_width: DeviceTextureWidth => DeviceTextureWidthReply;
        graph_node_find_in_clone: GraphNodeFindInClone => GraphNodeFindInCloneReply;
        graph_set_host: GraphSetHost => GraphSetHostReply;
        graph_set_event: GraphSetEvent => GraphSetEventReply;
        graph_set_child: GraphSetChild => GraphSetChildReply;
        graph_memset_params: GraphMemsetParams => GraphMemsetParamsReply;
        graph_memcpy_params: GraphMemcpyParams => GraphMemcpyParamsReply;
        graph_node_object: GraphNodeObject => GraphNodeObjectReply;
        graph_node_enabled: GraphNodeEnabled => GraphNodeEnabledReply;
        graph_kernel_attribute: GraphKernelAttribute => GraphKernelAttributeReply;
        graph_kernel_copy_attributes: GraphKernelCopyAttributes => GraphKernelCopyAttributesReply;
        ipc_memory_handle: IpcMemoryHandle => IpcMemoryHandleReply;
        ipc_memory_open: IpcMemoryOpen => IpcMemoryOpenReply;
        ipc_memory_close: IpcMemoryClose => IpcMemoryCloseReply;
        ipc_event_handle: IpcEventHandle => IpcEventHandleReply;
        ipc_event_open: IpcEventOpen => IpcEventOpenReply;
        stream_begin_capture_to_graph: StreamBeginCaptureToGraph<'_> => StreamBeginCaptureToGraphReply;
        graph_add_mem_alloc: GraphAddMemAlloc<'_> => GraphAddMemAllocReply;
        graph_add_mem_free: GraphAddMemFree<'_> => GraphAddMemFreeReply;
        graph_memory_params: GraphMemoryParams => GraphMemoryParamsReply;
        device_graph_memory: DeviceGraphMemory => DeviceGraphMemoryReply;
        array_create: ArrayCreate => ArrayCreateReply;
        array_destroy: ArrayDestroy => ();
        memcpy_array: MemcpyArray => ();
        texture_create: TextureCreate => TextureCreateReply;
        texture_destroy: TextureDestroy => ();
        surface_create: SurfaceCreate => SurfaceCreateReply;
        surface_destroy: SurfaceDestroy => ();
        device_graph_memory_trim: DeviceGraphMemoryTrim => DeviceGraphMemoryTrimReply;
    }
}
