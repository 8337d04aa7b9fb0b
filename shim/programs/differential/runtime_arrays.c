// The runtime's arrays, texture and surface objects.
#include "runtime.h"

enum { BYTES = 1 << 15 };
static unsigned char source[BYTES], back[BYTES];
static struct cudaChannelFormatDesc one_float, four_bytes;

static void prepare(void) {
    begin();
    for (size_t i = 0; i < sizeof source; i++) source[i] = (unsigned char)(i * 13 + i / 256);
    one_float = cudaCreateChannelDesc(32, 0, 0, 0, cudaChannelFormatKindFloat);
    four_bytes = cudaCreateChannelDesc(8, 8, 8, 8, cudaChannelFormatKindUnsigned);
}

static void show(cudaArray_t array) {
    struct cudaChannelFormatDesc format;
    struct cudaExtent extent;
    unsigned flags = 99;
    memset(&format, 0, sizeof format);
    memset(&extent, 0, sizeof extent);
    CALL(cudaArrayGetInfo, &format, &extent, &flags, array);
    SHOW("%d %d %d %d %d", format.x, format.y, format.z, format.w, (int)format.f);
    SHOW("%zu %zu %zu %u", extent.width, extent.height, extent.depth, flags);
    CALL(cudaGetChannelDesc, &format, array);
    SHOW("%d %d %d %d %d", format.x, format.y, format.z, format.w, (int)format.f);
}

static void create(int x, int y, int z, int w, enum cudaChannelFormatKind kind, size_t width, size_t height, size_t depth, unsigned flags) {
    struct cudaChannelFormatDesc format = cudaCreateChannelDesc(x, y, z, w, kind);
    cudaArray_t array = NULL;
    printf("\n%d %d %d %d kind %d, %zu x %zu x %zu, flags %u", x, y, z, w, (int)kind, width, height, depth, flags);
    CALL(cudaMalloc3DArray, &array, &format, make_cudaExtent(width, height, depth), flags);
    if (code != 0) return;
    show(array);
    CALL(cudaFreeArray, array);
}

static void shapes(void) {
    struct cudaArrayMemoryRequirements requirements;
    struct cudaArraySparseProperties properties;
    cudaArray_t array = NULL, plane = NULL;
    prepare();
    CALL(cudaMallocArray, &array, &one_float, 64, 32, 0);
    show(array);
    CALL(cudaArrayGetInfo, NULL, NULL, NULL, array);
    CALL(cudaGetChannelDesc, NULL, array);
    CALL(cudaArrayGetPlane, &plane, array, 0);
    CALL(cudaArrayGetMemoryRequirements, &requirements, array, 0);
    CALL(cudaArrayGetSparseProperties, &properties, array);
    CALL(cudaFreeArray, array);
    CALL(cudaFreeArray, NULL);
    CALL(cudaMallocArray, &array, &four_bytes, 64, 0, cudaArraySurfaceLoadStore);
    show(array);
    CALL(cudaFreeArray, array);
    CALL(cudaMallocArray, NULL, &one_float, 64, 32, 0);
    CALL(cudaMallocArray, &array, NULL, 64, 32, 0);
    CALL(cudaMallocArray, &array, &one_float, 0, 32, 0);
    CALL(cudaMallocArray, &array, &one_float, 0, 0, 0);
    create(16, 0, 0, 0, cudaChannelFormatKindFloat, 16, 8, 0, cudaArrayDefault);
    create(16, 16, 0, 0, cudaChannelFormatKindSigned, 16, 8, 4, cudaArrayDefault);
    create(32, 32, 32, 32, cudaChannelFormatKindUnsigned, 16, 0, 0, cudaArrayDefault);
    create(8, 0, 0, 0, cudaChannelFormatKindSigned, 16, 8, 3, cudaArrayLayered);
    create(8, 0, 0, 0, cudaChannelFormatKindUnsigned, 16, 0, 3, cudaArrayLayered);
    create(32, 0, 0, 0, cudaChannelFormatKindFloat, 16, 16, 6, cudaArrayCubemap);
    create(32, 0, 0, 0, cudaChannelFormatKindFloat, 16, 8, 0, cudaArrayTextureGather);
}

static void impossible(void) {
    prepare();
    create(32, 32, 32, 0, cudaChannelFormatKindFloat, 16, 8, 0, 0);
    create(32, 16, 0, 0, cudaChannelFormatKindFloat, 16, 8, 0, 0);
    create(8, 0, 0, 0, cudaChannelFormatKindFloat, 16, 8, 0, 0);
    create(0, 0, 0, 0, cudaChannelFormatKindFloat, 16, 8, 0, 0);
    create(24, 0, 0, 0, cudaChannelFormatKindSigned, 16, 8, 0, 0);
    create(32, 0, 0, 0, cudaChannelFormatKindNone, 16, 8, 0, 0);
    create(32, 0, 32, 0, cudaChannelFormatKindFloat, 16, 8, 0, 0);
    create(0, 32, 0, 0, cudaChannelFormatKindFloat, 16, 8, 0, 0);
    create(32, 0, 0, 0, cudaChannelFormatKindFloat, 16, 8, 6, cudaArrayCubemap);
    create(32, 0, 0, 0, cudaChannelFormatKindFloat, 16, 0, 6, 0);
    create(32, 0, 0, 0, cudaChannelFormatKindFloat, (size_t)1 << 30, 0, 0, 0);
    create(32, 0, 0, 0, cudaChannelFormatKindFloat, 16, 8, 0, 1u << 20);
    CALL0(cudaGetLastError);
}

static void planes(void) {
    cudaArray_t array = NULL, other = NULL;
    cudaStream_t stream = NULL;
    void *linear = NULL;
    prepare();
    cudaMallocArray(&array, &four_bytes, 100, 40, 0);
    cudaMallocArray(&other, &one_float, 64, 64, 0);
    cudaMalloc(&linear, BYTES);
    cudaMemset(linear, 0, BYTES);
    CALL(cudaMemcpy2DToArray, array, 0, 0, source, 410, 400, 40, cudaMemcpyHostToDevice);
    memset(back, 0, sizeof back);
    CALL(cudaMemcpy2DFromArray, back, 300, array, 16, 3, 200, 20, cudaMemcpyDeviceToHost);
    SHOW("%llx", checksum(back, 6000));
    CALL(cudaMemcpy2DArrayToArray, other, 8, 2, array, 16, 3, 200, 20, cudaMemcpyDeviceToDevice);
    CALL(cudaStreamCreate, &stream);
    CALL(cudaMemcpy2DFromArrayAsync, linear, 256, other, 8, 2, 200, 20, cudaMemcpyDeviceToDevice, stream);
    CALL(cudaMemcpy2DToArrayAsync, array, 40, 1, linear, 256, 200, 20, cudaMemcpyDefault, stream);
    CALL(cudaStreamSynchronize, stream);
    CALL(cudaMemcpy2DFromArray, back, 400, array, 0, 0, 400, 40, cudaMemcpyDefault);
    SHOW("%llx", checksum(back, 16000));
    CALL(cudaMemcpyToArray, other, 16, 1, source + 7, 1000, cudaMemcpyHostToDevice);
    memset(back, 0, sizeof back);
    CALL(cudaMemcpyFromArray, back, other, 0, 0, 64 * 64 * 4, cudaMemcpyDeviceToHost);
    SHOW("%llx", checksum(back + 256 + 16, 1000));
    CALL(cudaMemcpyFromArrayAsync, back, other, 20, 2, 600, cudaMemcpyDeviceToHost, stream);
    CALL(cudaMemcpyToArrayAsync, other, 0, 8, source, 512, cudaMemcpyHostToDevice, stream);
    CALL(cudaStreamSynchronize, stream);
    SHOW("%llx", checksum(back, 600));
    CALL(cudaMemcpyArrayToArray, other, 0, 20, other, 16, 1, 1000, cudaMemcpyDeviceToDevice);
    CALL(cudaMemcpyFromArray, back, other, 0, 20, 1000, cudaMemcpyDeviceToHost);
    SHOW("%llx", checksum(back, 1000));
    CALL(cudaMemcpy2DToArray, array, 0, 0, source, 399, 400, 40, cudaMemcpyHostToDevice);
    CALL(cudaMemcpy2DToArray, array, 4, 0, source, 400, 400, 40, cudaMemcpyHostToDevice);
    CALL(cudaMemcpy2DToArray, array, 0, 1, source, 400, 400, 40, cudaMemcpyHostToDevice);
    CALL(cudaMemcpy2DToArray, array, 2, 0, source, 400, 40, 4, cudaMemcpyHostToDevice);
    CALL(cudaMemcpy2DToArray, array, 0, 0, source, 400, 42, 4, cudaMemcpyHostToDevice);
    CALL(cudaMemcpy2DToArray, array, 0, 0, source, 400, 0, 4, cudaMemcpyHostToDevice);
    CALL(cudaMemcpy2DToArray, array, 0, 0, source, 400, 40, 4, cudaMemcpyDeviceToHost);
    CALL(cudaMemcpy2DToArray, array, 0, 0, source, 400, 40, 4, (enum cudaMemcpyKind)9);
    CALL(cudaMemcpy2DToArray, NULL, 0, 0, source, 400, 40, 4, cudaMemcpyHostToDevice);
    CALL(cudaMemcpy2DFromArray, back, 400, NULL, 0, 0, 40, 4, cudaMemcpyDeviceToHost);
    CALL(cudaMemcpyToArray, other, 0, 0, source, 64 * 64 * 4 + 4, cudaMemcpyHostToDevice);
    CALL(cudaMemcpyToArray, other, 0, 63, source, 260, cudaMemcpyHostToDevice);
    CALL(cudaMemcpyToArray, other, 0, 0, source, 0, cudaMemcpyHostToDevice);
    CALL(cudaStreamDestroy, stream);
    CALL(cudaFreeArray, array);
    CALL(cudaFreeArray, other);
}

static void spaces(void) {
    struct cudaMemcpy3DParms copy;
    cudaArray_t array = NULL, bytes = NULL;
    void *linear = NULL;
    prepare();
    memset(&copy, 0, sizeof copy);
    cudaMalloc3DArray(&array, &one_float, make_cudaExtent(20, 10, 8), 0);
    cudaMalloc3DArray(&bytes, &four_bytes, make_cudaExtent(20, 10, 8), 0);
    cudaMalloc(&linear, BYTES);
    cudaMemset(linear, 0, BYTES);
    copy.srcPtr = make_cudaPitchedPtr(source, 84, 84, 11);
    copy.dstArray = array;
    copy.extent = make_cudaExtent(20, 10, 8);
    copy.kind = cudaMemcpyHostToDevice;
    CALL(cudaMemcpy3D, &copy);
    copy.dstArray = NULL;
    copy.srcPtr = make_cudaPitchedPtr(NULL, 0, 0, 0);
    copy.srcArray = array;
    copy.srcPos = make_cudaPos(2, 1, 3);
    copy.dstPtr = make_cudaPitchedPtr(back, 64, 64, 8);
    copy.dstPos = make_cudaPos(4, 1, 0);
    copy.extent = make_cudaExtent(15, 6, 4);
    copy.kind = cudaMemcpyDeviceToHost;
    memset(back, 0, sizeof back);
    CALL(cudaMemcpy3D, &copy);
    SHOW("%llx", checksum(back, 4096));
    copy.dstPtr = make_cudaPitchedPtr(linear, 128, 128, 8);
    copy.kind = cudaMemcpyDeviceToDevice;
    CALL(cudaMemcpy3DAsync, &copy, NULL);
    CALL0(cudaDeviceSynchronize);
    CALL(cudaMemcpy, back, linear, 8192, cudaMemcpyDeviceToHost);
    SHOW("%llx", checksum(back, 8192));
    copy.dstArray = bytes;
    CALL(cudaMemcpy3D, &copy);
    copy.dstPtr = make_cudaPitchedPtr(NULL, 0, 0, 0);
    copy.dstPos = make_cudaPos(1, 0, 2);
    CALL(cudaMemcpy3D, &copy);
    copy.srcArray = bytes;
    copy.srcPos = make_cudaPos(0, 0, 0);
    copy.extent = make_cudaExtent(20, 10, 8);
    copy.dstArray = NULL;
    copy.dstPos = make_cudaPos(0, 0, 0);
    copy.dstPtr = make_cudaPitchedPtr(back, 80, 20, 10);
    copy.kind = cudaMemcpyDefault;
    CALL(cudaMemcpy3D, &copy);
    SHOW("%llx", checksum(back + 3 * 800, 600));
    copy.srcPos = make_cudaPos(1, 0, 0);
    CALL(cudaMemcpy3D, &copy);
    copy.srcPos = make_cudaPos(0, 0, 1);
    CALL(cudaMemcpy3D, &copy);
    copy.extent = make_cudaExtent(0, 10, 8);
    CALL(cudaMemcpy3D, &copy);
    copy.extent = make_cudaExtent(4, 4, 4);
    copy.kind = cudaMemcpyHostToDevice;
    CALL(cudaMemcpy3D, &copy);
    copy.kind = cudaMemcpyDeviceToHost;
    copy.srcArray = NULL;
    CALL(cudaMemcpy3D, &copy);
    CALL(cudaFreeArray, array);
    CALL(cudaFreeArray, bytes);
}

static struct cudaResourceDesc resource;
static struct cudaTextureDesc texture;
static struct cudaResourceViewDesc view;
static cudaTextureObject_t object;

static void texture_of(const char *what, int with_view) {
    struct cudaResourceDesc resource_back;
    struct cudaTextureDesc texture_back;
    struct cudaResourceViewDesc view_back;
    memset(&resource_back, 0, sizeof resource_back);
    memset(&texture_back, 0, sizeof texture_back);
    memset(&view_back, 0, sizeof view_back);
    printf("\n%s", what);
    CALL(cudaCreateTextureObject, &object, &resource, &texture, with_view ? &view : NULL);
    if (code != 0) return;
    CALL(cudaGetTextureObjectResourceDesc, &resource_back, object);
    SHOW("%d", (int)resource_back.resType);
    if (resource_back.resType == cudaResourceTypeArray) SHOW("%d", resource_back.res.array.array == resource.res.array.array);
    if (resource_back.resType == cudaResourceTypeLinear)
        SHOW("%d %d %d %d %zu", resource_back.res.linear.devPtr == resource.res.linear.devPtr, resource_back.res.linear.desc.x,
             resource_back.res.linear.desc.w, (int)resource_back.res.linear.desc.f, resource_back.res.linear.sizeInBytes);
    if (resource_back.resType == cudaResourceTypePitch2D)
        SHOW("%d %d %d %d %zu %zu %zu", resource_back.res.pitch2D.devPtr == resource.res.pitch2D.devPtr,
             resource_back.res.pitch2D.desc.x, resource_back.res.pitch2D.desc.w, (int)resource_back.res.pitch2D.desc.f,
             resource_back.res.pitch2D.width, resource_back.res.pitch2D.height, resource_back.res.pitch2D.pitchInBytes);
    CALL(cudaGetTextureObjectTextureDesc, &texture_back, object);
    SHOW("%d %d %d", (int)texture_back.addressMode[0], (int)texture_back.addressMode[1], (int)texture_back.addressMode[2]);
    SHOW("%d %d %d %d %u %d", (int)texture_back.filterMode, (int)texture_back.readMode, texture_back.sRGB,
         texture_back.normalizedCoords, texture_back.maxAnisotropy, (int)texture_back.mipmapFilterMode);
    SHOW("%g %g %g %d %d", (double)texture_back.mipmapLevelBias,
         (double)texture_back.minMipmapLevelClamp, (double)texture_back.maxMipmapLevelClamp,
         texture_back.disableTrilinearOptimization, texture_back.seamlessCubemap);
    CALL(cudaGetTextureObjectResourceViewDesc, &view_back, object);
    if (with_view) SHOW("%d %zu %zu %zu", (int)view_back.format, view_back.width, view_back.height, view_back.depth);
    CALL(cudaDestroyTextureObject, object);
}

static void of_array(cudaArray_t array) {
    resource.resType = cudaResourceTypeArray;
    resource.res.array.array = array;
}

static void textures(void) {
    cudaArray_t array = NULL, bytes = NULL;
    void *linear = NULL;
    prepare();
    memset(&resource, 0, sizeof resource);
    memset(&texture, 0, sizeof texture);
    memset(&view, 0, sizeof view);
    cudaMallocArray(&array, &one_float, 64, 32, 0);
    cudaMallocArray(&bytes, &four_bytes, 64, 32, 0);
    cudaMalloc(&linear, BYTES);
    for (int i = 0; i < 3; i++) texture.addressMode[i] = cudaAddressModeClamp;
    of_array(array);
    texture_of("plain", 0);
    texture.readMode = cudaReadModeNormalizedFloat;
    texture_of("floats as fractions", 0);
    texture.filterMode = cudaFilterModeLinear;
    of_array(bytes);
    texture_of("bytes as fractions, filtered", 0);
    texture.readMode = cudaReadModeElementType;
    texture_of("bytes, filtered", 0);
    texture.filterMode = cudaFilterModePoint;
    texture.sRGB = 1;
    texture.disableTrilinearOptimization = 1;
    texture.maxAnisotropy = 4;
    texture.borderColor[0] = 0.5f;
    texture_of("bytes", 0);
    texture.sRGB = 0;
    texture.normalizedCoords = 1;
    texture.addressMode[0] = cudaAddressModeWrap;
    texture.addressMode[1] = cudaAddressModeMirror;
    texture_of("wrapped", 0);
    texture.seamlessCubemap = 1;
    texture_of("seamless", 0);
    texture.seamlessCubemap = 0;
    view.format = cudaResViewFormatUnsignedChar4;
    view.width = 64;
    view.height = 32;
    texture_of("viewed", 1);
    view.format = cudaResViewFormatFloat1;
    texture_of("viewed as floats", 1);
    texture.normalizedCoords = 0;
    resource.resType = cudaResourceTypeLinear;
    resource.res.linear.devPtr = linear;
    resource.res.linear.desc = one_float;
    resource.res.linear.sizeInBytes = 4096;
    texture_of("in a row", 0);
    resource.res.linear.desc.x = 33;
    texture_of("of no format", 0);
    resource.resType = cudaResourceTypePitch2D;
    resource.res.pitch2D.desc = four_bytes;
    resource.res.pitch2D.width = 50;
    resource.res.pitch2D.height = 20;
    resource.res.pitch2D.pitchInBytes = 512;
    texture_of("in rows", 0);
    CALL(cudaCreateTextureObject, NULL, &resource, &texture, NULL);
    CALL(cudaCreateTextureObject, &object, NULL, &texture, NULL);
    CALL(cudaCreateTextureObject, &object, &resource, NULL, NULL);
    of_array(NULL);
    texture_of("of no array", 0);
    resource.resType = (enum cudaResourceType)9;
    texture_of("of nothing known", 0);
    CALL(cudaDestroyTextureObject, 0);
    CALL(cudaDestroyTextureObject, 0xdeadbeefull);
    CALL(cudaGetTextureObjectTextureDesc, &texture, 0xdeadbeefull);
    CALL(cudaGetTextureObjectResourceDesc, &resource, 0xdeadbeefull);
    CALL(cudaGetTextureObjectResourceViewDesc, &view, 0xdeadbeefull);
    CALL0(cudaGetLastError);
}

static void surfaces(void) {
    cudaArray_t good = NULL, other = NULL;
    cudaSurfaceObject_t surface = 0;
    struct cudaResourceDesc description;
    prepare();
    memset(&resource, 0, sizeof resource);
    cudaMallocArray(&good, &one_float, 64, 32, cudaArraySurfaceLoadStore);
    cudaMallocArray(&other, &one_float, 64, 32, 0);
    of_array(good);
    CALL(cudaCreateSurfaceObject, &surface, &resource);
    memset(&description, 0, sizeof description);
    CALL(cudaGetSurfaceObjectResourceDesc, &description, surface);
    SHOW("%d %d", (int)description.resType, description.res.array.array == good);
    CALL(cudaDestroySurfaceObject, surface);
    CALL(cudaDestroySurfaceObject, surface);
    CALL(cudaCreateSurfaceObject, NULL, &resource);
    CALL(cudaCreateSurfaceObject, &surface, NULL);
    of_array(other);
    CALL(cudaCreateSurfaceObject, &surface, &resource);
    resource.resType = cudaResourceTypeLinear;
    CALL(cudaCreateSurfaceObject, &surface, &resource);
    CALL(cudaDestroySurfaceObject, 0);
    CALL(cudaGetSurfaceObjectResourceDesc, &description, 0xdeadbeefull);
}

static const struct section sections[] = {
    {"shapes", shapes}, {"impossible", impossible}, {"planes", planes},
    {"spaces", spaces}, {"textures", textures},     {"surfaces", surfaces},
};

int main(int arguments, char **argument) {
    return run_sections(sections, sizeof sections / sizeof *sections, arguments, argument);
}
