// The runtime's graphs made node by node, and what else is asked of functions and pools.
#include "runtime_adder.h"

static int calls;

static void CUDART_CB host_function(void *data) { calls += *(int *)data; }

static void made(void) {
    static int step = 3;
    cudaGraph_t graph = NULL, child = NULL, inside = NULL, copy = NULL;
    cudaGraphNode_t kernel = NULL, fill = NULL, moved = NULL, host = NULL, inner = NULL, found[8];
    cudaGraphExec_t exec = NULL;
    int summand = 7, length = 8;
    void *arguments[] = {&block, &summand, &length};
    struct cudaKernelNodeParams launch = {0}, launch_read = {0};
    struct cudaMemsetParams fill_params = {0}, fill_read = {0};
    struct cudaHostNodeParams host_params = {host_function, &step}, host_read = {0};
    struct cudaMemcpy3DParms copy_read = {0};
    unsigned long long flags = 9;
    size_t count = 8;
    prepare();
    CALL(cudaGraphCreate, &graph, 0);
    CALL(cudaGraphCreate, NULL, 0);
    launch.func = (void *)add;
    launch.gridDim.x = launch.gridDim.y = launch.gridDim.z = 1;
    launch.blockDim.x = 32;
    launch.blockDim.y = launch.blockDim.z = 1;
    launch.kernelParams = arguments;
    CALL(cudaGraphAddKernelNode, &kernel, graph, NULL, 0, &launch);
    CALL(cudaGraphAddKernelNode, NULL, graph, NULL, 0, &launch);
    CALL(cudaGraphKernelNodeGetParams, kernel, &launch_read);
    SHOW("%u %u", launch_read.gridDim.x, launch_read.blockDim.x);
    CALL(cudaGraphKernelNodeSetParams, kernel, &launch);
    fill_params.dst = block + 64;
    fill_params.value = 9;
    fill_params.elementSize = 4;
    fill_params.width = 4;
    fill_params.height = 1;
    CALL(cudaGraphAddMemsetNode, &fill, graph, &kernel, 1, &fill_params);
    CALL(cudaGraphMemsetNodeGetParams, fill, &fill_read);
    SHOW("%u %zu", fill_read.value, fill_read.width);
    CALL(cudaGraphMemsetNodeSetParams, fill, &fill_params);
    CALL(cudaGraphAddMemcpyNode1D, &moved, graph, &fill, 1, block + 128, block + 64, 16, cudaMemcpyDeviceToDevice);
    CALL(cudaGraphMemcpyNodeGetParams, moved, &copy_read);
    SHOW("%zu", copy_read.extent.width);
    CALL(cudaGraphMemcpyNodeSetParams1D, moved, block + 128, block + 64, 16, cudaMemcpyDeviceToDevice);
    CALL(cudaGraphAddHostNode, &host, graph, &moved, 1, &host_params);
    CALL(cudaGraphHostNodeGetParams, host, &host_read);
    SHOW("%d %d", host_read.fn == host_function, host_read.userData == &step);
    CALL(cudaGraphHostNodeSetParams, host, &host_params);
    CALL(cudaGraphCreate, &child, 0);
    CALL(cudaGraphAddEmptyNode, &inner, child, NULL, 0);
    CALL(cudaGraphAddChildGraphNode, &inner, graph, &host, 1, child);
    CALL(cudaGraphChildGraphNodeGetGraph, inner, &inside);
    CALL(cudaGraphNodeGetDependencies, fill, found, NULL, &count);
    SHOW("%zu %d", count, found[0] == kernel);
    count = 8;
    CALL(cudaGraphNodeGetDependentNodes, kernel, found, NULL, &count);
    SHOW("%zu %d", count, found[0] == fill);
    CALL(cudaGraphAddDependencies, graph, &kernel, &host, NULL, 1);
    CALL(cudaGraphGetEdges, graph, NULL, NULL, NULL, &count);
    SHOW("%zu", count);
    CALL(cudaGraphRemoveDependencies, graph, &kernel, &host, NULL, 1);
    CALL(cudaGraphClone, &copy, graph);
    CALL(cudaGraphNodeFindInClone, &found[0], kernel, copy);
    CALL(cudaGraphInstantiateWithFlags, &exec, graph, 0);
    CALL(cudaGraphExecGetFlags, exec, &flags);
    SHOW("%llu", flags);
    CALL(cudaGraphLaunch, exec, stream);
    CALL(cudaStreamSynchronize, stream);
    SHOW("%d %d %d %d", value_at(0), value_at(64), value_at(128), calls);
    summand = 100;
    CALL(cudaGraphExecKernelNodeSetParams, exec, kernel, &launch);
    fill_params.value = 11;
    CALL(cudaGraphExecMemsetNodeSetParams, exec, fill, &fill_params);
    CALL(cudaGraphExecMemcpyNodeSetParams1D, exec, moved, block + 128, block + 64, 16, cudaMemcpyDeviceToDevice);
    CALL(cudaGraphExecHostNodeSetParams, exec, host, &host_params);
    CALL(cudaGraphLaunch, exec, stream);
    CALL(cudaStreamSynchronize, stream);
    SHOW("%d %d %d %d", value_at(0), value_at(64), value_at(128), calls);
    CALL(cudaGraphExecDestroy, exec);
    CALL(cudaGraphDestroy, copy);
    CALL(cudaGraphDestroy, child);
    CALL(cudaGraphDestroy, graph);
    CALL0(cudaGetLastError);
}

static void with_events(void) {
    cudaGraph_t graph = NULL;
    cudaGraphNode_t record = NULL, wait = NULL;
    cudaGraphExec_t exec = NULL;
    cudaGraphInstantiateParams how = {0};
    cudaEvent_t event = NULL, found = NULL;
    prepare();
    CALL(cudaEventCreateWithFlags, &event, cudaEventDisableTiming);
    CALL(cudaGraphCreate, &graph, 0);
    CALL(cudaGraphAddEventRecordNode, &record, graph, NULL, 0, event);
    CALL(cudaGraphAddEventWaitNode, &wait, graph, &record, 1, event);
    CALL(cudaGraphEventRecordNodeGetEvent, record, &found);
    SHOW("%d", found == event);
    CALL(cudaGraphEventWaitNodeGetEvent, wait, &found);
    SHOW("%d", found == event);
    CALL(cudaGraphInstantiateWithParams, &exec, graph, &how);
    SHOW("%d", (int)how.result_out);
    CALL(cudaGraphLaunch, exec, stream);
    CALL(cudaStreamSynchronize, stream);
    CALL(cudaEventQuery, event);
    CALL(cudaGraphExecDestroy, exec);
    CALL(cudaGraphDestroy, graph);
    CALL0(cudaGetLastError);
}

static void captures(void) {
    enum cudaStreamCaptureStatus status = (enum cudaStreamCaptureStatus)9;
    unsigned long long id = 0;
    cudaGraph_t graph = NULL;
    const cudaGraphNode_t *dependencies = NULL;
    const cudaGraphEdgeData *edges = NULL;
    size_t count = 0;
    cudaStreamAttrValue value = {0};
    prepare();
    CALL(cudaStreamBeginCapture, stream, cudaStreamCaptureModeRelaxed);
    CALL(cudaMemsetAsync, block, 1, 64, stream);
    CALL(cudaStreamGetCaptureInfo, stream, &status, &id, &graph, &dependencies, &edges, &count);
    SHOW("%d %d %zu", (int)status, id != 0, count);
    CALL(cudaStreamEndCapture, stream, &graph);
    CALL(cudaGraphDestroy, graph);
    CALL(cudaStreamGetCaptureInfo, stream, &status, &id, NULL, NULL, NULL, NULL);
    SHOW("%d", (int)status);
    CALL(cudaStreamGetAttribute, stream, cudaLaunchAttributePriority, &value);
    SHOW("%d", value.priority);
    CALL(cudaStreamSetAttribute, stream, cudaLaunchAttributePriority, &value);
    CALL0(cudaGetLastError);
}

static void several(void) {
    struct cudaMemLocation location = {0};
    cudaMemPool_t pool = NULL, other = NULL;
    cudaLaunchConfig_t config = {0};
    cudaLibrary_t library = NULL;
    cudaKernel_t kernels[4];
    enum cudaSharedMemConfig shared = (enum cudaSharedMemConfig)9;
    const char *name = NULL;
    size_t offset = 0, bytes = 0;
    int clusters = 0;
    void *found = NULL;
    prepare();
    CALL(cudaFuncGetName, &name, add);
    SHOW("%s", name);
    for (int i = 0; i < 4; i++) {
        CALL(cudaFuncGetParamInfo, add, i, &offset, &bytes);
        SHOW("%zu %zu", offset, bytes);
    }
    CALL(cudaDeviceGetSharedMemConfig, &shared);
    SHOW("%d", (int)shared);
    CALL(cudaDeviceSetSharedMemConfig, cudaSharedMemBankSizeFourByte);
    CALL(cudaFuncSetSharedMemConfig, add, cudaSharedMemBankSizeDefault);
    config.gridDim.x = config.gridDim.y = config.gridDim.z = 1;
    config.blockDim.x = 128;
    config.blockDim.y = config.blockDim.z = 1;
    CALL(cudaOccupancyMaxPotentialClusterSize, &clusters, add, &config);
    SHOW("%d", clusters);
    CALL(cudaOccupancyMaxActiveClusters, &clusters, add, &config);
    SHOW("%d", clusters);
    location.type = cudaMemLocationTypeDevice;
    CALL(cudaMemGetDefaultMemPool, &pool, &location, cudaMemAllocationTypePinned);
    CALL(cudaMemGetMemPool, &other, &location, cudaMemAllocationTypePinned);
    SHOW("%d", pool == other);
    CALL(cudaMemSetMemPool, &location, cudaMemAllocationTypePinned, pool);
    CALL(cudaLibraryLoadData, &library, image, NULL, NULL, 0, NULL, NULL, 0);
    CALL(cudaLibraryEnumerateKernels, kernels, 4, library);
    CALL(cudaLibraryGetManaged, &found, &bytes, library, "no_such_variable");
    CALL(cudaLibraryGetUnifiedFunction, &found, library, "no_such_function");
    CALL(cudaLibraryUnload, library);
    CALL(cudaLibraryLoadFromFile, &library, "/no/such/file", NULL, NULL, 0, NULL, NULL, 0);
    CALL(cudaGetSymbolAddress, &found, &found);
    CALL(cudaGetSymbolSize, &bytes, &found);
    CALL0(cudaGetLastError);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"made", made}, {"with_events", with_events}, {"captures", captures}, {"several", several},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
