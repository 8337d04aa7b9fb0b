//! Contexts, modules, functions, occupancy, launches with attributes.

/// Puts these rows behind those before, and hands all to the next macro.
macro_rules! contexts {
    ({ $($before:tt)* } $next:ident $($more:ident)*) => {
        $next! { {
        $($before)*

            /// Makes a device's primary context live; its number is the device's.
            42 sync PrimaryContextRetain primary_context_retain ["cuDevicePrimaryCtxRetain"] since 7000
            {
                /// The device's ordinal.
                in device: u32,
                /// `CU_CTX_*` scheduling flags.
                in flags: u32,
            }
            reply PrimaryContextRetainReply {};

            /// Destroys a primary context with everything in it.
            43 sync PrimaryContextReset primary_context_reset ["cuDevicePrimaryCtxReset_v2", "cuDevicePrimaryCtxRelease_v2"] since 11000
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
            57 sync OccupancySharedBytes occupancy_shared_bytes ["cuOccupancyAvailableDynamicSMemPerBlock"] since 10020
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
            58 sync OccupancyClusters occupancy_clusters ["cuOccupancyMaxActiveClusters", "cuOccupancyMaxPotentialClusterSize"] since 11070
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
            59 post LaunchKernelEx launch_kernel_ex ["cuLaunchKernelEx", "cuLaunchCooperativeKernel"] since 9000
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
        } $($more)* }
    };
}

pub(super) use contexts;
