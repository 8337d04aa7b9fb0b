// What the other programs leave out: nodes of any kind by one function, what captured nodes are, changes of nodes.
#include "driver_adder.h"

CUresult cuProfilerStart(void);
CUresult cuProfilerStop(void);

static void generic_nodes(void) {
    static int one = 1, ten = 10;
    CUgraph graph = NULL, child = NULL;
    CUgraphExec exec = NULL;
    CUgraphNode kernel = NULL, fill = NULL, copy = NULL, host = NULL, empty = NULL, record = NULL, wait = NULL, inner = NULL;
    CUevent event = NULL;
    int summand = 5, length = 4;
    void *arguments[] = {&block, &summand, &length};
    CUgraphNodeParams params;
    prepare();
    CALL(cuEventCreate, &event, CU_EVENT_DISABLE_TIMING);
    CALL(cuGraphCreate, &graph, 0);
    CALL(cuGraphCreate, &child, 0);
    memset(&params, 0, sizeof params);
    params.type = CU_GRAPH_NODE_TYPE_KERNEL;
    params.kernel.func = add;
    params.kernel.gridDimX = params.kernel.gridDimY = params.kernel.gridDimZ = 1;
    params.kernel.blockDimX = 32;
    params.kernel.blockDimY = params.kernel.blockDimZ = 1;
    params.kernel.kernelParams = arguments;
    CALL(cuGraphAddNode, &kernel, graph, NULL, NULL, 0, &params);
    CALL(cuGraphAddNode, NULL, graph, NULL, NULL, 0, &params);
    CALL(cuGraphAddNode, &kernel, NULL, NULL, NULL, 0, &params);
    CALL(cuGraphAddNode, &inner, graph, NULL, NULL, 0, NULL);
    CALL(cuGraphNodeSetParams, kernel, &params);
    memset(&params, 0, sizeof params);
    params.type = CU_GRAPH_NODE_TYPE_MEMSET;
    params.memset.dst = block + 256;
    params.memset.value = 3;
    params.memset.elementSize = 4;
    params.memset.width = 4;
    params.memset.height = 1;
    params.memset.ctx = context;
    CALL(cuGraphAddNode, &fill, graph, &kernel, NULL, 1, &params);
    params.memset.value = 4;
    CALL(cuGraphNodeSetParams, fill, &params);
    memset(&params, 0, sizeof params);
    params.type = CU_GRAPH_NODE_TYPE_MEMCPY;
    params.memcpy.copyCtx = context;
    params.memcpy.copyParams.srcMemoryType = params.memcpy.copyParams.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    params.memcpy.copyParams.srcDevice = block + 256;
    params.memcpy.copyParams.dstDevice = block + 512;
    params.memcpy.copyParams.WidthInBytes = 16;
    params.memcpy.copyParams.Height = params.memcpy.copyParams.Depth = 1;
    CALL(cuGraphAddNode, &copy, graph, &fill, NULL, 1, &params);
    CALL(cuGraphNodeSetParams, copy, &params);
    memset(&params, 0, sizeof params);
    params.type = CU_GRAPH_NODE_TYPE_HOST;
    params.host.fn = host_function;
    params.host.userData = &one;
    CALL(cuGraphAddNode, &host, graph, &copy, NULL, 1, &params);
    params.host.userData = &ten;
    CALL(cuGraphNodeSetParams, host, &params);
    memset(&params, 0, sizeof params);
    params.type = CU_GRAPH_NODE_TYPE_EMPTY;
    CALL(cuGraphAddNode, &empty, graph, &host, NULL, 1, &params);
    CALL(cuGraphAddNode, &inner, child, NULL, NULL, 0, &params);
    memset(&params, 0, sizeof params);
    params.type = CU_GRAPH_NODE_TYPE_EVENT_RECORD;
    params.eventRecord.event = event;
    CALL(cuGraphAddNode, &record, graph, &empty, NULL, 1, &params);
    CALL(cuGraphNodeSetParams, record, &params);
    memset(&params, 0, sizeof params);
    params.type = CU_GRAPH_NODE_TYPE_WAIT_EVENT;
    params.eventWait.event = event;
    CALL(cuGraphAddNode, &wait, graph, &record, NULL, 1, &params);
    memset(&params, 0, sizeof params);
    params.type = CU_GRAPH_NODE_TYPE_GRAPH;
    params.graph.graph = child;
    CALL(cuGraphAddNode, &inner, graph, &wait, NULL, 1, &params);
    params.type = (CUgraphNodeType)99;
    CALL(cuGraphAddNode, &inner, graph, NULL, NULL, 0, &params);
    CALL(cuGraphInstantiateWithFlags, &exec, graph, 0);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d %d %d %d", value_at(0), value_at(64), value_at(128), calls);
    memset(&params, 0, sizeof params);
    params.type = CU_GRAPH_NODE_TYPE_HOST;
    params.host.fn = host_function;
    params.host.userData = &one;
    CALL(cuGraphExecNodeSetParams, exec, host, &params);
    memset(&params, 0, sizeof params);
    params.type = CU_GRAPH_NODE_TYPE_MEMSET;
    params.memset.dst = block + 256;
    params.memset.value = 9;
    params.memset.elementSize = 4;
    params.memset.width = 4;
    params.memset.height = 1;
    params.memset.ctx = context;
    CALL(cuGraphExecNodeSetParams, exec, fill, &params);
    CALL(cuGraphExecNodeSetParams, exec, NULL, &params);
    CALL(cuGraphExecNodeSetParams, exec, fill, NULL);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d %d %d %d", value_at(0), value_at(64), value_at(128), calls);
    CALL(cuGraphDebugDotPrint, graph, "/tmp/ringbar-differential.dot", 0);
    CALL(cuGraphDebugDotPrint, graph, "/no/such/folder/graph.dot", 0);
    CALL(cuGraphDebugDotPrint, NULL, "/tmp/ringbar-differential.dot", 0);
    unlink("/tmp/ringbar-differential.dot");
    CALL(cuGraphExecDestroy, exec);
    CALL(cuGraphDestroy, child);
    CALL(cuGraphDestroy, graph);
}

// The node of a kind in a graph.
static CUgraphNode node_of(CUgraph graph, CUgraphNodeType wanted) {
    CUgraphNode nodes[16];
    size_t count = 16;
    cuGraphGetNodes(graph, nodes, &count);
    for (size_t i = 0; i < count; i++) {
        CUgraphNodeType type;
        if (cuGraphNodeGetType(nodes[i], &type) == 0 && type == wanted) return nodes[i];
    }
    return NULL;
}

static void captured_nodes(void) {
    static int step = 7, other_step = 70;
    CUgraph graph = NULL, copy = NULL;
    CUgraphExec exec = NULL;
    CUgraphNode kernel, fill, moved, host, found = NULL;
    CUDA_KERNEL_NODE_PARAMS launch = {0};
    CUDA_MEMSET_NODE_PARAMS fill_params = {0};
    CUDA_MEMCPY3D copy_params = {0};
    CUDA_HOST_NODE_PARAMS host_params = {0};
    CUevent event = NULL;
    int summand = 2, length = 4;
    void *arguments[] = {&block, &summand, &length};
    prepare();
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuLaunchKernel, add, 1, 1, 1, 32, 1, 1, 0, stream, arguments, NULL);
    CALL(cuMemsetD32Async, block + 64, 5, 4, stream);
    CALL(cuMemcpyDtoDAsync, block + 128, block + 64, 16, stream);
    CALL(cuLaunchHostFunc, stream, host_function, &step);
    CALL(cuStreamEndCapture, stream, &graph);
    kernel = node_of(graph, CU_GRAPH_NODE_TYPE_KERNEL);
    fill = node_of(graph, CU_GRAPH_NODE_TYPE_MEMSET);
    moved = node_of(graph, CU_GRAPH_NODE_TYPE_MEMCPY);
    host = node_of(graph, CU_GRAPH_NODE_TYPE_HOST);
    CALL(cuGraphKernelNodeGetParams, kernel, &launch);
    SHOW("%u %u %d %d", launch.gridDimX, launch.blockDimX, launch.func == add, *(int *)launch.kernelParams[1]);
    CALL(cuGraphMemsetNodeGetParams, fill, &fill_params);
    SHOW("%d %u %u %zu %zu", fill_params.dst == block + 64, fill_params.value, fill_params.elementSize, fill_params.width,
         fill_params.height);
    CALL(cuGraphMemcpyNodeGetParams, moved, &copy_params);
    SHOW("%zu %zu %zu %d", copy_params.WidthInBytes, copy_params.Height, copy_params.Depth,
         (int)(copy_params.dstDevice + copy_params.dstXInBytes - block));
    CALL(cuGraphHostNodeGetParams, host, &host_params);
    SHOW("%d %d", host_params.fn == host_function, host_params.userData == &step);
    CALL(cuGraphMemsetNodeGetParams, kernel, &fill_params);
    CALL(cuGraphMemcpyNodeGetParams, kernel, &copy_params);
    CALL(cuGraphHostNodeGetParams, kernel, &host_params);
    CALL(cuGraphKernelNodeGetParams, fill, &launch);
    CALL(cuGraphMemsetNodeGetParams, fill, NULL);
    CALL(cuGraphMemcpyNodeGetParams, moved, NULL);
    CALL(cuGraphHostNodeGetParams, host, NULL);
    CALL(cuGraphHostNodeSetParams, host, NULL);
    CALL(cuGraphHostNodeSetParams, kernel, &host_params);
    CALL(cuGraphEventRecordNodeGetEvent, kernel, &event);
    CALL(cuGraphEventWaitNodeGetEvent, kernel, &event);
    CALL(cuGraphClone, &copy, graph);
    CALL(cuGraphNodeFindInClone, &found, host, copy);
    CALL(cuGraphHostNodeGetParams, found, &host_params);
    SHOW("%d %d", host_params.fn == host_function, host_params.userData == &step);
    CALL(cuGraphNodeFindInClone, &found, moved, copy);
    CALL(cuGraphMemcpyNodeGetParams, found, &copy_params);
    SHOW("%zu", copy_params.WidthInBytes);
    CALL(cuGraphNodeFindInClone, &found, found, copy);
    CALL(cuGraphNodeFindInClone, NULL, host, copy);
    CALL(cuGraphNodeFindInClone, &found, NULL, copy);
    CALL(cuGraphNodeFindInClone, &found, host, NULL);
    CALL(cuGraphNodeFindInClone, &found, host, graph);
    host_params.fn = host_function;
    host_params.userData = &other_step;
    CALL(cuGraphInstantiate, &exec, graph, 0);
    CALL(cuGraphExecHostNodeSetParams, exec, host, &host_params);
    CALL(cuGraphExecHostNodeSetParams, exec, kernel, &host_params);
    CALL(cuGraphExecHostNodeSetParams, exec, host, NULL);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d %d", calls, value_at(32));
    CALL(cuGraphExecDestroy, exec);
    CALL(cuGraphDestroy, copy);
    CALL(cuGraphDestroy, graph);
}

static void changed_nodes(void) {
    CUgraph graph = NULL, child = NULL, other = NULL, inside = NULL, again = NULL;
    CUgraphExec exec = NULL;
    CUgraphNode record = NULL, wait = NULL, inner = NULL, fill = NULL, nodes[4];
    CUDA_MEMSET_NODE_PARAMS params = {0};
    CUevent one = NULL, two = NULL, found = NULL;
    size_t count = 4;
    prepare();
    CALL(cuEventCreate, &one, CU_EVENT_DISABLE_TIMING);
    CALL(cuEventCreate, &two, CU_EVENT_DISABLE_TIMING);
    CALL(cuGraphCreate, &graph, 0);
    CALL(cuGraphCreate, &child, 0);
    CALL(cuGraphCreate, &other, 0);
    params.dst = block;
    params.value = 1;
    params.elementSize = 4;
    params.width = 4;
    params.height = 1;
    CALL(cuGraphAddMemsetNode, &fill, child, NULL, 0, &params, context);
    params.value = 2;
    CALL(cuGraphAddMemsetNode, &fill, other, NULL, 0, &params, context);
    CALL(cuGraphAddEventRecordNode, &record, graph, NULL, 0, one);
    CALL(cuGraphAddEventWaitNode, &wait, graph, &record, 1, one);
    CALL(cuGraphAddChildGraphNode, &inner, graph, &wait, 1, child);
    CALL(cuGraphEventRecordNodeSetEvent, record, two);
    CALL(cuGraphEventRecordNodeGetEvent, record, &found);
    SHOW("%d", found == two);
    CALL(cuGraphEventWaitNodeSetEvent, wait, two);
    CALL(cuGraphEventWaitNodeGetEvent, wait, &found);
    SHOW("%d", found == two);
    CALL(cuGraphEventWaitNodeGetEvent, record, &found);
    CALL(cuGraphEventRecordNodeGetEvent, record, NULL);
    CALL(cuGraphEventRecordNodeSetEvent, wait, two);
    CALL(cuGraphEventRecordNodeSetEvent, record, NULL);
    CALL(cuGraphChildGraphNodeGetGraph, inner, &inside);
    CALL(cuGraphChildGraphNodeGetGraph, inner, &again);
    SHOW("%d", inside == again);
    CALL(cuGraphGetNodes, inside, nodes, &count);
    SHOW("%zu", count);
    CALL(cuGraphChildGraphNodeGetGraph, record, &inside);
    CALL(cuGraphChildGraphNodeGetGraph, inner, NULL);
    CALL(cuGraphInstantiate, &exec, graph, 0);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d", value_at(0));
    CALL(cuGraphExecEventRecordNodeSetEvent, exec, record, one);
    CALL(cuGraphExecEventWaitNodeSetEvent, exec, wait, one);
    CALL(cuGraphExecEventWaitNodeSetEvent, exec, record, one);
    CALL(cuGraphExecEventRecordNodeSetEvent, exec, record, NULL);
    CALL(cuGraphExecChildGraphNodeSetParams, exec, inner, other);
    CALL(cuGraphExecChildGraphNodeSetParams, exec, inner, NULL);
    CALL(cuGraphExecChildGraphNodeSetParams, exec, record, other);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d", value_at(0));
    CALL(cuEventQuery, one);
    CALL(cuGraphExecDestroy, exec);
    CALL(cuGraphDestroy, graph);
    CALL(cuGraphDestroy, other);
    CALL(cuGraphDestroy, child);
}

static void enabled_nodes(void) {
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    CUgraphNode kernel = NULL, second = NULL, fill = NULL, empty = NULL;
    CUDA_KERNEL_NODE_PARAMS launch = {0};
    CUDA_MEMSET_NODE_PARAMS params = {0};
    CUkernelNodeAttrValue value;
    int summand = 5, length = 4;
    void *arguments[] = {&block, &summand, &length};
    unsigned enabled = 9;
    prepare();
    CALL(cuGraphCreate, &graph, 0);
    launch.func = add;
    launch.gridDimX = launch.gridDimY = launch.gridDimZ = 1;
    launch.blockDimX = 32;
    launch.blockDimY = launch.blockDimZ = 1;
    launch.kernelParams = arguments;
    CALL(cuGraphAddKernelNode, &kernel, graph, NULL, 0, &launch);
    CALL(cuGraphAddKernelNode, &second, graph, &kernel, 1, &launch);
    params.dst = block + 64;
    params.value = 2;
    params.elementSize = 4;
    params.width = 4;
    params.height = 1;
    CALL(cuGraphAddMemsetNode, &fill, graph, &second, 1, &params, context);
    CALL(cuGraphAddEmptyNode, &empty, graph, &fill, 1);
    memset(&value, 0, sizeof value);
    CALL(cuGraphKernelNodeGetAttribute, kernel, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &value);
    SHOW("%d", value.cooperative);
    CALL(cuGraphKernelNodeGetAttribute, kernel, CU_LAUNCH_ATTRIBUTE_PRIORITY, &value);
    SHOW("%d", value.priority);
    value.priority = -1;
    CALL(cuGraphKernelNodeSetAttribute, kernel, CU_LAUNCH_ATTRIBUTE_PRIORITY, &value);
    value.priority = 7;
    CALL(cuGraphKernelNodeGetAttribute, kernel, CU_LAUNCH_ATTRIBUTE_PRIORITY, &value);
    SHOW("%d", value.priority);
    CALL(cuGraphKernelNodeCopyAttributes, second, kernel);
    value.priority = 7;
    CALL(cuGraphKernelNodeGetAttribute, second, CU_LAUNCH_ATTRIBUTE_PRIORITY, &value);
    SHOW("%d", value.priority);
    CALL(cuGraphKernelNodeGetAttribute, fill, CU_LAUNCH_ATTRIBUTE_PRIORITY, &value);
    CALL(cuGraphKernelNodeGetAttribute, kernel, (CUlaunchAttributeID)99, &value);
    CALL(cuGraphKernelNodeSetAttribute, kernel, (CUlaunchAttributeID)99, &value);
    CALL(cuGraphKernelNodeCopyAttributes, second, fill);
    CALL(cuGraphInstantiate, &exec, graph, 0);
    CALL(cuGraphNodeGetEnabled, exec, kernel, &enabled);
    SHOW("%u", enabled);
    CALL(cuGraphNodeSetEnabled, exec, kernel, 0);
    CALL(cuGraphNodeGetEnabled, exec, kernel, &enabled);
    SHOW("%u", enabled);
    CALL(cuGraphNodeSetEnabled, exec, fill, 0);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d %d", value_at(0), value_at(16));
    CALL(cuGraphNodeSetEnabled, exec, kernel, 1);
    CALL(cuGraphNodeSetEnabled, exec, fill, 5);
    CALL(cuGraphNodeGetEnabled, exec, fill, &enabled);
    SHOW("%u", enabled);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d %d", value_at(0), value_at(16));
    CALL(cuGraphNodeSetEnabled, exec, empty, 0);
    CALL(cuGraphNodeGetEnabled, exec, empty, &enabled);
    CALL(cuGraphNodeGetEnabled, exec, kernel, NULL);
    CALL(cuGraphNodeGetEnabled, NULL, kernel, &enabled);
    CALL(cuGraphNodeSetEnabled, exec, NULL, 1);
    CALL(cuGraphExecDestroy, exec);
    CALL(cuGraphDestroy, graph);
}

// Events that graphs record: asked for and waited for before the graph is done, and after.
static void graph_events(void) {
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    CUgraphNode fill = NULL, record = NULL;
    CUDA_MEMSET_NODE_PARAMS params = {0};
    CUstream other = NULL, third = NULL;
    CUevent event = NULL, timed = NULL;
    float took = -1;
    prepare();
    CALL(cuStreamCreate, &other, CU_STREAM_NON_BLOCKING);
    CALL(cuStreamCreate, &third, CU_STREAM_NON_BLOCKING);
    CALL(cuEventCreate, &event, CU_EVENT_DEFAULT);
    CALL(cuEventCreate, &timed, CU_EVENT_DEFAULT);
    CALL(cuGraphCreate, &graph, 0);
    params.dst = block + 64;
    params.value = 7;
    params.elementSize = 4;
    params.width = 4;
    params.height = 1;
    CALL(cuGraphAddMemsetNode, &fill, graph, NULL, 0, &params, context);
    CALL(cuGraphAddEventRecordNode, &record, graph, &fill, 1, event);
    CALL(cuEventQuery, event);
    CALL(cuGraphInstantiate, &exec, graph, 0);
    CALL(cuEventQuery, event);
    CALL(cuStreamWaitValue32, stream, block, 1, CU_STREAM_WAIT_VALUE_GEQ);
    CALL(cuEventRecord, timed, stream);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuEventQuery, event);
    CALL(cuStreamWaitEvent, third, event, 0);
    CALL(cuMemcpyDtoDAsync, block + 128, block + 64, 16, third);
    CALL(cuStreamQuery, third);
    CALL(cuStreamWriteValue32, other, block, 1, 0);
    CALL(cuEventSynchronize, event);
    CALL(cuEventQuery, event);
    CALL(cuStreamSynchronize, third);
    SHOW("%d %d", value_at(16), value_at(32));
    CALL(cuEventElapsedTime, &took, timed, event);
    SHOW("%d", took >= 0);
    CALL(cuEventRecord, event, stream);
    CALL(cuEventSynchronize, event);
    CALL(cuEventQuery, event);
    CALL(cuEventDestroy, event);
    CALL(cuGraphExecDestroy, exec);
    CALL(cuGraphDestroy, graph);
}

static volatile int destroyed;

static void CUDA_CB destroy(void *data) { destroyed += *(int *)data; }

// A destructor may run on a thread of the driver's.
static int destroyed_soon(int wanted) {
    for (int i = 0; i < 2000 && destroyed < wanted; i++) usleep(1000);
    return destroyed;
}

static void user_objects(void) {
    static int one = 1, ten = 10, hundred = 100;
    CUuserObject object = NULL, other = NULL, third = NULL;
    CUgraph graph = NULL, copy = NULL;
    CUgraphExec exec = NULL;
    CUgraphNode node = NULL;
    prepare();
    CALL(cuUserObjectCreate, &object, &one, destroy, 1, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC);
    CALL(cuUserObjectCreate, NULL, &one, destroy, 1, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC);
    CALL(cuUserObjectCreate, &other, &one, destroy, 1, 0);
    CALL(cuUserObjectCreate, &other, &one, NULL, 1, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC);
    CALL(cuUserObjectCreate, &other, &one, destroy, 0, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC);
    CALL(cuUserObjectRetain, object, 2);
    CALL(cuUserObjectRetain, object, 0);
    CALL(cuUserObjectRetain, NULL, 1);
    CALL(cuUserObjectRelease, object, 2);
    SHOW("%d", destroyed);
    CALL(cuUserObjectRelease, NULL, 1);
    CALL(cuUserObjectRelease, object, 1);
    SHOW("%d", destroyed_soon(1));
    CALL(cuUserObjectCreate, &other, &ten, destroy, 1, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC);
    CALL(cuGraphCreate, &graph, 0);
    CALL(cuGraphAddEmptyNode, &node, graph, NULL, 0);
    CALL(cuGraphRetainUserObject, graph, other, 1, CU_GRAPH_USER_OBJECT_MOVE);
    CALL(cuGraphRetainUserObject, graph, NULL, 1, CU_GRAPH_USER_OBJECT_MOVE);
    CALL(cuGraphRetainUserObject, NULL, other, 1, 0);
    CALL(cuGraphRetainUserObject, graph, other, 1, 77);
    CALL(cuGraphRetainUserObject, graph, other, 1, 0);
    CALL(cuGraphReleaseUserObject, graph, other, 1);
    CALL(cuGraphReleaseUserObject, graph, NULL, 1);
    SHOW("%d", destroyed);
    CALL(cuGraphClone, &copy, graph);
    CALL(cuGraphInstantiate, &exec, graph, 0);
    CALL(cuGraphDestroy, graph);
    CALL(cuGraphDestroy, copy);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d", destroyed);
    CALL(cuGraphExecDestroy, exec);
    CALL0(cuCtxSynchronize);
    SHOW("%d", destroyed_soon(11));
    CALL(cuUserObjectCreate, &third, &hundred, destroy, 1, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC);
    CALL(cuGraphCreate, &graph, 0);
    CALL(cuGraphRetainUserObject, graph, third, 1, 0);
    CALL(cuUserObjectRelease, third, 1);
    SHOW("%d", destroyed);
    CALL(cuGraphReleaseUserObject, graph, third, 1);
    SHOW("%d", destroyed_soon(111));
    CALL(cuGraphDestroy, graph);
}

static void managed(void) {
    CUmemLocation here = {0}, host = {0};
    CUdeviceptr managed = 0;
    prepare();
    here.type = CU_MEM_LOCATION_TYPE_DEVICE;
    here.id = device;
    host.type = CU_MEM_LOCATION_TYPE_HOST;
    CALL(cuMemAllocManaged, &managed, 65536, CU_MEM_ATTACH_GLOBAL);
    CALL(cuMemAdvise, managed, 65536, CU_MEM_ADVISE_SET_READ_MOSTLY, here);
    CALL(cuMemAdvise, managed, 65536, CU_MEM_ADVISE_UNSET_READ_MOSTLY, here);
    CALL(cuMemAdvise, managed, 65536, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, host);
    CALL(cuMemAdvise, managed, 65536, CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION, host);
    CALL(cuMemAdvise, managed, 65536, CU_MEM_ADVISE_SET_ACCESSED_BY, host);
    CALL(cuMemAdvise, managed, 65536, CU_MEM_ADVISE_UNSET_ACCESSED_BY, host);
    CALL(cuMemAdvise, managed, 65536, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, here);
    CALL(cuMemAdvise, managed, 65536, (CUmem_advise)99, here);
    CALL(cuMemAdvise, block, 64, CU_MEM_ADVISE_SET_READ_MOSTLY, here);
    CALL(cuMemAdvise, managed, 0, CU_MEM_ADVISE_SET_READ_MOSTLY, here);
    CALL(cuMemAdvise, 4096, 65536, CU_MEM_ADVISE_SET_READ_MOSTLY, here);
    CALL(cuMemPrefetchAsync, managed, 65536, here, 0, stream);
    CALL(cuMemPrefetchAsync, managed, 65536, here, 77, stream);
    CALL(cuMemPrefetchAsync, block, 64, here, 0, stream);
    CALL(cuMemPrefetchAsync, managed, 0, here, 0, stream);
    CALL(cuMemPrefetchAsync, 4096, 64, here, 0, stream);
    here.id = 50;
    CALL(cuMemPrefetchAsync, managed, 65536, here, 0, stream);
    CALL(cuStreamSynchronize, stream);
    CALL(cuMemFree, managed);
}

static void capture_dependencies(void) {
    CUgraph graph = NULL;
    CUstreamCaptureStatus status = (CUstreamCaptureStatus)9;
    CUgraph under = NULL;
    const CUgraphNode *dependencies = NULL;
    CUgraphNode first = NULL, nodes[8];
    cuuint64_t id = 0;
    size_t count = 0;
    prepare();
    CALL(cuStreamUpdateCaptureDependencies, stream, NULL, NULL, 0, CU_STREAM_SET_CAPTURE_DEPENDENCIES);
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuMemsetD32Async, block, 1, 4, stream);
    CALL(cuStreamGetCaptureInfo, stream, &status, &id, &under, &dependencies, NULL, &count);
    SHOW("%d %zu", (int)status, count);
    if (count > 0) first = dependencies[0];
    CALL(cuMemsetD32Async, block + 64, 2, 4, stream);
    CALL(cuStreamUpdateCaptureDependencies, stream, &first, NULL, 1, CU_STREAM_SET_CAPTURE_DEPENDENCIES);
    CALL(cuMemsetD32Async, block + 128, 3, 4, stream);
    CALL(cuStreamUpdateCaptureDependencies, stream, &first, NULL, 1, CU_STREAM_ADD_CAPTURE_DEPENDENCIES);
    CALL(cuStreamUpdateCaptureDependencies, stream, &first, NULL, 1, 77);
    CALL(cuStreamGetCaptureInfo, stream, &status, &id, &under, &dependencies, NULL, &count);
    SHOW("%d %zu", (int)status, count);
    CALL(cuStreamEndCapture, stream, &graph);
    if (graph == NULL) return;
    SHOW("%d", graph == under);
    CALL(cuGraphGetEdges, graph, NULL, NULL, NULL, &count);
    SHOW("%zu", count);
    count = 8;
    CALL(cuGraphGetRootNodes, graph, nodes, &count);
    SHOW("%zu", count);
    CALL(cuGraphDestroy, graph);
}

static void several(void) {
    CUDA_MEMCPY3D_PEER copy = {0};
    CUtensorMap map;
    CUuuid none = {{0}};
    const void *table = NULL;
    cuuint64_t sizes[3] = {16, 8, 4}, strides[2] = {64, 512};
    int lower[1] = {0}, upper[1] = {0};
    cuuint32_t steps[3] = {1, 1, 1};
    size_t bytes = 0;
    prepare();
    CALL0(cuProfilerStart);
    CALL0(cuProfilerStop);
    CALL(cuGetExportTable, &table, &none);
    CALL(cuGetExportTable, NULL, &none);
    copy.srcMemoryType = copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    copy.srcDevice = block;
    copy.dstDevice = block + 512;
    copy.srcContext = copy.dstContext = context;
    copy.WidthInBytes = 64;
    copy.Height = copy.Depth = 1;
    CALL(cuMemcpy3DPeer, &copy);
    CALL(cuMemcpy3DPeerAsync, &copy, stream);
    CALL(cuStreamSynchronize, stream);
    CALL(cuTensorMapEncodeIm2col, &map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 3, (void *)block, sizes, strides, lower, upper, 8, 8,
         steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_NONE,
         CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    CALL(cuTensorMapEncodeIm2col, NULL, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 3, (void *)block, sizes, strides, lower, upper, 8, 8,
         steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_NONE,
         CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    static const CUarray_format formats[] = {CU_AD_FORMAT_UNSIGNED_INT8, CU_AD_FORMAT_HALF, CU_AD_FORMAT_FLOAT, (CUarray_format)99};
    for (int i = 0; i < 4; i++)
        for (unsigned channels = 1; channels < 5; channels++) {
            CALL(cuDeviceGetTexture1DLinearMaxWidth, &bytes, formats[i], channels, device);
            SHOW_ALWAYS("format %d, %u channels", i, channels);
            SHOW("%zu", bytes);
        }
    CALL(cuDeviceGetTexture1DLinearMaxWidth, NULL, CU_AD_FORMAT_FLOAT, 4, device);
    CALL(cuDeviceGetTexture1DLinearMaxWidth, &bytes, CU_AD_FORMAT_FLOAT, 4, 50);
    CALL0(cuCtxResetPersistingL2Cache);
    CALL(cuCtxSetCurrent, NULL);
    CALL0(cuCtxResetPersistingL2Cache);
    CALL(cuMemFree, 0);
    CALL(cuMemFree, block);
    CALL(cuMemFreeHost, NULL);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"generic_nodes", generic_nodes}, {"captured_nodes", captured_nodes}, {"changed_nodes", changed_nodes},
        {"enabled_nodes", enabled_nodes}, {"graph_events", graph_events}, {"user_objects", user_objects}, {"managed", managed},
        {"capture_dependencies", capture_dependencies}, {"several", several},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
