// CUDA arrays: what they are, copies from and to them, and what is refused.
#include "driver.h"

enum { BYTES = 1 << 16 };
static unsigned char source[BYTES], back[BYTES];
static CUdeviceptr linear;

static void prepare(void) {
    begin();
    for (size_t i = 0; i < sizeof source; i++) source[i] = (unsigned char)(i * 13 + i / 251);
    cuMemAlloc(&linear, sizeof source);
    cuMemsetD8(linear, 0, sizeof source);
}

static void show_back(CUdeviceptr from, size_t bytes) {
    memset(back, 0, sizeof back);
    CALL(cuMemcpyDtoH, back, from, bytes);
    SHOW("%llx", checksum(back, bytes));
}

static CUarray made(size_t width, size_t height, size_t depth, CUarray_format format, unsigned channels, unsigned flags) {
    CUDA_ARRAY3D_DESCRIPTOR wanted = {width, height, depth, format, channels, flags};
    CUarray array = NULL;
    if (cuArray3DCreate(&array, &wanted) != 0) printf("\nno array");
    return array;
}

static void show(CUarray array) {
    CUDA_ARRAY_DESCRIPTOR flat = {0};
    CUDA_ARRAY3D_DESCRIPTOR whole = {0};
    CALL(cuArrayGetDescriptor, &flat, array);
    SHOW("%zu %zu %d %u", flat.Width, flat.Height, (int)flat.Format, flat.NumChannels);
    CALL(cuArray3DGetDescriptor, &whole, array);
    SHOW("%zu %zu %zu %d %u %u", whole.Width, whole.Height, whole.Depth, (int)whole.Format, whole.NumChannels, whole.Flags);
}

static void create(size_t width, size_t height, size_t depth, CUarray_format format, unsigned channels, unsigned flags) {
    CUDA_ARRAY3D_DESCRIPTOR wanted = {width, height, depth, format, channels, flags};
    CUarray array = NULL;
    printf("\n%zu x %zu x %zu, format %d, %u channels, flags %u", width, height, depth, (int)format, channels, flags);
    CALL(cuArray3DCreate, &array, &wanted);
    if (code != 0) return;
    show(array);
    CALL(cuArrayDestroy, array);
}

static void shapes(void) {
    CUDA_ARRAY_DESCRIPTOR wanted = {64, 32, CU_AD_FORMAT_FLOAT, 4};
    CUDA_ARRAY_MEMORY_REQUIREMENTS requirements;
    CUDA_ARRAY_SPARSE_PROPERTIES properties;
    CUarray array = NULL, plane = NULL;
    begin();
    CALL(cuArrayCreate, &array, &wanted);
    show(array);
    CALL(cuArrayGetMemoryRequirements, &requirements, array, device);
    CALL(cuArrayGetSparseProperties, &properties, array);
    CALL(cuArrayGetPlane, &plane, array, 0);
    CALL(cuArrayDestroy, array);
    wanted.Height = 0;
    CALL(cuArrayCreate, &array, &wanted);
    show(array);
    CALL(cuArrayDestroy, array);
    wanted.Width = 0;
    CALL(cuArrayCreate, &array, &wanted);
    CALL(cuArrayCreate, NULL, &wanted);
    CALL(cuArrayCreate, &array, NULL);
    CALL(cuArray3DCreate, &array, NULL);
    create(16, 8, 4, CU_AD_FORMAT_UNSIGNED_INT8, 1, 0);
    create(16, 8, 0, CU_AD_FORMAT_UNSIGNED_INT16, 2, CUDA_ARRAY3D_SURFACE_LDST);
    create(16, 0, 0, CU_AD_FORMAT_UNSIGNED_INT32, 4, 0);
    create(16, 8, 0, CU_AD_FORMAT_SIGNED_INT8, 4, 0);
    create(16, 8, 0, CU_AD_FORMAT_SIGNED_INT16, 1, 0);
    create(16, 8, 0, CU_AD_FORMAT_SIGNED_INT32, 1, 0);
    create(16, 8, 0, CU_AD_FORMAT_HALF, 2, 0);
    create(16, 0, 3, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_LAYERED);
    create(16, 8, 3, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_LAYERED);
    create(16, 16, 6, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_CUBEMAP);
    create(16, 16, 12, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_CUBEMAP | CUDA_ARRAY3D_LAYERED);
    create(16, 8, 0, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_TEXTURE_GATHER);
}

static void impossible(void) {
    begin();
    create(0, 8, 4, CU_AD_FORMAT_FLOAT, 1, 0);
    create(16, 0, 4, CU_AD_FORMAT_FLOAT, 1, 0);
    create(16, 8, 0, CU_AD_FORMAT_FLOAT, 3, 0);
    create(16, 8, 0, CU_AD_FORMAT_FLOAT, 0, 0);
    create(16, 8, 0, CU_AD_FORMAT_FLOAT, 5, 0);
    create(16, 8, 0, (CUarray_format)7, 1, 0);
    create(16, 8, 0, CU_AD_FORMAT_FLOAT, 1, 1u << 20);
    create(16, 8, 0, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_LAYERED);
    create(16, 8, 6, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_CUBEMAP);
    create(16, 16, 5, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_CUBEMAP);
    create(16, 16, 7, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_CUBEMAP | CUDA_ARRAY3D_LAYERED);
    create(16, 8, 4, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_TEXTURE_GATHER);
    create((size_t)1 << 30, 0, 0, CU_AD_FORMAT_FLOAT, 1, 0);
    create((size_t)1 << 20, 16, 0, CU_AD_FORMAT_FLOAT, 1, 0);
    create(16, (size_t)1 << 20, 0, CU_AD_FORMAT_FLOAT, 1, 0);
    create(16, 16, 1 << 20, CU_AD_FORMAT_FLOAT, 1, 0);
}

static void rows(void) {
    CUarray one = NULL, two = NULL, narrow = NULL;
    CUstream stream = NULL;
    prepare();
    one = made(1024, 0, 0, CU_AD_FORMAT_FLOAT, 1, 0);
    two = made(1024, 0, 0, CU_AD_FORMAT_SIGNED_INT32, 1, 0);
    narrow = made(1024, 0, 0, CU_AD_FORMAT_HALF, 1, 0);
    CALL(cuMemcpyHtoA, one, 0, source, 4096);
    CALL(cuMemcpyAtoH, back, one, 64, 1000);
    SHOW("%llx", checksum(back, 1000));
    CALL(cuMemcpyAtoD, linear, one, 128, 512);
    show_back(linear, 1024);
    CALL(cuMemcpyDtoA, two, 256, linear, 512);
    CALL(cuMemcpyAtoA, two, 1024, one, 0, 2048);
    CALL(cuMemcpyAtoH, back, two, 256, 512);
    SHOW("%llx", checksum(back, 512));
    CALL(cuMemcpyAtoH, back, two, 1024, 2048);
    SHOW("%llx", checksum(back, 2048));
    CALL(cuStreamCreate, &stream, 0);
    CALL(cuMemcpyHtoAAsync, one, 4, source + 1, 400, stream);
    CALL(cuMemcpyAtoHAsync, back, one, 0, 4096, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%llx", checksum(back, 4096));
    CALL(cuStreamDestroy, stream);
    CALL(cuMemcpyHtoA, one, 0, source, 0);
    CALL(cuMemcpyHtoA, one, 4000, source, 200);
    CALL(cuMemcpyHtoA, one, 2, source, 4);
    CALL(cuMemcpyHtoA, one, 0, source, 6);
    CALL(cuMemcpyHtoA, one, 0, NULL, 4);
    CALL(cuMemcpyAtoH, NULL, one, 0, 4);
    CALL(cuMemcpyAtoH, back, one, 4096, 4);
    CALL(cuMemcpyDtoA, one, 0, 0, 4);
    CALL(cuMemcpyAtoD, 0, one, 0, 4);
    CALL(cuMemcpyAtoA, narrow, 0, one, 0, 64);
    CALL0(cuCtxSynchronize);
    CALL(cuArrayDestroy, one);
    CALL(cuArrayDestroy, two);
    CALL(cuArrayDestroy, narrow);
}

static void planes(void) {
    CUDA_MEMCPY2D copy = {0};
    CUarray array = NULL, other = NULL;
    void *pinned = NULL;
    prepare();
    array = made(100, 40, 0, CU_AD_FORMAT_UNSIGNED_INT8, 4, 0);
    other = made(64, 64, 0, CU_AD_FORMAT_FLOAT, 1, 0);
    copy.srcMemoryType = CU_MEMORYTYPE_HOST;
    copy.srcHost = source;
    copy.srcPitch = 512;
    copy.srcXInBytes = 3;
    copy.srcY = 1;
    copy.dstMemoryType = CU_MEMORYTYPE_ARRAY;
    copy.dstArray = array;
    copy.WidthInBytes = 400;
    copy.Height = 40;
    CALL(cuMemcpy2D, &copy);
    copy.srcMemoryType = CU_MEMORYTYPE_ARRAY;
    copy.srcArray = array;
    copy.srcXInBytes = 16;
    copy.srcY = 5;
    copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    copy.dstDevice = linear;
    copy.dstPitch = 300;
    copy.dstXInBytes = 8;
    copy.dstY = 2;
    copy.WidthInBytes = 200;
    copy.Height = 30;
    CALL(cuMemcpy2DUnaligned, &copy);
    show_back(linear, 12000);
    copy.dstMemoryType = CU_MEMORYTYPE_ARRAY;
    copy.dstArray = other;
    CALL(cuMemcpy2DAsync, &copy, NULL);
    copy.srcArray = other;
    copy.srcXInBytes = 8;
    copy.srcY = 2;
    copy.dstMemoryType = CU_MEMORYTYPE_HOST;
    copy.dstHost = back;
    copy.dstPitch = 256;
    copy.dstXInBytes = copy.dstY = 0;
    memset(back, 0, sizeof back);
    CALL(cuMemcpy2D, &copy);
    SHOW("%llx", checksum(back, 8192));
    CALL(cuMemAllocHost, &pinned, BYTES);
    memset(pinned, 0, BYTES);
    copy.dstHost = pinned;
    CALL(cuMemcpy2DAsync, &copy, NULL);
    CALL0(cuCtxSynchronize);
    SHOW("%llx", checksum(pinned, 8192));
    copy.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
    copy.dstDevice = linear;
    CALL(cuMemcpy2D, &copy);
    show_back(linear, 8192);
    copy.srcXInBytes = 2;
    CALL(cuMemcpy2D, &copy);
    copy.srcXInBytes = 60;
    CALL(cuMemcpy2D, &copy);
    copy.srcXInBytes = 8;
    copy.srcY = 40;
    CALL(cuMemcpy2D, &copy);
    copy.srcY = 0;
    copy.Height = 0;
    CALL(cuMemcpy2D, &copy);
    copy.Height = 1;
    copy.WidthInBytes = 0;
    CALL(cuMemcpy2D, &copy);
    copy.WidthInBytes = 7;
    CALL(cuMemcpy2D, &copy);
    copy.WidthInBytes = 8;
    copy.srcArray = NULL;
    CALL(cuMemcpy2D, &copy);
    CALL(cuMemFreeHost, pinned);
    CALL(cuArrayDestroy, array);
    CALL(cuArrayDestroy, other);
}

static void spaces(void) {
    CUDA_MEMCPY3D copy = {0};
    CUarray array = NULL, layers = NULL;
    prepare();
    array = made(20, 10, 8, CU_AD_FORMAT_FLOAT, 2, 0);
    layers = made(20, 0, 6, CU_AD_FORMAT_FLOAT, 2, CUDA_ARRAY3D_LAYERED);
    copy.srcMemoryType = CU_MEMORYTYPE_HOST;
    copy.srcHost = source;
    copy.srcPitch = 200;
    copy.srcHeight = 12;
    copy.srcY = 1;
    copy.dstMemoryType = CU_MEMORYTYPE_ARRAY;
    copy.dstArray = array;
    copy.WidthInBytes = 160;
    copy.Height = 10;
    copy.Depth = 8;
    CALL(cuMemcpy3D, &copy);
    copy.srcMemoryType = CU_MEMORYTYPE_ARRAY;
    copy.srcArray = array;
    copy.srcXInBytes = 8;
    copy.srcY = 2;
    copy.srcZ = 3;
    copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    copy.dstDevice = linear;
    copy.dstPitch = 128;
    copy.dstHeight = 6;
    copy.WidthInBytes = 120;
    copy.Height = 5;
    copy.Depth = 4;
    CALL(cuMemcpy3DAsync, &copy, NULL);
    show_back(linear, 4096);
    copy.dstMemoryType = CU_MEMORYTYPE_HOST;
    copy.dstHost = back;
    memset(back, 0, sizeof back);
    CALL(cuMemcpy3D, &copy);
    SHOW("%llx", checksum(back, 4096));
    copy.dstMemoryType = CU_MEMORYTYPE_ARRAY;
    copy.dstArray = array;
    copy.dstXInBytes = 0;
    copy.dstY = copy.dstZ = 0;
    copy.srcZ = 4;
    CALL(cuMemcpy3D, &copy);
    copy.srcZ = 5;
    CALL(cuMemcpy3D, &copy);
    copy.srcZ = 0;
    copy.srcY = 6;
    CALL(cuMemcpy3D, &copy);
    copy.srcY = 0;
    copy.srcXInBytes = 48;
    CALL(cuMemcpy3D, &copy);
    copy.srcXInBytes = 0;
    copy.Depth = 0;
    CALL(cuMemcpy3D, &copy);
    copy.srcMemoryType = CU_MEMORYTYPE_HOST;
    copy.dstArray = layers;
    copy.WidthInBytes = 160;
    copy.srcPitch = 160;
    copy.srcHeight = 1;
    copy.Height = 1;
    copy.Depth = 6;
    CALL(cuMemcpy3D, &copy);
    copy.srcMemoryType = CU_MEMORYTYPE_ARRAY;
    copy.srcArray = layers;
    copy.srcZ = 2;
    copy.dstMemoryType = CU_MEMORYTYPE_HOST;
    copy.dstPitch = 160;
    copy.dstHeight = 1;
    copy.Depth = 3;
    memset(back, 0, sizeof back);
    CALL(cuMemcpy3D, &copy);
    SHOW("%llx", checksum(back, 1024));
    CALL(cuArrayDestroy, array);
    CALL(cuArrayDestroy, layers);
}

static void destroyed(void) {
    CUDA_ARRAY_DESCRIPTOR flat;
    CUDA_ARRAY3D_DESCRIPTOR whole;
    CUarray array = NULL;
    prepare();
    array = made(16, 16, 0, CU_AD_FORMAT_FLOAT, 1, 0);
    CALL(cuArrayGetDescriptor, NULL, array);
    CALL(cuArray3DGetDescriptor, NULL, array);
    CALL(cuArrayGetDescriptor, &flat, NULL);
    CALL(cuArray3DGetDescriptor, &whole, NULL);
    CALL(cuArrayDestroy, NULL);
    CALL(cuArrayDestroy, array);
}

static void captured(void) {
    CUarray array = NULL;
    CUstream stream = NULL;
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    CUDA_MEMCPY2D copy = {0};
    size_t count = 0;
    prepare();
    array = made(64, 16, 0, CU_AD_FORMAT_FLOAT, 1, 0);
    cuMemcpyHtoD(linear, source, 8192);
    CALL(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    copy.srcMemoryType = CU_MEMORYTYPE_DEVICE;
    copy.srcDevice = linear;
    copy.srcPitch = 256;
    copy.dstMemoryType = CU_MEMORYTYPE_ARRAY;
    copy.dstArray = array;
    copy.WidthInBytes = 256;
    copy.Height = 16;
    CALL(cuMemcpy2DAsync, &copy, stream);
    copy.srcMemoryType = CU_MEMORYTYPE_ARRAY;
    copy.srcArray = array;
    copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    copy.dstDevice = linear + 4096;
    copy.dstPitch = 256;
    CALL(cuMemcpy2DAsync, &copy, stream);
    CALL(cuStreamEndCapture, stream, &graph);
    CALL(cuGraphGetNodes, graph, NULL, &count);
    SHOW("%zu", count);
    CALL(cuGraphInstantiateWithFlags, &exec, graph, 0);
    CALL(cuMemsetD8, linear, 9, 4096);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    show_back(linear, 8192);
    CALL(cuGraphExecDestroy, exec);
    CALL(cuGraphDestroy, graph);
    CALL(cuStreamDestroy, stream);
    CALL(cuArrayDestroy, array);
}

static void no_context(void) {
    CUDA_ARRAY_DESCRIPTOR wanted = {64, 32, CU_AD_FORMAT_FLOAT, 4};
    CUarray array = NULL;
    CALL(cuArrayCreate, &array, &wanted);
    cuInit(0);
    CALL(cuArrayCreate, &array, &wanted);
    begin();
    array = made(16, 16, 0, CU_AD_FORMAT_FLOAT, 1, 0);
    CALL(cuCtxSetCurrent, NULL);
    CALL(cuArrayDestroy, array);
}

static const struct section sections[] = {
    {"shapes", shapes},       {"impossible", impossible}, {"rows", rows},         {"planes", planes},
    {"spaces", spaces},       {"destroyed", destroyed},   {"captured", captured}, {"no_context", no_context},
};

int main(int arguments, char **argument) {
    return run_sections(sections, sizeof sections / sizeof *sections, arguments, argument);
}
