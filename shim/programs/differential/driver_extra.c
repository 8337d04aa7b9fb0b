// What CUDA added late, or what programs seldom use: captures into graphs that exist, what is advised for memory, copies by the
// batch, memory of graphs.
#include "driver_adder.h"

static CUgraphNode filled(CUgraph graph, unsigned value) {
    CUDA_MEMSET_NODE_PARAMS params = {0};
    CUgraphNode node = NULL;
    params.dst = block;
    params.value = value;
    params.elementSize = 4;
    params.width = 4;
    params.height = 1;
    cuGraphAddMemsetNode(&node, graph, NULL, 0, &params, context);
    return node;
}

static size_t nodes_of(CUgraph graph) {
    size_t count = 0;
    cuGraphGetNodes(graph, NULL, &count);
    return count;
}

static void capture_to_graph(void) {
    CUgraph graph = NULL, ended = NULL, seen = NULL, other = NULL;
    CUgraphExec exec = NULL;
    CUstreamCaptureStatus status = (CUstreamCaptureStatus)9;
    cuuint64_t id = 0;
    const CUgraphNode *dependencies = NULL;
    CUgraphEdgeData edge = {0};
    size_t count = 0, edges = 0;
    int summand = 2, length = 4;
    void *arguments[] = {&block, &summand, &length};
    prepare();
    CALL(cuGraphCreate, &graph, 0);
    CALL(cuGraphCreate, &other, 0);
    CUgraphNode fill = filled(graph, 40), foreign = filled(other, 1);
    CALL(cuStreamBeginCaptureToGraph, stream, NULL, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuStreamBeginCaptureToGraph, stream, graph, NULL, NULL, 0, (CUstreamCaptureMode)9);
    CALL(cuStreamBeginCaptureToGraph, CU_STREAM_LEGACY, graph, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuStreamBeginCaptureToGraph, stream, graph, &fill, NULL, 1, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuStreamBeginCaptureToGraph, stream, graph, &fill, NULL, 1, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuStreamGetCaptureInfo, stream, &status, &id, &seen, &dependencies, NULL, &count);
    SHOW("%d %d %zu %d", (int)status, seen == graph, count, count == 1 && dependencies[0] == fill);
    CALL(cuLaunchKernel, add, 1, 1, 1, 32, 1, 1, 0, stream, arguments, NULL);
    CALL(cuStreamEndCapture, stream, &ended);
    SHOW("%d %zu", ended == graph, nodes_of(graph));
    CALL(cuGraphGetEdges, graph, NULL, NULL, NULL, &edges);
    SHOW("%zu", edges);
    // A second one, behind nothing.
    CALL(cuStreamBeginCaptureToGraph, stream, graph, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_GLOBAL);
    CALL(cuMemsetD32Async, block + 256, 7, 4, stream);
    CALL(cuStreamEndCapture, stream, &ended);
    SHOW("%d %zu", ended == graph, nodes_of(graph));
    CALL(cuGraphInstantiate, &exec, graph, 0);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d %d", value_at(0), value_at(64));
    // With data of edges that say nothing else than none.
    CALL(cuStreamBeginCaptureToGraph, stream, graph, &fill, &edge, 1, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    CALL(cuLaunchKernel, add, 1, 1, 1, 32, 1, 1, 0, stream, arguments, NULL);
    CALL(cuStreamEndCapture, stream, &ended);
    SHOW("%d %zu", ended == graph, nodes_of(graph));
    CALL(cuStreamBeginCaptureToGraph, stream, graph, &foreign, NULL, 1, CU_STREAM_CAPTURE_MODE_RELAXED);
    if (code == 0) cuStreamEndCapture(stream, &ended);
    CALL(cuGraphExecDestroy, exec);
    CALL(cuGraphDestroy, other);
    CALL(cuGraphDestroy, graph);
}

static void ranges(void) {
    CUdeviceptr managed = 0;
    CUmemLocation host = {0};
    int word = 7, other = 7, users[3] = {7, 7, 7};
    void *places[2] = {&word, &other};
    size_t sizes[2] = {4, 4};
    CUmem_range_attribute both[2] = {CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION};
    prepare();
    host.type = CU_MEM_LOCATION_TYPE_HOST;
    CALL(cuMemAllocManaged, &managed, 65536, CU_MEM_ATTACH_GLOBAL);
    for (int attribute = 1; attribute <= 8; attribute++) {
        if (attribute == CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY) continue;
        CALL(cuMemRangeGetAttribute, &word, 4, (CUmem_range_attribute)attribute, managed, 65536);
        // A number without a kind of place says nothing.
        if (attribute != CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_ID && attribute != CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_ID)
            SHOW("%d: %d", attribute, word);
    }
    CALL(cuMemRangeGetAttribute, users, 12, CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY, managed, 65536);
    SHOW("%d %d %d", users[0], users[1], users[2]);
    CALL(cuMemAdvise, managed, 32768, CU_MEM_ADVISE_SET_READ_MOSTLY, host);
    CALL(cuMemRangeGetAttribute, &word, 4, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, managed, 32768);
    SHOW("%d", word);
    CALL(cuMemRangeGetAttribute, &word, 4, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, managed, 65536);
    SHOW("%d", word);
    CALL(cuMemAdvise, managed, 65536, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, host);
    CALL(cuMemRangeGetAttribute, &word, 4, CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION, managed, 65536);
    SHOW("%d", word);
    CALL(cuMemRangeGetAttribute, &word, 4, CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_TYPE, managed + 4096, 4096);
    SHOW("%d", word);
    CALL(cuMemRangeGetAttributes, places, sizes, both, 2, managed, 32768);
    SHOW("%d %d", word, other);
    CALL(cuMemAdvise, managed, 4096, CU_MEM_ADVISE_UNSET_READ_MOSTLY, host);
    CALL(cuMemAdvise, managed, 65536, CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION, host);
    CALL(cuMemRangeGetAttributes, places, sizes, both, 2, managed, 32768);
    SHOW("%d %d", word, other);
    CALL(cuMemRangeGetAttribute, NULL, 4, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, managed, 65536);
    CALL(cuMemRangeGetAttribute, &word, 8, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, managed, 65536);
    CALL(cuMemRangeGetAttribute, &word, 3, CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY, managed, 65536);
    CALL(cuMemRangeGetAttribute, &word, 4, (CUmem_range_attribute)99, managed, 65536);
    CALL(cuMemRangeGetAttribute, &word, 4, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, managed, 0);
    CALL(cuMemRangeGetAttribute, &word, 4, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, block, 4096);
    CALL(cuMemRangeGetAttributes, places, sizes, both, 0, managed, 65536);
    CALL(cuMemRangeGetAttributes, NULL, sizes, both, 2, managed, 65536);
    CALL(cuMemFree, managed);
}

static void batches(void) {
    unsigned *pinned = NULL;
    CUmemcpyAttributes attributes[2];
    size_t firsts[2] = {0, 1}, sizes[2] = {64, 64}, none[2] = {1, 2}, same[2] = {0, 0};
    unsigned on_stack[16];
    prepare();
    memset(attributes, 0, sizeof attributes);
    attributes[0].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    attributes[1].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_ANY;
    attributes[1].flags = CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE;
    cuMemHostAlloc((void **)&pinned, 4096, 0);
    for (unsigned i = 0; i < 1024; i++) pinned[i] = i;
    for (unsigned i = 0; i < 16; i++) on_stack[i] = 500 + i;
    CUdeviceptr host = (CUdeviceptr)(uintptr_t)pinned, stack = (CUdeviceptr)(uintptr_t)on_stack;
    CUdeviceptr down[2] = {block, block + 1024}, up[2] = {host + 2048, block + 2048}, from[2] = {host, host + 256}, both[2] = {block, block + 1024};
    CALL(cuMemcpyBatchAsync, down, from, sizes, 2, attributes, firsts, 2, stream);
    CALL(cuMemcpyBatchAsync, up, both, sizes, 2, attributes, firsts, 1, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%u %d", pinned[512 + 3], value_at(512 + 3));
    attributes[0].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL;
    CALL(cuMemcpyBatchAsync, down, &stack, sizes, 1, attributes, firsts, 1, stream);
    memset(on_stack, 0, sizeof on_stack);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d", value_at(3));
    attributes[0].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    CALL(cuMemcpyBatchAsync, down, from, sizes, 0, attributes, firsts, 1, stream);
    CALL(cuMemcpyBatchAsync, down, from, sizes, 2, attributes, firsts, 0, stream);
    CALL(cuMemcpyBatchAsync, down, from, sizes, 1, attributes, firsts, 2, stream);
    CALL(cuMemcpyBatchAsync, down, from, sizes, 2, attributes, none, 1, stream);
    CALL(cuMemcpyBatchAsync, down, from, sizes, 2, attributes, same, 2, stream);
    CALL(cuMemcpyBatchAsync, down, from, sizes, 2, attributes, firsts, 2, CU_STREAM_LEGACY);
    attributes[0].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_INVALID;
    CALL(cuMemcpyBatchAsync, down, from, sizes, 2, attributes, firsts, 1, stream);
    attributes[0].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    CALL(cuMemcpyBatchAsync, NULL, from, sizes, 2, attributes, firsts, 1, stream);
    CALL(cuMemcpyBatchAsync, down, NULL, sizes, 2, attributes, firsts, 1, stream);
    CALL(cuMemcpyBatchAsync, down, from, NULL, 2, attributes, firsts, 1, stream);
    CALL(cuMemcpyBatchAsync, down, from, sizes, 2, NULL, firsts, 1, stream);
    cuMemFreeHost(pinned);
}

static void box_batches(void) {
    CUDA_MEMCPY3D_BATCH_OP list[2];
    unsigned *pinned = NULL;
    prepare();
    cuMemHostAlloc((void **)&pinned, 4096, 0);
    for (unsigned i = 0; i < 1024; i++) pinned[i] = i;
    memset(list, 0, sizeof list);
    for (int i = 0; i < 2; i++) {
        list[i].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
        list[i].src.type = list[i].dst.type = CU_MEMCPY_OPERAND_TYPE_POINTER;
        list[i].src.op.ptr.ptr = (CUdeviceptr)(uintptr_t)(pinned + 256 * i);
        list[i].dst.op.ptr.ptr = block + 2048 * i;
        list[i].extent.width = 16;
        list[i].extent.height = 4;
        list[i].extent.depth = 2;
    }
    list[1].src.op.ptr.rowLength = 64;
    list[1].src.op.ptr.layerHeight = 8;
    CALL(cuMemcpy3DBatchAsync, 2, list, 0, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d %d %d", value_at(31), value_at(512 + 4), value_at(512 + 16));
    CALL(cuMemcpy3DBatchAsync, 0, list, 0, stream);
    CALL(cuMemcpy3DBatchAsync, 2, list, 1, stream);
    list[1].src.op.ptr.rowLength = 8;
    CALL(cuMemcpy3DBatchAsync, 2, list, 0, stream);
    list[1].src.op.ptr.rowLength = 64;
    list[1].extent.height = 0;
    CALL(cuMemcpy3DBatchAsync, 2, list, 0, stream);
    list[1].extent.height = 4;
    list[1].srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_INVALID;
    CALL(cuMemcpy3DBatchAsync, 2, list, 0, stream);
    CALL(cuMemcpy3DBatchAsync, 2, NULL, 0, stream);
    cuMemFreeHost(pinned);
}

static CUDA_MEM_ALLOC_NODE_PARAMS allocation(size_t bytes) {
    CUDA_MEM_ALLOC_NODE_PARAMS params;
    memset(&params, 0, sizeof params);
    params.poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    params.poolProps.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    params.bytesize = bytes;
    return params;
}

static void graph_memory(void) {
    CUDA_MEM_ALLOC_NODE_PARAMS params = allocation(4096), found;
    CUDA_MEMSET_NODE_PARAMS fill = {0};
    CUDA_MEMCPY3D copy = {0};
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    CUgraphNode node = NULL, filled_node = NULL, copied = NULL, end = NULL;
    CUdeviceptr ended = 0;
    cuuint64_t value = 0;
    prepare();
    CALL(cuGraphCreate, &graph, 0);
    CALL(cuGraphAddMemAllocNode, NULL, graph, NULL, 0, &params);
    CALL(cuGraphAddMemAllocNode, &node, NULL, NULL, 0, &params);
    CALL(cuGraphAddMemAllocNode, &node, graph, NULL, 0, NULL);
    CALL(cuGraphAddMemAllocNode, &node, graph, NULL, 0, &params);
    SHOW("%d", params.dptr != 0);
    fill.dst = params.dptr;
    fill.value = 21;
    fill.elementSize = 4;
    fill.width = 1024;
    fill.height = 1;
    CALL(cuGraphAddMemsetNode, &filled_node, graph, &node, 1, &fill, context);
    copy.srcMemoryType = copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    copy.srcDevice = params.dptr + 2048;
    copy.dstDevice = block;
    copy.WidthInBytes = 64;
    copy.Height = copy.Depth = 1;
    CALL(cuGraphAddMemcpyNode, &copied, graph, &filled_node, 1, &copy, context);
    CALL(cuGraphAddMemFreeNode, NULL, graph, &copied, 1, params.dptr);
    CALL(cuGraphAddMemFreeNode, &end, graph, &copied, 1, block);
    CALL(cuGraphAddMemFreeNode, &end, graph, &copied, 1, params.dptr);
    CALL(cuGraphAddMemFreeNode, &filled_node, graph, &copied, 1, params.dptr);
    CALL(cuGraphMemAllocNodeGetParams, node, &found);
    SHOW("%d %zu %d %d", found.dptr == params.dptr, found.bytesize, (int)found.poolProps.location.type, found.poolProps.location.id);
    CALL(cuGraphMemAllocNodeGetParams, node, NULL);
    CALL(cuGraphMemAllocNodeGetParams, end, &found);
    CALL(cuGraphMemFreeNodeGetParams, end, &ended);
    SHOW("%d", ended == params.dptr);
    CALL(cuGraphMemFreeNodeGetParams, end, NULL);
    CALL(cuGraphMemFreeNodeGetParams, node, &ended);
    CALL(cuGraphInstantiate, &exec, graph, 0);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d", value_at(5));
    for (int attribute = 0; attribute < 4; attribute++) CALL(cuDeviceGetGraphMemAttribute, device, (CUgraphMem_attribute)attribute, &value);
    CALL(cuGraphExecDestroy, exec);
    CALL(cuGraphDestroy, graph);
    CALL(cuDeviceGraphMemTrim, device);
    CALL(cuDeviceGetGraphMemAttribute, device, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT, &value);
    SHOW("%d", value == 0);
    CALL(cuDeviceGetGraphMemAttribute, device, (CUgraphMem_attribute)99, &value);
    CALL(cuDeviceGetGraphMemAttribute, 1000, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, &value);
    value = 0;
    CALL(cuDeviceSetGraphMemAttribute, device, CU_GRAPH_MEM_ATTR_USED_MEM_HIGH, &value);
    CALL(cuDeviceSetGraphMemAttribute, device, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, &value);
    CALL(cuDeviceGraphMemTrim, 1000);
}

static void captured_memory(void) {
    CUdeviceptr at = 0;
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    prepare();
    // What the graph frees itself.
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_GLOBAL);
    CALL(cuMemAllocAsync, &at, 4096, stream);
    CALL(cuMemsetD32Async, at, 33, 1024, stream);
    CALL(cuMemcpyDtoDAsync, block, at, 64, stream);
    CALL(cuMemFreeAsync, at, stream);
    CALL(cuStreamEndCapture, stream, &graph);
    CALL(cuGraphInstantiate, &exec, graph, 0);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d %zu", value_at(3), nodes_of(graph));
    CALL(cuGraphExecDestroy, exec);
    CALL(cuGraphDestroy, graph);
    // What is left, used behind the graph and freed outside it, each time.
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_GLOBAL);
    CALL(cuMemAllocAsync, &at, 4096, stream);
    CALL(cuMemsetD32Async, at, 44, 1024, stream);
    CALL(cuStreamEndCapture, stream, &graph);
    CALL(cuGraphInstantiate, &exec, graph, 0);
    for (int round = 0; round < 2; round++) {
        CALL(cuGraphLaunch, exec, stream);
        CALL(cuMemcpyDtoDAsync, block, at, 64, stream);
        CALL(cuMemFreeAsync, at, stream);
        CALL(cuStreamSynchronize, stream);
        SHOW("%d", value_at(7));
    }
    CALL(cuGraphExecDestroy, exec);
    CALL(cuGraphDestroy, graph);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"capture_to_graph", capture_to_graph}, {"ranges", ranges}, {"batches", batches}, {"box_batches", box_batches},
        {"graph_memory", graph_memory}, {"captured_memory", captured_memory},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
