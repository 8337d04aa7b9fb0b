// The runtime's libraries, launches, occupancy and graphs.
#include "runtime.h"

static void libraries(void) {
    cudaLibrary_t library = NULL;
    cudaKernel_t kernel = NULL;
    void *variable = NULL;
    size_t bytes = 0;
    unsigned count = 0;
    CALL(cudaLibraryLoadData, &library, image, NULL, NULL, 0, NULL, NULL, 0);
    CALL(cudaLibraryLoadData, NULL, image, NULL, NULL, 0, NULL, NULL, 0);
    CALL(cudaLibraryGetKernel, &kernel, library, "_Z10add_to_allPiii");
    CALL(cudaLibraryGetKernel, &kernel, library, "no_such_kernel");
    CALL(cudaLibraryGetKernelCount, &count, library);
    SHOW("%u", count);
    CALL(cudaLibraryGetGlobal, &variable, &bytes, library, "counter");
    SHOW("%zu", bytes);
    CALL(cudaLibraryGetGlobal, &variable, &bytes, library, "no_such_variable");
    CALL(cudaLibraryUnload, library);
    CALL0(cudaGetLastError);
}

static int value_at(const int *block) {
    int value = -1;
    cudaMemcpy(&value, block, sizeof value, cudaMemcpyDeviceToHost);
    return value;
}

static void launches(void) {
    const void *add, *fill;
    int *block = NULL, summand = 3, length = 50;
    void *arguments[] = {&block, &summand, &length};
    struct cudaFuncAttributes attributes;
    cudaLaunchConfig_t config = {0};
    dim3 one = {1, 1, 1}, threads = {32, 1, 1}, many = {4096, 1, 1}, none = {0, 1, 1};
    int blocks = 0;
    size_t bytes = 0;
    begin();
    add = kernel_of("_Z10add_to_allPiii");
    fill = kernel_of("_Z9fill_withPiii");
    cudaMalloc((void **)&block, 4096);
    cudaMemset(block, 0, 4096);
    CALL(cudaLaunchKernel, add, one, threads, arguments, 0, NULL);
    SHOW("%d", value_at(block));
    config.gridDim = one;
    config.blockDim = threads;
    CALL(cudaLaunchKernelExC, &config, add, arguments);
    SHOW("%d", value_at(block));
    CALL(cudaLaunchCooperativeKernel, fill, one, threads, arguments, 0, NULL);
    SHOW("%d", value_at(block));
    CALL(cudaLaunchKernel, add, one, many, arguments, 0, NULL);
    CALL0(cudaGetLastError);
    CALL(cudaLaunchKernel, add, none, threads, arguments, 0, NULL);
    CALL(cudaLaunchKernel, add, one, threads, arguments, 1 << 20, NULL);
    CALL(cudaLaunchKernel, NULL, one, threads, arguments, 0, NULL);
    CALL0(cudaGetLastError);
    CALL(cudaFuncGetAttributes, &attributes, fill);
    SHOW("%d %zu %zu %d", attributes.maxThreadsPerBlock, attributes.sharedSizeBytes, attributes.localSizeBytes,
         attributes.maxDynamicSharedSizeBytes);
    CALL(cudaFuncSetAttribute, fill, cudaFuncAttributeMaxDynamicSharedMemorySize, 65536);
    CALL(cudaFuncSetAttribute, fill, cudaFuncAttributeMaxDynamicSharedMemorySize, 1 << 30);
    CALL(cudaFuncSetCacheConfig, fill, cudaFuncCachePreferL1);
    CALL(cudaOccupancyMaxActiveBlocksPerMultiprocessor, &blocks, add, 128, 0);
    SHOW("%d", blocks);
    CALL(cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, &blocks, add, 128, 0, 0);
    SHOW("%d", blocks);
    CALL(cudaOccupancyAvailableDynamicSMemPerBlock, &bytes, add, 1, 128);
    SHOW("%zu", bytes);
    CALL0(cudaDeviceSynchronize);
    CALL0(cudaGetLastError);
}

static void graphs(void) {
    const void *add;
    int *block = NULL, summand = 3, length = 8;
    void *arguments[] = {&block, &summand, &length};
    dim3 one = {1, 1, 1}, threads = {32, 1, 1};
    cudaStream_t stream = NULL;
    cudaGraph_t graph = NULL, copy = NULL;
    cudaGraphExec_t exec = NULL;
    cudaGraphNode_t nodes[8], empty = NULL;
    cudaGraphExecUpdateResultInfo update;
    enum cudaGraphNodeType type = (enum cudaGraphNodeType)99;
    size_t count = 0;
    begin();
    add = kernel_of("_Z10add_to_allPiii");
    cudaMalloc((void **)&block, 4096);
    cudaMemset(block, 0, 4096);
    CALL(cudaStreamCreate, &stream);
    CALL(cudaStreamBeginCapture, stream, cudaStreamCaptureModeThreadLocal);
    CALL(cudaLaunchKernel, add, one, threads, arguments, 0, stream);
    CALL(cudaMemsetAsync, block + 100, 1, 16, stream);
    CALL(cudaStreamEndCapture, stream, &graph);
    CALL(cudaGraphGetNodes, graph, NULL, &count);
    SHOW("%zu", count);
    count = 8;
    CALL(cudaGraphGetRootNodes, graph, nodes, &count);
    SHOW("%zu", count);
    CALL(cudaGraphNodeGetType, nodes[0], &type);
    SHOW("%d", (int)type);
    CALL(cudaGraphInstantiate, &exec, graph, 0);
    CALL(cudaGraphUpload, exec, stream);
    CALL(cudaGraphLaunch, exec, stream);
    CALL(cudaGraphLaunch, exec, stream);
    CALL(cudaStreamSynchronize, stream);
    SHOW("%d %d", value_at(block), value_at(block + 100));
    CALL(cudaGraphExecUpdate, exec, graph, &update);
    SHOW("%d", (int)update.result);
    CALL(cudaGraphClone, &copy, graph);
    CALL(cudaGraphAddEmptyNode, &empty, copy, NULL, 0);
    CALL(cudaGraphDestroyNode, empty);
    CALL(cudaGraphDestroy, copy);
    CALL(cudaGraphExecDestroy, exec);
    CALL(cudaGraphDestroy, graph);
    CALL(cudaGraphCreate, &graph, 0);
    CALL(cudaGraphDestroy, graph);
    CALL(cudaStreamEndCapture, stream, &graph);
    CALL(cudaStreamDestroy, stream);
    CALL0(cudaGetLastError);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {{"libraries", libraries}, {"launches", launches}, {"graphs", graphs}};
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
