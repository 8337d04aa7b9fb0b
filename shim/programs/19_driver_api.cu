// Driver and runtime in one program: the runtime's context, entry points found by name, a kernel as a driver function.
#include "check.h"
#include <cuda.h>
#include <cudaTypedefs.h>

__global__ void add_to_all(int *values, int summand, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] += summand;
}

#define CHECK_DRIVER(call) EXPECT((call) == CUDA_SUCCESS)

template <typename F>
static F entry(const char *name, unsigned version) {
    void *found = nullptr;
    cudaDriverEntryPointQueryResult result;
    CHECK(cudaGetDriverEntryPointByVersion(name, &found, version, cudaEnableDefault, &result));
    EXPECT(result == cudaDriverEntryPointSuccess && found != nullptr);
    return reinterpret_cast<F>(found);
}

int main() {
    CHECK(cudaFree(nullptr));
    auto current = entry<PFN_cuCtxGetCurrent_v4000>("cuCtxGetCurrent", 4000);
    auto allocate = entry<PFN_cuMemAlloc_v3020>("cuMemAlloc", 3020);
    auto copy_back = entry<PFN_cuMemcpyDtoH_v3020>("cuMemcpyDtoH", 3020);
    auto release = entry<PFN_cuMemFree_v3020>("cuMemFree", 3020);
    auto launch = entry<PFN_cuLaunchKernel_v4000>("cuLaunchKernel", 4000);
    auto name_of = entry<PFN_cuGetErrorName_v6000>("cuGetErrorName", 6000);
    CUcontext context = nullptr;
    CHECK_DRIVER(current(&context));
    EXPECT(context != nullptr);
    CUdeviceptr memory = 0;
    int count = 100, summand = 6, host[100];
    CHECK_DRIVER(allocate(&memory, sizeof(host)));
    // Allocated by the driver, filled by the runtime.
    CHECK(cudaMemset(reinterpret_cast<void *>(memory), 0, sizeof(host)));
    cudaFunction_t function = nullptr;
    CHECK(cudaGetFuncBySymbol(&function, reinterpret_cast<const void *>(add_to_all)));
    void *arguments[] = {&memory, &summand, &count};
    CHECK_DRIVER(launch(reinterpret_cast<CUfunction>(function), 1, 1, 1, 128, 1, 1, 0, nullptr, arguments, nullptr));
    add_to_all<<<1, 128>>>(reinterpret_cast<int *>(memory), 4, count);
    CHECK(cudaGetLastError());
    CHECK_DRIVER(copy_back(host, memory, sizeof(host)));
    for (int value : host) EXPECT(value == 10);
    cudaPointerAttributes attributes;
    CHECK(cudaPointerGetAttributes(&attributes, reinterpret_cast<void *>(memory)));
    EXPECT(attributes.type == cudaMemoryTypeDevice);
    CHECK_DRIVER(release(memory));
    const char *name = nullptr;
    CHECK_DRIVER(name_of(CUDA_ERROR_OUT_OF_MEMORY, &name));
    void *missing = nullptr;
    cudaDriverEntryPointQueryResult result;
    CHECK(cudaGetDriverEntryPointByVersion("cuNoSuchFunction", &missing, 13000, cudaEnableDefault, &result));
    EXPECT(result == cudaDriverEntryPointSymbolNotFound && missing == nullptr);
    std::printf("driver and runtime agree on %d, %s\n", host[99], name);
    return 0;
}
