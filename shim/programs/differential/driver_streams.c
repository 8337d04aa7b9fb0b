// Streams, events, host functions, memory operations. Compiled twice: for the legacy default stream, and for a thread's own.
#include "driver.h"
#include <pthread.h>

static void streams(void) {
    CUstream stream = NULL, other = NULL;
    CUcontext owner = NULL;
    CUdevice where = -1;
    unsigned flags = 9;
    unsigned long long id = 0;
    int priority = 9;
    CUstreamAttrValue value;
    begin();
    CALL(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
    CALL(cuStreamGetFlags, stream, &flags);
    SHOW("%u", flags);
    CALL(cuStreamGetPriority, stream, &priority);
    SHOW("%d", priority);
    CALL(cuStreamGetCtx, stream, &owner);
    SHOW("%d", owner == context);
    CALL(cuStreamGetDevice, stream, &where);
    SHOW("%d", where);
    CALL(cuStreamGetId, stream, &id);
    CALL(cuStreamGetId, stream, NULL);
    CALL(cuStreamCreate, &other, 77);
    CALL(cuStreamCreate, NULL, 0);
    CALL(cuStreamCreateWithPriority, &other, CU_STREAM_NON_BLOCKING, -100);
    CALL(cuStreamGetPriority, other, &priority);
    SHOW("%d", priority);
    CALL(cuStreamDestroy, other);
    CALL(cuStreamCreateWithPriority, &other, 0, 100);
    CALL(cuStreamGetPriority, other, &priority);
    SHOW("%d", priority);
    CALL(cuStreamGetFlags, NULL, &flags);
    SHOW("%u", flags);
    CALL(cuStreamGetFlags, CU_STREAM_LEGACY, &flags);
    SHOW("%u", flags);
    CALL(cuStreamGetFlags, CU_STREAM_PER_THREAD, &flags);
    SHOW("%u", flags);
    CALL(cuStreamGetFlags, stream, NULL);
    CALL(cuStreamGetPriority, NULL, &priority);
    SHOW("%d", priority);
    CALL(cuStreamGetPriority, stream, NULL);
    CALL(cuStreamGetCtx, NULL, &owner);
    SHOW("%d", owner == context);
    CALL(cuStreamQuery, stream);
    CALL(cuStreamQuery, NULL);
    CALL(cuStreamQuery, CU_STREAM_PER_THREAD);
    CALL(cuStreamSynchronize, stream);
    CALL(cuStreamSynchronize, NULL);
    CALL(cuStreamSynchronize, CU_STREAM_LEGACY);
    CALL(cuStreamSynchronize, CU_STREAM_PER_THREAD);
    CALL(cuStreamCopyAttributes, other, stream);
    memset(&value, 0, sizeof value);
    CALL(cuStreamGetAttribute, stream, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &value);
    SHOW("%d", (int)value.syncPolicy);
    CALL(cuStreamSetAttribute, stream, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &value);
    CALL(cuStreamDestroy, stream);
    CALL(cuStreamDestroy, other);
    CALL(cuStreamDestroy, NULL);
    CALL(cuStreamDestroy, CU_STREAM_LEGACY);
    CALL(cuStreamDestroy, CU_STREAM_PER_THREAD);
}

static void events(void) {
    CUevent one = NULL, two = NULL, untimed = NULL;
    CUstream stream = NULL;
    float took = -1;
    begin();
    CALL(cuStreamCreate, &stream, 0);
    CALL(cuEventCreate, &one, CU_EVENT_DEFAULT);
    CALL(cuEventCreate, &two, CU_EVENT_BLOCKING_SYNC);
    CALL(cuEventCreate, &untimed, CU_EVENT_DISABLE_TIMING);
    CALL(cuEventCreate, NULL, 0);
    CALL(cuEventCreate, &one, 0xff00);
    CALL(cuEventQuery, one);
    CALL(cuEventSynchronize, one);
    CALL(cuEventElapsedTime, &took, one, two);
    CALL(cuEventRecord, one, stream);
    CALL(cuEventElapsedTime, &took, one, two);
    CALL(cuEventRecordWithFlags, two, stream, CU_EVENT_RECORD_DEFAULT);
    CALL(cuEventRecordWithFlags, two, stream, 77);
    CALL(cuEventSynchronize, two);
    CALL(cuEventQuery, one);
    CALL(cuEventElapsedTime, &took, one, two);
    SHOW("%d", took >= 0 && took < 1000);
    CALL(cuEventElapsedTime, NULL, one, two);
    CALL(cuEventRecord, untimed, NULL);
    CALL(cuEventSynchronize, untimed);
    CALL(cuEventElapsedTime, &took, one, untimed);
    CALL(cuStreamWaitEvent, stream, untimed, 0);
    CALL(cuStreamWaitEvent, stream, untimed, 77);
    CALL(cuStreamWaitEvent, NULL, one, 0);
    CALL(cuStreamSynchronize, stream);
    CALL(cuEventRecord, NULL, stream);
    CALL(cuEventQuery, NULL);
    CALL(cuEventSynchronize, NULL);
    CALL(cuStreamWaitEvent, stream, NULL, 0);
    CALL(cuEventDestroy, NULL);
    CALL(cuCtxRecordEvent, context, one);
    CALL(cuCtxWaitEvent, context, one);
    CALL(cuEventDestroy, one);
    CALL(cuEventDestroy, two);
    CALL(cuEventDestroy, untimed);
    CALL(cuStreamDestroy, stream);
}

static int order[4];
static int called;

static void CUDA_CB host_function(void *data) { order[called++ & 3] = *(int *)data; }

static void CUDA_CB callback(CUstream stream, CUresult status, void *data) {
    (void)stream;
    order[called++ & 3] = *(int *)data + (int)status;
}

static void host_functions(void) {
    CUstream stream = NULL;
    static int first = 10, second = 20;
    begin();
    CALL(cuStreamCreate, &stream, 0);
    CALL(cuLaunchHostFunc, stream, host_function, &first);
    CALL(cuStreamAddCallback, stream, callback, &second, 0);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d %d %d", called, order[0], order[1]);
    CALL(cuLaunchHostFunc, stream, NULL, &first);
    CALL(cuStreamAddCallback, stream, NULL, &second, 0);
    CALL(cuStreamAddCallback, stream, callback, &second, 5);
    CALL(cuLaunchHostFunc, NULL, host_function, &second);
    CALL0(cuCtxSynchronize);
    SHOW("%d", called);
    CALL(cuStreamDestroy, stream);
}

static volatile int told = -1;

static void CUDA_CB note_status(CUstream stream, CUresult status, void *data) {
    (void)stream;
    (void)data;
    told = (int)status;
}

// A callback behind work that fails is told of the failure; a host function is not called.
static void callback_after_a_failure(void) {
    CUdeviceptr nowhere = 0x10;
    CUstream stream = NULL;
    int value = 1, length = 1, before = called;
    void *arguments[] = {&nowhere, &value, &length};
    begin();
    CUfunction fill = function_of(load(), "_Z9fill_withPiii");
    CALL(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
    CALL(cuLaunchKernel, fill, 1, 1, 1, 32, 1, 1, 0, stream, arguments, NULL);
    // These may be told of the failure themselves: it may be known already.
    cuLaunchHostFunc(stream, host_function, &value);
    int added = cuStreamAddCallback(stream, note_status, NULL, 0) == CUDA_SUCCESS;
    CALL(cuStreamSynchronize, stream);
    for (int i = 0; i < 2000 && added && told < 0; i++) usleep(1000);
    printf("\nthe callback was told %d, host functions called: %d", added ? told : code, called - before);
}

static void memory_operations(void) {
    CUdeviceptr block = 0;
    CUstream stream = NULL;
    uint64_t back[4] = {0};
    CUstreamBatchMemOpParams batch[2];
    begin();
    CALL(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
    cuMemAlloc(&block, 64);
    cuMemsetD8(block, 0, 64);
    // The stream does not wait for the default one.
    cuCtxSynchronize();
    CALL(cuStreamWriteValue32, stream, block, 17, 0);
    CALL(cuStreamWriteValue64, stream, block + 8, 1ull << 40, 0);
    CALL(cuStreamWaitValue32, stream, block, 17, CU_STREAM_WAIT_VALUE_EQ);
    CALL(cuStreamWaitValue64, stream, block + 8, 5, CU_STREAM_WAIT_VALUE_GEQ);
    memset(batch, 0, sizeof batch);
    batch[0].writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
    batch[0].writeValue.address = block + 16;
    batch[0].writeValue.value = 99;
    batch[1].waitValue.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32;
    batch[1].waitValue.address = block + 16;
    batch[1].waitValue.value = 99;
    batch[1].waitValue.flags = CU_STREAM_WAIT_VALUE_EQ;
    CALL(cuStreamBatchMemOp, stream, 2, batch, 0);
    CALL(cuStreamSynchronize, stream);
    CALL(cuMemcpyDtoH, back, block, 32);
    SHOW("%llu %llu %llu", (unsigned long long)back[0], (unsigned long long)back[1], (unsigned long long)back[2]);
    CALL(cuStreamWriteValue32, stream, block + 2, 17, 0);
    CALL(cuStreamWriteValue64, stream, block + 4, 17, 0);
    CALL(cuStreamWriteValue32, stream, block, 17, 0xff00);
    CALL(cuStreamBatchMemOp, stream, 0, batch, 0);
    CALL(cuStreamBatchMemOp, stream, 1, NULL, 0);
    CALL(cuStreamSynchronize, stream);
    CALL(cuStreamDestroy, stream);
}

static void capture_state(void) {
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    CUstreamCaptureStatus status = (CUstreamCaptureStatus)9;
    CUstream stream = NULL;
    CUgraph graph = NULL;
    CUevent event = NULL;
    begin();
    CALL(cuStreamCreate, &stream, 0);
    CALL(cuEventCreate, &event, CU_EVENT_DISABLE_TIMING);
    CALL(cuThreadExchangeStreamCaptureMode, &mode);
    SHOW("%d", (int)mode);
    CALL(cuThreadExchangeStreamCaptureMode, &mode);
    SHOW("%d", (int)mode);
    CALL(cuThreadExchangeStreamCaptureMode, NULL);
    CALL(cuStreamIsCapturing, stream, &status);
    SHOW("%d", (int)status);
    CALL(cuStreamIsCapturing, NULL, &status);
    SHOW("%d", (int)status);
    CALL(cuStreamIsCapturing, stream, NULL);
    CALL(cuStreamEndCapture, stream, &graph);
    CALL(cuStreamBeginCapture, NULL, CU_STREAM_CAPTURE_MODE_GLOBAL);
    CALL(cuStreamBeginCapture, stream, (CUstreamCaptureMode)77);
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuStreamIsCapturing, stream, &status);
    SHOW("%d", (int)status);
    CALL(cuStreamSynchronize, stream);
    CALL(cuStreamIsCapturing, stream, &status);
    SHOW("%d", (int)status);
    CALL(cuStreamEndCapture, stream, &graph);
    SHOW_ALWAYS("%d", graph == NULL);
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    CALL(cuEventRecord, event, stream);
    CALL(cuEventQuery, event);
    CALL(cuStreamEndCapture, stream, &graph);
    CALL(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    CALL(cuStreamQuery, stream);
    CALL(cuStreamEndCapture, stream, &graph);
    CALL(cuStreamEndCapture, stream, NULL);
    CALL(cuStreamDestroy, stream);
}

static void *in_thread(void *found) {
    CUcontext current = NULL;
    cuCtxGetCurrent(&current);
    ((int *)found)[0] = current == NULL;
    ((int *)found)[1] = (int)cuStreamSynchronize(NULL);
    cuCtxSetCurrent(context);
    ((int *)found)[2] = (int)cuStreamSynchronize(CU_STREAM_PER_THREAD);
    return NULL;
}

static void threads(void) {
    pthread_t thread;
    int found[3] = {9, 9, 9};
    begin();
    pthread_create(&thread, NULL, in_thread, found);
    pthread_join(thread, NULL);
    printf("\nanother thread: %d %d %d", found[0], found[1], found[2]);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"streams", streams}, {"events", events}, {"host_functions", host_functions},
        {"callback_after_a_failure", callback_after_a_failure},
        {"memory_operations", memory_operations}, {"capture_state", capture_state}, {"threads", threads},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
