// Allocations in stream order, from the default pool and from one of its own.
#include "check.h"
#include <cstdint>

__global__ void fill_with(int *values, int value, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] = value;
}

int main() {
    const int count = 5000;
    const size_t bytes = count * sizeof(int);
    int device = -1, supported = 0, host[count];
    CHECK(cudaGetDevice(&device));
    CHECK(cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, device));
    EXPECT(supported == 1);
    cudaStream_t stream;
    CHECK(cudaStreamCreate(&stream));
    cudaMemPool_t pool = nullptr, own = nullptr;
    CHECK(cudaDeviceGetDefaultMemPool(&pool, device));
    uint64_t threshold = UINT64_MAX, found = 0;
    CHECK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold));
    CHECK(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &found));
    EXPECT(found == threshold);

    long long sum = 0;
    for (int round = 1; round <= 10; round++) {
        int *values = nullptr;
        CHECK(cudaMallocAsync(&values, bytes, stream));
        fill_with<<<blocks_of(count, 256), 256, 0, stream>>>(values, round, count);
        CHECK(cudaGetLastError());
        CHECK(cudaMemcpyAsync(host, values, bytes, cudaMemcpyDeviceToHost, stream));
        CHECK(cudaFreeAsync(values, stream));
        CHECK(cudaStreamSynchronize(stream));
        for (int i = 0; i < count; i++) EXPECT(host[i] == round);
        sum += host[count - 1];
    }
    cudaMemPoolProps props = {};
    props.allocType = cudaMemAllocationTypePinned;
    props.location.type = cudaMemLocationTypeDevice;
    props.location.id = device;
    CHECK(cudaMemPoolCreate(&own, &props));
    int *values = nullptr;
    CHECK(cudaMallocFromPoolAsync(&values, bytes, own, stream));
    fill_with<<<blocks_of(count, 256), 256, 0, stream>>>(values, 77, count);
    CHECK(cudaMemcpyAsync(host, values, bytes, cudaMemcpyDeviceToHost, stream));
    CHECK(cudaFreeAsync(values, stream));
    CHECK(cudaStreamSynchronize(stream));
    for (int i = 0; i < count; i++) EXPECT(host[i] == 77);
    CHECK(cudaMemPoolTrimTo(own, 0));
    CHECK(cudaMemPoolDestroy(own));
    CHECK(cudaStreamDestroy(stream));
    std::printf("10 rounds from the default pool, sum %lld; %d from its own\n", sum, host[0]);
    return 0;
}
