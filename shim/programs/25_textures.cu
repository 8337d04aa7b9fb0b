// Textures and surfaces: elements read by points and between points, beyond the edges, from arrays and from memory; surfaces
// read and written. All values are such that no rounding takes place.
#include "check.h"
#include <cstring>
#include <vector>

// One number a thread, read at the middle of its own element, moved by (dx, dy) elements, scaled to the texture's units.
__global__ void sample_plane(cudaTextureObject_t texture, float *out, int width, int height, float dx, float dy, float x_unit, float y_unit) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    out[y * width + x] = tex2D<float>(texture, (x + 0.5f + dx) * x_unit, (y + 0.5f + dy) * y_unit);
}

__global__ void sample_colours(cudaTextureObject_t texture, float4 *out, int width, int height) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < width && y < height) out[y * width + x] = tex2D<float4>(texture, x + 0.5f, y + 0.5f);
}

// All three coordinates between two elements.
__global__ void sample_space(cudaTextureObject_t texture, float *out, int size) {
    int at = blockIdx.x * blockDim.x + threadIdx.x;
    int x = at % size, y = at / size % size, z = at / size / size;
    if (z < size) out[at] = tex3D<float>(texture, x + 1.0f, y + 1.0f, z + 1.0f);
}

__global__ void sample_layer(cudaTextureObject_t texture, int *out, int width, int height, int layer) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < width && y < height) out[y * width + x] = tex2DLayered<int>(texture, x + 0.5f, y + 0.5f, layer);
}

__global__ void fetch_row(cudaTextureObject_t texture, int2 *out, int first, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) out[i] = tex1Dfetch<int2>(texture, first + i);
}

__global__ void paint(cudaSurfaceObject_t surface, int width, int height, int summand) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    int value = surf2Dread<int>(surface, x * sizeof(int), y);
    surf2Dwrite(3 * value + summand + x, surface, x * sizeof(int), y);
}

static unsigned long long digest(const void *bytes, size_t count) {
    unsigned long long sum = 1469598103934665603ull;
    for (size_t i = 0; i < count; i++) sum = (sum ^ static_cast<const unsigned char *>(bytes)[i]) * 1099511628211ull;
    return sum;
}

static cudaTextureDesc reading(cudaTextureFilterMode filter, cudaTextureAddressMode mode, cudaTextureReadMode as, int normalized) {
    cudaTextureDesc description = {};
    for (auto &place : description.addressMode) place = mode;
    description.filterMode = filter;
    description.readMode = as;
    description.normalizedCoords = normalized;
    return description;
}

static cudaTextureObject_t texture_of(const cudaResourceDesc &resource, const cudaTextureDesc &description) {
    cudaTextureObject_t texture = 0;
    CHECK(cudaCreateTextureObject(&texture, &resource, &description, nullptr));
    return texture;
}

static cudaResourceDesc whole(cudaArray_t array) {
    cudaResourceDesc resource = {};
    resource.resType = cudaResourceTypeArray;
    resource.res.array.array = array;
    return resource;
}

template <typename T> static std::vector<T> taken(T *from, size_t count) {
    std::vector<T> values(count);
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpy(values.data(), from, count * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
}

static const dim3 BLOCK(16, 16);

static void planes() {
    const int width = 64, height = 32;
    std::vector<float> in(width * height);
    for (size_t i = 0; i < in.size(); i++) in[i] = static_cast<float>(i * 7 % 512 * 4);
    cudaChannelFormatDesc format = cudaCreateChannelDesc<float>();
    cudaArray_t array = nullptr;
    float *out = nullptr;
    CHECK(cudaMallocArray(&array, &format, width, height));
    CHECK(cudaMemcpy2DToArray(array, 0, 0, in.data(), width * sizeof(float), width * sizeof(float), height, cudaMemcpyHostToDevice));
    CHECK(cudaMalloc(&out, in.size() * sizeof(float)));
    const struct {
        const char *name;
        cudaTextureFilterMode filter;
        cudaTextureAddressMode mode;
        int normalized;
        float dx, dy;
    } ways[] = {
        {"points", cudaFilterModePoint, cudaAddressModeClamp, 0, 0, 0},
        {"points, clamped", cudaFilterModePoint, cudaAddressModeClamp, 0, 40, -20},
        {"points, zeros around", cudaFilterModePoint, cudaAddressModeBorder, 0, 40, -20},
        {"points, repeated", cudaFilterModePoint, cudaAddressModeWrap, 1, 80, -48},
        {"points, mirrored", cudaFilterModePoint, cudaAddressModeMirror, 1, 80, -48},
        {"between in x", cudaFilterModeLinear, cudaAddressModeClamp, 0, 0.5f, 0},
        {"between in x and y", cudaFilterModeLinear, cudaAddressModeClamp, 0, 0.5f, -0.5f},
        {"at a quarter", cudaFilterModeLinear, cudaAddressModeClamp, 0, 0.25f, 0.75f},
        {"between, zeros around", cudaFilterModeLinear, cudaAddressModeBorder, 0, 40.5f, -20.5f},
        {"between, repeated", cudaFilterModeLinear, cudaAddressModeWrap, 1, 16.5f, 8.5f},
    };
    for (const auto &way : ways) {
        cudaTextureDesc description = reading(way.filter, way.mode, cudaReadModeElementType, way.normalized);
        cudaTextureObject_t texture = texture_of(whole(array), description);
        float x_unit = way.normalized ? 1.0f / width : 1.0f, y_unit = way.normalized ? 1.0f / height : 1.0f;
        sample_plane<<<dim3(width / 16, height / 16), BLOCK>>>(texture, out, width, height, way.dx, way.dy, x_unit, y_unit);
        std::vector<float> found = taken(out, in.size());
        CHECK(cudaDestroyTextureObject(texture));
        std::printf("%s: corner %g, inside %g, digest %016llx\n", way.name, found[0], found[11 * width + 30],
                    digest(found.data(), found.size() * sizeof(float)));
        if (&way == ways)
            for (size_t i = 0; i < in.size(); i++) EXPECT(found[i] == in[i]);
    }
    CHECK(cudaFree(out));
    CHECK(cudaFreeArray(array));
}

// Rows of memory of the program's own making.
static void rows() {
    const int width = 48, height = 20;
    std::vector<uchar4> in(width * height);
    for (size_t i = 0; i < in.size(); i++)
        in[i] = make_uchar4(i % 3 == 0 ? 255 : 0, i % 5 == 0 ? 255 : 0, i % 7 == 0 ? 255 : 0, i % 2 == 0 ? 255 : 0);
    uchar4 *linear = nullptr;
    float4 *out = nullptr;
    size_t pitch = 0;
    CHECK(cudaMallocPitch(&linear, &pitch, width * sizeof(uchar4), height));
    CHECK(cudaMemcpy2D(linear, pitch, in.data(), width * sizeof(uchar4), width * sizeof(uchar4), height, cudaMemcpyHostToDevice));
    CHECK(cudaMalloc(&out, in.size() * sizeof(float4)));
    cudaResourceDesc resource = {};
    resource.resType = cudaResourceTypePitch2D;
    resource.res.pitch2D.devPtr = linear;
    resource.res.pitch2D.desc = cudaCreateChannelDesc<uchar4>();
    resource.res.pitch2D.width = width;
    resource.res.pitch2D.height = height;
    resource.res.pitch2D.pitchInBytes = pitch;
    cudaTextureObject_t texture =
        texture_of(resource, reading(cudaFilterModePoint, cudaAddressModeClamp, cudaReadModeNormalizedFloat, 0));
    sample_colours<<<dim3(blocks_of(width, 16), blocks_of(height, 16)), BLOCK>>>(texture, out, width, height);
    std::vector<float4> found = taken(out, in.size());
    for (size_t i = 0; i < in.size(); i++)
        EXPECT(found[i].x == in[i].x / 255 && found[i].y == in[i].y / 255 && found[i].z == in[i].z / 255 && found[i].w == in[i].w / 255);
    CHECK(cudaDestroyTextureObject(texture));
    std::printf("colours: digest %016llx\n", digest(found.data(), found.size() * sizeof(float4)));
    CHECK(cudaFree(out));

    const int count = 300;
    std::vector<int2> pairs(count);
    for (int i = 0; i < count; i++) pairs[i] = make_int2(i * i, -i);
    int2 *row = nullptr, *fetched = nullptr;
    CHECK(cudaMalloc(&row, count * sizeof(int2)));
    CHECK(cudaMalloc(&fetched, count * sizeof(int2)));
    CHECK(cudaMemcpy(row, pairs.data(), count * sizeof(int2), cudaMemcpyHostToDevice));
    resource = {};
    resource.resType = cudaResourceTypeLinear;
    resource.res.linear.devPtr = row;
    resource.res.linear.desc = cudaCreateChannelDesc<int2>();
    resource.res.linear.sizeInBytes = count * sizeof(int2);
    texture = texture_of(resource, reading(cudaFilterModePoint, cudaAddressModeClamp, cudaReadModeElementType, 0));
    fetch_row<<<blocks_of(count, 128), 128>>>(texture, fetched, 17, count - 17);
    std::vector<int2> back = taken(fetched, count - 17);
    for (int i = 0; i < count - 17; i++) EXPECT(back[i].x == pairs[i + 17].x && back[i].y == pairs[i + 17].y);
    CHECK(cudaDestroyTextureObject(texture));
    std::printf("fetched: %d and %d, digest %016llx\n", back[1].x, back[1].y, digest(back.data(), back.size() * sizeof(int2)));
    CHECK(cudaFree(row));
    CHECK(cudaFree(fetched));
    CHECK(cudaFree(linear));
}

static void spaces() {
    const int size = 8;
    std::vector<float> in(size * size * size);
    for (size_t i = 0; i < in.size(); i++) in[i] = static_cast<float>(i * 5 % 64 * 8);
    cudaChannelFormatDesc format = cudaCreateChannelDesc<float>();
    cudaArray_t array = nullptr;
    float *out = nullptr;
    CHECK(cudaMalloc3DArray(&array, &format, make_cudaExtent(size, size, size)));
    cudaMemcpy3DParms copy = {};
    copy.srcPtr = make_cudaPitchedPtr(in.data(), size * sizeof(float), size, size);
    copy.dstArray = array;
    copy.extent = make_cudaExtent(size, size, size);
    copy.kind = cudaMemcpyHostToDevice;
    CHECK(cudaMemcpy3D(&copy));
    CHECK(cudaMalloc(&out, in.size() * sizeof(float)));
    cudaTextureObject_t texture =
        texture_of(whole(array), reading(cudaFilterModeLinear, cudaAddressModeClamp, cudaReadModeElementType, 0));
    sample_space<<<blocks_of(size * size * size, 64), 64>>>(texture, out, size);
    std::vector<float> found = taken(out, in.size());
    CHECK(cudaDestroyTextureObject(texture));
    std::printf("space: corner %g, last %g, digest %016llx\n", found[0], found.back(), digest(found.data(), found.size() * sizeof(float)));
    CHECK(cudaFree(out));
    CHECK(cudaFreeArray(array));
}

static void layers() {
    const int width = 16, height = 16, count = 3;
    std::vector<int> in(width * height * count);
    for (size_t i = 0; i < in.size(); i++) in[i] = static_cast<int>(i) - 300;
    cudaChannelFormatDesc format = cudaCreateChannelDesc<int>();
    cudaArray_t array = nullptr;
    int *out = nullptr;
    CHECK(cudaMalloc3DArray(&array, &format, make_cudaExtent(width, height, count), cudaArrayLayered));
    cudaMemcpy3DParms copy = {};
    copy.srcPtr = make_cudaPitchedPtr(in.data(), width * sizeof(int), width, height);
    copy.dstArray = array;
    copy.extent = make_cudaExtent(width, height, count);
    copy.kind = cudaMemcpyHostToDevice;
    CHECK(cudaMemcpy3D(&copy));
    CHECK(cudaMalloc(&out, width * height * sizeof(int)));
    cudaTextureObject_t texture =
        texture_of(whole(array), reading(cudaFilterModePoint, cudaAddressModeClamp, cudaReadModeElementType, 0));
    sample_layer<<<1, BLOCK>>>(texture, out, width, height, 2);
    std::vector<int> found = taken(out, width * height);
    for (int i = 0; i < width * height; i++) EXPECT(found[i] == in[2 * width * height + i]);
    CHECK(cudaDestroyTextureObject(texture));
    std::printf("layer: first %d, last %d\n", found[0], found.back());
    CHECK(cudaFree(out));
    CHECK(cudaFreeArray(array));
}

// Painted in stream order, and copied from array to array in between.
static void surfaces() {
    const int width = 40, height = 24;
    const size_t row = width * sizeof(int);
    std::vector<int> in(width * height), out(width * height);
    for (size_t i = 0; i < in.size(); i++) in[i] = static_cast<int>(i * 11 % 1000);
    cudaChannelFormatDesc format = cudaCreateChannelDesc<int>();
    cudaArray_t array = nullptr, other = nullptr;
    cudaStream_t stream = nullptr;
    cudaSurfaceObject_t surface = 0;
    CHECK(cudaMallocArray(&array, &format, width, height, cudaArraySurfaceLoadStore));
    CHECK(cudaMallocArray(&other, &format, width, height));
    CHECK(cudaStreamCreate(&stream));
    CHECK(cudaMemcpy2DToArrayAsync(array, 0, 0, in.data(), row, row, height, cudaMemcpyHostToDevice, stream));
    cudaResourceDesc resource = whole(array);
    CHECK(cudaCreateSurfaceObject(&surface, &resource));
    for (int round = 0; round < 3; round++)
        paint<<<dim3(blocks_of(width, 16), blocks_of(height, 16)), BLOCK, 0, stream>>>(surface, width, height, round);
    CHECK(cudaStreamSynchronize(stream));
    CHECK(cudaMemcpy2DArrayToArray(other, 0, 0, array, 0, 0, row, height));
    CHECK(cudaMemcpy2DFromArrayAsync(out.data(), row, other, 0, 0, row, height, cudaMemcpyDeviceToHost, stream));
    CHECK(cudaStreamSynchronize(stream));
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            int value = in[y * width + x];
            for (int round = 0; round < 3; round++) value = 3 * value + round + x;
            EXPECT(out[y * width + x] == value);
        }
    CHECK(cudaDestroySurfaceObject(surface));
    CHECK(cudaStreamDestroy(stream));
    CHECK(cudaFreeArray(array));
    CHECK(cudaFreeArray(other));
    std::printf("painted: first %d, last %d, digest %016llx\n", out[0], out.back(), digest(out.data(), out.size() * sizeof(int)));
}

int main() {
    planes();
    rows();
    spaces();
    layers();
    surfaces();
    return 0;
}
