// Graphs: captured and made node by node, instantiated, updated, launched.
#include "driver_adder.h"

static void launch(int summand) {
    int length = 16;
    void *arguments[] = {&block, &summand, &length};
    CALL(cuLaunchKernel, add, 1, 1, 1, 32, 1, 1, 0, stream, arguments, NULL);
}

static void captured(void) {
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    CUstreamCaptureStatus status = (CUstreamCaptureStatus)9;
    CUgraphNode nodes[8];
    size_t count = 0;
    cuuint64_t id = 0;
    prepare();
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    launch(1);
    CALL(cuStreamGetCaptureInfo, stream, &status, &id, NULL, NULL, NULL, NULL);
    SHOW("%d %d", (int)status, id != 0);
    launch(2);
    CALL(cuMemsetD32Async, block + 64, 5, 4, stream);
    CALL(cuMemcpyDtoDAsync, block + 128, block + 64, 16, stream);
    CALL(cuStreamEndCapture, stream, &graph);
    CALL(cuGraphGetNodes, graph, NULL, &count);
    SHOW("%zu", count);
    count = 8;
    CALL(cuGraphGetNodes, graph, nodes, &count);
    SHOW("%zu", count);
    count = 8;
    CALL(cuGraphGetRootNodes, graph, nodes, &count);
    SHOW("%zu", count);
    CALL(cuGraphGetEdges, graph, NULL, NULL, NULL, &count);
    SHOW("%zu", count);
    CALL(cuGraphInstantiate, &exec, graph, 0);
    CALL(cuGraphUpload, exec, stream);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d %d %d", value_at(0), value_at(16), value_at(32));
    cuuint64_t flags = 9;
    CALL(cuGraphExecGetFlags, exec, &flags);
    SHOW("%llu", (unsigned long long)flags);
    CALL(cuGraphExecDestroy, exec);
    CALL(cuGraphDestroy, graph);
    CALL(cuGraphInstantiate, NULL, graph, 0);
    CALL(cuGraphLaunch, NULL, stream);
    CALL(cuGraphDestroy, NULL);
    CALL(cuGraphExecDestroy, NULL);
}

static void made(void) {
    CUgraph graph = NULL, child = NULL, copy = NULL;
    CUgraphNode kernel = NULL, fill = NULL, empty = NULL, copying = NULL, inner = NULL, found[8];
    CUgraphExec exec = NULL;
    CUgraphNodeType type = (CUgraphNodeType)99;
    CUDA_KERNEL_NODE_PARAMS kernel_params = {0}, read = {0};
    CUDA_MEMSET_NODE_PARAMS fill_params = {0}, fill_read = {0};
    CUDA_MEMCPY3D copy_params = {0}, copy_read = {0};
    CUgraphExecUpdateResultInfo update = {0};
    size_t count = 8;
    int summand = 7, length = 16;
    void *arguments[] = {&block, &summand, &length};
    prepare();
    CALL(cuGraphCreate, &graph, 0);
    CALL(cuGraphCreate, NULL, 0);
    CALL(cuGraphCreate, &copy, 77);
    kernel_params.func = add;
    kernel_params.gridDimX = kernel_params.gridDimY = kernel_params.gridDimZ = 1;
    kernel_params.blockDimX = 32;
    kernel_params.blockDimY = kernel_params.blockDimZ = 1;
    kernel_params.kernelParams = arguments;
    CALL(cuGraphAddKernelNode, &kernel, graph, NULL, 0, &kernel_params);
    CALL(cuGraphAddKernelNode, NULL, graph, NULL, 0, &kernel_params);
    CALL(cuGraphAddKernelNode, &inner, graph, NULL, 0, NULL);
    fill_params.dst = block + 256;
    fill_params.value = 3;
    fill_params.elementSize = 4;
    fill_params.width = 8;
    fill_params.height = 1;
    CALL(cuGraphAddMemsetNode, &fill, graph, &kernel, 1, &fill_params, context);
    copy_params.srcMemoryType = copy_params.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    copy_params.srcDevice = block + 256;
    copy_params.dstDevice = block + 512;
    copy_params.WidthInBytes = 32;
    copy_params.Height = copy_params.Depth = 1;
    CALL(cuGraphAddMemcpyNode, &copying, graph, &fill, 1, &copy_params, context);
    CALL(cuGraphAddEmptyNode, &empty, graph, &copying, 1);
    CALL(cuGraphNodeGetType, kernel, &type);
    SHOW("%d", (int)type);
    CALL(cuGraphNodeGetType, empty, &type);
    SHOW("%d", (int)type);
    CALL(cuGraphNodeGetType, NULL, &type);
    CALL(cuGraphNodeGetType, kernel, NULL);
    CALL(cuGraphNodeGetDependencies, fill, found, NULL, &count);
    SHOW("%zu %d", count, found[0] == kernel);
    count = 8;
    CALL(cuGraphNodeGetDependentNodes, kernel, found, NULL, &count);
    SHOW("%zu %d", count, found[0] == fill);
    CALL(cuGraphAddDependencies, graph, &kernel, &empty, NULL, 1);
    CALL(cuGraphRemoveDependencies, graph, &kernel, &empty, NULL, 1);
    CALL(cuGraphAddDependencies, graph, &kernel, &kernel, NULL, 1);
    CALL(cuGraphKernelNodeGetParams, kernel, &read);
    SHOW("%u %u %d", read.gridDimX, read.blockDimX, read.func == add);
    CALL(cuGraphMemsetNodeGetParams, fill, &fill_read);
    SHOW("%d %u %zu", fill_read.dst == fill_params.dst, fill_read.value, fill_read.width);
    CALL(cuGraphMemcpyNodeGetParams, copying, &copy_read);
    SHOW("%zu", copy_read.WidthInBytes);
    fill_params.value = 4;
    CALL(cuGraphMemsetNodeSetParams, fill, &fill_params);
    CALL(cuGraphMemcpyNodeSetParams, copying, &copy_params);
    CALL(cuGraphKernelNodeSetParams, kernel, &kernel_params);
    CALL(cuGraphCreate, &child, 0);
    CALL(cuGraphAddEmptyNode, &inner, child, NULL, 0);
    CALL(cuGraphAddChildGraphNode, &inner, graph, NULL, 0, child);
    CALL(cuGraphClone, &copy, graph);
    CALL(cuGraphNodeFindInClone, &found[0], kernel, copy);
    CALL(cuGraphInstantiateWithFlags, &exec, graph, 0);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d %d %d", value_at(0), value_at(64), value_at(128));
    summand = 100;
    CALL(cuGraphExecKernelNodeSetParams, exec, kernel, &kernel_params);
    fill_params.value = 6;
    CALL(cuGraphExecMemsetNodeSetParams, exec, fill, &fill_params, context);
    CALL(cuGraphExecMemcpyNodeSetParams, exec, copying, &copy_params, context);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d %d %d", value_at(0), value_at(64), value_at(128));
    CALL(cuGraphExecUpdate, exec, graph, &update);
    SHOW("%d", (int)update.result);
    CALL(cuGraphExecUpdate, exec, child, &update);
    SHOW_ALWAYS("%d", (int)update.result);
    CALL(cuGraphDestroyNode, empty);
    CALL(cuGraphExecDestroy, exec);
    CALL(cuGraphDestroy, copy);
    CALL(cuGraphDestroy, child);
    CALL(cuGraphDestroy, graph);
}

static void host_and_events(void) {
    CUgraph graph = NULL;
    CUgraphNode host = NULL, record = NULL, wait = NULL;
    CUgraphExec exec = NULL;
    CUDA_HOST_NODE_PARAMS host_params = {0}, read = {0};
    CUDA_GRAPH_INSTANTIATE_PARAMS how = {0};
    CUevent event = NULL, found = NULL;
    static int step = 4;
    prepare();
    CALL(cuEventCreate, &event, CU_EVENT_DISABLE_TIMING);
    CALL(cuGraphCreate, &graph, 0);
    host_params.fn = host_function;
    host_params.userData = &step;
    CALL(cuGraphAddHostNode, &host, graph, NULL, 0, &host_params);
    CALL(cuGraphHostNodeGetParams, host, &read);
    SHOW("%d %d", read.fn == host_function, read.userData == &step);
    CALL(cuGraphHostNodeSetParams, host, &host_params);
    CALL(cuGraphAddEventRecordNode, &record, graph, &host, 1, event);
    CALL(cuGraphAddEventWaitNode, &wait, graph, &record, 1, event);
    CALL(cuGraphEventRecordNodeGetEvent, record, &found);
    SHOW("%d", found == event);
    CALL(cuGraphEventWaitNodeGetEvent, wait, &found);
    SHOW("%d", found == event);
    CALL(cuGraphInstantiateWithParams, &exec, graph, &how);
    SHOW("%d", (int)how.result_out);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d", calls);
    CALL(cuEventQuery, event);
    CALL(cuGraphExecDestroy, exec);
    CALL(cuGraphDestroy, graph);
}

static void several_streams(void) {
    CUstream other = NULL;
    CUevent fork = NULL, join = NULL;
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    CUstreamCaptureStatus status = (CUstreamCaptureStatus)9;
    size_t count = 0;
    prepare();
    cuStreamCreate(&other, CU_STREAM_NON_BLOCKING);
    cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING);
    cuEventCreate(&join, CU_EVENT_DISABLE_TIMING);
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    CALL(cuEventRecord, fork, stream);
    CALL(cuStreamWaitEvent, other, fork, 0);
    CALL(cuStreamIsCapturing, other, &status);
    SHOW("%d", (int)status);
    launch(1);
    CALL(cuMemsetD32Async, block + 1024, 9, 4, other);
    CALL(cuEventRecord, join, other);
    CALL(cuStreamWaitEvent, stream, join, 0);
    CALL(cuStreamEndCapture, other, &graph);
    CALL(cuStreamEndCapture, stream, &graph);
    CALL(cuGraphGetNodes, graph, NULL, &count);
    SHOW("%zu", count);
    CALL(cuGraphInstantiate, &exec, graph, 0);
    CALL(cuGraphLaunch, exec, other);
    CALL(cuStreamSynchronize, other);
    SHOW("%d %d", value_at(0), value_at(256));
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    CALL(cuEventRecord, fork, stream);
    CALL(cuStreamWaitEvent, other, fork, 0);
    CALL(cuMemsetD32Async, block + 1024, 9, 4, other);
    CALL(cuStreamEndCapture, stream, &graph);
    CALL(cuStreamIsCapturing, other, &status);
    SHOW("%d", (int)status);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"captured", captured}, {"made", made}, {"host_and_events", host_and_events},
        {"several_streams", several_streams},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
