// The runtime's devices, errors, streams and events.
#include "runtime.h"
#include <cuda.h>

static void devices(void) {
    int number = 0;
    size_t bytes = 0, all = 0;
    char text[64] = "";
    struct cudaDeviceProp properties;
    unsigned flags = 0;
    cudaMemPool_t pool = NULL, other = NULL;
    CALL(cudaGetDeviceCount, &number);
    SHOW("%d", number);
    CALL(cudaGetDeviceCount, NULL);
    CALL0(cudaGetLastError);
    CALL(cudaRuntimeGetVersion, &number);
    SHOW("%d", number / 1000);
    CALL(cudaRuntimeGetVersion, NULL);
    CALL(cudaDriverGetVersion, &number);
    SHOW("%d", number / 1000);
    CALL(cudaDriverGetVersion, NULL);
    CALL(cudaGetDevice, &number);
    SHOW("%d", number);
    CALL(cudaGetDevice, NULL);
    CALL(cudaSetDevice, 0);
    CALL(cudaSetDevice, 50);
    CALL(cudaSetDevice, -1);
    CALL0(cudaPeekAtLastError);
    CALL0(cudaGetLastError);
    CALL0(cudaGetLastError);
    CALL(cudaInitDevice, 0, 0, 0);
    CALL(cudaInitDevice, 50, 0, 0);
    CALL(cudaGetDeviceProperties, &properties, 0);
    SHOW("%s %d.%d %d %zu %d %d %zu", properties.name, properties.major, properties.minor, properties.multiProcessorCount,
         properties.totalGlobalMem, properties.maxThreadsPerBlock, properties.warpSize, properties.sharedMemPerBlock);
    SHOW("%d %d %d %zu %d", properties.maxGridSize[0], properties.maxThreadsDim[2], properties.regsPerBlock,
         properties.sharedMemPerBlockOptin, properties.l2CacheSize);
    CALL(cudaGetDeviceProperties, NULL, 0);
    CALL(cudaGetDeviceProperties, &properties, 50);
    CALL(cudaDeviceGetAttribute, &number, cudaDevAttrMaxThreadsPerBlock, 0);
    SHOW("%d", number);
    CALL(cudaDeviceGetAttribute, &number, (enum cudaDeviceAttr)5000, 0);
    CALL(cudaDeviceGetAttribute, &number, cudaDevAttrMaxThreadsPerBlock, 50);
    CALL(cudaDeviceGetAttribute, NULL, cudaDevAttrMaxThreadsPerBlock, 0);
    memset(&properties, 0, sizeof properties);
    properties.major = 9;
    CALL(cudaChooseDevice, &number, &properties);
    SHOW("%d", number);
    CALL(cudaDeviceGetPCIBusId, text, sizeof text, 0);
    SHOW("%s", text);
    CALL(cudaDeviceGetByPCIBusId, &number, text);
    SHOW("%d", number);
    CALL(cudaDeviceGetByPCIBusId, &number, "nonsense");
    CALL(cudaDeviceGetLimit, &bytes, cudaLimitStackSize);
    SHOW("%zu", bytes);
    CALL(cudaDeviceSetLimit, cudaLimitStackSize, 2048);
    CALL(cudaDeviceGetLimit, &bytes, cudaLimitStackSize);
    SHOW("%zu", bytes);
    CALL(cudaDeviceGetLimit, NULL, cudaLimitStackSize);
    CALL(cudaDeviceGetLimit, &bytes, (enum cudaLimit)99);
    CALL(cudaDeviceGetStreamPriorityRange, &number, NULL);
    SHOW("%d", number);
    CALL(cudaDeviceCanAccessPeer, &number, 0, 0);
    SHOW("%d", number);
    CALL(cudaDeviceCanAccessPeer, &number, 0, 50);
    CALL(cudaDeviceEnablePeerAccess, 0, 0);
    CALL(cudaDeviceDisablePeerAccess, 0);
    CALL(cudaDeviceGetP2PAttribute, &number, cudaDevP2PAttrAccessSupported, 0, 0);
    CALL(cudaGetDeviceFlags, &flags);
    SHOW("%u", flags);
    CALL(cudaSetDeviceFlags, cudaDeviceScheduleBlockingSync);
    CALL(cudaGetDeviceFlags, &flags);
    SHOW("%u", flags);
    CALL(cudaSetDeviceFlags, 0xff00);
    CALL(cudaSetValidDevices, NULL, 0);
    CALL(cudaDeviceGetDefaultMemPool, &pool, 0);
    CALL(cudaDeviceGetMemPool, &other, 0);
    SHOW("%d", other == pool);
    CALL(cudaDeviceSetMemPool, 0, pool);
    enum cudaFuncCache cache = cudaFuncCachePreferNone;
    CALL(cudaDeviceSetCacheConfig, cudaFuncCachePreferL1);
    CALL(cudaDeviceGetCacheConfig, &cache);
    SHOW("%d", (int)cache);
    CALL(cudaMemGetInfo, &bytes, &all);
    SHOW("%d %zu", bytes <= all, all);
    CALL0(cudaDeviceSynchronize);
    CALL0(cudaCtxResetPersistingL2Cache);
    CALL0(cudaDeviceReset);
    CALL0(cudaDeviceSynchronize);
}

static void errors(void) {
    for (int status = 0; status < 1000; status++) {
        const char *name = cudaGetErrorName((cudaError_t)status);
        if (name == NULL || strstr(name, "unrecognized") != NULL) continue;
        printf("\n%d %s: %s", status, name, cudaGetErrorString((cudaError_t)status));
    }
    printf("\ncudaGetErrorName() %s", cudaGetErrorName((cudaError_t)12345));
    printf("\ncudaGetErrorString() %s", cudaGetErrorString((cudaError_t)12345));
}

static void streams(void) {
    cudaStream_t stream = NULL, other = NULL;
    unsigned flags = 9;
    unsigned long long id = 0;
    int priority = 9, least = 0, greatest = 0;
    enum cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    enum cudaStreamCaptureStatus status = (enum cudaStreamCaptureStatus)9;
    CALL(cudaStreamCreate, &stream);
    CALL(cudaStreamCreate, NULL);
    CALL(cudaStreamCreateWithFlags, &other, cudaStreamNonBlocking);
    CALL(cudaStreamGetFlags, other, &flags);
    SHOW("%u", flags);
    CALL(cudaStreamDestroy, other);
    CALL(cudaStreamCreateWithFlags, &other, 77);
    CALL(cudaDeviceGetStreamPriorityRange, &least, &greatest);
    SHOW("%d %d", least, greatest);
    CALL(cudaStreamCreateWithPriority, &other, cudaStreamNonBlocking, greatest);
    CALL(cudaStreamGetPriority, other, &priority);
    SHOW("%d", priority);
    CALL(cudaStreamGetPriority, NULL, &priority);
    SHOW("%d", priority);
    CALL(cudaStreamGetId, other, &id);
    CALL(cudaStreamGetDevice, other, &priority);
    SHOW("%d", priority);
    CALL(cudaStreamQuery, stream);
    CALL(cudaStreamQuery, NULL);
    CALL(cudaStreamQuery, cudaStreamLegacy);
    CALL(cudaStreamQuery, cudaStreamPerThread);
    CALL(cudaStreamSynchronize, stream);
    CALL(cudaStreamSynchronize, NULL);
    CALL(cudaStreamIsCapturing, stream, &status);
    SHOW("%d", (int)status);
    CALL(cudaThreadExchangeStreamCaptureMode, &mode);
    SHOW("%d", (int)mode);
    CALL(cudaStreamCopyAttributes, other, stream);
    CALL(cudaStreamDestroy, other);
    CALL(cudaStreamDestroy, stream);
    CALL(cudaStreamDestroy, NULL);
    CALL0(cudaGetLastError);
}

static void events(void) {
    cudaEvent_t one = NULL, two = NULL, untimed = NULL;
    float took = -1;
    CALL(cudaEventCreate, &one);
    CALL(cudaEventCreate, NULL);
    CALL(cudaEventCreateWithFlags, &two, cudaEventBlockingSync);
    CALL(cudaEventCreateWithFlags, &untimed, cudaEventDisableTiming);
    CALL(cudaEventCreateWithFlags, &untimed, 0xff00);
    CALL(cudaEventQuery, one);
    CALL(cudaEventElapsedTime, &took, one, two);
    CALL(cudaEventRecord, one, NULL);
    CALL(cudaEventRecordWithFlags, two, NULL, cudaEventRecordDefault);
    CALL(cudaEventSynchronize, two);
    CALL(cudaEventElapsedTime, &took, one, two);
    SHOW("%d", took >= 0);
    CALL(cudaEventElapsedTime, NULL, one, two);
    CALL(cudaEventRecord, untimed, NULL);
    CALL(cudaEventSynchronize, untimed);
    CALL(cudaEventElapsedTime, &took, one, untimed);
    CALL(cudaStreamWaitEvent, NULL, one, 0);
    CALL(cudaEventRecord, NULL, NULL);
    CALL(cudaEventQuery, NULL);
    CALL(cudaEventSynchronize, NULL);
    CALL(cudaEventDestroy, NULL);
    CALL(cudaEventDestroy, one);
    CALL(cudaEventDestroy, two);
    CALL(cudaEventDestroy, untimed);
    CALL0(cudaGetLastError);
}

static int called;

static void CUDART_CB host_function(void *data) { called += *(int *)data; }

static void CUDART_CB callback(cudaStream_t stream, cudaError_t status, void *data) {
    (void)stream;
    called += *(int *)data + (int)status;
}

static void host_functions(void) {
    static int first = 10, second = 200;
    CALL(cudaLaunchHostFunc, NULL, host_function, &first);
    CALL(cudaStreamAddCallback, NULL, callback, &second, 0);
    CALL0(cudaDeviceSynchronize);
    SHOW("%d", called);
    CALL(cudaLaunchHostFunc, NULL, NULL, &first);
    CALL(cudaStreamAddCallback, NULL, callback, &second, 7);
}

static void entry_points(void) {
    static const char *const names[] = {"cuInit", "cuMemAlloc", "cuCtxGetDevice", "cuNoSuchFunction"};
    for (size_t i = 0; i < 4; i++) {
        void *found = NULL;
        enum cudaDriverEntryPointQueryResult result = (enum cudaDriverEntryPointQueryResult)9;
        CALL(cudaGetDriverEntryPointByVersion, names[i], &found, 13000, cudaEnableDefault, &result);
        SHOW("%d %d", found != NULL, (int)result);
        CALL(cudaGetDriverEntryPointByVersion, names[i], &found, 2000, cudaEnableDefault, &result);
        SHOW("%d %d", found != NULL, (int)result);
    }
    CALL(cudaGetDriverEntryPointByVersion, NULL, NULL, 13000, cudaEnableDefault, NULL);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"devices", devices}, {"errors", errors}, {"streams", streams}, {"events", events},
        {"host_functions", host_functions}, {"entry_points", entry_points},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
