// Managed variables: written and read by the host and by kernels, by turns, at the same address.
#include "check.h"

__managed__ int totals[4] = {1, 2, 3, 4};
__managed__ int scale = 10;

__global__ void add_to_totals(int summand) {
    int i = threadIdx.x;
    totals[i] += summand * scale + i;
}

__global__ void fill_with(int *values, int value, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] = value;
}

static void show(const char *when) {
    std::printf("%s: %d %d %d %d\n", when, totals[0], totals[1], totals[2], totals[3]);
}

int main() {
    show("at first");
    add_to_totals<<<1, 4>>>(2);
    CHECK(cudaDeviceSynchronize());
    show("after a kernel");
    scale = 1;
    totals[3] = 0;
    add_to_totals<<<1, 4>>>(5);
    CHECK(cudaDeviceSynchronize());
    show("after the host changed them");
    // By address, on a stream, waited for by an event.
    cudaStream_t stream;
    cudaEvent_t done;
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CHECK(cudaEventCreate(&done));
    fill_with<<<1, 32, 0, stream>>>(&totals[1], 77, 2);
    CHECK(cudaEventRecord(done, stream));
    CHECK(cudaEventSynchronize(done));
    show("after a kernel by address");
    totals[0] = -1;
    int copied[4];
    CHECK(cudaMemcpy(copied, totals, sizeof(copied), cudaMemcpyDefault));
    std::printf("copied: %d %d %d %d\n", copied[0], copied[1], copied[2], copied[3]);
    CHECK(cudaMemset(totals, 0, sizeof(totals)));
    CHECK(cudaDeviceSynchronize());
    show("after a fill");
    cudaPointerAttributes attributes;
    CHECK(cudaPointerGetAttributes(&attributes, totals));
    EXPECT(attributes.type == cudaMemoryTypeManaged && attributes.hostPointer == totals);
    CHECK(cudaEventDestroy(done));
    CHECK(cudaStreamDestroy(stream));
    return 0;
}
