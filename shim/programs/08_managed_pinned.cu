// Memory that host and device share: pinned and mapped, managed, registered; what pointers say.
#include "check.h"
#include <vector>

__global__ void double_all(int *values, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] *= 2;
}

int main() {
    const int count = 1000;
    const size_t bytes = count * sizeof(int);
    int *pinned = nullptr, *seen_by_device = nullptr, *managed = nullptr, *plain = nullptr;
    CHECK(cudaHostAlloc(&pinned, bytes, cudaHostAllocMapped | cudaHostAllocPortable));
    CHECK(cudaHostGetDevicePointer(&seen_by_device, pinned, 0));
    for (int i = 0; i < count; i++) pinned[i] = i;
    double_all<<<blocks_of(count, 256), 256>>>(seen_by_device, count);
    CHECK(cudaGetLastError());
    CHECK(cudaDeviceSynchronize());
    for (int i = 0; i < count; i++) EXPECT(pinned[i] == 2 * i);

    CHECK(cudaMallocManaged(&managed, bytes));
    for (int i = 0; i < count; i++) managed[i] = 10 + i;
    double_all<<<blocks_of(count, 256), 256>>>(managed, count);
    CHECK(cudaDeviceSynchronize());
    for (int i = 0; i < count; i++) EXPECT(managed[i] == 20 + 2 * i);

    CHECK(cudaMalloc(&plain, bytes));
    cudaPointerAttributes attributes;
    CHECK(cudaPointerGetAttributes(&attributes, plain));
    EXPECT(attributes.type == cudaMemoryTypeDevice && attributes.device == 0 && attributes.devicePointer == plain);
    CHECK(cudaPointerGetAttributes(&attributes, pinned + 3));
    EXPECT(attributes.type == cudaMemoryTypeHost && attributes.hostPointer == pinned + 3);
    CHECK(cudaPointerGetAttributes(&attributes, managed));
    EXPECT(attributes.type == cudaMemoryTypeManaged);
    int local = 0;
    CHECK(cudaPointerGetAttributes(&attributes, &local));
    EXPECT(attributes.type == cudaMemoryTypeUnregistered);

    std::vector<int> registered(count, 3);
    CHECK(cudaHostRegister(registered.data(), bytes, cudaHostRegisterDefault));
    CHECK(cudaMemcpyAsync(plain, registered.data(), bytes, cudaMemcpyHostToDevice, 0));
    double_all<<<blocks_of(count, 256), 256>>>(plain, count);
    CHECK(cudaMemcpyAsync(registered.data(), plain, bytes, cudaMemcpyDeviceToHost, 0));
    CHECK(cudaDeviceSynchronize());
    for (int value : registered) EXPECT(value == 6);
    CHECK(cudaHostUnregister(registered.data()));

    CHECK(cudaFree(plain));
    CHECK(cudaFree(managed));
    CHECK(cudaFreeHost(pinned));
    std::printf("pinned, managed and registered memory are right\n");
    return 0;
}
