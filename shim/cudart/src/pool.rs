//! Allocations in stream order, and the pools they come from.

use crate::driver;
use crate::memory::allocate;
use crate::pointer::Out;

streamed! {
    fn cudaMallocAsync | cudaMallocAsync_ptsz [stream](at: Out<'_, u64>, bytes: usize, stream: usize) {
        allocate(at, bytes, |driver| driver.cuMemAllocAsync(at, bytes, stream))
    }

    fn cudaMallocFromPoolAsync | cudaMallocFromPoolAsync_ptsz [stream](at: Out<'_, u64>, bytes: usize, pool: usize, stream: usize) {
        allocate(at, bytes, |driver| driver.cuMemAllocFromPoolAsync(at, bytes, pool, stream))
    }

    fn cudaFreeAsync | cudaFreeAsync_ptsz [stream](at: u64, stream: usize) {
        let driver = driver::bind()?;
        if at == 0 { Ok(()) } else { driver.cuMemFreeAsync(at, stream) }
    }
}

passed! {
    fn cudaMemPoolCreate(pool: Out<'_, usize>, properties: usize) = cuMemPoolCreate;
    fn cudaMemPoolDestroy(pool: usize) = cuMemPoolDestroy;
    fn cudaMemPoolTrimTo(pool: usize, keep_bytes: usize) = cuMemPoolTrimTo;
    fn cudaMemPoolGetAttribute(pool: usize, attribute: u32, value: usize) = cuMemPoolGetAttribute;
    fn cudaMemPoolSetAttribute(pool: usize, attribute: u32, value: usize) = cuMemPoolSetAttribute;
    fn cudaMemPoolGetAccess(flags: Out<'_, u32>, pool: usize, location: usize) = cuMemPoolGetAccess;
    fn cudaMemPoolSetAccess(pool: usize, accesses: usize, count: usize) = cuMemPoolSetAccess;
    fn cudaMemPoolExportToShareableHandle(handle: usize, pool: usize, kind: u32, flags: u64) = cuMemPoolExportToShareableHandle;
    fn cudaMemPoolExportPointer(data: usize, at: u64) = cuMemPoolExportPointer;
    fn cudaMemPoolImportPointer(at: Out<'_, u64>, pool: usize, data: usize) = cuMemPoolImportPointer;
    fn cudaMemGetDefaultMemPool(pool: Out<'_, usize>, location: usize, kind: u32) = cuMemGetDefaultMemPool;
    fn cudaMemGetMemPool(pool: Out<'_, usize>, location: usize, kind: u32) = cuMemGetMemPool;
    fn cudaMemSetMemPool(location: usize, kind: u32, pool: usize) = cuMemSetMemPool;
    fn cudaDeviceGetDefaultMemPool(pool: Out<'_, usize>, device: i32) = cuDeviceGetDefaultMemPool;
    fn cudaDeviceGetMemPool(pool: Out<'_, usize>, device: i32) = cuDeviceGetMemPool;
    fn cudaDeviceSetMemPool(device: i32, pool: usize) = cuDeviceSetMemPool;
    fn cudaDeviceGetGraphMemAttribute(device: i32, attribute: u32, value: usize) = cuDeviceGetGraphMemAttribute;
    fn cudaDeviceSetGraphMemAttribute(device: i32, attribute: u32, value: usize) = cuDeviceSetGraphMemAttribute;
    fn cudaDeviceGraphMemTrim(device: i32) = cuDeviceGraphMemTrim;
}

entries! {
    fn cudaMemPoolImportFromShareableHandle(pool: Out<'_, usize>, handle: usize, kind: u32, flags: u32) {
        driver::bind()?.cuMemPoolImportFromShareableHandle(pool, handle, kind, flags.into())
    }
}
