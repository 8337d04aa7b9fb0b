// A child of a program that already uses the GPU gets CUDA's error for it; the parent goes on unharmed, and a
// child of a program that has not used it yet works.
#include "check.h"
#include <sys/wait.h>
#include <unistd.h>

__global__ void add_to_all(int *values, int summand, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] += summand;
}

static int compute(int summand) {
    int *values = nullptr, host[32];
    CHECK(cudaMalloc(&values, sizeof(host)));
    CHECK(cudaMemset(values, 0, sizeof(host)));
    add_to_all<<<1, 32>>>(values, summand, 32);
    CHECK(cudaMemcpy(host, values, sizeof(host), cudaMemcpyDeviceToHost));
    CHECK(cudaFree(values));
    return host[31];
}

static int exit_code_of(pid_t child) {
    int status = 0;
    EXPECT(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main() {
    pid_t fresh = fork();
    if (fresh == 0) _exit(compute(21));
    int first = exit_code_of(fresh);
    EXPECT(first == 21);

    int before = compute(4);
    pid_t late = fork();
    if (late == 0) {
        void *memory = nullptr;
        cudaError_t status = cudaMalloc(&memory, 64);
        _exit(status == cudaErrorInitializationError ? 33 : static_cast<int>(status) & 0x7f);
    }
    int second = exit_code_of(late);
    EXPECT(second == 33);
    int after = compute(5);
    EXPECT(before == 4 && after == 5);
    std::printf("fresh child %d, late child %d, parent %d and %d\n", first, second, before, after);
    return 0;
}
