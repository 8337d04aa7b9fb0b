// The spellings that older programs are linked to: each function by the name of its first ABI.
#define __CUDA_API_VERSION_INTERNAL
#include "driver.h"

// Spellings of a thread's own default stream that no header declares any more.
CUresult cuStreamWriteValue32_ptsz(CUstream, CUdeviceptr, cuuint32_t, unsigned);
CUresult cuStreamWriteValue64_ptsz(CUstream, CUdeviceptr, cuuint64_t, unsigned);
CUresult cuStreamWaitValue32_ptsz(CUstream, CUdeviceptr, cuuint32_t, unsigned);
CUresult cuStreamWaitValue64_ptsz(CUstream, CUdeviceptr, cuuint64_t, unsigned);
CUresult cuStreamBatchMemOp_ptsz(CUstream, unsigned, CUstreamBatchMemOpParams *, unsigned);
CUresult cuStreamBeginCapture_ptsz(CUstream);
CUresult cuStreamGetCaptureInfo_ptsz(CUstream, CUstreamCaptureStatus *, cuuint64_t *);
CUresult cuStreamGetCaptureInfo_v2_ptsz(CUstream, CUstreamCaptureStatus *, cuuint64_t *, CUgraph *, const CUgraphNode **, size_t *);
CUresult cuStreamUpdateCaptureDependencies_ptsz(CUstream, CUgraphNode *, size_t, unsigned);
CUresult cuStreamGetCtx_v2_ptsz(CUstream, CUcontext *, CUgreenCtx *);

static void contexts(void) {
    CUcontext made = NULL;
    CUuuid uuid;
    CUdevice found = -1;
    unsigned flags = 0;
    int active = 0;
    begin();
    CALL(cuCtxCreate_v2, &made, 0, device);
    CALL(cuCtxGetDevice_v2, &found, made);
    SHOW("%d", found);
    CALL(cuCtxSynchronize_v2, made);
    CALL(cuCtxDestroy_v2, made);
    CALL(cuCtxCreate_v2, NULL, 0, device);
    CALL(cuCtxCreate_v2, &made, 0, 50);
    CALL(cuCtxCreate_v3, &made, NULL, 0, 0, device);
    CALL(cuCtxDestroy_v2, made);
    CALL(cuDeviceGetUuid, &uuid, device);
    SHOW("%llx", checksum(&uuid, sizeof uuid));
    CALL(cuDevicePrimaryCtxSetFlags, device, CU_CTX_SCHED_YIELD);
    CALL(cuDevicePrimaryCtxGetState, device, &flags, &active);
    SHOW("%d", active);
    CALL(cuDevicePrimaryCtxRelease, device);
    CALL(cuDevicePrimaryCtxReset, device);
}

static void streams(void) {
    CUstream stream = NULL;
    CUevent one = NULL, two = NULL;
    CUcontext owner = NULL;
    CUgreenCtx green = NULL;
    CUdeviceptr block = 0;
    float took = -1;
    uint64_t back[2] = {0, 0};
    char *host = aligned_alloc(4096, 4096);
    begin();
    CALL(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
    CALL(cuStreamGetCtx_v2, stream, &owner, &green);
    SHOW("%d %d", owner == context, green == NULL);
    CALL(cuEventCreate, &one, 0);
    CALL(cuEventCreate, &two, 0);
    CALL(cuEventRecord, one, stream);
    CALL(cuEventRecord, two, stream);
    CALL(cuEventSynchronize, two);
    CALL(cuEventElapsedTime, &took, one, two);
    SHOW("%d", took >= 0);
    CALL(cuEventDestroy, one);
    CALL(cuEventDestroy, two);
    CALL(cuMemAlloc_v2, &block, 64);
    CALL(cuMemsetD8_v2, block, 0, 64);
    CALL(cuMemHostRegister, host, 4096, 0);
    CALL(cuMemHostUnregister, host);
    CALL(cuStreamWriteValue32, stream, block, 5, 0);
    CALL(cuStreamWaitValue32, stream, block, 5, 0);
    CALL(cuStreamWriteValue64, stream, block + 8, 6, 0);
    CALL(cuStreamWaitValue64, stream, block + 8, 6, 0);
    CALL(cuStreamWriteValue32_ptsz, stream, block, 5, 0);
    CALL(cuStreamWaitValue32_ptsz, stream, block, 5, 0);
    CALL(cuStreamWriteValue64_ptsz, stream, block + 8, 6, 0);
    CALL(cuStreamWaitValue64_ptsz, stream, block + 8, 6, 0);
    CUstreamBatchMemOpParams batch[1];
    memset(batch, 0, sizeof batch);
    batch[0].writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
    batch[0].writeValue.address = block;
    batch[0].writeValue.value = 9;
    CALL(cuStreamBatchMemOp, stream, 1, batch, 0);
    CALL(cuStreamBatchMemOp_ptsz, stream, 1, batch, 0);
    CALL(cuStreamSynchronize, stream);
    CALL(cuMemcpyDtoH_v2, back, block, 16);
    SHOW("%llu %llu", (unsigned long long)back[0], (unsigned long long)back[1]);
    CALL(cuStreamGetCtx_v2_ptsz, stream, &owner, &green);
    SHOW("%d %d", owner == context, green == NULL);
    CALL(cuStreamDestroy, stream);
}

static void own_captures(void) {
    CUstream stream = NULL;
    CUgraph graph = NULL, under = NULL;
    const CUgraphNode *dependencies = NULL;
    CUgraphNode first = NULL;
    CUstreamCaptureStatus status = (CUstreamCaptureStatus)9;
    CUdeviceptr block = 0;
    cuuint64_t id = 0;
    size_t count = 0;
    begin();
    CALL(cuMemAlloc_v2, &block, 64);
    CALL(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
    CALL(cuStreamBeginCapture_ptsz, stream);
    CALL(cuMemsetD32Async, block, 1, 4, stream);
    CALL(cuStreamGetCaptureInfo_ptsz, stream, &status, &id);
    SHOW("%d %d", (int)status, id != 0);
    CALL(cuStreamGetCaptureInfo_v2_ptsz, stream, &status, &id, &under, &dependencies, &count);
    SHOW("%d %zu", (int)status, count);
    if (count > 0) first = dependencies[0];
    CALL(cuStreamUpdateCaptureDependencies, stream, &first, 1, CU_STREAM_SET_CAPTURE_DEPENDENCIES);
    CALL(cuStreamUpdateCaptureDependencies_ptsz, stream, &first, 1, CU_STREAM_SET_CAPTURE_DEPENDENCIES);
    CALL(cuStreamEndCapture, stream, &graph);
    CALL(cuGraphDestroy, graph);
}

CUresult cuMemPrefetchAsync_ptsz(CUdeviceptr, size_t, CUdevice, CUstream);

static void managed(void) {
    CUdeviceptr managed = 0;
    begin();
    CALL(cuMemAllocManaged, &managed, 65536, CU_MEM_ATTACH_GLOBAL);
    CALL(cuMemAdvise, managed, 65536, CU_MEM_ADVISE_SET_READ_MOSTLY, device);
    CALL(cuMemAdvise, managed, 65536, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, CU_DEVICE_CPU);
    CALL(cuMemAdvise, 4096, 65536, CU_MEM_ADVISE_SET_READ_MOSTLY, device);
    CALL(cuMemPrefetchAsync, 4096, 64, device, NULL);
    CALL(cuMemPrefetchAsync_ptsz, 4096, 64, device, NULL);
    CALL(cuMemFree_v2, managed);
}

static void old_nodes(void) {
    CUgraph graph = NULL;
    CUgraphNode node = NULL;
    CUgraphNodeParams params;
    begin();
    CALL(cuGraphCreate, &graph, 0);
    memset(&params, 0, sizeof params);
    params.type = CU_GRAPH_NODE_TYPE_EMPTY;
    CALL(cuGraphAddNode, &node, graph, NULL, 0, &params);
    CALL(cuGraphAddNode, NULL, graph, NULL, 0, &params);
    CALL(cuGraphDestroy, graph);
}

static void graphs(void) {
    CUstream stream = NULL;
    CUgraph graph = NULL, made = NULL;
    CUgraphExec exec = NULL;
    CUgraphNode nodes[4], kernel = NULL, error = NULL, from[4], to[4];
    const CUgraphNode *dependencies = NULL;
    CUstreamCaptureStatus status = (CUstreamCaptureStatus)9;
    CUgraphExecUpdateResult result = (CUgraphExecUpdateResult)9;
    CUDA_KERNEL_NODE_PARAMS_v1 params, read;
    CUdeviceptr block = 0;
    cuuint64_t id = 0;
    size_t count = 4;
    char log[64] = "";
    int summand = 5, length = 4, value = 0;
    void *arguments[] = {&block, &summand, &length};
    CUfunction add;
    begin();
    add = function_of(load(), "_Z10add_to_allPiii");
    CALL(cuMemAlloc_v2, &block, 64);
    CALL(cuMemsetD8_v2, block, 0, 64);
    CALL(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
    CALL(cuStreamBeginCapture, stream);
    CALL(cuLaunchKernel, add, 1, 1, 1, 32, 1, 1, 0, stream, arguments, NULL);
    CALL(cuStreamGetCaptureInfo, stream, &status, &id);
    SHOW("%d %d", (int)status, id != 0);
    CALL(cuStreamGetCaptureInfo_v2, stream, &status, &id, &graph, &dependencies, &count);
    SHOW("%d %zu", (int)status, count);
    CALL(cuLaunchKernel, add, 1, 1, 1, 32, 1, 1, 0, stream, arguments, NULL);
    CALL(cuStreamEndCapture, stream, &graph);
    CALL(cuGraphInstantiate, &exec, graph, &error, log, sizeof log);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    CALL(cuMemcpyDtoH_v2, &value, block, sizeof value);
    SHOW("%d", value);
    CALL(cuGraphExecUpdate, exec, graph, &error, &result);
    SHOW("%d", (int)result);
    CALL(cuGraphExecDestroy, exec);
    count = 4;
    CALL(cuGraphGetEdges, graph, from, to, &count);
    SHOW("%zu", count);
    count = 4;
    CALL(cuGraphNodeGetDependencies, to[0], nodes, &count);
    SHOW("%zu %d", count, nodes[0] == from[0]);
    count = 4;
    CALL(cuGraphNodeGetDependentNodes, from[0], nodes, &count);
    SHOW("%zu %d", count, nodes[0] == to[0]);
    CALL(cuGraphRemoveDependencies, graph, from, to, 1);
    CALL(cuGraphAddDependencies, graph, from, to, 1);
    CALL(cuGraphCreate, &made, 0);
    memset(&params, 0, sizeof params);
    params.func = add;
    params.gridDimX = params.gridDimY = params.gridDimZ = 1;
    params.blockDimX = 32;
    params.blockDimY = params.blockDimZ = 1;
    params.kernelParams = arguments;
    CALL(cuGraphAddKernelNode, &kernel, made, NULL, 0, &params);
    CALL(cuGraphKernelNodeGetParams, kernel, &read);
    SHOW("%u %d", read.blockDimX, read.func == add);
    CALL(cuGraphKernelNodeSetParams, kernel, &params);
    CALL(cuGraphInstantiate_v2, &exec, made, &error, log, sizeof log);
    CALL(cuGraphExecKernelNodeSetParams, exec, kernel, &params);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    CALL(cuMemcpyDtoH_v2, &value, block, sizeof value);
    SHOW("%d", value);
    CALL(cuGraphExecDestroy, exec);
    CALL(cuGraphDestroy, made);
    CALL(cuGraphDestroy, graph);
}

static void entry_points(void) {
    void *found = NULL;
    CALL(cuInit, 0);
    CALL(cuGetProcAddress, "cuMemAlloc", &found, 13000, 0);
    SHOW("%d", found != NULL);
    CALL(cuGetProcAddress, "cuNoSuchFunction", &found, 13000, 0);
    CALL(cuGetProcAddress, "cuMemAlloc", &found, 1000, 0);
    CALL(cuGetProcAddress, "cuMemAlloc", &found, 13000, 64);
}

static void batches(void) {
    CUmemcpyAttributes attributes;
    CUDA_MEMCPY3D_BATCH_OP box;
    CUipcMemHandle handle;
    CUstream stream = NULL;
    CUdeviceptr block = 0, source, opened = 0;
    unsigned *pinned = NULL, back = 0;
    size_t first = 0, bytes = 64, failed = 7;
    begin();
    cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
    cuMemAlloc_v2(&block, 4096);
    cuMemHostAlloc((void **)&pinned, 4096, 0);
    for (unsigned i = 0; i < 1024; i++) pinned[i] = i;
    source = (CUdeviceptr)(uintptr_t)pinned;
    memset(&attributes, 0, sizeof attributes);
    attributes.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    CALL(cuMemcpyBatchAsync, &block, &source, &bytes, 1, &attributes, &first, 1, &failed, stream);
    CALL(cuMemcpyBatchAsync_ptsz, &block, &source, &bytes, 1, &attributes, &first, 1, &failed, stream);
    CALL(cuMemcpyBatchAsync, &block, &source, &bytes, 0, &attributes, &first, 1, &failed, stream);
    memset(&box, 0, sizeof box);
    box.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    box.src.type = box.dst.type = CU_MEMCPY_OPERAND_TYPE_POINTER;
    box.src.op.ptr.ptr = source;
    box.dst.op.ptr.ptr = block + 1024;
    box.extent.width = 16;
    box.extent.height = box.extent.depth = 2;
    CALL(cuMemcpy3DBatchAsync, 1, &box, &failed, 0, stream);
    CALL(cuMemcpy3DBatchAsync_ptsz, 1, &box, &failed, 0, stream);
    CALL(cuMemcpy3DBatchAsync, 1, &box, &failed, 1, stream);
    CALL(cuStreamSynchronize, stream);
    cuMemcpyDtoH_v2(&back, block + 1024 + 60, sizeof back);
    SHOW("%u", back);
    memset(&handle, 0, sizeof handle);
    CALL(cuIpcOpenMemHandle, &opened, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    cuMemFreeHost(pinned);
}

static void several(void) {
    CUsharedconfig config = (CUsharedconfig)9;
    CUlibrary library = NULL;
    CUfunction functions[4], add;
    CUmodule module;
    CUmemLocation location = {0};
    CUmemoryPool pool = NULL, other = NULL;
    CUlaunchConfig launch = {0};
    CUDA_MEMCPY3D_PEER copy = {0};
    CUdeviceptr one = 0, two = 0;
    int clusters = 0;
    begin();
    module = load();
    add = function_of(module, "_Z10add_to_allPiii");
    CALL(cuCtxGetSharedMemConfig, &config);
    SHOW("%d", (int)config);
    CALL(cuCtxSetSharedMemConfig, CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE);
    CALL(cuFuncSetSharedMemConfig, add, CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE);
    CALL(cuModuleEnumerateFunctions, functions, 4, module);
    CALL(cuModuleEnumerateFunctions, NULL, 4, module);
    CALL(cuLibraryLoadFromFile, &library, "/no/such/file", NULL, NULL, 0, NULL, NULL, 0);
    location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    location.id = device;
    CALL(cuMemGetDefaultMemPool, &pool, &location, CU_MEM_ALLOCATION_TYPE_PINNED);
    CALL(cuMemGetMemPool, &other, &location, CU_MEM_ALLOCATION_TYPE_PINNED);
    SHOW("%d", pool == other);
    CALL(cuMemSetMemPool, &location, CU_MEM_ALLOCATION_TYPE_PINNED, pool);
    launch.gridDimX = launch.gridDimY = launch.gridDimZ = 1;
    launch.blockDimX = 128;
    launch.blockDimY = launch.blockDimZ = 1;
    CALL(cuOccupancyMaxActiveClusters, &clusters, add, &launch);
    SHOW("%d", clusters);
    CALL(cuMemAlloc_v2, &one, 4096);
    CALL(cuMemAlloc_v2, &two, 4096);
    copy.srcMemoryType = copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    copy.srcDevice = one;
    copy.dstDevice = two;
    copy.srcContext = copy.dstContext = context;
    copy.WidthInBytes = 64;
    copy.Height = copy.Depth = 1;
    CALL(cuMemcpy3DPeer, &copy);
    CALL(cuMemcpy3DPeerAsync, &copy, NULL);
    CALL0(cuCtxSynchronize);
    CALL(cuMemcpy3DPeer, NULL);
}

static void linker(void) {
    CUlinkState state = NULL;
    void *linked = NULL;
    size_t bytes = 0;
    begin();
    CALL(cuLinkCreate, 0, NULL, NULL, &state);
    CALL(cuLinkAddData, state, CU_JIT_INPUT_PTX, (void *)image, sizeof image, "image.ptx", 0, NULL, NULL);
    CALL(cuLinkAddFile, state, CU_JIT_INPUT_PTX, "/no/such/file", 0, NULL, NULL);
    CALL(cuLinkComplete, state, &linked, &bytes);
    SHOW("%d", linked != NULL && bytes > 64);
    CALL(cuLinkDestroy, state);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"contexts", contexts}, {"streams", streams}, {"graphs", graphs}, {"entry_points", entry_points},
        {"several", several}, {"own_captures", own_captures}, {"managed", managed}, {"old_nodes", old_nodes}, {"batches", batches},
        {"linker", linker},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
