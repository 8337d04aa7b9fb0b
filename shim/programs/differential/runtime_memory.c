// The runtime's memory: allocations, copies, fills, pools, pointers.
#include "runtime.h"

static unsigned char source[1 << 15], back[1 << 15];

static void fill_source(void) {
    for (size_t i = 0; i < sizeof source; i++) source[i] = (unsigned char)(i * 13 + i / 256);
}

static void allocation(void) {
    void *block = NULL, *pitched = NULL, *host = NULL;
    struct cudaPitchedPtr space;
    size_t pitch = 0;
    unsigned flags = 0;
    CALL(cudaMalloc, &block, 1000);
    CALL(cudaMalloc, NULL, 1000);
    CALL(cudaMalloc, &pitched, (size_t)1 << 60);
    CALL0(cudaGetLastError);
    CALL(cudaMalloc, &pitched, 0);
    SHOW("%d", pitched == NULL);
    CALL(cudaFree, block);
    CALL(cudaFree, block);
    CALL(cudaFree, NULL);
    CALL(cudaMallocPitch, &pitched, &pitch, 100, 10);
    SHOW("%zu", pitch);
    CALL(cudaFree, pitched);
    CALL(cudaMalloc3D, &space, make_cudaExtent(100, 4, 3));
    SHOW("%zu %zu %zu", space.pitch, space.xsize, space.ysize);
    CALL(cudaFree, space.ptr);
    CALL(cudaMallocHost, &host, 4096);
    CALL(cudaHostGetFlags, &flags, host);
    SHOW("%u", flags);
    CALL(cudaHostGetDevicePointer, &block, host, 0);
    SHOW("%d", block == host);
    CALL(cudaFreeHost, host);
    CALL(cudaFreeHost, host);
    CALL(cudaFreeHost, NULL);
    CALL(cudaHostAlloc, &host, 4096, cudaHostAllocMapped | cudaHostAllocPortable);
    CALL(cudaHostGetFlags, &flags, host);
    SHOW("%u", flags);
    CALL(cudaFreeHost, host);
    CALL(cudaHostAlloc, &host, 0, 0);
    CALL(cudaHostAlloc, &host, 64, 0xff00);
    host = aligned_alloc(4096, 8192);
    CALL(cudaHostRegister, host, 8192, cudaHostRegisterDefault);
    CALL(cudaHostRegister, host, 8192, cudaHostRegisterDefault);
    CALL(cudaHostUnregister, host);
    CALL(cudaHostUnregister, host);
    CALL(cudaMallocManaged, &block, 4096, cudaMemAttachGlobal);
    CALL(cudaMemset, block, 3, 4096);
    CALL0(cudaDeviceSynchronize);
    SHOW("%llx", checksum(block, 4096));
    CALL(cudaFree, block);
    CALL(cudaMallocManaged, &block, 4096, 77);
    CALL0(cudaGetLastError);
}

static void copies(void) {
    void *one = NULL, *two = NULL;
    cudaStream_t stream = NULL;
    fill_source();
    CALL(cudaMalloc, &one, sizeof source);
    CALL(cudaMalloc, &two, sizeof source);
    CALL(cudaStreamCreate, &stream);
    CALL(cudaMemcpy, one, source, sizeof source, cudaMemcpyHostToDevice);
    CALL(cudaMemcpy, two, one, sizeof source, cudaMemcpyDeviceToDevice);
    CALL(cudaMemcpy, back, two, sizeof source, cudaMemcpyDeviceToHost);
    SHOW("%llx", checksum(back, sizeof back));
    CALL(cudaMemcpy, back, source + 1, 1000, cudaMemcpyHostToHost);
    SHOW("%llx", checksum(back, 1000));
    CALL(cudaMemcpy, two, source + 9, 1000, cudaMemcpyDefault);
    CALL(cudaMemcpy, back, two, 1000, cudaMemcpyDefault);
    SHOW("%llx", checksum(back, 1000));
    CALL(cudaMemcpyAsync, one, source + 3, 2000, cudaMemcpyHostToDevice, stream);
    CALL(cudaMemcpyAsync, back, one, 2000, cudaMemcpyDeviceToHost, stream);
    CALL(cudaStreamSynchronize, stream);
    SHOW("%llx", checksum(back, 2000));
    CALL(cudaMemcpyPeer, two, 0, one, 0, 500);
    CALL(cudaMemcpyPeerAsync, two, 0, one, 0, 500, stream);
    CALL(cudaStreamSynchronize, stream);
    CALL(cudaMemcpy, one, source, 10, (enum cudaMemcpyKind)77);
    CALL(cudaMemcpy, NULL, source, 10, cudaMemcpyHostToDevice);
    CALL(cudaMemcpy, one, NULL, 10, cudaMemcpyHostToDevice);
    CALL(cudaMemcpy, one, source, 0, cudaMemcpyHostToDevice);
    CALL(cudaMemcpy, source, source + 100, 10, cudaMemcpyHostToDevice);
    CALL(cudaMemcpy2D, one, 128, source, 100, 60, 20, cudaMemcpyHostToDevice);
    CALL(cudaMemcpy2D, back, 60, one, 128, 60, 20, cudaMemcpyDeviceToHost);
    SHOW("%llx", checksum(back, 1200));
    CALL(cudaMemcpy2DAsync, back, 60, one, 128, 50, 20, cudaMemcpyDeviceToHost, stream);
    CALL(cudaStreamSynchronize, stream);
    CALL(cudaMemcpy2D, one, 10, source, 100, 60, 20, cudaMemcpyHostToDevice);
    CALL(cudaMemset, one, 5, 1000);
    CALL(cudaMemsetAsync, one, 6, 500, stream);
    CALL(cudaMemset2D, one, 64, 7, 10, 4);
    CALL(cudaMemset2DAsync, one, 64, 8, 5, 4, stream);
    CALL(cudaStreamSynchronize, stream);
    CALL(cudaMemcpy, back, one, 1000, cudaMemcpyDeviceToHost);
    SHOW("%llx", checksum(back, 1000));
    CALL(cudaMemset, NULL, 0, 10);
    CALL(cudaMemset, one, 0, sizeof source + 4096);
    struct cudaMemcpy3DParms parameters = {0};
    parameters.srcPtr = make_cudaPitchedPtr(source, 64, 64, 16);
    parameters.dstPtr = make_cudaPitchedPtr(one, 64, 64, 16);
    parameters.extent = make_cudaExtent(50, 10, 4);
    parameters.kind = cudaMemcpyHostToDevice;
    CALL(cudaMemcpy3D, &parameters);
    CALL(cudaMemcpy3DAsync, &parameters, stream);
    CALL(cudaMemset3D, parameters.dstPtr, 9, make_cudaExtent(5, 2, 2));
    CALL(cudaMemset3DAsync, parameters.dstPtr, 9, make_cudaExtent(5, 2, 2), stream);
    CALL0(cudaDeviceSynchronize);
    CALL(cudaMemcpy, back, one, 4096, cudaMemcpyDeviceToHost);
    SHOW("%llx", checksum(back, 4096));
    CALL(cudaFree, one);
    CALL(cudaFree, two);
    CALL(cudaStreamDestroy, stream);
    CALL0(cudaGetLastError);
}

static void pools(void) {
    cudaMemPool_t pool = NULL, other = NULL;
    struct cudaMemPoolProps properties = {0};
    struct cudaMemAccessDesc access = {0};
    enum cudaMemAccessFlags flags = (enum cudaMemAccessFlags)0;
    void *block = NULL;
    uint64_t value = 0;
    CALL(cudaDeviceGetDefaultMemPool, &pool, 0);
    CALL(cudaMemPoolGetAttribute, pool, cudaMemPoolAttrReleaseThreshold, &value);
    SHOW("%llu", (unsigned long long)value);
    value = 1 << 20;
    CALL(cudaMemPoolSetAttribute, pool, cudaMemPoolAttrReleaseThreshold, &value);
    CALL(cudaMallocAsync, &block, 4096, NULL);
    CALL(cudaFreeAsync, block, NULL);
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location.type = cudaMemLocationTypeDevice;
    CALL(cudaMemPoolCreate, &other, &properties);
    CALL(cudaMallocFromPoolAsync, &block, 4096, other, NULL);
    CALL(cudaFreeAsync, block, NULL);
    CALL(cudaStreamSynchronize, NULL);
    CALL(cudaMemPoolTrimTo, other, 0);
    CALL(cudaMemPoolGetAccess, &flags, other, &properties.location);
    SHOW("%d", (int)flags);
    access.location = properties.location;
    access.flags = cudaMemAccessFlagsProtReadWrite;
    CALL(cudaMemPoolSetAccess, other, &access, 1);
    CALL(cudaMemPoolDestroy, other);
    CALL(cudaMallocAsync, NULL, 64, NULL);
    CALL(cudaFreeAsync, NULL, NULL);
    CALL0(cudaGetLastError);
}

static void show(const void *pointer) {
    struct cudaPointerAttributes attributes;
    memset(&attributes, 0, sizeof attributes);
    CALL(cudaPointerGetAttributes, &attributes, pointer);
    SHOW("%d %d %d %d", (int)attributes.type, attributes.device, attributes.devicePointer == pointer,
         attributes.hostPointer == pointer);
}

static void pointers(void) {
    void *block = NULL, *host = NULL;
    begin();
    cudaMalloc(&block, 100);
    cudaMallocHost(&host, 100);
    show(block);
    show((char *)block + 50);
    show(host);
    show(source);
    show(NULL);
    CALL(cudaPointerGetAttributes, NULL, block);
    CALL0(cudaGetLastError);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"allocation", allocation}, {"copies", copies}, {"pools", pools}, {"pointers", pointers},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
