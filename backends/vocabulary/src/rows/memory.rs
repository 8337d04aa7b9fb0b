//! Pitched and stream-ordered memory, pools, virtual addresses, rectangles.

/// Puts these rows behind those before, and hands all to the next macro.
macro_rules! memory {
    ({ $($before:tt)* } $next:ident $($more:ident)*) => {
        $next! { {
        $($before)*

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
        } $($more)* }
    };
}

pub(super) use memory;
