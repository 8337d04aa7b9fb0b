// What captures forbid: each call in each mode, from the thread that captures and from another.
#include "driver.h"
#include <pthread.h>

static CUdeviceptr block;
static CUstream stream, other, blocking;
static CUevent event, recorded;
static CUmodule module;
static CUfunction add;
static CUmemoryPool pool;
static int word;
static void *pinned;
static char *host;

static void CUDA_CB host_function(void *data) { (void)data; }

static void prepare(void) {
    begin();
    module = load();
    add = function_of(module, "_Z10add_to_allPiii");
    host = aligned_alloc(4096, 8192);
    memset(host, 0, 8192);
    cuMemAlloc(&block, 4096);
    cuMemHostAlloc(&pinned, 4096, 0);
    cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
    cuStreamCreate(&other, CU_STREAM_NON_BLOCKING);
    cuStreamCreate(&blocking, CU_STREAM_DEFAULT);
    cuEventCreate(&event, CU_EVENT_DISABLE_TIMING);
    cuEventCreate(&recorded, CU_EVENT_DISABLE_TIMING);
    cuEventRecord(recorded, other);
    cuMemsetD8(block, 0, 4096);
    cuDeviceGetDefaultMemPool(&pool, device);
    cuCtxSynchronize();
}

// How the capture of a stream stands and ends.
static void finish(CUstream captured, int mode) {
    CUstreamCaptureStatus status = (CUstreamCaptureStatus)9;
    CUgraph graph = NULL;
    CALL(cuStreamIsCapturing, captured, &status);
    SHOW_ALWAYS("mode %d: %d", mode, (int)status);
    CALL(cuStreamEndCapture, captured, &graph);
    SHOW_ALWAYS("mode %d: %d", mode, graph == NULL);
    if (graph != NULL) cuGraphDestroy(graph);
}

// One call while `stream` captures in each mode.
#define EACH_MODE(CALL_IT)                                                                         \
    for (int mode = 0; mode < 3; mode++) {                                                         \
        cuStreamBeginCapture(stream, (CUstreamCaptureMode)mode);                                   \
        CALL_IT;                                                                                   \
        finish(stream, mode);                                                                      \
    }

static void memory(void) {
    CUdeviceptr more = 0, pitched = 0, three[3] = {0, 0, 0};
    size_t some = 0, all = 0;
    void *page = NULL;
    prepare();
    EACH_MODE(CALL(cuMemAlloc, &more, 4096));
    if (more == 0) cuMemAlloc(&more, 4096);
    EACH_MODE(CALL(cuMemFree, more));
    EACH_MODE(CALL(cuMemAllocPitch, &pitched, &some, 100, 4, 4));
    EACH_MODE(CALL(cuMemAllocManaged, &more, 4096, CU_MEM_ATTACH_GLOBAL));
    EACH_MODE(CALL(cuMemHostAlloc, &page, 4096, 0));
    EACH_MODE(CALL(cuMemFreeHost, page));
    EACH_MODE(CALL(cuMemHostRegister, host, 4096, 0));
    EACH_MODE(CALL(cuMemHostUnregister, host));
    EACH_MODE(CALL(cuMemGetInfo, &some, &all));
    EACH_MODE(CALL(cuPointerGetAttribute, &some, CU_POINTER_ATTRIBUTE_CONTEXT, block));
    EACH_MODE(CALL(cuMemAllocAsync, &more, 4096, other); if (code == 0) cuMemFreeAsync(more, other));
    EACH_MODE(CALL(cuMemPoolTrimTo, pool, 0));
    for (int i = 0; i < 3; i++) cuMemAllocAsync(&three[i], 4096, other);
    EACH_MODE(CALL(cuMemFreeAsync, three[mode], other));
}

static void copies(void) {
    prepare();
    EACH_MODE(CALL(cuMemcpyHtoD, block, &word, 4));
    EACH_MODE(CALL(cuMemcpyDtoH, &word, block, 4));
    EACH_MODE(CALL(cuMemcpyDtoD, block, block + 64, 4));
    EACH_MODE(CALL(cuMemcpy, block, block + 64, 4));
    EACH_MODE(CALL(cuMemsetD8, block, 0, 4));
    EACH_MODE(CALL(cuMemsetD32, block, 0, 4));
    EACH_MODE(CALL(cuMemcpyHtoDAsync, block, pinned, 4, other));
    EACH_MODE(CALL(cuMemcpyHtoDAsync, block, pinned, 4, stream));
    EACH_MODE(CALL(cuMemcpyDtoHAsync, pinned, block, 4, stream));
    EACH_MODE(CALL(cuMemcpyDtoDAsync, block, block + 64, 4, stream));
    EACH_MODE(CALL(cuMemsetD8Async, block, 0, 4, NULL));
    // Memory that is not pinned: what is there when the graph runs.
    for (int mode = 0; mode < 3; mode++) {
        static char back[64];
        CUgraph graph = NULL;
        CUgraphExec exec = NULL;
        cuStreamBeginCapture(stream, (CUstreamCaptureMode)mode);
        CALL(cuMemcpyHtoDAsync, block, host, 4, stream);
        CALL(cuMemcpyDtoHAsync, back, block, 4, stream);
        CALL(cuStreamEndCapture, stream, &graph);
        CALL(cuGraphInstantiate, &exec, graph, 0);
        for (int i = 0; i < 2; i++) {
            memset(host, 7 * mode + i, 4);
            CALL(cuGraphLaunch, exec, stream);
            CALL(cuStreamSynchronize, stream);
            SHOW("%d", back[3]);
        }
        if (exec != NULL) cuGraphExecDestroy(exec);
        if (graph != NULL) cuGraphDestroy(graph);
    }
}

static void waits(void) {
    float took = 0;
    prepare();
    EACH_MODE(CALL(cuStreamSynchronize, stream));
    EACH_MODE(CALL(cuStreamQuery, stream));
    EACH_MODE(CALL(cuStreamSynchronize, other));
    EACH_MODE(CALL(cuStreamQuery, other));
    EACH_MODE(CALL(cuStreamSynchronize, NULL));
    EACH_MODE(CALL(cuStreamQuery, NULL));
    EACH_MODE(CALL(cuEventQuery, recorded));
    EACH_MODE(CALL(cuEventSynchronize, recorded));
    EACH_MODE(CALL0(cuCtxSynchronize));
    EACH_MODE(CALL(cuEventElapsedTime, &took, recorded, recorded));
    EACH_MODE(CALL(cuEventRecord, event, stream); CALL(cuEventQuery, event));
    EACH_MODE(CALL(cuEventRecord, event, stream); CALL(cuEventSynchronize, event));
    EACH_MODE(CALL(cuStreamSynchronize, stream); CALL(cuStreamSynchronize, stream));
    EACH_MODE(CALL(cuStreamQuery, stream); CALL(cuStreamQuery, stream));
    EACH_MODE(CALL(cuStreamQuery, stream); CALL(cuMemsetD8Async, block, 0, 4, stream));
    EACH_MODE(CALL(cuStreamQuery, stream); CALL(cuEventRecord, event, stream));
    // Recorded in a capture that is over.
    CALL(cuEventQuery, event);
    CALL(cuEventSynchronize, event);
    CALL(cuStreamWaitEvent, other, event, 0);
}

static void objects(void) {
    CUstream made = NULL;
    CUevent more = NULL;
    CUmodule loaded = NULL;
    CUfunction found = NULL;
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    CUcontext created = NULL;
    int number = 0;
    size_t bytes = 0;
    prepare();
    cuGraphCreate(&graph, 0);
    EACH_MODE(CALL(cuStreamCreate, &made, CU_STREAM_NON_BLOCKING); if (code == 0) CALL(cuStreamDestroy, made));
    EACH_MODE(CALL(cuEventCreate, &more, 0); if (code == 0) CALL(cuEventDestroy, more));
    EACH_MODE(CALL(cuModuleLoadData, &loaded, image); if (code == 0) CALL(cuModuleUnload, loaded));
    EACH_MODE(CALL(cuModuleGetFunction, &found, module, "_Z9fill_withPiii"));
    EACH_MODE(CALL(cuFuncGetAttribute, &number, CU_FUNC_ATTRIBUTE_NUM_REGS, add));
    EACH_MODE(CALL(cuFuncSetAttribute, add, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 1024));
    EACH_MODE(CALL(cuGraphInstantiate, &exec, graph, 0); if (code == 0) CALL(cuGraphExecDestroy, exec));
    EACH_MODE(CALL(cuCtxGetLimit, &bytes, CU_LIMIT_STACK_SIZE));
    EACH_MODE(CALL(cuCtxSetLimit, CU_LIMIT_STACK_SIZE, 1024));
    EACH_MODE(CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, &number, add, 128, 0));
    EACH_MODE(CALL(cuStreamAddCallback, stream, (CUstreamCallback)(void *)host_function, NULL, 0));
    EACH_MODE(CALL(cuLaunchHostFunc, stream, host_function, NULL));
    EACH_MODE(CALL(cuCtxCreate, &created, NULL, 0, device); if (code == 0) CALL(cuCtxDestroy, created));
}

// A stream captures that the legacy default stream waits for.
static void legacy(void) {
    CUstreamCaptureStatus status = (CUstreamCaptureStatus)9;
    CUgraph graph = NULL;
    void *arguments[] = {&block, &word, &word};
    prepare();
#define ON_BLOCKING(CALL_IT)                                                                       \
    do {                                                                                           \
        cuStreamBeginCapture(blocking, CU_STREAM_CAPTURE_MODE_RELAXED);                            \
        CALL_IT;                                                                                   \
        finish(blocking, 2);                                                                       \
    } while (0)
    ON_BLOCKING(CALL(cuLaunchKernel, add, 1, 1, 1, 32, 1, 1, 0, CU_STREAM_LEGACY, arguments, NULL));
    ON_BLOCKING(CALL(cuMemsetD8Async, block, 0, 4, CU_STREAM_LEGACY));
    ON_BLOCKING(CALL(cuMemcpyDtoDAsync, block, block + 64, 4, CU_STREAM_LEGACY));
    ON_BLOCKING(CALL(cuStreamSynchronize, CU_STREAM_LEGACY));
    ON_BLOCKING(CALL(cuStreamQuery, CU_STREAM_LEGACY));
    ON_BLOCKING(CALL(cuEventRecord, event, CU_STREAM_LEGACY));
    ON_BLOCKING(CALL(cuStreamWaitEvent, CU_STREAM_LEGACY, recorded, 0));
    ON_BLOCKING(CALL(cuStreamIsCapturing, CU_STREAM_LEGACY, &status));
    ON_BLOCKING(CALL(cuStreamEndCapture, CU_STREAM_LEGACY, &graph));
    ON_BLOCKING(CALL(cuStreamBeginCapture, CU_STREAM_LEGACY, CU_STREAM_CAPTURE_MODE_RELAXED));
    ON_BLOCKING(CALL(cuMemcpyHtoD, block, &word, 4));
    ON_BLOCKING(CALL(cuMemsetD8, block, 0, 4));
    ON_BLOCKING(CALL(cuEventRecord, event, blocking); CALL(cuStreamWaitEvent, CU_STREAM_LEGACY, event, 0));
    ON_BLOCKING(CALL0(cuCtxSynchronize));
    // Without a capture of that kind nothing is refused.
    EACH_MODE(CALL(cuMemsetD8Async, block, 0, 4, CU_STREAM_LEGACY));
    EACH_MODE(CALL(cuStreamIsCapturing, CU_STREAM_LEGACY, &status));
}

// What one thread does while another captures.
static int theirs;

static void *elsewhere(void *what) {
    CUdeviceptr more = 0;
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    CUgraph graph = NULL;
    int found[4] = {0, 0, 0, 0};
    cuCtxSetCurrent(context);
    switch (*(int *)what) {
    case 0: found[0] = cuMemAlloc(&more, 4096); break;
    case 1: found[0] = cuStreamSynchronize(other); break;
    case 2: found[0] = cuEventQuery(recorded); break;
    case 3:
        cuThreadExchangeStreamCaptureMode(&mode);
        found[0] = cuMemAlloc(&more, 4096);
        found[1] = (int)mode;
        break;
    case 4:
        mode = CU_STREAM_CAPTURE_MODE_RELAXED;
        cuThreadExchangeStreamCaptureMode(&mode);
        found[0] = cuMemAlloc(&more, 4096);
        break;
    case 5: found[0] = cuStreamEndCapture(stream, &graph); break;
    case 6: found[0] = cuMemsetD8Async(block, 0, 4, stream); break;
    default: break;
    }
    theirs = found[0] * 10 + found[1];
    if (more != 0) cuMemFree(more);
    return NULL;
}

static void threads(void) {
    prepare();
    for (int what = 0; what < 7; what++)
        for (int mode = 0; mode < 3; mode++) {
            pthread_t thread;
            CALL(cuStreamBeginCapture, stream, (CUstreamCaptureMode)mode);
            pthread_create(&thread, NULL, elsewhere, &what);
            pthread_join(thread, NULL);
            printf("\nanother thread's call %d: %d", what, theirs);
            finish(stream, mode);
        }
}

// The thread's own mode against its own capture.
static void own_mode(void) {
    prepare();
    for (int own = 0; own < 3; own++) {
        CUdeviceptr more = 0;
        CUstreamCaptureMode mode = (CUstreamCaptureMode)own;
        CALL(cuThreadExchangeStreamCaptureMode, &mode);
        EACH_MODE(CALL(cuMemAlloc, &more, 4096));
        CALL(cuThreadExchangeStreamCaptureMode, &mode);
    }
}

// Streams that join, that do not join back, and that belong to two captures.
static void joins(void) {
    CUgraph graph = NULL;
    CUevent second = NULL;
    prepare();
    cuEventCreate(&second, CU_EVENT_DISABLE_TIMING);
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuStreamWaitEvent, stream, recorded, 0);
    finish(stream, 2);
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuEventRecord, event, stream);
    CALL(cuStreamWaitEvent, other, event, 0);
    CALL(cuStreamSynchronize, other);
    finish(stream, 2);
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuStreamBeginCapture, other, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuEventRecord, event, stream);
    CALL(cuStreamWaitEvent, other, event, 0);
    finish(other, 2);
    finish(stream, 2);
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuEventRecord, event, stream);
    CALL(cuStreamWaitEvent, other, event, 0);
    CALL(cuStreamEndCapture, other, &graph);
    finish(stream, 2);
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuStreamEndCapture, stream, NULL);
    finish(stream, 2);
    CALL(cuStreamBeginCapture, other, CU_STREAM_CAPTURE_MODE_GLOBAL);
    CALL(cuStreamDestroy, other);
    CALL(cuMemAlloc, &block, 64);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"memory", memory}, {"copies", copies}, {"waits", waits}, {"objects", objects},
        {"legacy", legacy}, {"threads", threads}, {"own_mode", own_mode}, {"joins", joins},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
