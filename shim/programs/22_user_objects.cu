// Objects that graphs keep alive until the last of them, and the last launch, is done.
#include "check.h"
#include <atomic>
#include <chrono>
#include <thread>

static std::atomic<int> destroyed{0};

static std::atomic<bool> released{false};

static void wait_until_released(void *) {
    while (!released) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

static void destroy(void *number) { destroyed += *static_cast<int *>(number); }

__global__ void add_to_all(int *values, int summand, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] += summand;
}

// The last reference may be given up by a thread of CUDA's own.
static int destroyed_in_the_end(int wanted) {
    for (int i = 0; i < 2000 && destroyed != wanted; i++) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return destroyed;
}

int main() {
    static int one = 1, ten = 10;
    const int count = 64;
    int *values = nullptr, host[count];
    CHECK(cudaMalloc(&values, sizeof(host)));
    CHECK(cudaMemset(values, 0, sizeof(host)));

    cudaUserObject_t first, second;
    EXPECT_STATUS(cudaErrorInvalidValue, cudaUserObjectCreate(&first, &one, destroy, 0, cudaUserObjectNoDestructorSync));
    EXPECT_STATUS(cudaErrorInvalidValue, cudaUserObjectCreate(&first, &one, destroy, 1, 0));
    CHECK(cudaUserObjectCreate(&first, &one, destroy, 1, cudaUserObjectNoDestructorSync));
    CHECK(cudaUserObjectRetain(first, 2));
    CHECK(cudaUserObjectRelease(first, 2));
    EXPECT(destroyed == 0);
    CHECK(cudaUserObjectRelease(first, 1));
    std::printf("after its last reference: %d\n", destroyed_in_the_end(1));

    CHECK(cudaUserObjectCreate(&second, &ten, destroy, 1, cudaUserObjectNoDestructorSync));
    cudaGraph_t graph, clone;
    cudaGraphExec_t exec;
    CHECK(cudaGraphCreate(&graph, 0));
    int summand = 3, size = count;
    void *parameters[] = {&values, &summand, &size};
    cudaKernelNodeParams node{};
    node.func = reinterpret_cast<void *>(add_to_all);
    node.gridDim = dim3(1);
    node.blockDim = dim3(count);
    node.kernelParams = parameters;
    cudaGraphNode_t added;
    CHECK(cudaGraphAddKernelNode(&added, graph, nullptr, 0, &node));
    CHECK(cudaGraphRetainUserObject(graph, second, 1, cudaGraphUserObjectMove));
    CHECK(cudaGraphClone(&clone, graph));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    CHECK(cudaGraphDestroy(graph));
    CHECK(cudaGraphDestroy(clone));
    cudaStream_t stream;
    CHECK(cudaStreamCreate(&stream));
    for (int i = 0; i < 3; i++) CHECK(cudaGraphLaunch(exec, stream));
    EXPECT(destroyed == 1);
    CHECK(cudaGraphExecDestroy(exec));
    CHECK(cudaMemcpyAsync(host, values, sizeof(host), cudaMemcpyDeviceToHost, stream));
    CHECK(cudaStreamSynchronize(stream));
    for (int value : host) EXPECT(value == 9);
    std::printf("after the last graph that held it: %d\n", destroyed_in_the_end(11));

    // A function of a stream may wait for the thread that gives an object up.
    cudaUserObject_t third;
    CHECK(cudaUserObjectCreate(&third, &one, destroy, 1, cudaUserObjectNoDestructorSync));
    CHECK(cudaLaunchHostFunc(stream, wait_until_released, nullptr));
    CHECK(cudaUserObjectRelease(third, 1));
    released = true;
    CHECK(cudaStreamSynchronize(stream));
    std::printf("given up while a function of a stream runs: %d\n", destroyed_in_the_end(12));
    CHECK(cudaStreamDestroy(stream));
    CHECK(cudaFree(values));
    return 0;
}
