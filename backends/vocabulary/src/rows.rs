//! The table: one row a function. Adding a function is adding a row at the end.
//!
//! A row reads: what it does; opcode, class, type and method; the CUDA names it carries and the
//! version that brought the first; the fixed fields; then a tail and a reply where it has them.
//! Opcodes count up without gaps and are never changed or reused. A field marked `out` names a
//! place that the executor writes.

use crate::derive;
use crate::row::row_of;
use crate::wire::{
    self, DecodeError, Draw, Field, HEADER_BYTES, Header, Packer, Sink, Unpacker, align_up,
};
use crate::{
    ArenaRef, Class, Command, ContextId, Corner, Decode, DevicePtr, Direction, Done, EventId,
    FieldRow, FunctionId, GraphExecId, GraphId, MemoryId, ModuleId, NodeId, PoolId, PostCommand,
    Reply, ReplyBody, Row, Status, StreamId, SyncCommand, Tail,
};

derive::vocabulary! {
    /// Answers with the token it was sent: a round trip that also waits for all commands before
    /// it to be taken by the backend (not for their device work).
    1 sync Ping ping [] since 0
    {
        /// Anything.
        in token: u64,
    }
    reply PingReply {
        /// The command's token.
        token: u64,
    };

    /// Starts the driver. Everything but `ping` before it answers NOT_INITIALIZED.
    2 sync Init init ["cuInit"] since 2000
    {
        /// Must be 0.
        in flags: u32,
    }
    reply InitReply {
        /// The driver's CUDA version, as CUDA numbers it (13,000 is 13.0).
        driver_version: u32,
        /// How many devices there are.
        device_count: u32,
    };

    /// Writes everything that can be asked about a device, as [`crate::DeviceFactsBlock`] lays it out.
    /// Nothing is written if the block is too small.
    3 sync DeviceFacts device_facts [] since 0
    {
        /// The device's ordinal.
        in device: u32,
        /// Where the facts go.
        out facts: ArenaRef,
    }
    reply DeviceFactsReply {
        /// Bytes that the facts take; larger than the block if nothing was written.
        bytes: u64,
    };

    /// Allocates device memory, aligned to 256 bytes. Its contents are undefined.
    4 sync MemAlloc mem_alloc ["cuMemAlloc_v2"] since 3020
    {
        /// The context it belongs to.
        in context: ContextId,
        /// Size in bytes, above 0.
        in bytes: u64,
    }
    reply MemAllocReply {
        /// The allocation's first byte.
        at: DevicePtr,
    };

    /// Frees an allocation once all work posted before it is done.
    5 post MemFree mem_free ["cuMemFree_v2"] since 3020
    {
        /// An address that `mem_alloc` returned.
        in at: DevicePtr,
    };

    /// Copies from the host, in stream order; small data travels inline.
    6 post MemcpyHtoD memcpy_htod ["cuMemcpyHtoDAsync_v2", "cuMemcpyHtoD_v2"] since 3020
    {
        /// Where the bytes go.
        in dst: DevicePtr,
        /// The stream.
        in stream: StreamId,
    }
    tail
        /// The bytes; an arena block stays in use until the copy is done.
        data;

    /// Copies to the host, in stream order; the arena block stays in use until the copy is done.
    7 post MemcpyDtoH memcpy_dtoh ["cuMemcpyDtoHAsync_v2", "cuMemcpyDtoH_v2"] since 3020
    {
        /// Where the bytes go; its length is the copy's.
        out dst: ArenaRef,
        /// Where the bytes come from.
        in src: DevicePtr,
        /// The stream.
        in stream: StreamId,
    };

    /// Copies between device buffers, in stream order. They must not overlap.
    8 post MemcpyDtoD memcpy_dtod ["cuMemcpyDtoDAsync_v2", "cuMemcpyDtoD_v2"] since 3020
    {
        /// Where the bytes go.
        in dst: DevicePtr,
        /// Where the bytes come from.
        in src: DevicePtr,
        /// How many bytes.
        in bytes: u64,
        /// The stream.
        in stream: StreamId,
    };

    /// Fills with an 8-bit value, in stream order.
    9 post MemsetD8 memset_d8 ["cuMemsetD8Async", "cuMemsetD8_v2"] since 3020
    {
        /// The first byte.
        in dst: DevicePtr,
        /// How many values.
        in count: u64,
        /// The stream.
        in stream: StreamId,
        /// The value.
        in value: u8,
    };

    /// Fills with a 16-bit value, in stream order.
    10 post MemsetD16 memset_d16 ["cuMemsetD16Async", "cuMemsetD16_v2"] since 3020
    {
        /// The first byte, a multiple of 2.
        in dst: DevicePtr,
        /// How many values.
        in count: u64,
        /// The stream.
        in stream: StreamId,
        /// The value.
        in value: u16,
    };

    /// Fills with a 32-bit value, in stream order.
    11 post MemsetD32 memset_d32 ["cuMemsetD32Async", "cuMemsetD32_v2"] since 3020
    {
        /// The first byte, a multiple of 4.
        in dst: DevicePtr,
        /// How many values.
        in count: u64,
        /// The stream.
        in stream: StreamId,
        /// The value.
        in value: u32,
    };

    /// Says that the client uses an arena block as pinned host memory from now on.
    12 post HostAlloc host_alloc ["cuMemHostAlloc", "cuMemAllocHost_v2"] since 2020
    {
        /// The block.
        in block: ArenaRef,
        /// `CU_MEMHOSTALLOC_*`.
        in flags: u32,
    };

    /// Says that a pinned block is no longer used.
    13 post HostFree host_free ["cuMemFreeHost"] since 2000
    {
        /// The block exactly as `host_alloc` named it.
        in block: ArenaRef,
    };

    /// Creates a stream under a number that the client chose.
    14 post StreamCreate stream_create ["cuStreamCreateWithPriority", "cuStreamCreate"] since 5050
    {
        /// The context it belongs to.
        in context: ContextId,
        /// A number not in use, not 0.
        in stream: StreamId,
        /// 0, or 1 for a stream that does not wait for the default stream.
        in flags: u32,
        /// The priority; lower numbers are more urgent.
        in priority: i32,
    };

    /// Destroys a stream; its outstanding work still completes.
    15 post StreamDestroy stream_destroy ["cuStreamDestroy_v2"] since 4000
    {
        /// The stream, not 0.
        in stream: StreamId,
    };

    /// Makes later work of a stream wait for an event's latest record.
    16 post StreamWaitEvent stream_wait_event ["cuStreamWaitEvent"] since 3020
    {
        /// The stream that waits.
        in stream: StreamId,
        /// The event; one that was never recorded is not waited for.
        in event: EventId,
        /// Must be 0.
        in flags: u32,
    };

    /// Creates an event under a number that the client chose.
    17 post EventCreate event_create ["cuEventCreate"] since 2000
    {
        /// The context it belongs to.
        in context: ContextId,
        /// A number not in use.
        in event: EventId,
        /// `CU_EVENT_*`.
        in flags: u32,
    };

    /// Records an event: it is complete when all earlier work of the stream is.
    18 post EventRecord event_record ["cuEventRecord", "cuEventRecordWithFlags"] since 2000
    {
        /// The event.
        in event: EventId,
        /// The stream.
        in stream: StreamId,
        /// `CU_EVENT_RECORD_*`.
        in flags: u32,
        /// Which fence word gets `value` when the record is complete; [`crate::NO_FENCE`] for none.
        in index: u32,
        /// The value, larger than what the word held before.
        in value: u64,
    };

    /// Destroys an event; streams that wait for its record still do.
    19 post EventDestroy event_destroy ["cuEventDestroy_v2"] since 4000
    {
        /// The event.
        in event: EventId,
    };

    /// Loads a module under a number that the client chose.
    20 sync ModuleLoad module_load ["cuModuleLoadData", "cuModuleLoadDataEx", "cuLibraryLoadData"] since 2000
    {
        /// The context it belongs to.
        in context: ContextId,
        /// A number not in use.
        in module: ModuleId,
    }
    tail
        /// The whole image.
        image
    reply ModuleLoadReply {};

    /// Unloads a module with all its functions, once all work posted before it is done.
    21 post ModuleUnload module_unload ["cuModuleUnload", "cuLibraryUnload"] since 2000
    {
        /// The module.
        in module: ModuleId,
    };

    /// Finds a kernel by name and answers with its parameter layout.
    22 sync FunctionLookup function_lookup ["cuModuleGetFunction", "cuLibraryGetKernel"] since 2000
    {
        /// The module.
        in module: ModuleId,
        /// A number not in use, for the function.
        in function: FunctionId,
        /// Where the layout goes, 4 bytes a parameter, if it has more than 10 parameters.
        /// NOT_FOUND and too small a block leave the number unused.
        out layout: ArenaRef,
    }
    tail
        /// The kernel's name, without a terminating zero.
        name
    reply FunctionLookupReply {
        /// How many parameters there are. If more than 10 and more than the block has room for,
        /// the function was not looked up; ask again with 4 bytes a parameter.
        params: u32,
        /// Bytes of a whole parameter block.
        param_bytes: u32,
        /// The first 10 parameters, as [`crate::Param::to_word`] packs them.
        inline: [u32; 10],
    };

    /// Launches a kernel, in stream order.
    23 post LaunchKernel launch_kernel ["cuLaunchKernel"] since 4000
    {
        /// The function.
        in function: FunctionId,
        /// Blocks in x, y, z.
        in grid: [u32; 3],
        /// Threads of a block in x, y, z.
        in block: [u32; 3],
        /// Dynamic shared memory in bytes.
        in shared_bytes: u32,
        /// The stream.
        in stream: StreamId,
    }
    tail
        /// The parameter block, laid out as `function_lookup` said; at most 32,764 bytes.
        params;

    /// Writes a value into a fence word when all earlier work of the stream is done. After a
    /// kernel failed, no fence is written any more.
    24 post Fence fence [] since 0
    {
        /// The stream.
        in stream: StreamId,
        /// Which fence word.
        in index: u32,
        /// The value, larger than what the word held before.
        in value: u64,
    };

    /// Calls a library in the worker, in stream order; the bytes decide what it does to device
    /// memory.
    25 post LibraryCall library_call [] since 0
    {
        /// Which library.
        in library: u32,
        /// Which of its functions.
        in function: u32,
        /// The stream.
        in stream: StreamId,
    }
    tail
        /// The call's arguments.
        arguments;

    /// Asks a library in the worker something and waits for the answer.
    26 sync LibraryQuery library_query [] since 0
    {
        /// Which library.
        in library: u32,
        /// Which of its functions.
        in function: u32,
    }
    tail
        /// The question.
        request
    reply LibraryQueryReply {
        /// Bytes of the answer that count.
        bytes: u32,
        /// The answer, little-endian, zeros behind it.
        answer: [u64; 5],
    };

    /// Waits for all device work, then hashes all live allocations in address order.
    /// For tests that compare transports, never for applications.
    27 sync MemoryDigest memory_digest [] since 0
    {}
    reply MemoryDigestReply {
        /// The hash.
        digest: u64,
        /// How many allocations are live.
        allocations: u64,
        /// Their bytes.
        bytes: u64,
    };

    /// What this backend has done so far.
    28 sync Stats stats [] since 0
    {}
    reply StatsReply {
        /// Commands dispatched, this one included.
        commands: u64,
        /// Kernels and library calls launched.
        launches: u64,
        /// Bytes copied from the host.
        htod_bytes: u64,
        /// Bytes copied to the host.
        dtoh_bytes: u64,
        /// Device memory in use, in bytes.
        allocated_bytes: u64,
        /// Commands answered with NOT_SUPPORTED.
        unsupported: u64,
    };

    /// How much device memory is free.
    29 sync MemGetInfo mem_get_info ["cuMemGetInfo_v2"] since 3020
    {
        /// The context it belongs to.
        in context: ContextId,
    }
    reply MemGetInfoReply {
        /// Free bytes.
        free_bytes: u64,
        /// All bytes.
        total_bytes: u64,
    };

    /// The driver's version, known since `init`.
    30 local DriverGetVersion driver_get_version ["cuDriverGetVersion"] since 2020 {};
    /// The number of devices, known since `init`.
    31 local DeviceGetCount device_get_count ["cuDeviceGetCount"] since 2000 {};
    /// A device's handle.
    32 local DeviceGet device_get ["cuDeviceGet"] since 2000 {};
    /// A device's name, from its facts.
    33 local DeviceGetName device_get_name ["cuDeviceGetName"] since 2000 {};
    /// A device's memory in bytes, from its facts.
    34 local DeviceTotalMem device_total_mem ["cuDeviceTotalMem_v2"] since 3020 {};
    /// One attribute of a device, from its facts.
    35 local DeviceGetAttribute device_get_attribute ["cuDeviceGetAttribute"] since 2000 {};
    /// A device's UUID, from its facts.
    36 local DeviceGetUuid device_get_uuid ["cuDeviceGetUuid_v2", "cuDeviceGetUuid"] since 9020 {};
    /// Waits for a stream's work by a fence word.
    37 local StreamSynchronize stream_synchronize ["cuStreamSynchronize"] since 2000 {};
    /// Whether a stream's work is done, by a fence word.
    38 local StreamQuery stream_query ["cuStreamQuery"] since 2000 {};
    /// Waits for an event's record by a fence word.
    39 local EventSynchronize event_synchronize ["cuEventSynchronize"] since 2000 {};
    /// Whether an event's record is complete, by a fence word.
    40 local EventQuery event_query ["cuEventQuery"] since 2000 {};
    /// Waits for all work by fence words.
    41 local CtxSynchronize ctx_synchronize ["cuCtxSynchronize"] since 2000 {};

    /// Makes a device's primary context live; its number is the device's.
    42 sync PrimaryContextRetain primary_context_retain ["cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxSetFlags_v2"] since 7000
    {
        /// The device's ordinal.
        in device: u32,
        /// `CU_CTX_*` scheduling flags.
        in flags: u32,
    }
    reply PrimaryContextRetainReply {};

    /// Destroys a primary context with everything in it.
    43 sync PrimaryContextReset primary_context_reset ["cuDevicePrimaryCtxReset_v2", "cuDevicePrimaryCtxRelease_v2"] since 7000
    {
        /// The device's ordinal.
        in device: u32,
    }
    reply PrimaryContextResetReply {};

    /// Creates a context under a number that the client chose.
    44 sync ContextCreate context_create ["cuCtxCreate_v4", "cuCtxCreate_v3", "cuCtxCreate_v2"] since 3020
    {
        /// A number not in use, at least [`ContextId::FIRST_CREATED`].
        in context: ContextId,
        /// The device's ordinal.
        in device: u32,
        /// `CU_CTX_*`.
        in flags: u32,
    }
    reply ContextCreateReply {};

    /// Destroys a created context with everything in it.
    45 sync ContextDestroy context_destroy ["cuCtxDestroy_v2"] since 4000
    {
        /// The context.
        in context: ContextId,
    }
    reply ContextDestroyReply {};

    /// A limit of a context.
    46 sync ContextGetLimit context_get_limit ["cuCtxGetLimit"] since 3010
    {
        /// The context.
        in context: ContextId,
        /// `CUlimit`.
        in limit: u32,
    }
    reply ContextGetLimitReply {
        /// The limit.
        value: u64,
    };

    /// Sets a limit of a context.
    47 sync ContextSetLimit context_set_limit ["cuCtxSetLimit"] since 3010
    {
        /// The context.
        in context: ContextId,
        /// `CUlimit`.
        in limit: u32,
        /// The limit.
        in value: u64,
    }
    reply ContextSetLimitReply {};

    /// Lets a context reach the memory of another, or no longer.
    48 sync ContextPeerAccess context_peer_access ["cuCtxEnablePeerAccess", "cuCtxDisablePeerAccess"] since 4000
    {
        /// The context.
        in context: ContextId,
        /// The other.
        in peer: ContextId,
        /// 1 to enable, 0 to disable.
        in enable: u32,
    }
    reply ContextPeerAccessReply {};

    /// What two devices can do with each other.
    49 sync DevicePeerQuery device_peer_query ["cuDeviceCanAccessPeer", "cuDeviceGetP2PAttribute"] since 4000
    {
        /// The device that reaches.
        in device: u32,
        /// The device that is reached.
        in peer: u32,
        /// `CUdevice_P2PAttribute`, or [`crate::CAN_ACCESS_PEER`].
        in attribute: u32,
    }
    reply DevicePeerQueryReply {
        /// The answer.
        value: i32,
    };

    /// Finds a variable of a module by name.
    50 sync ModuleGlobal module_global ["cuModuleGetGlobal_v2", "cuLibraryGetGlobal", "cuLibraryGetManaged"] since 3020
    {
        /// The module.
        in module: ModuleId,
    }
    tail
        /// The variable's name, without a terminating zero.
        name
    reply ModuleGlobalReply {
        /// Its first byte.
        at: DevicePtr,
        /// Its size.
        bytes: u64,
    };

    /// The names of a module's kernels, each ended by a zero byte. Nothing is written if the block is too small.
    51 sync ModuleFunctions module_functions ["cuModuleEnumerateFunctions", "cuModuleGetFunctionCount", "cuLibraryEnumerateKernels", "cuLibraryGetKernelCount"] since 12040
    {
        /// The module.
        in module: ModuleId,
        /// Where the names go.
        out names: ArenaRef,
    }
    reply ModuleFunctionsReply {
        /// How many kernels there are.
        count: u32,
        /// Bytes that the names take.
        bytes: u32,
    };

    /// One attribute of a function.
    52 sync FunctionGetAttribute function_get_attribute ["cuFuncGetAttribute", "cuKernelGetAttribute"] since 2020
    {
        /// The function.
        in function: FunctionId,
        /// `CUfunction_attribute`.
        in attribute: u32,
    }
    reply FunctionGetAttributeReply {
        /// Its value.
        value: i32,
    };

    /// Sets an attribute of a function.
    53 sync FunctionSetAttribute function_set_attribute ["cuFuncSetAttribute", "cuKernelSetAttribute"] since 9000
    {
        /// The function.
        in function: FunctionId,
        /// `CUfunction_attribute`.
        in attribute: u32,
        /// Its value.
        in value: i32,
    }
    reply FunctionSetAttributeReply {};

    /// Prefers shared memory or the first-level cache for a function.
    54 post FunctionSetCacheConfig function_set_cache_config ["cuFuncSetCacheConfig", "cuKernelSetCacheConfig"] since 3000
    {
        /// The function.
        in function: FunctionId,
        /// `CUfunc_cache`.
        in config: u32,
    };

    /// How many blocks of a function fit a multiprocessor at once.
    55 sync OccupancyBlocks occupancy_blocks ["cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags", "cuOccupancyMaxActiveBlocksPerMultiprocessor"] since 6050
    {
        /// The function.
        in function: FunctionId,
        /// Threads of a block.
        in block_threads: u32,
        /// Dynamic shared memory of a block.
        in shared_bytes: u64,
        /// `CUoccupancy_flags`.
        in flags: u32,
    }
    reply OccupancyBlocksReply {
        /// How many.
        blocks: u32,
    };

    /// The block size that keeps most threads resident, for a fixed dynamic shared memory.
    56 sync OccupancyBlockSize occupancy_block_size ["cuOccupancyMaxPotentialBlockSizeWithFlags", "cuOccupancyMaxPotentialBlockSize"] since 6050
    {
        /// The function.
        in function: FunctionId,
        /// The largest block size wanted; 0 for any.
        in limit: u32,
        /// Dynamic shared memory of a block.
        in shared_bytes: u64,
        /// `CUoccupancy_flags`.
        in flags: u32,
    }
    reply OccupancyBlockSizeReply {
        /// Blocks that fill the device.
        min_grid: u32,
        /// Threads of a block.
        block: u32,
    };

    /// Dynamic shared memory that leaves room for so many blocks.
    57 sync OccupancySharedBytes occupancy_shared_bytes ["cuOccupancyAvailableDynamicSMemPerBlock"] since 11000
    {
        /// The function.
        in function: FunctionId,
        /// Blocks of a multiprocessor.
        in blocks: u32,
        /// Threads of a block.
        in block_threads: u32,
    }
    reply OccupancySharedBytesReply {
        /// How much.
        bytes: u64,
    };

    /// How many clusters fit the device, or how large one may be.
    58 sync OccupancyClusters occupancy_clusters ["cuOccupancyMaxActiveClusters", "cuOccupancyMaxPotentialClusterSize"] since 11080
    {
        /// The function.
        in function: FunctionId,
        /// Blocks in x, y, z.
        in grid: [u32; 3],
        /// Threads of a block in x, y, z.
        in block: [u32; 3],
        /// Dynamic shared memory of a block.
        in shared_bytes: u32,
        /// Blocks of a cluster; zeros if the launch names none.
        in cluster: [u32; 3],
        /// 1 to ask for the largest cluster, 0 for their number.
        in largest: u32,
        /// The stream.
        in stream: StreamId,
    }
    reply OccupancyClustersReply {
        /// The answer.
        value: u32,
    };

    /// Launches a kernel with attributes, in stream order.
    59 post LaunchKernelEx launch_kernel_ex ["cuLaunchKernelEx", "cuLaunchCooperativeKernel"] since 11060
    {
        /// The function.
        in function: FunctionId,
        /// Blocks in x, y, z.
        in grid: [u32; 3],
        /// Threads of a block in x, y, z.
        in block: [u32; 3],
        /// Dynamic shared memory in bytes.
        in shared_bytes: u32,
        /// The stream.
        in stream: StreamId,
        /// How many attributes there are, at most [`crate::LAUNCH_ATTRIBUTES_MAX`].
        in attributes: u32,
    }
    tail
        /// 72 bytes an attribute as `CUlaunchAttribute` lies in memory, events as their number; then the parameter block.
        body;

    /// Allocates rows of device memory at an aligned distance.
    60 sync MemAllocPitch mem_alloc_pitch ["cuMemAllocPitch_v2"] since 3020
    {
        /// The context.
        in context: ContextId,
        /// Bytes of a row.
        in width_bytes: u64,
        /// How many rows.
        in height: u64,
        /// 4, 8 or 16.
        in element_bytes: u32,
    }
    reply MemAllocPitchReply {
        /// The first byte.
        at: DevicePtr,
        /// Bytes from row to row.
        pitch: u64,
    };

    /// Allocates from a pool, in stream order.
    61 sync MemAllocAsync mem_alloc_async ["cuMemAllocAsync", "cuMemAllocFromPoolAsync"] since 11020
    {
        /// The pool; [`PoolId::CURRENT`] for the stream's device's current one.
        in pool: PoolId,
        /// Size in bytes.
        in bytes: u64,
        /// The stream.
        in stream: StreamId,
    }
    reply MemAllocAsyncReply {
        /// The allocation's first byte.
        at: DevicePtr,
    };

    /// Gives memory of a pool back, in stream order.
    62 post MemFreeAsync mem_free_async ["cuMemFreeAsync"] since 11020
    {
        /// The allocation's first byte.
        in at: DevicePtr,
        /// The stream.
        in stream: StreamId,
    };

    /// Creates a memory pool on a device.
    63 sync PoolCreate pool_create ["cuMemPoolCreate"] since 11020
    {
        /// A number not in use, at least 1, below [`PoolId::DEFAULTS`].
        in pool: PoolId,
        /// The device's ordinal.
        in device: u32,
        /// The most it may hold; 0 for no limit.
        in max_bytes: u64,
    }
    reply PoolCreateReply {};

    /// Destroys a pool; what was allocated from it stays.
    64 post PoolDestroy pool_destroy ["cuMemPoolDestroy"] since 11020
    {
        /// The pool.
        in pool: PoolId,
    };

    /// An attribute of a pool.
    65 sync PoolGetAttribute pool_get_attribute ["cuMemPoolGetAttribute"] since 11020
    {
        /// The pool.
        in pool: PoolId,
        /// `CUmemPool_attribute`.
        in attribute: u32,
    }
    reply PoolGetAttributeReply {
        /// Its value.
        value: u64,
    };

    /// Sets an attribute of a pool.
    66 sync PoolSetAttribute pool_set_attribute ["cuMemPoolSetAttribute"] since 11020
    {
        /// The pool.
        in pool: PoolId,
        /// `CUmemPool_attribute`.
        in attribute: u32,
        /// Its value.
        in value: u64,
    }
    reply PoolSetAttributeReply {};

    /// Gives unused memory of a pool back to the device.
    67 sync PoolTrim pool_trim ["cuMemPoolTrimTo"] since 11020
    {
        /// The pool.
        in pool: PoolId,
        /// How much it may keep.
        in keep_bytes: u64,
    }
    reply PoolTrimReply {};

    /// Reads, or sets, how a device may use a pool.
    68 sync PoolAccess pool_access ["cuMemPoolSetAccess", "cuMemPoolGetAccess"] since 11020
    {
        /// The pool.
        in pool: PoolId,
        /// The device's ordinal.
        in device: u32,
        /// 1 to set `flags`, 0 to read.
        in set: u32,
        /// `CUmemAccess_flags`.
        in flags: u32,
    }
    reply PoolAccessReply {
        /// `CUmemAccess_flags` now.
        flags: u32,
    };

    /// Makes a pool the current one of a device.
    69 sync DeviceSetPool device_set_pool ["cuDeviceSetMemPool"] since 11020
    {
        /// The device's ordinal.
        in device: u32,
        /// The pool.
        in pool: PoolId,
    }
    reply DeviceSetPoolReply {};

    /// Reserves device addresses.
    70 sync AddressReserve address_reserve ["cuMemAddressReserve"] since 10020
    {
        /// How many.
        in bytes: u64,
        /// Alignment; 0 for any.
        in align: u64,
        /// Where, if that is free; 0 for anywhere.
        in near: DevicePtr,
    }
    reply AddressReserveReply {
        /// The first address.
        at: DevicePtr,
    };

    /// Gives reserved addresses back.
    71 sync AddressFree address_free ["cuMemAddressFree"] since 10020
    {
        /// The first address.
        in at: DevicePtr,
        /// How many.
        in bytes: u64,
    }
    reply AddressFreeReply {};

    /// Creates physical memory on a device under a number that the client chose.
    72 sync PhysicalCreate physical_create ["cuMemCreate"] since 10020
    {
        /// A number not in use, not 0.
        in memory: MemoryId,
        /// The device's ordinal.
        in device: u32,
        /// Its size.
        in bytes: u64,
        /// Bit 0: ask for memory that compresses; bit 1: that RDMA can reach.
        in flags: u32,
    }
    reply PhysicalCreateReply {};

    /// Releases physical memory; it lives on while it is mapped.
    73 sync PhysicalRelease physical_release ["cuMemRelease"] since 10020
    {
        /// The memory.
        in memory: MemoryId,
    }
    reply PhysicalReleaseReply {};

    /// Maps physical memory at reserved addresses.
    74 sync MemMap mem_map ["cuMemMap"] since 10020
    {
        /// The first address.
        in at: DevicePtr,
        /// How much.
        in bytes: u64,
        /// Must be 0.
        in offset: u64,
        /// The memory.
        in memory: MemoryId,
    }
    reply MemMapReply {};

    /// Unmaps physical memory, after all work posted before.
    75 sync MemUnmap mem_unmap ["cuMemUnmap"] since 10020
    {
        /// The first address.
        in at: DevicePtr,
        /// How much.
        in bytes: u64,
    }
    reply MemUnmapReply {};

    /// Sets how a device may use mapped memory.
    76 sync MemSetAccess mem_set_access ["cuMemSetAccess"] since 10020
    {
        /// The first address.
        in at: DevicePtr,
        /// How much.
        in bytes: u64,
        /// The device's ordinal.
        in device: u32,
        /// `CUmemAccess_flags`.
        in flags: u32,
    }
    reply MemSetAccessReply {};

    /// How a device may use mapped memory.
    77 sync MemGetAccess mem_get_access ["cuMemGetAccess"] since 10020
    {
        /// An address.
        in at: DevicePtr,
        /// The device's ordinal.
        in device: u32,
    }
    reply MemGetAccessReply {
        /// `CUmemAccess_flags`.
        flags: u64,
    };

    /// The unit of sizes of physical memory.
    78 sync PhysicalGranularity physical_granularity ["cuMemGetAllocationGranularity"] since 10020
    {
        /// The device's ordinal.
        in device: u32,
        /// 0 the least, 1 the recommended.
        in option: u32,
    }
    reply PhysicalGranularityReply {
        /// The unit.
        bytes: u64,
    };

    /// Copies a box of bytes, in stream order.
    79 post MemcpyRect memcpy_rect ["cuMemcpy2DAsync_v2", "cuMemcpy2D_v2", "cuMemcpy2DUnaligned_v2", "cuMemcpy3DAsync_v2", "cuMemcpy3D_v2"] since 3020
    {
        /// Where the bytes go.
        in dst: Corner,
        /// Where the bytes come from.
        in src: Corner,
        /// Bytes of a row.
        in width_bytes: u64,
        /// Rows of a slice.
        in height: u64,
        /// Slices.
        in depth: u64,
        /// The stream.
        in stream: StreamId,
        /// Bit 0: `dst` is an arena address; bit 1: `src` is one. Not both.
        in host: u32,
    };

    /// Fills rows with a value, in stream order.
    80 post MemsetRect memset_rect ["cuMemsetD2D8Async", "cuMemsetD2D8_v2", "cuMemsetD2D16Async", "cuMemsetD2D16_v2", "cuMemsetD2D32Async", "cuMemsetD2D32_v2"] since 3020
    {
        /// The first byte.
        in dst: DevicePtr,
        /// Bytes from row to row.
        in pitch: u64,
        /// Values of a row.
        in width: u64,
        /// Rows.
        in height: u64,
        /// The value.
        in value: u32,
        /// 1, 2 or 4.
        in element_bytes: u32,
        /// The stream.
        in stream: StreamId,
    };

    /// Sets an attribute of a stream.
    81 post StreamSetAttribute stream_set_attribute ["cuStreamSetAttribute"] since 11000
    {
        /// The stream.
        in stream: StreamId,
        /// `CUstreamAttrID`.
        in attribute: u32,
        /// `CUstreamAttrValue`, its first 32 bytes.
        in value: [u64; 4],
    };

    /// An attribute of a stream.
    82 sync StreamGetAttribute stream_get_attribute ["cuStreamGetAttribute"] since 11000
    {
        /// The stream.
        in stream: StreamId,
        /// `CUstreamAttrID`.
        in attribute: u32,
    }
    reply StreamGetAttributeReply {
        /// `CUstreamAttrValue`, its first 32 bytes.
        value: [u64; 4],
    };

    /// Gives a stream the attributes of another.
    83 post StreamCopyAttributes stream_copy_attributes ["cuStreamCopyAttributes"] since 11000
    {
        /// The stream that changes.
        in dst: StreamId,
        /// The other.
        in src: StreamId,
    };

    /// Writes a value to memory, in stream order.
    84 post StreamWriteValue stream_write_value ["cuStreamWriteValue64_v2", "cuStreamWriteValue32_v2"] since 8000
    {
        /// The stream.
        in stream: StreamId,
        /// Where.
        in at: DevicePtr,
        /// The value.
        in value: u64,
        /// `CUstreamWriteValue_flags`.
        in flags: u32,
        /// 32 or 64.
        in bits: u32,
    };

    /// Makes later work of a stream wait for a value in memory.
    85 post StreamWaitValue stream_wait_value ["cuStreamWaitValue64_v2", "cuStreamWaitValue32_v2"] since 8000
    {
        /// The stream.
        in stream: StreamId,
        /// Where.
        in at: DevicePtr,
        /// The value.
        in value: u64,
        /// `CUstreamWaitValue_flags`.
        in flags: u32,
        /// 32 or 64.
        in bits: u32,
    };

    /// Names the fence word that announces a host function, and the two words of the arena through which its token goes out and its acknowledgement comes back. Once a session.
    86 sync HostFunctionSetup host_function_setup [] since 0
    {
        /// The fence word: its value is how many were announced.
        in index: u32,
        /// 16 bytes: the token of the announced function, then how many the client has run.
        in mailbox: ArenaRef,
    }
    reply HostFunctionSetupReply {};

    /// Has the client run a function, in stream order; the stream goes on when the client has acknowledged it.
    87 post LaunchHostFunction launch_host_function ["cuLaunchHostFunc", "cuStreamAddCallback"] since 10000
    {
        /// The stream.
        in stream: StreamId,
        /// What the client knows the function by.
        in token: u64,
    };

    /// Time between two events.
    88 sync EventElapsed event_elapsed ["cuEventElapsedTime_v2", "cuEventElapsedTime"] since 2000
    {
        /// The earlier event.
        in start: EventId,
        /// The later event.
        in end: EventId,
    }
    reply EventElapsedReply {
        /// The bits of a 32-bit float.
        milliseconds_bits: u32,
    };

    /// Whether work of a stream failed: for a client that waits long for a fence.
    89 sync FenceStatus fence_status [] since 0
    {
        /// The stream.
        in stream: StreamId,
    }
    reply FenceStatusReply {
        /// 0 done, 600 not yet, else the failure.
        status: u32,
    };

    /// What kernels printed since the last time, once the work posted before is done.
    90 sync OutputTake output_take [] since 0
    {
        /// Where it goes.
        out text: ArenaRef,
        /// The context.
        in context: ContextId,
    }
    reply OutputTakeReply {
        /// How much of it was written; ask again while the block was filled.
        bytes: u32,
    };

    /// Makes later work of a stream part of a graph instead of running it.
    91 sync StreamBeginCapture stream_begin_capture ["cuStreamBeginCapture_v2"] since 10000
    {
        /// The stream.
        in stream: StreamId,
        /// `CUstreamCaptureMode`.
        in mode: u32,
    }
    reply StreamBeginCaptureReply {};

    /// Ends a capture; the graph gets a number that the client chose.
    92 sync StreamEndCapture stream_end_capture ["cuStreamEndCapture"] since 10000
    {
        /// The stream.
        in stream: StreamId,
        /// A number not in use.
        in graph: GraphId,
    }
    reply StreamEndCaptureReply {};

    /// Whether a stream is capturing, and into what.
    93 sync StreamCaptureInfo stream_capture_info ["cuStreamGetCaptureInfo_v3", "cuStreamGetCaptureInfo_v2", "cuStreamIsCapturing"] since 10000
    {
        /// The stream.
        in stream: StreamId,
        /// A number for the graph that is being captured, if it has none yet; 0 not to ask.
        in graph: GraphId,
        /// Where the numbers of the nodes go that the next one will depend on, 8 bytes each.
        out nodes: ArenaRef,
    }
    reply StreamCaptureInfoReply {
        /// The capture's number.
        id: u64,
        /// `CUstreamCaptureStatus`.
        status: u32,
        /// The graph's number.
        graph: GraphId,
        /// How many nodes there are; those without room were not written.
        nodes: u32,
    };

    /// Changes what the next captured node depends on.
    94 sync StreamCaptureDependencies stream_capture_dependencies ["cuStreamUpdateCaptureDependencies_v2", "cuStreamUpdateCaptureDependencies"] since 11030
    {
        /// The stream.
        in stream: StreamId,
        /// 0 to add, 1 to set.
        in flags: u32,
    }
    tail
        /// Node numbers, 8 bytes each.
        nodes
    reply StreamCaptureDependenciesReply {};

    /// Creates an empty graph.
    95 sync GraphCreate graph_create ["cuGraphCreate"] since 10000
    {
        /// A number not in use.
        in graph: GraphId,
    }
    reply GraphCreateReply {};

    /// Destroys a graph.
    96 post GraphDestroy graph_destroy ["cuGraphDestroy"] since 10000
    {
        /// The graph.
        in graph: GraphId,
    };

    /// Copies a graph.
    97 sync GraphClone graph_clone ["cuGraphClone"] since 10000
    {
        /// A number not in use, for the copy.
        in graph: GraphId,
        /// The graph.
        in original: GraphId,
    }
    reply GraphCloneReply {};

    /// The numbers of a graph's nodes.
    98 sync GraphNodes graph_nodes ["cuGraphGetNodes", "cuGraphGetRootNodes"] since 10000
    {
        /// The graph.
        in graph: GraphId,
        /// 1 for those only that depend on none.
        in roots: u32,
        /// Where the numbers go, 8 bytes each.
        out nodes: ArenaRef,
    }
    reply GraphNodesReply {
        /// How many there are; those without room were not written.
        count: u64,
    };

    /// Edges of a graph, or those of one of its nodes.
    99 sync GraphEdges graph_edges ["cuGraphGetEdges_v2", "cuGraphGetEdges", "cuGraphNodeGetDependencies_v2", "cuGraphNodeGetDependencies", "cuGraphNodeGetDependentNodes_v2", "cuGraphNodeGetDependentNodes"] since 10000
    {
        /// The graph, or 0 to ask for a node.
        in graph: GraphId,
        /// The node, or 0.
        in node: NodeId,
        /// For a node: 0 those it depends on, 1 those that depend on it.
        in which: u32,
        /// Where they go: 16 bytes each, from and to.
        out edges: ArenaRef,
    }
    reply GraphEdgesReply {
        /// How many there are; those without room were not written.
        count: u64,
    };

    /// Adds a kernel launch to a graph.
    100 sync GraphAddKernel graph_add_kernel ["cuGraphAddKernelNode_v2"] since 10000
    {
        /// The graph.
        in graph: GraphId,
        /// The function.
        in function: FunctionId,
        /// Blocks in x, y, z.
        in grid: [u32; 3],
        /// Threads of a block in x, y, z.
        in block: [u32; 3],
        /// Dynamic shared memory in bytes.
        in shared_bytes: u32,
        /// How many nodes it depends on.
        in dependencies: u32,
    }
    tail
        /// Node numbers, 8 bytes each; then the parameter block.
        body
    reply GraphAddKernelReply {
        /// The node's number.
        node: NodeId,
    };

    /// Adds a fill to a graph.
    101 sync GraphAddMemset graph_add_memset ["cuGraphAddMemsetNode"] since 10000
    {
        /// The graph.
        in graph: GraphId,
        /// The context.
        in context: ContextId,
        /// The first byte.
        in dst: DevicePtr,
        /// Bytes from row to row.
        in pitch: u64,
        /// Values of a row.
        in width: u64,
        /// Rows.
        in height: u64,
        /// The value.
        in value: u32,
        /// 1, 2 or 4.
        in element_bytes: u32,
    }
    tail
        /// Numbers of the nodes it depends on, 8 bytes each.
        nodes
    reply GraphAddMemsetReply {
        /// The node's number.
        node: NodeId,
    };

    /// Adds a copy between device memory or pinned memory to a graph.
    102 sync GraphAddMemcpy graph_add_memcpy ["cuGraphAddMemcpyNode"] since 10000
    {
        /// The graph.
        in graph: GraphId,
        /// The context.
        in context: ContextId,
        /// Where the bytes go.
        in dst: Corner,
        /// Where the bytes come from.
        in src: Corner,
        /// Bytes of a row.
        in width_bytes: u64,
        /// Rows of a slice.
        in height: u64,
        /// Slices.
        in depth: u64,
        /// Bit 0: `dst` is an arena address; bit 1: `src` is one.
        in host: u32,
    }
    tail
        /// Numbers of the nodes it depends on, 8 bytes each.
        nodes
    reply GraphAddMemcpyReply {
        /// The node's number.
        node: NodeId,
    };

    /// Adds a host function to a graph.
    103 sync GraphAddHost graph_add_host ["cuGraphAddHostNode"] since 10000
    {
        /// The graph.
        in graph: GraphId,
        /// What the client knows the function by.
        in token: u64,
    }
    tail
        /// Numbers of the nodes it depends on, 8 bytes each.
        nodes
    reply GraphAddHostReply {
        /// The node's number.
        node: NodeId,
    };

    /// Adds a node that does nothing to a graph.
    104 sync GraphAddEmpty graph_add_empty ["cuGraphAddEmptyNode"] since 10000
    {
        /// The graph.
        in graph: GraphId,
    }
    tail
        /// Numbers of the nodes it depends on, 8 bytes each.
        nodes
    reply GraphAddEmptyReply {
        /// The node's number.
        node: NodeId,
    };

    /// Adds the record of an event, or a wait for one, to a graph.
    105 sync GraphAddEvent graph_add_event ["cuGraphAddEventRecordNode", "cuGraphAddEventWaitNode"] since 11010
    {
        /// The graph.
        in graph: GraphId,
        /// The event.
        in event: EventId,
        /// 1 to wait, 0 to record.
        in wait: u32,
    }
    tail
        /// Numbers of the nodes it depends on, 8 bytes each.
        nodes
    reply GraphAddEventReply {
        /// The node's number.
        node: NodeId,
    };

    /// Adds a copy of a graph to a graph as one node.
    106 sync GraphAddChild graph_add_child ["cuGraphAddChildGraphNode"] since 10000
    {
        /// The graph.
        in graph: GraphId,
        /// The graph that is copied.
        in child: GraphId,
    }
    tail
        /// Numbers of the nodes it depends on, 8 bytes each.
        nodes
    reply GraphAddChildReply {
        /// The node's number.
        node: NodeId,
    };

    /// Adds edges to a graph, or removes them.
    107 sync GraphDependencies graph_dependencies ["cuGraphAddDependencies_v2", "cuGraphAddDependencies", "cuGraphRemoveDependencies_v2", "cuGraphRemoveDependencies"] since 10000
    {
        /// The graph.
        in graph: GraphId,
        /// 1 to remove, 0 to add.
        in remove: u32,
    }
    tail
        /// 16 bytes each: from and to.
        edges
    reply GraphDependenciesReply {};

    /// What a node is.
    108 sync GraphNodeType graph_node_type ["cuGraphNodeGetType"] since 10000
    {
        /// The node.
        in node: NodeId,
    }
    reply GraphNodeTypeReply {
        /// `CUgraphNodeType`.
        kind: u32,
    };

    /// Removes a node from its graph.
    109 sync GraphNodeDestroy graph_node_destroy ["cuGraphDestroyNode"] since 10000
    {
        /// The node.
        in node: NodeId,
    }
    reply GraphNodeDestroyReply {};

    /// What a kernel node launches.
    110 sync GraphKernelParams graph_kernel_params ["cuGraphKernelNodeGetParams_v2"] since 10000
    {
        /// The node.
        in node: NodeId,
        /// Where the parameter block goes.
        out params: ArenaRef,
    }
    reply GraphKernelParamsReply {
        /// The function.
        function: FunctionId,
        /// Blocks in x, y, z.
        grid: [u32; 3],
        /// Threads of a block in x, y, z.
        block: [u32; 3],
        /// Dynamic shared memory in bytes.
        shared_bytes: u32,
        /// Bytes of the parameter block; not written if there is no room.
        param_bytes: u32,
    };

    /// Changes what a kernel node launches, in its graph or in an executable one.
    111 sync GraphSetKernelParams graph_set_kernel_params ["cuGraphKernelNodeSetParams_v2", "cuGraphExecKernelNodeSetParams_v2"] since 10000
    {
        /// The node.
        in node: NodeId,
        /// The executable graph; 0 for the node's own graph.
        in exec: GraphExecId,
        /// The function.
        in function: FunctionId,
        /// Blocks in x, y, z.
        in grid: [u32; 3],
        /// Threads of a block in x, y, z.
        in block: [u32; 3],
        /// Dynamic shared memory in bytes.
        in shared_bytes: u32,
    }
    tail
        /// The parameter block.
        params
    reply GraphSetKernelParamsReply {};

    /// Changes what a memset node fills.
    112 sync GraphSetMemset graph_set_memset ["cuGraphMemsetNodeSetParams", "cuGraphExecMemsetNodeSetParams"] since 10000
    {
        /// The node.
        in node: NodeId,
        /// The executable graph; 0 for the node's own graph.
        in exec: GraphExecId,
        /// The context.
        in context: ContextId,
        /// The first byte.
        in dst: DevicePtr,
        /// Bytes from row to row.
        in pitch: u64,
        /// Values of a row.
        in width: u64,
        /// Rows.
        in height: u64,
        /// The value.
        in value: u32,
        /// 1, 2 or 4.
        in element_bytes: u32,
    }
    reply GraphSetMemsetReply {};

    /// Changes what a copy node copies.
    113 sync GraphSetMemcpy graph_set_memcpy ["cuGraphMemcpyNodeSetParams", "cuGraphExecMemcpyNodeSetParams"] since 10000
    {
        /// The node.
        in node: NodeId,
        /// The executable graph; 0 for the node's own graph.
        in exec: GraphExecId,
        /// The context.
        in context: ContextId,
        /// Where the bytes go.
        in dst: Corner,
        /// Where the bytes come from.
        in src: Corner,
        /// Bytes of a row.
        in width_bytes: u64,
        /// Rows of a slice.
        in height: u64,
        /// Slices.
        in depth: u64,
        /// Bit 0: `dst` is an arena address; bit 1: `src` is one.
        in host: u32,
    }
    reply GraphSetMemcpyReply {};

    /// Makes a graph ready to launch.
    114 sync GraphInstantiate graph_instantiate ["cuGraphInstantiateWithFlags", "cuGraphInstantiateWithParams"] since 11040
    {
        /// The graph.
        in graph: GraphId,
        /// A number not in use, not 0.
        in exec: GraphExecId,
        /// `CUgraphInstantiate_flags`.
        in flags: u64,
    }
    reply GraphInstantiateReply {
        /// The node that could not be instantiated, if one could not.
        node: NodeId,
        /// `CUgraphInstantiateResult`.
        result: u32,
    };

    /// Changes an executable graph into another of the same shape.
    115 sync GraphExecUpdate graph_exec_update ["cuGraphExecUpdate_v2"] since 12000
    {
        /// The executable graph.
        in exec: GraphExecId,
        /// The graph it shall be like.
        in graph: GraphId,
    }
    reply GraphExecUpdateReply {
        /// The node that could not be updated, if one could not.
        node: NodeId,
        /// The node before it, if an edge was the reason.
        from: NodeId,
        /// `CUgraphExecUpdateResult`.
        result: u32,
        /// The call's own status.
        status: u32,
    };

    /// Uploads an executable graph to its device.
    116 post GraphUpload graph_upload ["cuGraphUpload"] since 11010
    {
        /// The executable graph.
        in exec: GraphExecId,
        /// The stream.
        in stream: StreamId,
    };

    /// Launches an executable graph, in stream order.
    117 post GraphLaunch graph_launch ["cuGraphLaunch"] since 10000
    {
        /// The executable graph.
        in exec: GraphExecId,
        /// The stream.
        in stream: StreamId,
    };

    /// Destroys an executable graph.
    118 post GraphExecDestroy graph_exec_destroy ["cuGraphExecDestroy"] since 10000
    {
        /// The executable graph.
        in exec: GraphExecId,
    };

    /// A description of a graph in the DOT language. Nothing is written if the block is too small.
    119 sync GraphDot graph_dot ["cuGraphDebugDotPrint"] since 11010
    {
        /// The graph.
        in graph: GraphId,
        /// `CUgraphDebugDot_flags`.
        in flags: u32,
        /// Where it goes.
        out text: ArenaRef,
    }
    reply GraphDotReply {
        /// How long it is.
        bytes: u64,
    };

    /// Encodes a tensor map: a pure function of its arguments.
    120 sync TensorMapEncode tensor_map_encode ["cuTensorMapEncodeTiled", "cuTensorMapEncodeIm2col", "cuTensorMapReplaceAddress"] since 12000
    {
        /// 0 tiled, 1 im2col, 2 replace the address.
        in kind: u32,
        /// Where the 128 bytes go.
        out map: ArenaRef,
    }
    tail
        /// All numbers as u64: data type, rank, address, sizes, strides, box, element strides, interleave, swizzle, promotion, fill; im2col: also the corners, channels and pixels; 2: the old map and the address.
        arguments
    reply TensorMapEncodeReply {};

    /// Breaks the capture that a stream takes part in: it ends with STREAM_CAPTURE_INVALIDATED, as after a call that a
    /// capture forbids. Nothing happens to a stream that does not capture.
    121 sync StreamCaptureInvalidate stream_capture_invalidate [] since 0
    {
        /// The stream.
        in stream: StreamId,
    }
    reply StreamCaptureInvalidateReply {};

    /// Makes lines of the second-level cache that persist normal ones again.
    122 sync ContextResetL2 context_reset_l2 ["cuCtxResetPersistingL2Cache"] since 11000
    {
        /// The context.
        in context: ContextId,
    }
    reply ContextResetL2Reply {};

    /// How many elements of a format a texture over memory in a row may have.
    123 sync DeviceTextureWidth device_texture_width ["cuDeviceGetTexture1DLinearMaxWidth"] since 11010
    {
        /// The device's ordinal.
        in device: u32,
        /// `CUarray_format`.
        in format: u32,
        /// Channels of an element.
        in channels: u32,
    }
    reply DeviceTextureWidthReply {
        /// How many.
        elements: u64,
    };

    /// Which node of a copied graph is the copy of a node.
    124 sync GraphNodeFindInClone graph_node_find_in_clone ["cuGraphNodeFindInClone"] since 10000
    {
        /// The node of the original.
        in node: NodeId,
        /// The copy, as `graph_clone` made it.
        in graph: GraphId,
    }
    reply GraphNodeFindInCloneReply {
        /// The copy's node.
        node: NodeId,
    };

    /// Changes the host function of a node.
    125 sync GraphSetHost graph_set_host ["cuGraphHostNodeSetParams", "cuGraphExecHostNodeSetParams"] since 10000
    {
        /// The node.
        in node: NodeId,
        /// The executable graph; 0 for the node's own graph.
        in exec: GraphExecId,
        /// What the client knows the function by.
        in token: u64,
    }
    reply GraphSetHostReply {};

    /// Changes the event that a node records or waits for.
    126 sync GraphSetEvent graph_set_event ["cuGraphEventRecordNodeSetEvent", "cuGraphEventWaitNodeSetEvent", "cuGraphExecEventRecordNodeSetEvent", "cuGraphExecEventWaitNodeSetEvent"] since 11010
    {
        /// The node.
        in node: NodeId,
        /// The executable graph; 0 for the node's own graph.
        in exec: GraphExecId,
        /// The event.
        in event: EventId,
        /// 1 for a node that waits, 0 for one that records.
        in wait: u32,
    }
    reply GraphSetEventReply {};

    /// Changes the graph inside a node of an executable graph into another of the same shape.
    127 sync GraphSetChild graph_set_child ["cuGraphExecChildGraphNodeSetParams"] since 11010
    {
        /// The node.
        in node: NodeId,
        /// The executable graph.
        in exec: GraphExecId,
        /// The graph that is copied.
        in child: GraphId,
    }
    reply GraphSetChildReply {};

    /// What a memset node fills.
    128 sync GraphMemsetParams graph_memset_params ["cuGraphMemsetNodeGetParams"] since 10000
    {
        /// The node.
        in node: NodeId,
    }
    reply GraphMemsetParamsReply {
        /// The first byte.
        dst: DevicePtr,
        /// Bytes from row to row.
        pitch: u64,
        /// Values of a row.
        width: u64,
        /// Rows.
        height: u64,
        /// The value.
        value: u32,
        /// 1, 2 or 4.
        element_bytes: u32,
    };

    /// What a copy node copies, as `graph_add_memcpy` takes it. An end in pinned memory is told by its address.
    129 sync GraphMemcpyParams graph_memcpy_params ["cuGraphMemcpyNodeGetParams"] since 10000
    {
        /// The node.
        in node: NodeId,
        /// Where 9 words go: address, pitch and slice of the destination, of the source; bytes of a row, rows, slices.
        out copy: ArenaRef,
    }
    reply GraphMemcpyParamsReply {};

    /// What a node refers to.
    130 sync GraphNodeObject graph_node_object ["cuGraphHostNodeGetParams", "cuGraphEventRecordNodeGetEvent", "cuGraphEventWaitNodeGetEvent", "cuGraphChildGraphNodeGetGraph"] since 10000
    {
        /// The node.
        in node: NodeId,
        /// The kind that it must have: `CUgraphNodeType` of a host function, a graph, or an event.
        in kind: u32,
        /// A number for the graph inside a node of that kind, if it has none yet; else 0.
        in graph: GraphId,
    }
    reply GraphNodeObjectReply {
        /// The token of its host function, the number of its event, or the number of the graph inside it.
        object: u64,
    };

    /// A failure of a posted command by its number among all, the first being 0, as far as they are remembered.
    131 sync FailureStatus failure_status [] since 0
    {
        /// The number.
        in number: u64,
    }
    reply FailureStatusReply {
        /// The command's position.
        position: u64,
        /// Its status; 0 if there are not so many failures, or that one is no longer remembered.
        status: u32,
    };
}

#[cold]
fn unknown_opcode(found: u16) -> DecodeError {
    DecodeError::UnknownOpcode { found, expected_max: ROWS.len() as u16 }
}

#[cold]
fn local_opcode(row: &'static Row) -> DecodeError {
    DecodeError::LocalOpcode { function: row.name, found: row.opcode }
}
