// What must be over before what: events of launches, memory that is freed while it is used, and what a launch may ask for.
#include "driver_adder.h"
#include "held.h"

static CUdeviceptr word_at;

static void prepare_word(void) {
    void *pinned = NULL;
    prepare();
    cuMemHostAlloc(&pinned, 65536, CU_MEMHOSTALLOC_DEVICEMAP);
    memset(pinned, 0, 65536);
    cuMemHostGetDevicePointer(&word_at, pinned, 0);
    word = (uint32_t *)pinned;
}

static void hold(CUstream held) { cuStreamWaitValue32(held, word_at, 1, CU_STREAM_WAIT_VALUE_EQ); }

// Makes the call while the stream is held for a while: whether the stream's work was done when it came back.
#define WHILE_HELD(function, ...)                                                                  \
    do {                                                                                           \
        pthread_t thread;                                                                          \
        *word = 0;                                                                                 \
        word[16] = 0;                                                                              \
        hold(stream);                                                                              \
        cuMemsetD32Async(block, 7, 1, stream);                                                     \
        cuMemcpyDtoHAsync((void *)&word[16], block, 4, stream);                                    \
        pthread_create(&thread, NULL, release_later, NULL);                                        \
        CALL(function, __VA_ARGS__);                                                               \
        uint32_t seen = word[16];                                                                  \
        SHOW("%s", seen == 7 ? "waited" : "did not wait");                                         \
        pthread_join(thread, NULL);                                                                \
        cuStreamSynchronize(stream);                                                               \
    } while (0)

static void freed_while_busy(void) {
    CUdeviceptr other = 0;
    void *host = NULL;
    prepare_word();
    cuMemAlloc(&other, 4096);
    WHILE_HELD(cuMemFree, other);
    cuMemAllocManaged(&other, 4096, CU_MEM_ATTACH_GLOBAL);
    WHILE_HELD(cuMemFree, other);
    cuMemAllocAsync(&other, 4096, NULL);
    cuStreamSynchronize(NULL);
    WHILE_HELD(cuMemFree, other);
    cuMemHostAlloc(&host, 4096, 0);
    WHILE_HELD(cuMemFreeHost, host);
    WHILE_HELD(cuMemFree, 0);
    WHILE_HELD(cuMemFree, (CUdeviceptr)64);
}

// Which other calls wait, of those that end something.
static void ended_while_busy(void) {
    static char own[65536] __attribute__((aligned(4096)));
    CUmodule module = NULL;
    CUstream other = NULL;
    CUevent event = NULL;
    CUmemoryPool pool = NULL;
    CUmemPoolProps properties;
    CUdeviceptr at = 0;
    size_t pitch = 0;
    prepare_word();
    module = load();
    cuStreamCreate(&other, CU_STREAM_NON_BLOCKING);
    cuEventCreate(&event, 0);
    memset(&properties, 0, sizeof properties);
    properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    cuMemPoolCreate(&pool, &properties);
    cuMemHostRegister(own, sizeof own, 0);
    WHILE_HELD(cuStreamDestroy, other);
    WHILE_HELD(cuEventDestroy, event);
    WHILE_HELD(cuMemHostUnregister, own);
    WHILE_HELD(cuMemPoolDestroy, pool);
    WHILE_HELD(cuModuleUnload, module);
    WHILE_HELD(cuMemAlloc, &at, 4096);
    WHILE_HELD(cuMemAllocPitch, &at, &pitch, 64, 64, 4);
    WHILE_HELD(cuMemAllocManaged, &at, 4096, CU_MEM_ATTACH_GLOBAL);
}

static void free_async_of_plain_memory(void) {
    CUdeviceptr plain = 0, managed = 0, pitched = 0;
    CUgraph graph = NULL;
    void *host = NULL;
    size_t pitch = 0;
    int kind = 0;
    prepare_word();
    cuMemAlloc(&plain, 4096);
    cuMemAllocPitch(&pitched, &pitch, 64, 64, 4);
    cuMemAllocManaged(&managed, 4096, CU_MEM_ATTACH_GLOBAL);
    cuMemHostAlloc(&host, 4096, 0);
    CALL(cuMemFreeAsync, plain + 64, stream);
    CALL(cuMemFreeAsync, plain, stream);
    CALL(cuStreamSynchronize, stream);
    CALL(cuMemFreeAsync, plain, stream);
    CALL(cuMemFree, plain);
    CALL(cuPointerGetAttribute, &kind, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, plain);
    CALL(cuMemFreeAsync, pitched, stream);
    CALL(cuMemFreeAsync, managed, stream);
    CALL(cuMemFreeAsync, managed, stream);
    CALL(cuMemFreeAsync, (CUdeviceptr)host, stream);
    CALL(cuStreamSynchronize, stream);
    cuMemAlloc(&plain, 4096);
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuMemFreeAsync, plain, stream);
    CALL(cuStreamEndCapture, stream, &graph);
    CALL(cuMemFree, plain);
    cuMemAlloc(&plain, 4096);
    WHILE_HELD(cuMemFreeAsync, plain, stream);
    cuMemAlloc(&plain, 4096);
    WHILE_HELD(cuMemFreeAsync, plain, NULL);
    // Its own stream goes on to use it until then.
    cuMemAlloc(&plain, 4096);
    cuMemsetD32(plain, 9, 4);
    *word = 0;
    hold(stream);
    CALL(cuMemcpyDtoHAsync, (void *)&word[32], plain, 4, stream);
    CALL(cuMemFreeAsync, plain, stream);
    *word = 1;
    CALL(cuStreamSynchronize, stream);
    SHOW("%u", word[32]);
}

static CUlaunchConfig config_of(unsigned threads, CUstream on, CUlaunchAttribute *attributes, unsigned count) {
    CUlaunchConfig config;
    memset(&config, 0, sizeof config);
    config.gridDimX = config.gridDimY = config.gridDimZ = 1;
    config.blockDimX = threads;
    config.blockDimY = config.blockDimZ = 1;
    config.hStream = on;
    config.attrs = attributes;
    config.numAttrs = count;
    return config;
}

static void launch_events(CUlaunchAttributeID id) {
    CUevent event = NULL, timed = NULL, never = NULL;
    CUstream second = NULL;
    CUlaunchAttribute attribute;
    CUlaunchConfig config = config_of(32, stream, &attribute, 1);
    int summand = 5, count = 8;
    float milliseconds = 0;
    void *arguments[] = {&block, &summand, &count};
    cuStreamCreate(&second, CU_STREAM_NON_BLOCKING);
    cuEventCreate(&event, CU_EVENT_DISABLE_TIMING);
    cuEventCreate(&never, CU_EVENT_DISABLE_TIMING);
    cuEventCreate(&timed, CU_EVENT_DEFAULT);
    cuMemsetD8(block, 0, 4096);
    cuCtxSynchronize();
    memset(&attribute, 0, sizeof attribute);
    attribute.id = id;
    if (id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT) attribute.value.programmaticEvent.event = timed;
    else attribute.value.launchCompletionEvent.event = timed;
    printf("\nattribute %d, an event with times", (int)id);
    CALL(cuLaunchKernelEx, &config, add, arguments, NULL);
    attribute.value.launchCompletionEvent.event = NULL;
    printf("\nattribute %d, no event", (int)id);
    CALL(cuLaunchKernelEx, &config, add, arguments, NULL);
    attribute.value.launchCompletionEvent.event = event;
    cuCtxSynchronize();
    // Its code is loaded by its first launch, which would wait for the stream.
    cuLaunchKernel(add, 1, 1, 1, 32, 1, 1, 0, stream, arguments, NULL);
    cuCtxSynchronize();
    cuMemsetD8(block, 0, 4096);
    cuCtxSynchronize();
    printf("\nattribute %d", (int)id);
    *word = 0;
    hold(stream);
    CALL(cuLaunchKernelEx, &config, add, arguments, NULL);
    CALL(cuEventQuery, event);
    CALL(cuEventElapsedTime, &milliseconds, event, event);
    // The second stream must see what the kernel writes.
    CALL(cuStreamWaitEvent, second, event, 0);
    CALL(cuMemcpyDtoHAsync, (void *)&word[16], block, 4, second);
    CALL(cuStreamQuery, second);
    CALL(cuEventQuery, event);
    *word = 1;
    CALL(cuEventSynchronize, event);
    CALL(cuStreamSynchronize, second);
    SHOW("%d", (int)word[16]);
    CALL(cuStreamSynchronize, stream);
    CALL(cuEventQuery, event);
    CALL(cuEventQuery, never);
    // Recorded as any other later on.
    *word = 0;
    hold(stream);
    CALL(cuEventRecord, event, stream);
    CALL(cuEventQuery, event);
    *word = 1;
    CALL(cuEventSynchronize, event);
    CALL(cuEventQuery, event);
}

static void completion_event(void) {
    prepare_word();
    launch_events(CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT);
}

static void programmatic_event(void) {
    prepare_word();
    launch_events(CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT);
}

static void captured_launch_events(CUlaunchAttributeID id) {
    CUevent event = NULL;
    CUstream second = NULL;
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    CUlaunchAttribute attribute;
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    CUlaunchConfig config = config_of(32, stream, &attribute, 1);
    int summand = 5, count = 8;
    size_t nodes = 0;
    void *arguments[] = {&block, &summand, &count};
    cuStreamCreate(&second, CU_STREAM_NON_BLOCKING);
    cuEventCreate(&event, CU_EVENT_DISABLE_TIMING);
    memset(&attribute, 0, sizeof attribute);
    attribute.id = id;
    attribute.value.launchCompletionEvent.event = event;
    printf("\nattribute %d, captured", (int)id);
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuLaunchKernelEx, &config, add, arguments, NULL);
    CALL(cuEventQuery, event);
    CALL(cuStreamIsCapturing, stream, &status);
    SHOW("%d", (int)status);
    CALL(cuStreamEndCapture, stream, &graph);
    if (code == 0) {
        CALL(cuGraphGetNodes, graph, NULL, &nodes);
        SHOW("%zu", nodes);
        CALL(cuGraphInstantiate, &exec, graph, 0);
        if (code == 0) CALL(cuGraphLaunch, exec, stream);
    }
    CALL(cuStreamSynchronize, stream);
    CALL(cuEventQuery, event);
    CALL(cuEventSynchronize, event);
    CALL(cuStreamWaitEvent, second, event, 0);
    CALL(cuStreamSynchronize, second);
}

static void captured_completion_event(void) {
    prepare();
    captured_launch_events(CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT);
}

static void captured_programmatic_event(void) {
    prepare();
    captured_launch_events(CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT);
}

// A kernel with more live registers than 1024 threads can have: it loads 160 values, then stores them.
static char *heavy_image(void) {
    enum { VALUES = 160 };
    char *text = malloc(1 << 16), *end = text;
    end += sprintf(end, ".version 7.8\n.target sm_75\n.address_size 64\n"
                        ".visible .entry heavy(.param .u64 p0)\n{\n.reg .b32 %%r<%d>;\n.reg .b64 %%rd<3>;\n"
                        "ld.param.u64 %%rd1, [p0];\ncvta.to.global.u64 %%rd2, %%rd1;\n", VALUES + 1);
    for (int i = 0; i < VALUES; i++) end += sprintf(end, "ld.volatile.global.u32 %%r%d, [%%rd2+%d];\n", i, 4 * i);
    for (int i = 0; i < VALUES; i++) end += sprintf(end, "st.volatile.global.u32 [%%rd2+%d], %%r%d;\n", 4 * (VALUES - 1 - i), i);
    sprintf(end, "ret;\n}\n");
    return text;
}

static void launches_of(CUfunction function, unsigned threads, unsigned shared) {
    CUlaunchAttribute attribute;
    CUlaunchConfig config = config_of(threads, stream, &attribute, 0);
    int value = 5, count = 8;
    void *arguments[] = {&block, &value, &count};
    config.sharedMemBytes = shared;
    printf("\n%u threads, %u bytes", threads, shared);
    CALL(cuLaunchKernel, function, 1, 1, 1, threads, 1, 1, shared, stream, arguments, NULL);
    CALL(cuLaunchKernelEx, &config, function, arguments, NULL);
    CALL(cuLaunchCooperativeKernel, function, 1, 1, 1, threads, 1, 1, shared, stream, arguments);
    CALL(cuStreamSynchronize, stream);
}

static void nodes_of(CUfunction function, unsigned threads, unsigned shared) {
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    CUgraphNode node = NULL;
    CUDA_KERNEL_NODE_PARAMS params;
    int value = 5, count = 8;
    void *arguments[] = {&block, &value, &count};
    memset(&params, 0, sizeof params);
    params.func = function;
    params.gridDimX = params.gridDimY = params.gridDimZ = 1;
    params.blockDimX = threads;
    params.blockDimY = params.blockDimZ = 1;
    params.sharedMemBytes = shared;
    params.kernelParams = arguments;
    cuGraphCreate(&graph, 0);
    printf("\na node of %u threads, %u bytes", threads, shared);
    CALL(cuGraphAddKernelNode, &node, graph, NULL, 0, &params);
    if (code != 0) return;
    CALL(cuGraphInstantiate, &exec, graph, 0);
    if (code != 0) return;
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
}

static void launch_limits(void) {
    CUmodule module = NULL;
    CUfunction heavy = NULL, limited = NULL;
    char *text = heavy_image();
    int limit = 0;
    prepare();
    limited = function_of(load(), "_Z9fill_withPiii");
    CALL(cuFuncGetAttribute, &limit, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, limited);
    SHOW("%d", limit);
    printf("\na kernel of at most 256 threads");
    launches_of(limited, 256, 0);
    launches_of(limited, 257, 0);
    launches_of(limited, 1024, 0);
    launches_of(limited, 1025, 0);
    launches_of(limited, 0, 0);
    launches_of(limited, 512, 1 << 20);
    launches_of(limited, 1025, 1 << 20);
    launches_of(limited, 256, 49152);
    launches_of(limited, 256, 49153);
    launches_of(limited, 256, 65536);
    launches_of(limited, 256, 1 << 20);
    printf("\na kernel as any");
    launches_of(add, 1024, 0);
    launches_of(add, 1025, 0);
    nodes_of(limited, 256, 0);
    nodes_of(limited, 257, 0);
    nodes_of(limited, 1025, 0);
    nodes_of(limited, 256, 49153);
    nodes_of(limited, 256, 1 << 20);
    CALL(cuModuleLoadData, &module, text);
    CALL(cuModuleGetFunction, &heavy, module, "heavy");
    CALL(cuFuncGetAttribute, &limit, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, heavy);
    SHOW("%d", limit < 1024);
    if (heavy != NULL) {
        printf("\na kernel of many registers");
        launches_of(heavy, 32, 0);
        launches_of(heavy, 1024, 0);
        launches_of(heavy, 1025, 0);
        launches_of(heavy, 1024, 49153);
        nodes_of(heavy, 1024, 0);
    }
    free(text);
}

static void children(void) {
    CUgraph first = NULL, second = NULL, parent = NULL;
    CUgraphExec exec = NULL;
    CUgraphNode node = NULL;
    CUuserObject object = NULL;
    int summand = 1, gone = 0;
    static int from[4] = {3, 4, 5, 6};
    prepare();
    // Copies of the program's own memory, which a graph has to keep something for.
    cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    cuMemcpyHtoDAsync(block, from, 8, stream);
    cuStreamEndCapture(stream, &first);
    cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuMemcpyHtoDAsync, block, from + 2, 8, stream);
    CALL(cuStreamEndCapture, stream, &second);
    CALL(cuUserObjectCreate, &object, &summand, host_function, 1, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC);
    CALL(cuGraphRetainUserObject, second, object, 1, CU_GRAPH_USER_OBJECT_MOVE);
    CALL(cuGraphCreate, &parent, 0);
    CALL(cuGraphAddChildGraphNode, &node, parent, NULL, 0, first);
    CALL(cuGraphInstantiate, &exec, parent, 0);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d %d", value_at(0), value_at(1));
    CALL(cuGraphExecChildGraphNodeSetParams, exec, node, second);
    gone = calls;
    CALL(cuGraphDestroy, second);
    SHOW("%d", calls - gone);
    CALL(cuGraphLaunch, exec, stream);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d %d %d", value_at(0), value_at(1), calls - gone);
    CALL(cuGraphExecDestroy, exec);
    CALL(cuGraphDestroy, parent);
    CALL(cuGraphDestroy, first);
}

static void counts(void) {
    CUgraph graph = NULL;
    CUgraphNode nodes[2] = {NULL, NULL}, from[4], to[4];
    CUgraphEdgeData data[4];
    size_t number = 4;
    prepare();
    cuGraphCreate(&graph, 0);
    cuGraphAddEmptyNode(&nodes[0], graph, NULL, 0);
    cuGraphAddEmptyNode(&nodes[1], graph, nodes, 1);
    memset(data, 0x55, sizeof data);
    CALL(cuGraphGetEdges_v2, graph, NULL, NULL, data, &number);
    SHOW_ALWAYS("%zu %d %d", number, data[0].type, data[3].type);
    number = 4;
    memset(data, 0x55, sizeof data);
    CALL(cuGraphGetEdges_v2, graph, from, to, data, &number);
    SHOW_ALWAYS("%zu %d %d", number, data[0].type, data[3].type);
    number = 4;
    memset(data, 0x55, sizeof data);
    CALL(cuGraphNodeGetDependencies_v2, nodes[1], NULL, data, &number);
    SHOW_ALWAYS("%zu %d %d", number, data[0].type, data[3].type);
    CALL(cuGraphAddDependencies_v2, graph, NULL, NULL, NULL, (size_t)1 << 40);
    CALL(cuGraphRemoveDependencies_v2, graph, NULL, NULL, NULL, (size_t)1 << 40);
    CALL(cuMemcpy3DBatchAsync_v2, (size_t)1 << 40, NULL, 0, stream);
}

static void context_waits(void) {
    CUevent event = NULL, other = NULL;
    CUgraph graph = NULL;
    CUcontext second = NULL;
    prepare();
    cuEventCreate(&event, 0);
    cuEventCreate(&other, 0);
    CALL(cuCtxWaitEvent, context, other);
    CALL(cuCtxWaitEvent, NULL, other);
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuEventRecord, event, stream);
    CALL(cuCtxWaitEvent, context, other);
    CALL(cuStreamEndCapture, stream, &graph);
    // Recorded in a capture that is over.
    CALL(cuStreamWaitEvent, stream, event, 0);
    CALL(cuCtxWaitEvent, context, event);
    CALL(cuCtxWaitEvent, context, NULL);
    CALL(cuCtxWaitEvent, second, event);
    CALL(cuCtxRecordEvent, context, event);
    CALL(cuCtxWaitEvent, context, event);
    CALL(cuCtxSynchronize);
}

// What is told once a kernel went wrong.
static void after_a_fault(void) {
    CUdeviceptr nowhere = 16, at = 0;
    CUevent event = NULL, before = NULL;
    CUstream other = NULL;
    CUcontext current = NULL;
    CUdevice of = 9;
    CUmodule module = NULL;
    CUfunction function = NULL;
    void *host = NULL;
    int summand = 5, count = 8, value = 0;
    size_t free_bytes = 0, all_bytes = 0;
    void *arguments[] = {&nowhere, &summand, &count};
    prepare();
    cuEventCreate(&before, 0);
    CALL(cuLaunchKernel, add, 1, 1, 1, 32, 1, 1, 0, stream, arguments, NULL);
    CALL(cuStreamSynchronize, stream);
    CALL(cuStreamSynchronize, stream);
    CALL(cuStreamQuery, stream);
    CALL(cuStreamQuery, NULL);
    CALL(cuEventQuery, before);
    CALL(cuEventRecord, before, stream);
    CALL(cuEventSynchronize, before);
    CALL(cuCtxSynchronize);
    CALL(cuCtxGetCurrent, &current);
    SHOW("%d", current == context);
    CALL(cuCtxGetDevice, &of);
    SHOW("%d", of);
    CALL(cuDeviceGetAttribute, &value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, device);
    CALL(cuMemAlloc, &at, 4096);
    CALL(cuMemGetInfo, &free_bytes, &all_bytes);
    CALL(cuMemHostAlloc, &host, 4096, 0);
    CALL(cuMemAllocManaged, &at, 4096, CU_MEM_ATTACH_GLOBAL);
    CALL(cuPointerGetAttribute, &value, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, block);
    CALL(cuEventCreate, &event, 0);
    CALL(cuStreamCreate, &other, 0);
    CALL(cuModuleLoadData, &module, image);
    CALL(cuModuleGetFunction, &function, module, "_Z9fill_withPiii");
    CALL(cuFuncGetAttribute, &value, CU_FUNC_ATTRIBUTE_NUM_REGS, add);
    CALL(cuLaunchKernel, add, 1, 1, 1, 32, 1, 1, 0, stream, arguments, NULL);
    CALL(cuLaunchKernel, add, 1, 1, 1, 4096, 1, 1, 0, stream, arguments, NULL);
    CALL(cuMemsetD8, block, 0, 16);
    CALL(cuMemcpyDtoH, &value, block, 4);
    CALL(cuMemFreeAsync, 64, stream);
    CALL(cuMemFree, 64);
    CALL(cuMemFree, 0);
    CALL(cuMemFree, block);
    CALL(cuEventDestroy, before);
    CALL(cuStreamDestroy, stream);
    CALL(cuDevicePrimaryCtxReset, device);
}

int main(int arguments, char **argument) {
    static const struct section sections[] = {
        {"freed while busy", freed_while_busy},
        {"ended while busy", ended_while_busy},
        {"free async of plain memory", free_async_of_plain_memory},
        {"completion event", completion_event},
        {"programmatic event", programmatic_event},
        {"captured completion event", captured_completion_event},
        {"captured programmatic event", captured_programmatic_event},
        {"launch limits", launch_limits},
        {"children", children},
        {"counts", counts},
        {"context waits", context_waits},
        {"after a fault", after_a_fault},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, arguments, argument);
}
