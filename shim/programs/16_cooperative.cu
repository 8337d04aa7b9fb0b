// All blocks of a grid wait for each other: a cooperative launch. Then a launch by attributes.
#include "check.h"
#include <cooperative_groups.h>
#include <vector>

namespace groups = cooperative_groups;

__global__ void grid_wide_sum(const int *in, int *partial, int *out, int count) {
    groups::grid_group grid = groups::this_grid();
    int mine = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) mine += in[i];
    partial[blockIdx.x * blockDim.x + threadIdx.x] = mine;
    grid.sync();
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        int sum = 0;
        for (unsigned i = 0; i < gridDim.x * blockDim.x; i++) sum += partial[i];
        *out = sum;
    }
}

int main() {
    int supported = 0;
    CHECK(cudaDeviceGetAttribute(&supported, cudaDevAttrCooperativeLaunch, 0));
    EXPECT(supported == 1);
    int count = 10'000, expected = 0, found = 0;
    std::vector<int> values(count);
    for (int i = 0; i < count; i++) expected += values[i] = i % 17;
    int *in = nullptr, *partial = nullptr, *out = nullptr;
    CHECK(cudaMalloc(&in, count * sizeof(int)));
    CHECK(cudaMalloc(&partial, 4 * 64 * sizeof(int)));
    CHECK(cudaMalloc(&out, sizeof(int)));
    CHECK(cudaMemcpy(in, values.data(), count * sizeof(int), cudaMemcpyHostToDevice));
    void *arguments[] = {&in, &partial, &out, &count};
    CHECK(cudaLaunchCooperativeKernel(reinterpret_cast<void *>(grid_wide_sum), dim3(4), dim3(64), arguments, 0, 0));
    CHECK(cudaMemcpy(&found, out, sizeof(found), cudaMemcpyDeviceToHost));
    EXPECT(found == expected);

    CHECK(cudaMemset(out, 0, sizeof(int)));
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeCooperative;
    attribute.val.cooperative = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(2);
    config.blockDim = dim3(128);
    config.attrs = &attribute;
    config.numAttrs = 1;
    CHECK(cudaLaunchKernelEx(&config, grid_wide_sum, static_cast<const int *>(in), partial, out, count));
    CHECK(cudaMemcpy(&found, out, sizeof(found), cudaMemcpyDeviceToHost));
    EXPECT(found == expected);
    CHECK(cudaFree(in));
    CHECK(cudaFree(partial));
    CHECK(cudaFree(out));
    std::printf("grid-wide sum %d, twice\n", found);
    return 0;
}
