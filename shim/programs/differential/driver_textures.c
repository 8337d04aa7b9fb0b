// Texture and surface objects: what they were created as, and what is refused.
#include "driver.h"

static CUdeviceptr linear;
static CUDA_RESOURCE_DESC resource;
static CUDA_TEXTURE_DESC texture;
static CUDA_RESOURCE_VIEW_DESC view;
static CUtexObject object;

static CUarray made(size_t width, size_t height, size_t depth, CUarray_format format, unsigned channels, unsigned flags) {
    CUDA_ARRAY3D_DESCRIPTOR wanted = {width, height, depth, format, channels, flags};
    CUarray array = NULL;
    if (cuArray3DCreate(&array, &wanted) != 0) printf("\nno array");
    return array;
}

static void prepare(void) {
    begin();
    cuMemAlloc(&linear, 1 << 20);
    memset(&resource, 0, sizeof resource);
    memset(&texture, 0, sizeof texture);
    memset(&view, 0, sizeof view);
    for (int i = 0; i < 3; i++) texture.addressMode[i] = CU_TR_ADDRESS_MODE_CLAMP;
}

static void of_array(CUarray array) {
    resource.resType = CU_RESOURCE_TYPE_ARRAY;
    resource.res.array.hArray = array;
}

static void of_memory(CUarray_format format, unsigned channels, size_t bytes) {
    resource.resType = CU_RESOURCE_TYPE_LINEAR;
    resource.res.linear.devPtr = linear;
    resource.res.linear.format = format;
    resource.res.linear.numChannels = channels;
    resource.res.linear.sizeInBytes = bytes;
}

static void of_rows(CUarray_format format, unsigned channels, size_t width, size_t height, size_t pitch) {
    resource.resType = CU_RESOURCE_TYPE_PITCH2D;
    resource.res.pitch2D.devPtr = linear;
    resource.res.pitch2D.format = format;
    resource.res.pitch2D.numChannels = channels;
    resource.res.pitch2D.width = width;
    resource.res.pitch2D.height = height;
    resource.res.pitch2D.pitchInBytes = pitch;
}

// Creates, describes and destroys one.
static void one(const char *what, int with_view) {
    CUDA_RESOURCE_DESC resource_back;
    CUDA_TEXTURE_DESC texture_back;
    CUDA_RESOURCE_VIEW_DESC view_back;
    memset(&resource_back, 0, sizeof resource_back);
    memset(&texture_back, 0, sizeof texture_back);
    memset(&view_back, 0, sizeof view_back);
    printf("\n%s", what);
    CALL(cuTexObjectCreate, &object, &resource, &texture, with_view ? &view : NULL);
    if (code != 0) return;
    CALL(cuTexObjectGetResourceDesc, &resource_back, object);
    SHOW("%d %u", (int)resource_back.resType, resource_back.flags);
    if (resource_back.resType == CU_RESOURCE_TYPE_ARRAY)
        SHOW("%d", resource_back.res.array.hArray == resource.res.array.hArray);
    if (resource_back.resType == CU_RESOURCE_TYPE_LINEAR)
        SHOW("%d %d %u %zu", resource_back.res.linear.devPtr == resource.res.linear.devPtr, (int)resource_back.res.linear.format,
             resource_back.res.linear.numChannels, resource_back.res.linear.sizeInBytes);
    if (resource_back.resType == CU_RESOURCE_TYPE_PITCH2D)
        SHOW("%d %d %u %zu %zu %zu", resource_back.res.pitch2D.devPtr == resource.res.pitch2D.devPtr,
             (int)resource_back.res.pitch2D.format, resource_back.res.pitch2D.numChannels, resource_back.res.pitch2D.width,
             resource_back.res.pitch2D.height, resource_back.res.pitch2D.pitchInBytes);
    CALL(cuTexObjectGetTextureDesc, &texture_back, object);
    SHOW("%d %d %d %d", (int)texture_back.addressMode[0], (int)texture_back.addressMode[1], (int)texture_back.addressMode[2],
         (int)texture_back.filterMode);
    SHOW("%u %u %d %g %g %g", texture_back.flags, texture_back.maxAnisotropy, (int)texture_back.mipmapFilterMode,
         (double)texture_back.mipmapLevelBias, (double)texture_back.minMipmapLevelClamp, (double)texture_back.maxMipmapLevelClamp);
    SHOW("%g %g %g %g", (double)texture_back.borderColor[0], (double)texture_back.borderColor[1],
         (double)texture_back.borderColor[2], (double)texture_back.borderColor[3]);
    CALL(cuTexObjectGetResourceViewDesc, &view_back, object);
    if (with_view) SHOW("%d %zu %zu %zu %u %u %u %u", (int)view_back.format, view_back.width, view_back.height, view_back.depth,
         view_back.firstMipmapLevel, view_back.lastMipmapLevel, view_back.firstLayer, view_back.lastLayer);
    CALL(cuTexObjectDestroy, object);
}

static void arrays(void) {
    CUarray array = NULL, bytes = NULL, ints = NULL;
    prepare();
    array = made(64, 32, 0, CU_AD_FORMAT_FLOAT, 1, 0);
    bytes = made(64, 32, 0, CU_AD_FORMAT_UNSIGNED_INT8, 4, 0);
    ints = made(64, 32, 0, CU_AD_FORMAT_SIGNED_INT32, 1, 0);
    of_array(array);
    one("plain", 0);
    texture.filterMode = CU_TR_FILTER_MODE_LINEAR;
    texture.flags = CU_TRSF_NORMALIZED_COORDINATES;
    texture.addressMode[0] = CU_TR_ADDRESS_MODE_WRAP;
    texture.addressMode[1] = CU_TR_ADDRESS_MODE_MIRROR;
    texture.maxAnisotropy = 40;
    texture.mipmapLevelBias = 1.5f;
    texture.maxMipmapLevelClamp = 3;
    one("filtered", 0);
    texture.flags = 0;
    one("wrapped by elements", 0);
    texture.addressMode[0] = texture.addressMode[1] = CU_TR_ADDRESS_MODE_BORDER;
    texture.borderColor[0] = 0.25f;
    texture.borderColor[3] = 2;
    one("bordered", 0);
    of_array(bytes);
    one("fractions", 0);
    texture.flags = CU_TRSF_READ_AS_INTEGER;
    one("whole numbers, filtered", 0);
    texture.filterMode = CU_TR_FILTER_MODE_POINT;
    one("whole numbers", 0);
    texture.flags = CU_TRSF_SRGB | CU_TRSF_NORMALIZED_COORDINATES;
    one("colours", 0);
    texture.flags = 0;
    of_array(ints);
    texture.filterMode = CU_TR_FILTER_MODE_LINEAR;
    one("integers, filtered", 0);
    texture.filterMode = CU_TR_FILTER_MODE_POINT;
    one("integers", 0);
    view.format = CU_RES_VIEW_FORMAT_FLOAT_1X32;
    view.width = 64;
    view.height = 32;
    one("viewed as floats", 1);
    view.width = 32;
    one("viewed as half as wide", 1);
    view.width = 64;
    view.format = CU_RES_VIEW_FORMAT_NONE;
    one("viewed as it is", 1);
}

static void memory(void) {
    prepare();
    of_memory(CU_AD_FORMAT_FLOAT, 2, 4096);
    one("in a row", 0);
    of_rows(CU_AD_FORMAT_UNSIGNED_INT8, 4, 100, 20, 512);
    one("in rows", 0);
    texture.filterMode = CU_TR_FILTER_MODE_LINEAR;
    one("in rows, filtered", 0);
    of_rows(CU_AD_FORMAT_FLOAT, 1, 100, 20, 416);
    one("in narrow rows", 0);
    of_rows(CU_AD_FORMAT_FLOAT, 1, 100, 20, 400);
    one("in rows that are not aligned", 0);
    of_rows(CU_AD_FORMAT_FLOAT, 1, 200, 20, 512);
    one("in rows beyond their pitch", 0);
    of_rows(CU_AD_FORMAT_FLOAT, 1, 0, 20, 512);
    one("in empty rows", 0);
    of_rows(CU_AD_FORMAT_FLOAT, 3, 100, 20, 1536);
    one("of three channels", 0);
    texture.filterMode = CU_TR_FILTER_MODE_POINT;
    of_memory(CU_AD_FORMAT_FLOAT, 2, 0);
    one("of nothing", 0);
    of_memory(CU_AD_FORMAT_FLOAT, 4, 8);
    one("of half an element", 0);
    linear += 4;
    of_memory(CU_AD_FORMAT_FLOAT, 1, 4096);
    one("at an odd place", 0);
    linear -= 4;
    of_memory((CUarray_format)7, 1, 4096);
    one("of no format", 0);
    of_memory(CU_AD_FORMAT_FLOAT, 1, 4096);
    view.format = CU_RES_VIEW_FORMAT_FLOAT_1X32;
    one("of memory, viewed", 1);
    resource.flags = 1;
    one("with flags", 0);
    resource.flags = 0;
    resource.resType = (CUresourcetype)9;
    one("of nothing known", 0);
}

static void refused(void) {
    CUarray array = NULL;
    CUDA_RESOURCE_DESC resource_back;
    CUDA_TEXTURE_DESC texture_back;
    prepare();
    array = made(64, 32, 0, CU_AD_FORMAT_FLOAT, 1, 0);
    of_array(array);
    CALL(cuTexObjectCreate, NULL, &resource, &texture, NULL);
    CALL(cuTexObjectCreate, &object, NULL, &texture, NULL);
    CALL(cuTexObjectCreate, &object, &resource, NULL, NULL);
    texture.addressMode[0] = (CUaddress_mode)9;
    one("no mode", 0);
    texture.addressMode[0] = CU_TR_ADDRESS_MODE_CLAMP;
    texture.filterMode = (CUfilter_mode)9;
    one("no filter", 0);
    texture.filterMode = CU_TR_FILTER_MODE_POINT;
    texture.flags = 1u << 20;
    one("no flag", 0);
    texture.flags = 0;
    CALL(cuTexObjectDestroy, 0);
    CALL(cuTexObjectDestroy, 0xdeadbeefull);
    CALL(cuTexObjectGetResourceDesc, &resource_back, 0xdeadbeefull);
    CALL(cuTexObjectGetTextureDesc, &texture_back, 0xdeadbeefull);
    CALL(cuTexObjectGetResourceViewDesc, &view, 0xdeadbeefull);
    CALL(cuTexObjectCreate, &object, &resource, &texture, NULL);
    CALL(cuTexObjectGetResourceDesc, NULL, object);
    CALL(cuTexObjectGetTextureDesc, NULL, object);
    CALL(cuTexObjectDestroy, object);
    CALL(cuTexObjectDestroy, object);
    CALL(cuTexObjectGetTextureDesc, &texture_back, object);
    of_array(NULL);
    one("of no array", 0);
}

static void surfaces(void) {
    CUarray good = NULL, other = NULL;
    CUsurfObject surface = 0;
    CUDA_RESOURCE_DESC back;
    prepare();
    good = made(64, 32, 0, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_SURFACE_LDST);
    other = made(64, 32, 0, CU_AD_FORMAT_FLOAT, 1, 0);
    of_array(good);
    CALL(cuSurfObjectCreate, &surface, &resource);
    CALL(cuSurfObjectGetResourceDesc, &back, surface);
    SHOW("%d %d %u", (int)back.resType, back.res.array.hArray == good, back.flags);
    CALL(cuSurfObjectGetResourceDesc, NULL, surface);
    CALL(cuSurfObjectDestroy, surface);
    CALL(cuSurfObjectDestroy, surface);
    CALL(cuSurfObjectGetResourceDesc, &back, surface);
    CALL(cuSurfObjectCreate, &surface, NULL);
    resource.flags = 1;
    CALL(cuSurfObjectCreate, &surface, &resource);
    resource.flags = 0;
    of_array(other);
    CALL(cuSurfObjectCreate, &surface, &resource);
    of_memory(CU_AD_FORMAT_FLOAT, 1, 4096);
    CALL(cuSurfObjectCreate, &surface, &resource);
    CALL(cuSurfObjectDestroy, 0);
    CALL(cuSurfObjectDestroy, 0xdeadbeefull);
}

static void no_context(void) {
    CUarray array = NULL;
    prepare();
    array = made(64, 32, 0, CU_AD_FORMAT_FLOAT, 1, 0);
    of_array(array);
    cuTexObjectCreate(&object, &resource, &texture, NULL);
    CALL(cuCtxSetCurrent, NULL);
    CALL(cuTexObjectCreate, &object, &resource, &texture, NULL);
    CALL(cuTexObjectGetTextureDesc, &texture, object);
    CALL(cuTexObjectDestroy, object);
}

static const struct section sections[] = {
    {"arrays", arrays}, {"memory", memory}, {"refused", refused}, {"surfaces", surfaces}, {"no_context", no_context},
};

int main(int arguments, char **argument) {
    return run_sections(sections, sizeof sections / sizeof *sections, arguments, argument);
}
