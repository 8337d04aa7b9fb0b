// Events: record, query, order, elapsed time.
#include "check.h"

__global__ void add_to_all(int *values, int summand, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] += summand;
}

int main() {
    const int count = 4096;
    int *values = nullptr, host[count];
    CHECK(cudaMalloc(&values, sizeof(host)));
    CHECK(cudaMemset(values, 0, sizeof(host)));
    cudaEvent_t start, stop, blocking;
    CHECK(cudaEventCreate(&start));
    CHECK(cudaEventCreateWithFlags(&stop, cudaEventDefault));
    CHECK(cudaEventCreateWithFlags(&blocking, cudaEventBlockingSync | cudaEventDisableTiming));
    // An event that was never recorded is complete.
    CHECK(cudaEventQuery(stop));
    CHECK(cudaEventRecord(start));
    for (int i = 1; i <= 100; i++) add_to_all<<<blocks_of(count, 256), 256>>>(values, i, count);
    CHECK(cudaGetLastError());
    CHECK(cudaEventRecord(stop, 0));
    CHECK(cudaEventRecord(blocking, 0));
    CHECK(cudaEventSynchronize(stop));
    CHECK(cudaEventSynchronize(blocking));
    CHECK(cudaEventQuery(start));
    float milliseconds = -1;
    CHECK(cudaEventElapsedTime(&milliseconds, start, stop));
    EXPECT(milliseconds >= 0);
    EXPECT_STATUS(cudaErrorInvalidResourceHandle, cudaEventElapsedTime(&milliseconds, start, blocking));
    EXPECT(cudaGetLastError() == cudaErrorInvalidResourceHandle);
    CHECK(cudaMemcpy(host, values, sizeof(host), cudaMemcpyDeviceToHost));
    for (int i = 0; i < count; i++) EXPECT(host[i] == 5050);
    CHECK(cudaEventDestroy(start));
    CHECK(cudaEventDestroy(stop));
    CHECK(cudaEventDestroy(blocking));
    CHECK(cudaFree(values));
    std::printf("100 launches between two events, each value is %d\n", host[0]);
    return 0;
}
