// What the other runtime programs leave out.
#include "runtime_adder.h"

cudaError_t cudaProfilerStart(void);
cudaError_t cudaProfilerStop(void);

static void nodes(void) {
    cudaGraph_t graph = NULL, child = NULL, other = NULL;
    cudaGraphNode_t moved = NULL, record = NULL, wait = NULL, inner = NULL, fill = NULL;
    cudaGraphExec_t exec = NULL;
    cudaEvent_t one = NULL, two = NULL, found = NULL;
    struct cudaMemcpy3DParms copy = {0}, read = {0};
    struct cudaMemsetParams params = {0};
    prepare();
    CALL(cudaEventCreateWithFlags, &one, cudaEventDisableTiming);
    CALL(cudaEventCreateWithFlags, &two, cudaEventDisableTiming);
    CALL(cudaGraphCreate, &graph, 0);
    CALL(cudaGraphCreate, &child, 0);
    CALL(cudaGraphCreate, &other, 0);
    params.dst = block;
    params.value = 1;
    params.elementSize = 4;
    params.width = 4;
    params.height = 1;
    CALL(cudaGraphAddMemsetNode, &fill, child, NULL, 0, &params);
    params.value = 2;
    CALL(cudaGraphAddMemsetNode, &fill, other, NULL, 0, &params);
    CALL(cudaGraphAddChildGraphNode, &inner, graph, NULL, 0, child);
    copy.srcPtr.ptr = block;
    copy.dstPtr.ptr = block + 64;
    copy.srcPtr.pitch = copy.dstPtr.pitch = copy.srcPtr.xsize = copy.dstPtr.xsize = 16;
    copy.srcPtr.ysize = copy.dstPtr.ysize = 1;
    copy.extent.width = 16;
    copy.extent.height = copy.extent.depth = 1;
    copy.kind = cudaMemcpyDeviceToDevice;
    CALL(cudaGraphAddMemcpyNode, &moved, graph, &inner, 1, &copy);
    CALL(cudaGraphAddMemcpyNode, NULL, graph, &inner, 1, &copy);
    CALL(cudaGraphAddMemcpyNode, &moved, graph, &inner, 1, NULL);
    CALL(cudaGraphMemcpyNodeGetParams, moved, &read);
    SHOW("%zu %d", read.extent.width, (int)read.kind);
    CALL(cudaGraphMemcpyNodeSetParams, moved, &copy);
    CALL(cudaGraphMemcpyNodeSetParams, moved, NULL);
    CALL(cudaGraphAddEventRecordNode, &record, graph, &moved, 1, one);
    CALL(cudaGraphAddEventWaitNode, &wait, graph, &record, 1, one);
    CALL(cudaGraphEventRecordNodeSetEvent, record, two);
    CALL(cudaGraphEventRecordNodeGetEvent, record, &found);
    SHOW("%d", found == two);
    CALL(cudaGraphEventWaitNodeSetEvent, wait, two);
    CALL(cudaGraphEventWaitNodeGetEvent, wait, &found);
    SHOW("%d", found == two);
    CALL(cudaGraphInstantiate, &exec, graph, 0);
    CALL(cudaGraphLaunch, exec, stream);
    CALL(cudaStreamSynchronize, stream);
    SHOW("%d %d", value_at(0), value_at(64));
    CALL(cudaGraphExecChildGraphNodeSetParams, exec, inner, other);
    CALL(cudaGraphExecEventRecordNodeSetEvent, exec, record, one);
    CALL(cudaGraphExecEventWaitNodeSetEvent, exec, wait, one);
    CALL(cudaGraphExecMemcpyNodeSetParams, exec, moved, &copy);
    CALL(cudaGraphLaunch, exec, stream);
    CALL(cudaStreamSynchronize, stream);
    SHOW("%d %d", value_at(0), value_at(64));
    CALL(cudaGraphDebugDotPrint, graph, "/tmp/ringbar-differential-runtime.dot", 0);
    unlink("/tmp/ringbar-differential-runtime.dot");
    CALL(cudaGraphExecDestroy, exec);
    CALL(cudaGraphDestroy, graph);
    CALL0(cudaGetLastError);
}

static void enabled_nodes(void) {
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    cudaGraphNode_t kernel = NULL, second = NULL;
    struct cudaKernelNodeParams launch = {0};
    cudaKernelNodeAttrValue value;
    int summand = 5, length = 4;
    void *arguments[] = {&block, &summand, &length};
    unsigned enabled = 9;
    prepare();
    CALL(cudaGraphCreate, &graph, 0);
    launch.func = (void *)add;
    launch.gridDim.x = launch.gridDim.y = launch.gridDim.z = 1;
    launch.blockDim.x = 32;
    launch.blockDim.y = launch.blockDim.z = 1;
    launch.kernelParams = arguments;
    CALL(cudaGraphAddKernelNode, &kernel, graph, NULL, 0, &launch);
    CALL(cudaGraphAddKernelNode, &second, graph, &kernel, 1, &launch);
    memset(&value, 0, sizeof value);
    value.priority = -1;
    CALL(cudaGraphKernelNodeSetAttribute, kernel, cudaLaunchAttributePriority, &value);
    CALL(cudaGraphKernelNodeCopyAttributes, second, kernel);
    value.priority = 7;
    CALL(cudaGraphKernelNodeGetAttribute, second, cudaLaunchAttributePriority, &value);
    SHOW("%d", value.priority);
    CALL(cudaGraphInstantiate, &exec, graph, 0);
    CALL(cudaGraphNodeSetEnabled, exec, kernel, 0);
    CALL(cudaGraphNodeGetEnabled, exec, kernel, &enabled);
    SHOW("%u", enabled);
    CALL(cudaGraphLaunch, exec, stream);
    CALL(cudaStreamSynchronize, stream);
    SHOW("%d", value_at(0));
    CALL(cudaGraphExecDestroy, exec);
    CALL(cudaGraphDestroy, graph);
    CALL0(cudaGetLastError);
}

static void captures(void) {
    enum cudaStreamCaptureStatus status = (enum cudaStreamCaptureStatus)9;
    enum cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    unsigned long long id = 0;
    cudaGraph_t graph = NULL;
    const cudaGraphNode_t *dependencies = NULL;
    cudaGraphNode_t first = NULL;
    cudaStreamAttrValue value = {0};
    size_t count = 0;
    void *more = NULL;
    prepare();
    CALL(cudaStreamBeginCapture, stream, cudaStreamCaptureModeRelaxed);
    CALL(cudaMemsetAsync, block, 1, 64, stream);
    CALL(cudaStreamGetCaptureInfo, stream, &status, &id, &graph, &dependencies, NULL, &count);
    SHOW("%d %zu", (int)status, count);
    if (count > 0) first = dependencies[0];
    CALL(cudaMemsetAsync, block + 64, 1, 64, stream);
    CALL(cudaStreamUpdateCaptureDependencies, stream, &first, NULL, 1, cudaStreamSetCaptureDependencies);
    CALL(cudaMemsetAsync, block + 128, 1, 64, stream);
    CALL(cudaStreamUpdateCaptureDependencies, stream, &first, NULL, 1, 77);
    CALL(cudaStreamEndCapture, stream, &graph);
    if (graph != NULL) {
        CALL(cudaGraphGetEdges, graph, NULL, NULL, NULL, &count);
        SHOW("%zu", count);
        CALL(cudaGraphDestroy, graph);
    }
    CALL(cudaStreamBeginCapture, stream, cudaStreamCaptureModeGlobal);
    CALL(cudaMalloc, &more, 4096);
    CALL(cudaStreamIsCapturing, stream, &status);
    SHOW("%d", (int)status);
    CALL(cudaStreamEndCapture, stream, &graph);
    CALL0(cudaGetLastError);
    CALL(cudaStreamBeginCapture, stream, cudaStreamCaptureModeThreadLocal);
    CALL(cudaThreadExchangeStreamCaptureMode, &mode);
    SHOW("%d", (int)mode);
    CALL(cudaMalloc, &more, 4096);
    CALL(cudaThreadExchangeStreamCaptureMode, &mode);
    CALL(cudaStreamEndCapture, stream, &graph);
    SHOW("%d", graph != NULL);
    CALL(cudaFree, more);
    CALL(cudaStreamBeginCapture, stream, cudaStreamCaptureModeGlobal);
    CALL0(cudaDeviceSynchronize);
    CALL(cudaStreamEndCapture, stream, &graph);
    CALL(cudaStreamGetAttribute, stream, cudaLaunchAttributePriority, &value);
    SHOW("%d", value.priority);
    CALL(cudaStreamSetAttribute, stream, cudaLaunchAttributePriority, &value);
    CALL0(cudaGetLastError);
}

static volatile int destroyed;

static void CUDART_CB destroy(void *data) { destroyed += *(int *)data; }

static void user_objects(void) {
    static int one = 1;
    cudaUserObject_t object = NULL;
    cudaGraph_t graph = NULL;
    prepare();
    CALL(cudaUserObjectCreate, &object, &one, destroy, 1, cudaUserObjectNoDestructorSync);
    CALL(cudaUserObjectCreate, NULL, &one, destroy, 1, cudaUserObjectNoDestructorSync);
    CALL(cudaUserObjectRetain, object, 1);
    CALL(cudaGraphCreate, &graph, 0);
    CALL(cudaGraphRetainUserObject, graph, object, 1, cudaGraphUserObjectMove);
    CALL(cudaUserObjectRelease, object, 1);
    SHOW("%d", destroyed);
    CALL(cudaGraphReleaseUserObject, graph, object, 1);
    for (int i = 0; i < 2000 && destroyed < 1; i++) usleep(1000);
    SHOW("%d", destroyed);
    CALL(cudaGraphDestroy, graph);
    CALL0(cudaGetLastError);
}

static void advice(void) {
    struct cudaMemLocation here = {0}, host = {0};
    char *managed = NULL;
    prepare();
    here.type = cudaMemLocationTypeDevice;
    host.type = cudaMemLocationTypeHost;
    CALL(cudaMallocManaged, (void **)&managed, 65536, cudaMemAttachGlobal);
    CALL(cudaMemAdvise, managed, 65536, cudaMemAdviseSetReadMostly, here);
    CALL(cudaMemAdvise, managed, 65536, cudaMemAdviseSetPreferredLocation, host);
    CALL(cudaMemAdvise, NULL, 65536, cudaMemAdviseSetReadMostly, here);
    CALL(cudaMemPrefetchAsync, NULL, 65536, here, 0, stream);
    CALL(cudaFree, managed);
    CALL0(cudaGetLastError);
}

static void copies(void) {
    struct cudaMemcpy3DPeerParms copy = {0};
    char *managed = NULL;
    prepare();
    copy.srcPtr.ptr = block;
    copy.dstPtr.ptr = block + 128;
    copy.srcPtr.pitch = copy.dstPtr.pitch = copy.srcPtr.xsize = copy.dstPtr.xsize = 16;
    copy.srcPtr.ysize = copy.dstPtr.ysize = 1;
    copy.extent.width = 16;
    copy.extent.height = copy.extent.depth = 1;
    CALL(cudaMemcpy3DPeer, &copy);
    CALL(cudaMemcpy3DPeerAsync, &copy, stream);
    CALL(cudaStreamSynchronize, stream);
    CALL(cudaMallocManaged, (void **)&managed, 4096, cudaMemAttachGlobal);
    CALL(cudaStreamAttachMemAsync, stream, managed, 0, cudaMemAttachHost);
    CALL(cudaStreamSynchronize, stream);
    CALL(cudaFree, managed);
    CALL0(cudaGetLastError);
}

static void several(void) {
    cudaKernel_t kernel = NULL;
    cudaFunction_t function = NULL;
    struct cudaChannelFormatDesc format;
    void *found = NULL;
    enum cudaDriverEntryPointQueryResult result = (enum cudaDriverEntryPointQueryResult)9;
    int current = 0;
    prepare();
    CALL0(cudaProfilerStart);
    CALL0(cudaProfilerStop);
    CALL(cudaGetKernel, &kernel, add);
    CALL(cudaGetKernel, &kernel, &current);
    CALL(cudaGetFuncBySymbol, &function, add);
    CALL(cudaGetFuncBySymbol, &function, &current);
    CALL(cudaGetDriverEntryPoint, "cuMemAlloc", &found, cudaEnableDefault, &result);
    SHOW("%d %d", found != NULL, (int)result);
    CALL(cudaGetDriverEntryPoint, "cuNoSuchFunction", &found, cudaEnableDefault, &result);
    SHOW("%d %d", found != NULL, (int)result);
    CALL(cudaKernelSetAttributeForDevice, (cudaKernel_t)add, cudaFuncAttributeMaxDynamicSharedMemorySize, 1024, 0);
    CALL(cudaKernelSetAttributeForDevice, (cudaKernel_t)add, cudaFuncAttributeMaxDynamicSharedMemorySize, 1024, 50);
    format = cudaCreateChannelDesc(8, 16, 32, 0, cudaChannelFormatKindUnsigned);
    printf("\ncudaCreateChannelDesc() %d %d %d %d %d", format.x, format.y, format.z, format.w, (int)format.f);
    CALL0(cudaGetLastError);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"nodes", nodes}, {"enabled_nodes", enabled_nodes}, {"captures", captures}, {"user_objects", user_objects},
        {"advice", advice}, {"copies", copies}, {"several", several},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
