// A graph built node by node: fill, copy, kernels, a host function, and one node's parameters changed later.
#include "check.h"

__global__ void add_to_all(int *values, int summand, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] += summand;
}

static int calls = 0;
static void CUDART_CB count_call(void *by) { calls += *static_cast<int *>(by); }

int main() {
    const int count = 1024;
    int step = 3, summand = 7, size = count;
    int *values = nullptr, *host = nullptr;
    CHECK(cudaMalloc(&values, count * sizeof(int)));
    CHECK(cudaMallocHost(&host, count * sizeof(int)));
    cudaGraph_t graph;
    CHECK(cudaGraphCreate(&graph, 0));

    cudaGraphNode_t fill, kernel, copy, call;
    cudaMemsetParams fill_params = {};
    fill_params.dst = values;
    fill_params.elementSize = 4;
    fill_params.value = 5;
    fill_params.width = count;
    fill_params.height = 1;
    CHECK(cudaGraphAddMemsetNode(&fill, graph, nullptr, 0, &fill_params));

    void *arguments[] = {&values, &summand, &size};
    cudaKernelNodeParams kernel_params = {};
    kernel_params.func = reinterpret_cast<void *>(add_to_all);
    kernel_params.gridDim = dim3(blocks_of(count, 256));
    kernel_params.blockDim = dim3(256);
    kernel_params.kernelParams = arguments;
    CHECK(cudaGraphAddKernelNode(&kernel, graph, &fill, 1, &kernel_params));
    CHECK(cudaGraphAddMemcpyNode1D(&copy, graph, &kernel, 1, host, values, count * sizeof(int), cudaMemcpyDeviceToHost));
    cudaHostNodeParams call_params = {};
    call_params.fn = count_call;
    call_params.userData = &step;
    CHECK(cudaGraphAddHostNode(&call, graph, &copy, 1, &call_params));

    size_t nodes = 0, roots = 0, edges = 0;
    CHECK(cudaGraphGetNodes(graph, nullptr, &nodes));
    CHECK(cudaGraphGetRootNodes(graph, nullptr, &roots));
    CHECK(cudaGraphGetEdges(graph, nullptr, nullptr, nullptr, &edges));
    EXPECT(nodes == 4 && roots == 1 && edges == 3);
    cudaGraphNodeType type;
    CHECK(cudaGraphNodeGetType(kernel, &type));
    EXPECT(type == cudaGraphNodeTypeKernel);

    cudaGraphExec_t exec;
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    cudaStream_t stream;
    CHECK(cudaStreamCreate(&stream));
    CHECK(cudaGraphLaunch(exec, stream));
    CHECK(cudaStreamSynchronize(stream));
    for (int i = 0; i < count; i++) EXPECT(host[i] == 12);
    EXPECT(calls == 3);

    summand = 100;
    CHECK(cudaGraphExecKernelNodeSetParams(exec, kernel, &kernel_params));
    CHECK(cudaGraphLaunch(exec, stream));
    CHECK(cudaStreamSynchronize(stream));
    for (int i = 0; i < count; i++) EXPECT(host[i] == 105);
    EXPECT(calls == 6);

    cudaGraph_t copy_of;
    CHECK(cudaGraphClone(&copy_of, graph));
    CHECK(cudaGraphDestroy(copy_of));
    CHECK(cudaGraphExecDestroy(exec));
    CHECK(cudaGraphDestroy(graph));
    CHECK(cudaStreamDestroy(stream));
    CHECK(cudaFreeHost(host));
    CHECK(cudaFree(values));
    std::printf("%zu nodes, %zu edges, 2 launches, host function counted to %d\n", nodes, edges, calls);
    return 0;
}
