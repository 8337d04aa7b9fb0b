// Matrices by tiles in static shared memory; a template kernel, two-dimensional blocks and a struct by value.
#include "check.h"
#include <vector>

struct Shape {
    int rows, inner, columns;
};

template <int TILE>
__global__ void matmul_tiled(const float *a, const float *b, float *c, Shape shape) {
    __shared__ float tile_a[TILE][TILE], tile_b[TILE][TILE];
    int row = blockIdx.y * TILE + threadIdx.y, column = blockIdx.x * TILE + threadIdx.x;
    float sum = 0;
    for (int start = 0; start < shape.inner; start += TILE) {
        int at_a = start + threadIdx.x, at_b = start + threadIdx.y;
        tile_a[threadIdx.y][threadIdx.x] = row < shape.rows && at_a < shape.inner ? a[row * shape.inner + at_a] : 0;
        tile_b[threadIdx.y][threadIdx.x] = column < shape.columns && at_b < shape.inner ? b[at_b * shape.columns + column] : 0;
        __syncthreads();
        for (int k = 0; k < TILE; k++) sum += tile_a[threadIdx.y][k] * tile_b[k][threadIdx.x];
        __syncthreads();
    }
    if (row < shape.rows && column < shape.columns) c[row * shape.columns + column] = sum;
}

int main() {
    // Small whole numbers: every order of summing gives the same float.
    const Shape shape{70, 45, 33};
    std::vector<float> a(shape.rows * shape.inner), b(shape.inner * shape.columns), c(shape.rows * shape.columns);
    for (size_t i = 0; i < a.size(); i++) a[i] = static_cast<float>(i % 7) - 3;
    for (size_t i = 0; i < b.size(); i++) b[i] = static_cast<float>(i % 5) - 2;
    float *device_a = nullptr, *device_b = nullptr, *device_c = nullptr;
    CHECK(cudaMalloc(&device_a, a.size() * sizeof(float)));
    CHECK(cudaMalloc(&device_b, b.size() * sizeof(float)));
    CHECK(cudaMalloc(&device_c, c.size() * sizeof(float)));
    CHECK(cudaMemcpy(device_a, a.data(), a.size() * sizeof(float), cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(device_b, b.data(), b.size() * sizeof(float), cudaMemcpyHostToDevice));
    double total = 0;
    auto verify = [&] {
        CHECK(cudaMemcpy(c.data(), device_c, c.size() * sizeof(float), cudaMemcpyDeviceToHost));
        for (int row = 0; row < shape.rows; row++)
            for (int column = 0; column < shape.columns; column++) {
                float sum = 0;
                for (int k = 0; k < shape.inner; k++) sum += a[row * shape.inner + k] * b[k * shape.columns + column];
                EXPECT(c[row * shape.columns + column] == sum);
                total += sum;
            }
    };
    matmul_tiled<16><<<dim3(blocks_of(shape.columns, 16), blocks_of(shape.rows, 16)), dim3(16, 16)>>>(device_a, device_b, device_c, shape);
    CHECK(cudaGetLastError());
    verify();
    CHECK(cudaMemset(device_c, 0, c.size() * sizeof(float)));
    matmul_tiled<8><<<dim3(blocks_of(shape.columns, 8), blocks_of(shape.rows, 8)), dim3(8, 8)>>>(device_a, device_b, device_c, shape);
    CHECK(cudaGetLastError());
    verify();
    cudaFuncAttributes attributes;
    CHECK(cudaFuncGetAttributes(&attributes, matmul_tiled<16>));
    EXPECT(attributes.sharedSizeBytes == 2 * 16 * 16 * sizeof(float));
    EXPECT(attributes.maxThreadsPerBlock >= 256);
    CHECK(cudaFree(device_a));
    CHECK(cudaFree(device_b));
    CHECK(cudaFree(device_c));
    std::printf("%dx%d products are right, total %.0f\n", shape.rows, shape.columns, total);
    return 0;
}
