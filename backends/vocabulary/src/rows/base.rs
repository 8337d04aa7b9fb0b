//! What every program needs: start, facts, memory, copies, streams, events, modules, launches, fences; and what is answered
//! without the ring.

/// Puts these rows behind those before, and hands all to the next macro.
macro_rules! base {
    ({ $($before:tt)* } $next:ident $($more:ident)*) => {
        $next! { {
        $($before)*

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
            14 post StreamCreate stream_create ["cuStreamCreateWithPriority", "cuStreamCreate"] since 2000
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
            20 sync ModuleLoad module_load ["cuModuleLoadData", "cuLibraryLoadData"] since 2000
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
        } $($more)* }
    };
}

pub(super) use base;
