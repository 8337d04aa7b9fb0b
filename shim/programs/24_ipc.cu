// Two processes use the same device memory by turns: the one that has it gives out a handle, the other one opens it.
#include "check.h"
#include <sys/wait.h>
#include <unistd.h>

__global__ void add_to_all(int *values, int summand, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] += summand;
}

constexpr int COUNT = 100000;

static void put(int pipe, const void *bytes, size_t count) { EXPECT(write(pipe, bytes, count) == static_cast<ssize_t>(count)); }

static void take(int pipe, void *bytes, size_t count) { EXPECT(read(pipe, bytes, count) == static_cast<ssize_t>(count)); }

static int last_of(const int *values) {
    int last = 0;
    CHECK(cudaMemcpy(&last, values + COUNT - 1, sizeof last, cudaMemcpyDeviceToHost));
    return last;
}

// Adds 20 to what the parent has there, then waits for the parent to add more.
static int child(int from, int to) {
    cudaIpcMemHandle_t handle;
    void *opened = nullptr, *again = nullptr;
    char turn = 0;
    take(from, &handle, sizeof handle);
    CHECK(cudaIpcOpenMemHandle(&opened, handle, cudaIpcMemLazyEnablePeerAccess));
    CHECK(cudaIpcOpenMemHandle(&again, handle, cudaIpcMemLazyEnablePeerAccess));
    EXPECT(opened == again);
    int *values = static_cast<int *>(opened);
    EXPECT(last_of(values) == 1);
    add_to_all<<<blocks_of(COUNT, 256), 256>>>(values, 20, COUNT);
    CHECK(cudaDeviceSynchronize());
    put(to, &turn, 1);
    take(from, &turn, 1);
    int seen = last_of(values);
    CHECK(cudaIpcCloseMemHandle(opened));
    EXPECT(last_of(values) == seen);
    CHECK(cudaIpcCloseMemHandle(opened));
    EXPECT_STATUS(cudaErrorInvalidValue, cudaMemset(values, 0, 4));
    return seen & 0x7f;
}

int main() {
    int down[2], up[2], *values = nullptr;
    EXPECT(pipe(down) == 0 && pipe(up) == 0);
    pid_t other = fork();
    if (other == 0) {
        // So that it ends with the parent.
        close(down[1]);
        _exit(child(down[0], up[1]));
    }
    CHECK(cudaMalloc(&values, COUNT * sizeof(int)));
    CHECK(cudaMemset(values, 0, COUNT * sizeof(int)));
    add_to_all<<<blocks_of(COUNT, 256), 256>>>(values, 1, COUNT);
    CHECK(cudaDeviceSynchronize());
    cudaIpcMemHandle_t handle;
    CHECK(cudaIpcGetMemHandle(&handle, values));
    put(down[1], &handle, sizeof handle);
    char turn = 0;
    take(up[0], &turn, 1);
    int after = last_of(values);
    add_to_all<<<blocks_of(COUNT, 256), 256>>>(values, 21, COUNT);
    CHECK(cudaDeviceSynchronize());
    put(down[1], &turn, 1);
    int status = 0;
    EXPECT(waitpid(other, &status, 0) == other && WIFEXITED(status));
    std::printf("after the child %d, seen by the child %d\n", after, WEXITSTATUS(status));
    CHECK(cudaFree(values));
    return 0;
}
