// Questions about devices and kernels, checked against each other.
#include "check.h"
#include <cstring>

__global__ void __launch_bounds__(256) add_to_all(int *values, int summand, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] += summand;
}

int main() {
    int devices = 0, device = -1, runtime = 0, driver = 0;
    CHECK(cudaGetDeviceCount(&devices));
    EXPECT(devices >= 1);
    CHECK(cudaGetDevice(&device));
    EXPECT(device == 0);
    CHECK(cudaRuntimeGetVersion(&runtime));
    CHECK(cudaDriverGetVersion(&driver));
    EXPECT(runtime / 1000 == 13 && driver >= 13000);
    cudaDeviceProp props;
    CHECK(cudaGetDeviceProperties(&props, device));
    auto attribute = [&](cudaDeviceAttr which) {
        int value = -1;
        CHECK(cudaDeviceGetAttribute(&value, which, device));
        return value;
    };
    EXPECT(std::strlen(props.name) > 0);
    EXPECT(props.major == attribute(cudaDevAttrComputeCapabilityMajor));
    EXPECT(props.minor == attribute(cudaDevAttrComputeCapabilityMinor));
    EXPECT(props.multiProcessorCount == attribute(cudaDevAttrMultiProcessorCount));
    EXPECT(props.maxThreadsPerBlock == attribute(cudaDevAttrMaxThreadsPerBlock));
    EXPECT(props.maxThreadsPerMultiProcessor == attribute(cudaDevAttrMaxThreadsPerMultiProcessor));
    EXPECT(props.maxGridSize[0] == attribute(cudaDevAttrMaxGridDimX));
    EXPECT(props.maxThreadsDim[2] == attribute(cudaDevAttrMaxBlockDimZ));
    EXPECT(props.sharedMemPerBlock == static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlock)));
    EXPECT(props.sharedMemPerBlockOptin == static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)));
    EXPECT(props.regsPerBlock == attribute(cudaDevAttrMaxRegistersPerBlock));
    EXPECT(props.l2CacheSize == attribute(cudaDevAttrL2CacheSize));
    EXPECT(props.pciBusID == attribute(cudaDevAttrPciBusId));
    EXPECT(props.memoryPoolsSupported == attribute(cudaDevAttrMemoryPoolsSupported));
    EXPECT(props.clusterLaunch == attribute(cudaDevAttrClusterLaunch));
    EXPECT(props.warpSize == 32 && props.unifiedAddressing == 1);
    size_t free_bytes = 0, total_bytes = 0;
    CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
    EXPECT(free_bytes <= total_bytes && total_bytes > 0 && props.totalGlobalMem > 0);
    char bus[32] = {};
    CHECK(cudaDeviceGetPCIBusId(bus, sizeof(bus), device));
    int again = -1;
    CHECK(cudaDeviceGetByPCIBusId(&again, bus));
    EXPECT(again == device);

    int blocks = 0, grid = 0, block = 0;
    CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, add_to_all, 256, 0));
    EXPECT(blocks >= 1 && blocks * 256 <= props.maxThreadsPerMultiProcessor);
    CHECK(cudaOccupancyMaxPotentialBlockSize(&grid, &block, add_to_all, 0, 0));
    EXPECT(block >= 32 && block <= 256 && grid >= 1);
    cudaFuncAttributes attributes;
    CHECK(cudaFuncGetAttributes(&attributes, add_to_all));
    EXPECT(attributes.maxThreadsPerBlock == 256 && attributes.sharedSizeBytes == 0 && attributes.numRegs > 0);
    EXPECT(attributes.binaryVersion == 90);
    const char *name = nullptr;
    CHECK(cudaFuncGetName(&name, reinterpret_cast<const void *>(add_to_all)));
    std::printf("%s fits, runtime %d.%d\n", name, runtime / 1000, runtime % 1000 / 10);
    return 0;
}
