// A sum by blocks in dynamic shared memory, joined by atomics.
#include "check.h"
#include <vector>

__global__ void reduce_sum(const unsigned *in, unsigned long long *out, int count) {
    extern __shared__ unsigned long long part[];
    unsigned long long mine = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) mine += in[i];
    part[threadIdx.x] = mine;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) atomicAdd(out, part[0]);
}

int main() {
    const int count = 250'000, block = 256;
    std::vector<unsigned> values(count);
    unsigned long long expected = 0, found = 0;
    unsigned state = 12345;
    for (int i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = state >> 8;
        expected += values[i];
    }
    unsigned *in = nullptr;
    unsigned long long *out = nullptr;
    CHECK(cudaMalloc(&in, count * sizeof(unsigned)));
    CHECK(cudaMalloc(&out, sizeof(*out)));
    CHECK(cudaMemcpy(in, values.data(), count * sizeof(unsigned), cudaMemcpyHostToDevice));
    CHECK(cudaMemset(out, 0, sizeof(*out)));
    reduce_sum<<<64, block, block * sizeof(unsigned long long)>>>(in, out, count);
    CHECK(cudaGetLastError());
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaMemcpy(&found, out, sizeof(found), cudaMemcpyDeviceToHost));
    EXPECT(found == expected);
    // Dynamic shared memory beyond 48 KiB has to be asked for.
    CHECK(cudaFuncSetAttribute(reduce_sum, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 * 1024));
    CHECK(cudaMemset(out, 0, sizeof(*out)));
    reduce_sum<<<8, block, 64 * 1024>>>(in, out, count);
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpy(&found, out, sizeof(found), cudaMemcpyDeviceToHost));
    EXPECT(found == expected);
    CHECK(cudaFree(in));
    CHECK(cudaFree(out));
    std::printf("the sum is %llu, twice\n", found);
    return 0;
}
