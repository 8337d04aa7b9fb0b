// Rectangles and boxes: pitched memory, 2D and 3D copies and fills.
#include "check.h"
#include <cstring>
#include <vector>

__global__ void add_pitched(char *base, size_t pitch, int width, int height, int summand) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < width && y < height) reinterpret_cast<int *>(base + y * pitch)[x] += summand;
}

static void two_dimensions() {
    const int width = 37, height = 21;
    std::vector<int> in(width * height), out(width * height, -1);
    for (size_t i = 0; i < in.size(); i++) in[i] = static_cast<int>(i);
    char *base = nullptr;
    size_t pitch = 0;
    CHECK(cudaMallocPitch(&base, &pitch, width * sizeof(int), height));
    EXPECT(pitch >= width * sizeof(int) && pitch % 32 == 0);
    CHECK(cudaMemset2D(base, pitch, 0xff, width * sizeof(int), height));
    CHECK(cudaMemcpy2D(out.data(), width * sizeof(int), base, pitch, width * sizeof(int), height, cudaMemcpyDeviceToHost));
    for (int value : out) EXPECT(value == -1);
    CHECK(cudaMemcpy2D(base, pitch, in.data(), width * sizeof(int), width * sizeof(int), height, cudaMemcpyHostToDevice));
    add_pitched<<<dim3(blocks_of(width, 16), blocks_of(height, 16)), dim3(16, 16)>>>(base, pitch, width, height, 1000);
    CHECK(cudaGetLastError());
    // The inner rectangle alone comes back.
    std::vector<int> inner(10 * 5);
    CHECK(cudaMemcpy2DAsync(inner.data(), 10 * sizeof(int), base + 3 * pitch + 4 * sizeof(int), pitch, 10 * sizeof(int), 5,
                            cudaMemcpyDeviceToHost, 0));
    CHECK(cudaStreamSynchronize(0));
    for (int y = 0; y < 5; y++)
        for (int x = 0; x < 10; x++) EXPECT(inner[y * 10 + x] == in[(y + 3) * width + x + 4] + 1000);
    CHECK(cudaFree(base));
    std::printf("2D: inner corner %d, last %d\n", inner[0], inner[49]);
}

static void three_dimensions() {
    const size_t width = 24, height = 9, depth = 4;
    cudaPitchedPtr box;
    CHECK(cudaMalloc3D(&box, make_cudaExtent(width, height, depth)));
    CHECK(cudaMemset3D(box, 7, make_cudaExtent(width, height, depth)));
    std::vector<unsigned char> in(width * height * depth), out(width * height * depth);
    for (size_t i = 0; i < in.size(); i++) in[i] = static_cast<unsigned char>(i * 31);
    cudaMemcpy3DParms copy = {};
    copy.srcPtr = make_cudaPitchedPtr(in.data(), width, width, height);
    copy.dstPtr = box;
    copy.srcPos = make_cudaPos(2, 1, 1);
    copy.dstPos = make_cudaPos(2, 1, 1);
    copy.extent = make_cudaExtent(width - 4, height - 2, depth - 2);
    copy.kind = cudaMemcpyHostToDevice;
    CHECK(cudaMemcpy3D(&copy));
    cudaMemcpy3DParms back = {};
    back.srcPtr = box;
    back.dstPtr = make_cudaPitchedPtr(out.data(), width, width, height);
    back.extent = make_cudaExtent(width, height, depth);
    back.kind = cudaMemcpyDeviceToHost;
    CHECK(cudaMemcpy3DAsync(&back, 0));
    CHECK(cudaDeviceSynchronize());
    size_t copied = 0;
    for (size_t z = 0; z < depth; z++)
        for (size_t y = 0; y < height; y++)
            for (size_t x = 0; x < width; x++) {
                size_t at = (z * height + y) * width + x;
                bool inside = x >= 2 && x < width - 2 && y >= 1 && y < height - 1 && z >= 1 && z < depth - 1;
                EXPECT(out[at] == (inside ? in[at] : 7));
                copied += inside;
            }
    CHECK(cudaFree(box.ptr));
    std::printf("3D: %zu of %zu bytes replaced\n", copied, out.size());
}

int main() {
    two_dimensions();
    three_dimensions();
    return 0;
}
