// Device memory, pinned and managed memory, fills, pointer attributes.
#include "driver.h"

static void allocation(void) {
    CUdeviceptr block = 0, base = 0, pitched = 0;
    size_t bytes = 0, some = 0, all = 0;
    begin();
    CALL(cuMemAlloc, &block, 1000);
    SHOW("%d %llu", block != 0, (unsigned long long)(block % 256));
    CALL(cuMemGetAddressRange, &base, &bytes, block + 500);
    SHOW("%d %zu", base == block, bytes);
    CALL(cuMemGetAddressRange, NULL, &bytes, block);
    SHOW("%zu", bytes);
    CALL(cuMemGetAddressRange, &base, NULL, block);
    CALL(cuMemGetAddressRange, &base, &bytes, 64);
    CALL(cuMemAlloc, &base, 0);
    CALL(cuMemAlloc, NULL, 16);
    CALL(cuMemAlloc, &base, (size_t)1 << 60);
    CALL(cuMemGetInfo, &some, &all);
    SHOW("%d %zu", some <= all && some > 0, all);
    CALL(cuMemGetInfo, NULL, &all);
    CALL(cuMemGetInfo, &some, NULL);
    CALL(cuMemFree, block + 4);
    CALL(cuMemFree, 64);
    CALL(cuMemFree, 0);
    CALL(cuMemFree, block);
    CALL(cuMemFree, block);
    CALL(cuMemAllocPitch, &pitched, &bytes, 100, 10, 4);
    SHOW("%zu", bytes);
    CALL(cuMemFree, pitched);
    CALL(cuMemAllocPitch, &pitched, &bytes, 100, 10, 3);
    CALL(cuMemAllocPitch, &pitched, &bytes, 0, 10, 4);
    CALL(cuMemAllocPitch, NULL, &bytes, 100, 10, 4);
    CALL(cuMemAllocPitch, &pitched, NULL, 100, 10, 4);
}

static void pinned(void) {
    char *host = NULL, *other = NULL;
    CUdeviceptr seen = 0, block = 0;
    unsigned flags = 0;
    char back[64];
    begin();
    CALL(cuMemHostAlloc, (void **)&host, 4096, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
    CALL(cuMemHostGetFlags, &flags, host);
    SHOW("%u", flags);
    CALL(cuMemHostGetFlags, NULL, host);
    CALL(cuMemHostGetDevicePointer, &seen, host, 0);
    SHOW("%d", seen == (CUdeviceptr)(uintptr_t)host);
    CALL(cuMemHostGetDevicePointer, &seen, host, 1);
    CALL(cuMemHostGetDevicePointer, NULL, host, 0);
    CALL(cuMemHostGetDevicePointer, &seen, back, 0);
    memset(host, 9, 4096);
    CALL(cuMemAlloc, &block, 4096);
    CALL(cuMemcpyHtoD, block, host, 4096);
    CALL(cuMemcpyDtoH, back, block, sizeof back);
    SHOW("%llx", checksum(back, sizeof back));
    CALL(cuMemFreeHost, host);
    CALL(cuMemFreeHost, host);
    CALL(cuMemFreeHost, NULL);
    CALL(cuMemHostAlloc, (void **)&host, 0, 0);
    CALL(cuMemHostAlloc, NULL, 64, 0);
    CALL(cuMemHostAlloc, (void **)&host, 64, 0xff00);
    CALL(cuMemAllocHost, (void **)&other, 128);
    CALL(cuMemHostGetFlags, &flags, other);
    SHOW("%u", flags);
    CALL(cuMemAllocHost, NULL, 128);
    CALL(cuMemAllocHost, (void **)&host, 0);
    CALL(cuMemFreeHost, other);
    CALL(cuMemHostAlloc, (void **)&other, 128, CU_MEMHOSTALLOC_WRITECOMBINED);
    CALL(cuMemHostGetFlags, &flags, other);
    SHOW("%u", flags);
    CALL(cuMemFreeHost, other);
    CALL(cuMemFreeHost, back);
    CALL(cuMemFree, block);
}

static void registered(void) {
    unsigned flags = 0;
    CUdeviceptr block = 0;
    char *host = aligned_alloc(4096, 8192), back[64];
    begin();
    memset(host, 4, 8192);
    CALL(cuMemHostRegister, host, 8192, CU_MEMHOSTREGISTER_PORTABLE);
    CALL(cuMemHostRegister, host, 8192, 0);
    CALL(cuMemHostGetFlags, &flags, host);
    CALL(cuMemAlloc, &block, 8192);
    CALL(cuMemcpyHtoDAsync, block, host, 8192, NULL);
    CALL(cuMemcpyDtoH, back, block + 100, sizeof back);
    SHOW("%llx", checksum(back, sizeof back));
    CALL(cuMemHostUnregister, host);
    CALL(cuMemHostUnregister, host);
    CALL(cuMemHostRegister, NULL, 8192, 0);
    CALL(cuMemHostRegister, host, 0, 0);
    CALL(cuMemHostRegister, host, 8192, 0xff00);
    CALL(cuMemFree, block);
    free(host);
}

static void managed(void) {
    CUdeviceptr block = 0;
    begin();
    CALL(cuMemAllocManaged, &block, 4096, CU_MEM_ATTACH_GLOBAL);
    CALL(cuMemsetD8, block, 5, 4096);
    CALL0(cuCtxSynchronize);
    SHOW("%llx", checksum((void *)(uintptr_t)block, 4096));
    CALL(cuMemAllocManaged, NULL, 4096, CU_MEM_ATTACH_GLOBAL);
    CALL(cuMemFree, block);
    CALL(cuMemAllocManaged, &block, 0, CU_MEM_ATTACH_GLOBAL);
    CALL(cuMemAllocManaged, &block, 64, 0);
    CALL(cuMemAllocManaged, &block, 64, 77);
    CALL(cuMemAllocManaged, &block, 64, CU_MEM_ATTACH_HOST);
    CALL(cuStreamAttachMemAsync, NULL, block, 0, CU_MEM_ATTACH_GLOBAL);
    CALL(cuMemFree, block);
}

static void fills(void) {
    CUdeviceptr block = 0;
    size_t pitch = 0;
    unsigned char back[1024];
    CUstream stream = NULL;
    begin();
    CALL(cuMemAlloc, &block, 1024);
    CALL(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
    CALL(cuMemsetD8, block, 1, 1024);
    CALL(cuMemsetD16, block, 0x1234, 100);
    CALL(cuMemsetD32, block + 256, 0x12345678, 16);
    // None of them waits for the device, and a non-blocking stream does not wait for them.
    CALL(cuStreamSynchronize, NULL);
    CALL(cuMemsetD8Async, block + 512, 7, 10, stream);
    CALL(cuMemsetD16Async, block + 600, 0xabcd, 10, stream);
    CALL(cuMemsetD32Async, block + 700, 0xfeedbeef, 10, stream);
    CALL(cuMemsetD2D8, block + 800, 16, 3, 4, 5);
    CALL(cuMemsetD2D16, block + 800, 16, 0x55aa, 3, 5);
    CALL(cuMemsetD2D32, block + 880, 16, 0xdeadbeef, 2, 3);
    CALL(cuMemsetD2D8Async, block + 940, 8, 9, 2, 3, stream);
    CALL(cuMemsetD2D16Async, block + 964, 8, 0x7777, 2, 2, stream);
    CALL(cuMemsetD2D32Async, block + 980, 8, 0x88888888, 1, 2, stream);
    CALL(cuStreamSynchronize, stream);
    CALL(cuMemcpyDtoH, back, block, 1024);
    SHOW("%llx", checksum(back, 1024));
    CALL(cuMemsetD16, block + 1, 1, 4);
    CALL(cuMemsetD32, block + 2, 1, 4);
    CALL(cuMemsetD8, block, 1, 0);
    CALL(cuMemsetD8, 0, 1, 16);
    CALL(cuMemsetD8, 0, 1, 0);
    CALL(cuMemsetD8, block + 1000, 1, 100);
    CALL(cuMemsetD2D32, block, 6, 1, 2, 2);
    CALL(cuMemsetD2D8, block, 2, 1, 4, 2);
    CALL(cuMemAllocPitch, &block, &pitch, 64, 4, 4);
    CALL(cuMemsetD2D32, block, pitch, 3, 16, 4);
    CALL(cuStreamDestroy, stream);
}

static void show_pointer(CUdeviceptr pointer) {
    CUmemorytype type = (CUmemorytype)0;
    unsigned managed = 9, flag = 9;
    int ordinal = -7;
    size_t bytes = 0;
    CUdeviceptr start = 0, seen = 0;
    CUcontext owner = NULL;
    unsigned long long id = 0;
    void *host = NULL;
    CALL(cuPointerGetAttribute, &type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, pointer);
    SHOW("%d", (int)type);
    CALL(cuPointerGetAttribute, &managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, pointer);
    SHOW("%u", managed & 1);
    CALL(cuPointerGetAttribute, &ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, pointer);
    SHOW("%d", ordinal);
    CALL(cuPointerGetAttribute, &bytes, CU_POINTER_ATTRIBUTE_RANGE_SIZE, pointer);
    SHOW("%zu", bytes);
    CALL(cuPointerGetAttribute, &start, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, pointer);
    SHOW("%lld", (long long)(pointer - start));
    CALL(cuPointerGetAttribute, &seen, CU_POINTER_ATTRIBUTE_DEVICE_POINTER, pointer);
    SHOW("%d", seen == pointer);
    CALL(cuPointerGetAttribute, &owner, CU_POINTER_ATTRIBUTE_CONTEXT, pointer);
    SHOW("%d", owner == context);
    CALL(cuPointerGetAttribute, &host, CU_POINTER_ATTRIBUTE_HOST_POINTER, pointer);
    SHOW("%d", host == (void *)(uintptr_t)pointer);
    CALL(cuPointerGetAttribute, &flag, CU_POINTER_ATTRIBUTE_MAPPED, pointer);
    SHOW("%u", flag & 1);
    CALL(cuPointerGetAttribute, &id, CU_POINTER_ATTRIBUTE_BUFFER_ID, pointer);
    SHOW("%d", id != 0);
    flag = 1;
    CALL(cuPointerSetAttribute, &flag, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, pointer);
    CALL(cuPointerGetAttribute, &flag, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, pointer);
    SHOW("%u", flag & 1);
}

static void pointers(void) {
    CUdeviceptr block = 0;
    void *host = NULL;
    CUmemorytype type = (CUmemorytype)0;
    int ordinal = -7;
    CUpointer_attribute wanted[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
    void *values[] = {&type, &ordinal};
    begin();
    cuMemAlloc(&block, 1000);
    show_pointer(block);
    show_pointer(block + 10);
    cuMemHostAlloc(&host, 512, 0);
    show_pointer((CUdeviceptr)(uintptr_t)host);
    show_pointer(64);
    CALL(cuPointerGetAttribute, NULL, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, block);
    CALL(cuPointerGetAttribute, &type, (CUpointer_attribute)999, block);
    CALL(cuPointerGetAttribute, &type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, 0);
    CALL(cuPointerGetAttributes, 2, wanted, values, block);
    SHOW("%d %d", (int)type, ordinal);
    type = (CUmemorytype)5;
    ordinal = 5;
    CALL(cuPointerGetAttributes, 2, wanted, values, 64);
    SHOW("%d %d", (int)type, ordinal);
    CALL(cuPointerGetAttributes, 0, wanted, values, block);
    CALL(cuPointerGetAttributes, 2, NULL, values, block);
    CALL(cuPointerGetAttributes, 2, wanted, NULL, block);
    CALL(cuPointerSetAttribute, NULL, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, block);
    CALL(cuMemFree, block);
    CALL(cuPointerGetAttribute, &type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, block);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"allocation", allocation}, {"pinned", pinned}, {"registered", registered},
        {"managed", managed}, {"fills", fills}, {"pointers", pointers},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
