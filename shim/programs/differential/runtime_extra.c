// What CUDA added late, or what programs seldom use, by the runtime.
#include "peer.h"
#include "runtime_adder.h"

enum { BYTES = 4 << 20 };

static void capture_to_graph(void) {
    cudaGraph_t graph = NULL, ended = NULL;
    cudaGraphExec_t exec = NULL;
    cudaGraphNode_t fill = NULL;
    struct cudaMemsetParams params = {0};
    size_t count = 0;
    prepare();
    CALL(cudaGraphCreate, &graph, 0);
    params.dst = block;
    params.value = 40;
    params.elementSize = 4;
    params.width = 4;
    params.height = 1;
    CALL(cudaGraphAddMemsetNode, &fill, graph, NULL, 0, &params);
    CALL(cudaStreamBeginCaptureToGraph, stream, NULL, NULL, NULL, 0, cudaStreamCaptureModeRelaxed);
    CALL(cudaStreamBeginCaptureToGraph, stream, graph, &fill, NULL, 1, cudaStreamCaptureModeRelaxed);
    CALL(cudaMemsetAsync, (char *)block + 256, 1, 16, stream);
    CALL(cudaStreamEndCapture, stream, &ended);
    SHOW("%d", ended == graph);
    CALL(cudaGraphGetNodes, graph, NULL, &count);
    SHOW("%zu", count);
    CALL(cudaGraphInstantiate, &exec, graph, 0);
    CALL(cudaGraphLaunch, exec, stream);
    CALL(cudaStreamSynchronize, stream);
    SHOW("%d %d", value_at(0), value_at(64));
    CALL(cudaGraphExecDestroy, exec);
    CALL(cudaGraphDestroy, graph);
    CALL0(cudaGetLastError);
}

static void ranges_and_batches(void) {
    void *managed = NULL, *pinned = NULL;
    struct cudaMemLocation host = {0};
    int word = 7, other = 7;
    void *places[2] = {&word, &other};
    size_t sizes[2] = {4, 4}, lengths[1] = {64}, firsts[1] = {0};
    enum cudaMemRangeAttribute both[2] = {cudaMemRangeAttributeReadMostly, cudaMemRangeAttributePreferredLocation};
    struct cudaMemcpyAttributes attributes;
    prepare();
    host.type = cudaMemLocationTypeHost;
    CALL(cudaMallocManaged, &managed, 65536, cudaMemAttachGlobal);
    CALL(cudaMemAdvise, managed, 65536, cudaMemAdviseSetReadMostly, host);
    CALL(cudaMemRangeGetAttribute, &word, 4, cudaMemRangeAttributeReadMostly, managed, 65536);
    SHOW("%d", word);
    CALL(cudaMemRangeGetAttributes, places, sizes, both, 2, managed, 65536);
    SHOW("%d %d", word, other);
    CALL(cudaMemRangeGetAttribute, &word, 8, cudaMemRangeAttributeReadMostly, managed, 65536);
    CALL(cudaHostAlloc, &pinned, 4096, cudaHostAllocDefault);
    memset(pinned, 1, 4096);
    memset(&attributes, 0, sizeof attributes);
    attributes.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
    const void *from[1] = {pinned};
    void *to[1] = {block};
    CALL(cudaMemcpyBatchAsync, to, from, lengths, 1, &attributes, firsts, 1, stream);
    CALL(cudaStreamSynchronize, stream);
    SHOW("%d", value_at(3));
    CALL(cudaMemcpyBatchAsync, to, from, lengths, 0, &attributes, firsts, 1, stream);
    struct cudaMemcpy3DBatchOp box;
    memset(&box, 0, sizeof box);
    box.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
    box.src.type = box.dst.type = cudaMemcpyOperandTypePointer;
    box.src.op.ptr.ptr = pinned;
    box.dst.op.ptr.ptr = (char *)block + 1024;
    box.extent.width = 16;
    box.extent.height = 4;
    box.extent.depth = 1;
    CALL(cudaMemcpy3DBatchAsync, 1, &box, 0, stream);
    CALL(cudaStreamSynchronize, stream);
    SHOW("%d", value_at(256 + 15));
    CALL(cudaMemcpy3DBatchAsync, 1, &box, 1, stream);
    CALL(cudaFree, managed);
    CALL(cudaFreeHost, pinned);
    CALL0(cudaGetLastError);
}

static void graph_memory(void) {
    struct cudaMemAllocNodeParams params, found;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    cudaGraphNode_t node = NULL, end = NULL, fill_node = NULL;
    struct cudaMemsetParams fill = {0};
    void *ended = NULL, *at = NULL;
    unsigned long long value = 0;
    prepare();
    memset(&params, 0, sizeof params);
    params.poolProps.allocType = cudaMemAllocationTypePinned;
    params.poolProps.location.type = cudaMemLocationTypeDevice;
    params.bytesize = 4096;
    CALL(cudaGraphCreate, &graph, 0);
    CALL(cudaGraphAddMemAllocNode, &node, graph, NULL, 0, &params);
    SHOW("%d", params.dptr != NULL);
    fill.dst = params.dptr;
    fill.value = 1;
    fill.elementSize = 4;
    fill.width = 4;
    fill.height = 1;
    CALL(cudaGraphAddMemsetNode, &fill_node, graph, &node, 1, &fill);
    CALL(cudaGraphAddMemFreeNode, &end, graph, &fill_node, 1, params.dptr);
    CALL(cudaGraphMemAllocNodeGetParams, node, &found);
    SHOW("%d %zu", found.dptr == params.dptr, found.bytesize);
    CALL(cudaGraphMemFreeNodeGetParams, end, &ended);
    SHOW("%d", ended == params.dptr);
    CALL(cudaGraphInstantiate, &exec, graph, 0);
    CALL(cudaGraphLaunch, exec, stream);
    CALL(cudaStreamSynchronize, stream);
    CALL(cudaGraphExecDestroy, exec);
    CALL(cudaGraphDestroy, graph);
    CALL(cudaDeviceGraphMemTrim, 0);
    CALL(cudaDeviceGetGraphMemAttribute, 0, cudaGraphMemAttrReservedMemCurrent, &value);
    SHOW("%d", value == 0);
    CALL(cudaDeviceSetGraphMemAttribute, 0, cudaGraphMemAttrUsedMemHigh, &value);
    CALL(cudaStreamBeginCapture, stream, cudaStreamCaptureModeGlobal);
    CALL(cudaMallocAsync, &at, 4096, stream);
    CALL(cudaMemsetAsync, at, 1, 4096, stream);
    CALL(cudaMemcpyAsync, block, at, 64, cudaMemcpyDeviceToDevice, stream);
    CALL(cudaFreeAsync, at, stream);
    CALL(cudaStreamEndCapture, stream, &graph);
    CALL(cudaGraphInstantiate, &exec, graph, 0);
    CALL(cudaGraphLaunch, exec, stream);
    CALL(cudaStreamSynchronize, stream);
    SHOW("%d", value_at(3));
    CALL(cudaGraphExecDestroy, exec);
    CALL(cudaGraphDestroy, graph);
    CALL0(cudaGetLastError);
}

struct handles {
    cudaIpcMemHandle_t memory;
    cudaIpcEventHandle_t event;
};

static void other_process(void) {
    struct handles handles;
    cudaEvent_t event = NULL;
    void *at = NULL, *again = NULL;
    int value = -1;
    hear(&handles, sizeof handles);
    begin();
    CALL(cudaIpcOpenMemHandle, NULL, handles.memory, cudaIpcMemLazyEnablePeerAccess);
    CALL(cudaIpcOpenMemHandle, &at, handles.memory, cudaIpcMemLazyEnablePeerAccess);
    SHOW("%d", at != NULL);
    CALL(cudaIpcOpenMemHandle, &again, handles.memory, cudaIpcMemLazyEnablePeerAccess);
    SHOW("%d", again == at);
    CALL(cudaIpcOpenEventHandle, &event, handles.event);
    your_turn();
    my_turn();
    CALL(cudaStreamWaitEvent, NULL, event, 0);
    CALL(cudaMemcpy, &value, at, sizeof value, cudaMemcpyDeviceToHost);
    SHOW("%d", value);
    CALL(cudaEventQuery, event);
    CALL(cudaEventDestroy, event);
    CALL(cudaIpcCloseMemHandle, at);
    CALL(cudaIpcCloseMemHandle, at);
    your_turn();
}

static void two_processes(void) {
    struct handles handles;
    void *memory = NULL;
    cudaEvent_t event = NULL;
    memset(&handles, 0, sizeof handles);
    pid_t child = begin_child(other_process);
    begin();
    CALL(cudaMalloc, &memory, BYTES);
    CALL(cudaMemset, memory, 0, BYTES);
    CALL(cudaEventCreateWithFlags, &event, cudaEventInterprocess);
    CALL(cudaEventCreateWithFlags, &event, cudaEventInterprocess | cudaEventDisableTiming);
    CALL(cudaIpcGetMemHandle, NULL, memory);
    CALL(cudaIpcGetMemHandle, &handles.memory, memory);
    CALL(cudaIpcGetEventHandle, NULL, event);
    CALL(cudaIpcGetEventHandle, &handles.event, event);
    CALL0(cudaDeviceSynchronize);
    tell(&handles, sizeof handles);
    my_turn();
    CALL(cudaMemset, memory, 1, BYTES);
    CALL(cudaEventRecord, event, NULL);
    your_turn();
    my_turn();
    end_child(child);
    CALL(cudaEventDestroy, event);
    CALL(cudaFree, memory);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"capture_to_graph", capture_to_graph}, {"ranges_and_batches", ranges_and_batches},
        {"graph_memory", graph_memory}, {"two_processes", two_processes},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
