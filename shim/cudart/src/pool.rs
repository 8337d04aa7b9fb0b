//! Allocations in stream order, and the pools they come from.

use crate::driver;
use crate::memory::allocate;
use crate::pointer::{In, Opaque, Out};
use crate::types::{Location, MemAccessDesc, MemPoolProps, MemPoolPtrExportData};
use std::ffi::c_void;

streamed! {
    sync fn cudaMallocAsync | cudaMallocAsync_ptsz [stream](at: Out<'_, u64>, bytes: usize, stream: usize) {
        allocate(at, bytes, |driver| driver.cuMemAllocAsync(at, bytes, stream))
    }

    sync fn cudaMallocFromPoolAsync | cudaMallocFromPoolAsync_ptsz [stream](at: Out<'_, u64>, bytes: usize, pool: usize, stream: usize) {
        allocate(at, bytes, |driver| driver.cuMemAllocFromPoolAsync(at, bytes, pool, stream))
    }

    post fn cudaFreeAsync | cudaFreeAsync_ptsz [stream](at: u64, stream: usize) {
        let driver = driver::bind()?;
        if at == 0 { Ok(()) } else { driver.cuMemFreeAsync(at, stream) }
    }
}

passed! {
    sync fn cudaMemPoolCreate(pool: Out<'_, usize>, properties: In<'_, MemPoolProps>) = cuMemPoolCreate;
    post fn cudaMemPoolDestroy(pool: usize) = cuMemPoolDestroy;
    sync fn cudaMemPoolTrimTo(pool: usize, keep_bytes: usize) = cuMemPoolTrimTo;
    sync fn cudaMemPoolGetAttribute(pool: usize, attribute: u32, value[attribute]: Out<'_, c_void>) = cuMemPoolGetAttribute;
    sync fn cudaMemPoolSetAttribute(pool: usize, attribute: u32, value[attribute]: In<'_, c_void>) = cuMemPoolSetAttribute;
    sync fn cudaMemPoolGetAccess(flags: Out<'_, u32>, pool: usize, location: In<'_, Location>) = cuMemPoolGetAccess;
    sync fn cudaMemPoolSetAccess(pool: usize, accesses[count]: In<'_, MemAccessDesc>, count: usize) = cuMemPoolSetAccess;
    local fn cudaMemPoolExportToShareableHandle(handle[kind]: Out<'_, c_void>, pool: usize, kind: u32, flags: u64) = cuMemPoolExportToShareableHandle;
    local fn cudaMemPoolExportPointer(data: Out<'_, MemPoolPtrExportData>, at: u64) = cuMemPoolExportPointer;
    local fn cudaMemPoolImportPointer(at: Out<'_, u64>, pool: usize, data: In<'_, MemPoolPtrExportData>) = cuMemPoolImportPointer;
    local fn cudaMemGetDefaultMemPool(pool: Out<'_, usize>, location: In<'_, Location>, kind: u32) = cuMemGetDefaultMemPool;
    local fn cudaMemGetMemPool(pool: Out<'_, usize>, location: In<'_, Location>, kind: u32) = cuMemGetMemPool;
    sync fn cudaMemSetMemPool(location: In<'_, Location>, kind: u32, pool: usize) = cuMemSetMemPool;
    local fn cudaDeviceGetDefaultMemPool(pool: Out<'_, usize>, device: i32) = cuDeviceGetDefaultMemPool;
    local fn cudaDeviceGetMemPool(pool: Out<'_, usize>, device: i32) = cuDeviceGetMemPool;
    sync fn cudaDeviceSetMemPool(device: i32, pool: usize) = cuDeviceSetMemPool;
    sync fn cudaDeviceGetGraphMemAttribute(device: i32, attribute: u32, value: Out<'_, u64>) = cuDeviceGetGraphMemAttribute;
    sync fn cudaDeviceSetGraphMemAttribute(device: i32, attribute: u32, value: In<'_, u64>) = cuDeviceSetGraphMemAttribute;
    sync fn cudaDeviceGraphMemTrim(device: i32) = cuDeviceGraphMemTrim;
}

entries! {
    local fn cudaMemPoolImportFromShareableHandle(pool: Out<'_, usize>, handle: Opaque, kind: u32, flags: u32) {
        driver::bind()?.cuMemPoolImportFromShareableHandle(pool, handle, kind, flags.into())
    }
}
