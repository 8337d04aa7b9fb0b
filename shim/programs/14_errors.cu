// What goes wrong is told by CUDA's own codes: at once for a call, later for a kernel, and for ever after a bad one.
#include "check.h"

__global__ void store(int *where, int value) { *where = value; }

static void tell(const char *what, cudaError_t status) {
    std::printf("%s: %s, %s\n", what, cudaGetErrorName(status), cudaGetErrorString(status));
}

int main() {
    int *place = nullptr, host = 0;
    CHECK(cudaMalloc(&place, sizeof(int)));
    tell("no device of that number", cudaSetDevice(4096));
    tell("the last error", cudaPeekAtLastError());
    tell("the last error, taken", cudaGetLastError());
    tell("nothing left", cudaGetLastError());
    tell("a null pointer", cudaMalloc(static_cast<int **>(nullptr), 4));
    tell("too much memory", cudaMalloc(&place, size_t{1} << 60));
    tell("a wrong direction", cudaMemcpy(&host, &host, 4, static_cast<cudaMemcpyKind>(77)));
    tell("free of what is none", cudaFree(&host));
    tell("an unknown status", static_cast<cudaError_t>(12345));
    (void)cudaGetLastError();

    CHECK(cudaMalloc(&place, sizeof(int)));
    store<<<1, 4096>>>(place, 1);
    tell("4096 threads", cudaGetLastError());
    store<<<0, 1>>>(place, 1);
    tell("no block", cudaGetLastError());
    store<<<1, 1, 1 << 20>>>(place, 1);
    tell("1 MiB of shared memory", cudaGetLastError());
    CHECK(cudaDeviceSynchronize());
    store<<<1, 1>>>(place, 9);
    CHECK(cudaMemcpy(&host, place, sizeof(int), cudaMemcpyDeviceToHost));
    EXPECT(host == 9);
    std::printf("still working: %d\n", host);

    store<<<1, 1>>>(reinterpret_cast<int *>(16), 1);
    tell("the launch of a bad kernel", cudaGetLastError());
    tell("its end", cudaDeviceSynchronize());
    tell("a later call", cudaMemcpy(&host, place, sizeof(int), cudaMemcpyDeviceToHost));
    tell("one more", cudaMalloc(&place, 4));
    return 0;
}
