// Kernels and variables that the compiler registers, by the host's names of them.
#include "lines.h"
#include <cuda_runtime.h>

__constant__ int factors[4];
__device__ int counters[4] = {1, 2, 3, 4};

__global__ void add_to_all(int *values, int summand, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] += summand;
}

static int *block, *pinned;
static cudaStream_t stream;

static void prepare() {
    cudaMalloc(&block, 4096);
    cudaMemset(block, 0, 4096);
    cudaMallocHost(&pinned, 4096);
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    for (int i = 0; i < 8; i++) pinned[i] = 10 + i;
    cudaDeviceSynchronize();
}

static const void *const factors_symbol = factors, *const counters_symbol = counters;

static void symbols() {
    int back[4] = {0, 0, 0, 0}, put[4] = {5, 6, 7, 8};
    void *address = nullptr;
    size_t bytes = 0;
    prepare();
    CALL(cudaMemcpyFromSymbol, back, counters_symbol, sizeof back, 0, cudaMemcpyDeviceToHost);
    SHOW("%d %d", back[0], back[3]);
    CALL(cudaMemcpyFromSymbol, back, counters_symbol, 4, 8, cudaMemcpyDefault);
    SHOW("%d", back[0]);
    CALL(cudaMemcpyFromSymbol, back, counters_symbol, 4, 16, cudaMemcpyDeviceToHost);
    CALL(cudaMemcpyFromSymbol, back, counters_symbol, 4, 0, cudaMemcpyHostToDevice);
    CALL(cudaMemcpyToSymbol, factors_symbol, put, sizeof put, 0, cudaMemcpyHostToDevice);
    CALL(cudaMemcpyToSymbol, factors_symbol, put, 4, 12, cudaMemcpyHostToDevice);
    CALL(cudaMemcpyToSymbol, factors_symbol, put, sizeof put, 4, cudaMemcpyHostToDevice);
    CALL(cudaMemcpyToSymbol, (const void *)put, put, 4, 0, cudaMemcpyHostToDevice);
    CALL(cudaMemcpyFromSymbol, back, factors_symbol, sizeof back, 0, cudaMemcpyDeviceToHost);
    SHOW("%d %d", back[0], back[3]);
    CALL(cudaMemcpyToSymbolAsync, counters_symbol, pinned, 8, 4, cudaMemcpyHostToDevice, stream);
    CALL(cudaMemcpyFromSymbolAsync, pinned + 16, counters_symbol, 16, 0, cudaMemcpyDeviceToHost, stream);
    CALL(cudaStreamSynchronize, stream);
    SHOW("%d %d %d %d", pinned[16], pinned[17], pinned[18], pinned[19]);
    CALL(cudaGetSymbolAddress, &address, counters_symbol);
    SHOW("%d", address != nullptr);
    CALL(cudaGetSymbolSize, &bytes, counters_symbol);
    SHOW("%zu", bytes);
    CALL(cudaGetSymbolSize, &bytes, (const void *)put);
    CALL0(cudaGetLastError);
}

static void functions() {
    const void *host = (const void *)add_to_all;
    cudaKernel_t kernel = nullptr;
    cudaFunction_t function = nullptr;
    cudaFuncAttributes attributes;
    int other = 0, summand = 3, count = 8;
    void *arguments[] = {&block, &summand, &count};
    prepare();
    CALL(cudaGetKernel, &kernel, host);
    SHOW("%d", kernel != nullptr);
    CALL(cudaGetKernel, &kernel, (const void *)&other);
    CALL(cudaGetFuncBySymbol, &function, host);
    SHOW("%d", function != nullptr);
    CALL(cudaGetFuncBySymbol, &function, (const void *)&other);
    CALL(cudaFuncGetAttributes, &attributes, host);
    SHOW("%d %zu", attributes.maxThreadsPerBlock, attributes.sharedSizeBytes);
    CALL(cudaFuncGetAttributes, &attributes, (const void *)&other);
    CALL(cudaLaunchKernel, host, dim3(1), dim3(32), arguments, 0, stream);
    CALL(cudaLaunchKernel, (const void *)&other, dim3(1), dim3(32), arguments, 0, stream);
    add_to_all<<<1, 32, 0, stream>>>(block, 4, 8);
    CALL(cudaStreamSynchronize, stream);
    CALL(cudaMemcpy, &other, block, sizeof other, cudaMemcpyDeviceToHost);
    SHOW("%d", other);
    CALL0(cudaGetLastError);
}

static void graphs() {
    cudaGraph_t graph = nullptr;
    cudaGraphNode_t kernel = nullptr, to = nullptr, from = nullptr, nodes[4];
    cudaGraphExec_t exec = nullptr;
    cudaKernelNodeParams launch = {}, read = {};
    int summand = 3, count = 8, value = 0;
    size_t room = 4;
    void *arguments[] = {&block, &summand, &count};
    prepare();
    CALL(cudaGraphCreate, &graph, 0);
    launch.func = (void *)add_to_all;
    launch.gridDim = dim3(1);
    launch.blockDim = dim3(32);
    launch.kernelParams = arguments;
    CALL(cudaGraphAddKernelNode, &kernel, graph, nullptr, 0, &launch);
    CALL(cudaGraphKernelNodeGetParams, kernel, &read);
    SHOW("%d %u %u", read.func == (void *)add_to_all, read.gridDim.x, read.blockDim.x);
    CALL(cudaGraphAddMemcpyNodeToSymbol, &to, graph, &kernel, 1, counters_symbol, pinned, 8, 0, cudaMemcpyHostToDevice);
    CALL(cudaGraphAddMemcpyNodeFromSymbol, &from, graph, &to, 1, pinned + 32, counters_symbol, 16, 0, cudaMemcpyDeviceToHost);
    CALL(cudaGraphMemcpyNodeSetParamsToSymbol, to, counters_symbol, pinned + 2, 8, 0, cudaMemcpyHostToDevice);
    CALL(cudaGraphMemcpyNodeSetParamsFromSymbol, from, pinned + 32, counters_symbol, 8, 0, cudaMemcpyDeviceToHost);
    CALL(cudaGraphInstantiate, &exec, graph, 0);
    CALL(cudaGraphLaunch, exec, stream);
    CALL(cudaStreamSynchronize, stream);
    SHOW("%d %d", pinned[32], pinned[33]);
    CALL(cudaGraphExecMemcpyNodeSetParamsToSymbol, exec, to, counters_symbol, pinned + 4, 8, 0, cudaMemcpyHostToDevice);
    CALL(cudaGraphExecMemcpyNodeSetParamsFromSymbol, exec, from, pinned + 34, counters_symbol, 8, 0, cudaMemcpyDeviceToHost);
    CALL(cudaGraphLaunch, exec, stream);
    CALL(cudaStreamSynchronize, stream);
    SHOW("%d %d", pinned[34], pinned[35]);
    CALL(cudaMemcpy, &value, block, sizeof value, cudaMemcpyDeviceToHost);
    SHOW("%d", value);
    CALL(cudaGraphExecDestroy, exec);
    CALL(cudaGraphDestroy, graph);
    CALL(cudaStreamBeginCapture, stream, cudaStreamCaptureModeGlobal);
    add_to_all<<<2, 64, 0, stream>>>(block, 4, 8);
    CALL(cudaStreamEndCapture, stream, &graph);
    CALL(cudaGraphGetNodes, graph, nodes, &room);
    SHOW("%zu", room);
    CALL(cudaGraphKernelNodeGetParams, nodes[0], &read);
    SHOW("%d %u %u", read.func == (void *)add_to_all, read.gridDim.x, read.blockDim.x);
    CALL(cudaGraphDestroy, graph);
    CALL0(cudaGetLastError);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {{"symbols", symbols}, {"functions", functions}, {"graphs", graphs}};
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
