// Copies of every kind, with what they must refuse.
#include "driver.h"

static unsigned char source[1 << 16], back[1 << 16];
static CUdeviceptr one, two;

static void prepare(void) {
    begin();
    for (size_t i = 0; i < sizeof source; i++) source[i] = (unsigned char)(i * 7 + i / 256);
    cuMemAlloc(&one, sizeof source);
    cuMemAlloc(&two, sizeof source);
}

static void show_back(CUdeviceptr from, size_t bytes) {
    memset(back, 0, sizeof back);
    CALL(cuMemcpyDtoH, back, from, bytes);
    SHOW("%llx", checksum(back, bytes));
}

static void linear(void) {
    CUstream stream = NULL;
    prepare();
    CALL(cuMemcpyHtoD, one, source, sizeof source);
    show_back(one, sizeof source);
    CALL(cuMemcpyDtoD, two, one + 100, 5000);
    show_back(two, 5000);
    CALL(cuMemcpy, two, one, 64);
    show_back(two, 64);
    CALL(cuMemcpy, (CUdeviceptr)(uintptr_t)back, one + 32, 64);
    SHOW("%llx", checksum(back, 64));
    CALL(cuStreamCreate, &stream, 0);
    CALL(cuMemcpyHtoDAsync, two, source + 5, 60000, stream);
    CALL(cuMemcpyDtoDAsync, one, two, 60000, stream);
    CALL(cuMemcpyDtoHAsync, back, one, 60000, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%llx", checksum(back, 60000));
    CALL(cuMemcpyAsync, two, one + 7, 100, stream);
    CALL(cuStreamSynchronize, stream);
    show_back(two, 100);
    CALL(cuMemcpyPeer, two, context, one, context, 1000);
    show_back(two, 1000);
    CALL(cuMemcpyPeerAsync, two, context, one + 1000, context, 1000, stream);
    CALL(cuStreamSynchronize, stream);
    show_back(two, 1000);
    CALL(cuStreamDestroy, stream);
}

static void refused(void) {
    prepare();
    CALL(cuMemcpyHtoD, one, source, 0);
    CALL(cuMemcpyHtoD, 0, source, 16);
    CALL(cuMemcpyHtoD, one, NULL, 16);
    CALL(cuMemcpyDtoH, NULL, one, 16);
    CALL(cuMemcpyDtoH, back, 0, 16);
    CALL(cuMemcpyDtoH, back, one, 0);
    CALL(cuMemcpyDtoD, 0, one, 16);
    CALL(cuMemcpyDtoD, one, 0, 16);
    CALL(cuMemcpyHtoD, one + sizeof source - 8, source, 16);
    CALL(cuMemcpyDtoH, back, one + sizeof source - 8, 16);
    CALL(cuMemcpyHtoD, 0, source, 0);
    CALL(cuMemcpyHtoDAsync, 0, source, 16, NULL);
    CALL(cuMemcpyDtoHAsync, NULL, one, 16, NULL);
    CALL0(cuCtxSynchronize);
}

static void rectangles(void) {
    CUDA_MEMCPY2D plane = {0};
    CUDA_MEMCPY3D space = {0};
    prepare();
    plane.srcMemoryType = CU_MEMORYTYPE_HOST;
    plane.srcHost = source;
    plane.srcPitch = 100;
    plane.srcXInBytes = 3;
    plane.srcY = 2;
    plane.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    plane.dstDevice = one;
    plane.dstPitch = 128;
    plane.WidthInBytes = 60;
    plane.Height = 20;
    CALL(cuMemsetD8, one, 0, 8192);
    CALL(cuMemcpy2D, &plane);
    show_back(one, 4096);
    CALL(cuMemcpy2DUnaligned, &plane);
    plane.dstXInBytes = 11;
    CALL(cuMemcpy2DAsync, &plane, NULL);
    CALL0(cuCtxSynchronize);
    show_back(one, 4096);
    plane.srcMemoryType = CU_MEMORYTYPE_DEVICE;
    plane.srcDevice = one;
    plane.dstMemoryType = CU_MEMORYTYPE_HOST;
    plane.dstHost = back;
    memset(back, 0, sizeof back);
    CALL(cuMemcpy2D, &plane);
    SHOW("%llx", checksum(back, 4096));
    plane.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    plane.dstDevice = two;
    CALL(cuMemcpy2D, &plane);
    show_back(two, 512);
    plane.dstPitch = 10;
    CALL(cuMemcpy2D, &plane);
    plane.dstPitch = 128;
    plane.Height = 0;
    CALL(cuMemcpy2D, &plane);
    plane.Height = 2;
    plane.WidthInBytes = 0;
    CALL(cuMemcpy2D, &plane);
    plane.WidthInBytes = 4;
    plane.srcMemoryType = (CUmemorytype)77;
    CALL(cuMemcpy2D, &plane);
    CALL(cuMemcpy2D, NULL);
    space.srcMemoryType = CU_MEMORYTYPE_HOST;
    space.srcHost = source;
    space.srcPitch = 64;
    space.srcHeight = 16;
    space.srcY = 1;
    space.srcZ = 1;
    space.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    space.dstDevice = two;
    space.dstPitch = 80;
    space.dstHeight = 20;
    space.dstXInBytes = 2;
    space.WidthInBytes = 50;
    space.Height = 10;
    space.Depth = 5;
    CALL(cuMemsetD8, two, 0, sizeof source);
    CALL(cuMemcpy3D, &space);
    show_back(two, 16384);
    space.dstXInBytes = 4;
    CALL(cuMemcpy3DAsync, &space, NULL);
    CALL0(cuCtxSynchronize);
    show_back(two, 16384);
    space.Depth = 0;
    CALL(cuMemcpy3D, &space);
    CALL(cuMemcpy3D, NULL);
}

// Large enough to travel in pieces.
static void large(void) {
    enum { BYTES = 48 << 20 };
    unsigned char *from = malloc(BYTES), *to = calloc(1, BYTES);
    CUdeviceptr block = 0;
    begin();
    for (size_t i = 0; i < BYTES; i++) from[i] = (unsigned char)(i ^ (i >> 9) ^ (i >> 20));
    CALL(cuMemAlloc, &block, BYTES);
    CALL(cuMemcpyHtoD, block, from, BYTES);
    memset(from, 0, BYTES);
    CALL(cuMemcpyDtoH, to, block, BYTES);
    SHOW("%llx", checksum(to, BYTES));
    CALL(cuMemcpyDtoH, to, block + 12345, BYTES - 12345);
    SHOW("%llx", checksum(to, BYTES));
    CALL(cuMemFree, block);
    free(from);
    free(to);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"linear", linear}, {"refused", refused}, {"rectangles", rectangles}, {"large", large},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
