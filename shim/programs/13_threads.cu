// Eight threads at once, each with its own stream and the default one; the last error is each thread's own.
// Built twice: as it is, and with a default stream for each thread.
#include "check.h"
#include <thread>
#include <vector>

__global__ void add_to_all(int *values, int summand, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] += summand;
}

static long long results[8];

static void work(int number) {
    const int count = 512;
    int *values = nullptr, host[count];
    cudaStream_t stream;
    CHECK(cudaSetDevice(0));
    CHECK(cudaStreamCreate(&stream));
    CHECK(cudaMalloc(&values, sizeof(host)));
    // On the same stream as the launches: the default one of a thread may be another one.
    CHECK(cudaMemsetAsync(values, 0, sizeof(host), stream));
    for (int i = 0; i < 50; i++) add_to_all<<<2, 256, 0, stream>>>(values, number, count);
    CHECK(cudaGetLastError());
    CHECK(cudaStreamSynchronize(stream));
    for (int i = 0; i < 50; i++) add_to_all<<<2, 256>>>(values, 1, count);
    // Odd threads make an error of their own; it must be nobody else's.
    if (number % 2) EXPECT_STATUS(cudaErrorInvalidDevice, cudaSetDevice(4096));
    EXPECT(cudaGetLastError() == (number % 2 ? cudaErrorInvalidDevice : cudaSuccess));
    CHECK(cudaMemcpy(host, values, sizeof(host), cudaMemcpyDeviceToHost));
    for (int i = 0; i < count; i++) {
        EXPECT(host[i] == 50 * number + 50);
        results[number] += host[i];
    }
    CHECK(cudaFree(values));
    CHECK(cudaStreamDestroy(stream));
}

int main() {
    std::vector<std::thread> threads;
    for (int number = 0; number < 8; number++) threads.emplace_back(work, number);
    long long total = 0;
    for (int number = 0; number < 8; number++) {
        threads[number].join();
        total += results[number];
    }
    std::printf("8 threads, total %lld\n", total);
    return 0;
}
