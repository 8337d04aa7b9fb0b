// Contexts: primary and created ones, the stack of a thread, limits and settings.
#include "driver.h"

static void primary(void) {
    unsigned flags = 0;
    int active = 0;
    CUcontext other = NULL;
    CALL(cuInit, 0);
    CALL(cuDeviceGet, &device, 0);
    CALL(cuDevicePrimaryCtxGetState, device, &flags, &active);
    SHOW("%u %d", flags, active);
    CALL(cuDevicePrimaryCtxRelease, device);
    CALL(cuDevicePrimaryCtxSetFlags, device, CU_CTX_SCHED_BLOCKING_SYNC);
    CALL(cuDevicePrimaryCtxSetFlags, device, 0xffff);
    CALL(cuDevicePrimaryCtxGetState, device, &flags, &active);
    SHOW("%u %d", flags, active);
    CALL(cuDevicePrimaryCtxRetain, &context, device);
    CALL(cuDevicePrimaryCtxRetain, &other, device);
    SHOW("%d", other == context);
    CALL(cuDevicePrimaryCtxRetain, NULL, device);
    CALL(cuDevicePrimaryCtxRetain, &other, 50);
    CALL(cuDevicePrimaryCtxGetState, device, &flags, &active);
    SHOW("%u %d", flags, active);
    CALL(cuDevicePrimaryCtxSetFlags, device, CU_CTX_SCHED_AUTO);
    CALL(cuDevicePrimaryCtxGetState, 50, &flags, &active);
    CALL(cuCtxSetCurrent, context);
    CALL(cuCtxDestroy, context);
    CALL(cuDevicePrimaryCtxRelease, device);
    CALL(cuDevicePrimaryCtxRelease, device);
    CALL(cuDevicePrimaryCtxRelease, device);
    CALL(cuDevicePrimaryCtxGetState, device, &flags, &active);
    SHOW("%d", active);
    CALL(cuDevicePrimaryCtxReset, device);
    CALL(cuDevicePrimaryCtxReset, 50);
}

static void stack(void) {
    CUcontext one = NULL, two = NULL, found = NULL;
    CUdevice there = 99;
    unsigned flags = 0, version = 0;
    CALL(cuInit, 0);
    CALL(cuDeviceGet, &device, 0);
    CALL(cuCtxGetCurrent, &found);
    SHOW("%d", found == NULL);
    CALL(cuCtxGetDevice, &there);
    CALL(cuCtxPopCurrent, &found);
    CALL0(cuCtxSynchronize);
    CALL(cuCtxCreate, &one, NULL, CU_CTX_SCHED_SPIN, device);
    CALL(cuCtxGetCurrent, &found);
    SHOW("%d", found == one);
    CALL(cuCtxGetFlags, &flags);
    SHOW("%u", flags);
    CALL(cuCtxGetFlags, NULL);
    CALL(cuCtxGetDevice, &there);
    SHOW("%d", there);
    CALL(cuCtxGetDevice, NULL);
    CALL(cuCtxGetApiVersion, one, &version);
    SHOW("%u", version);
    CALL(cuCtxGetApiVersion, one, NULL);
    CALL(cuCtxCreate, &two, NULL, 0, device);
    CALL(cuCtxGetCurrent, &found);
    SHOW("%d %d", found == two, found == one);
    CALL(cuCtxPopCurrent, &found);
    SHOW("%d", found == two);
    CALL(cuCtxGetCurrent, &found);
    SHOW("%d", found == one);
    CALL(cuCtxPushCurrent, two);
    CALL(cuCtxPushCurrent, two);
    CALL(cuCtxPopCurrent, NULL);
    CALL(cuCtxPopCurrent, NULL);
    CALL(cuCtxPopCurrent, &found);
    SHOW("%d", found == one);
    CALL(cuCtxPopCurrent, &found);
    CALL(cuCtxSetCurrent, two);
    CALL(cuCtxGetCurrent, &found);
    SHOW("%d", found == two);
    CALL(cuCtxSetCurrent, NULL);
    CALL(cuCtxGetCurrent, &found);
    SHOW("%d", found == NULL);
    CALL(cuCtxPushCurrent, NULL);
    CALL(cuCtxCreate, NULL, NULL, 0, device);
    CALL(cuCtxCreate, &found, NULL, 0xffff0000u, device);
    CALL(cuCtxCreate, &found, NULL, 0, 50);
    CALL(cuCtxDestroy, two);
    CALL(cuCtxDestroy, one);
    CALL(cuCtxDestroy, NULL);
}

static void without_context(void) {
    CUdeviceptr block = 0;
    CUstream stream = NULL;
    CUevent event = NULL;
    CUmodule module = NULL;
    size_t some = 0, all = 0;
    int low = 0, high = 0;
    void *host = NULL;
    CALL(cuInit, 0);
    CALL(cuMemAlloc, &block, 16);
    CALL(cuStreamCreate, &stream, 0);
    CALL(cuEventCreate, &event, 0);
    CALL(cuModuleLoadData, &module, image);
    CALL(cuMemGetInfo, &some, &all);
    CALL(cuCtxGetLimit, &some, CU_LIMIT_STACK_SIZE);
    CALL(cuCtxSetLimit, CU_LIMIT_STACK_SIZE, 2048);
    CALL(cuCtxGetStreamPriorityRange, &low, &high);
    CALL(cuMemHostAlloc, &host, 64, 0);
    CALL(cuMemcpyHtoD, block, &some, 8);
    CALL(cuMemFree, 4096);
    CALL(cuStreamSynchronize, NULL);
    CALL(cuStreamQuery, NULL);
}

static void settings(void) {
    CUdeviceptr block = 0;
    size_t value = 0;
    int low = 0, high = 0;
    CUfunc_cache cache = CU_FUNC_CACHE_PREFER_NONE;
    unsigned long long id = 0;
    CUctxCreateParams parameters = {0};
    begin();
    static const CUlimit limits[] = {
        CU_LIMIT_STACK_SIZE, CU_LIMIT_PRINTF_FIFO_SIZE, CU_LIMIT_MALLOC_HEAP_SIZE, CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH,
        CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT, CU_LIMIT_MAX_L2_FETCH_GRANULARITY, CU_LIMIT_PERSISTING_L2_CACHE_SIZE};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        CALL(cuCtxGetLimit, &value, limits[i]);
        SHOW_ALWAYS("limit %zu", i);
        SHOW("%zu", value);
    }
    CALL(cuCtxGetLimit, NULL, CU_LIMIT_STACK_SIZE);
    CALL(cuCtxGetLimit, &value, (CUlimit)99);
    CALL(cuCtxSetLimit, CU_LIMIT_STACK_SIZE, 4096);
    CALL(cuCtxGetLimit, &value, CU_LIMIT_STACK_SIZE);
    SHOW("%zu", value);
    CALL(cuCtxSetLimit, CU_LIMIT_PRINTF_FIFO_SIZE, 1 << 20);
    CALL(cuCtxGetLimit, &value, CU_LIMIT_PRINTF_FIFO_SIZE);
    SHOW("%zu", value);
    CALL(cuCtxSetLimit, (CUlimit)99, 1);
    CALL(cuCtxGetCacheConfig, &cache);
    SHOW("%d", (int)cache);
    CALL(cuCtxGetCacheConfig, NULL);
    CALL(cuCtxSetCacheConfig, CU_FUNC_CACHE_PREFER_L1);
    CALL(cuCtxGetCacheConfig, &cache);
    SHOW("%d", (int)cache);
    CALL(cuCtxGetStreamPriorityRange, &low, &high);
    SHOW("%d %d", low, high);
    CALL(cuCtxGetStreamPriorityRange, NULL, &high);
    CALL0(cuCtxResetPersistingL2Cache);
    CALL(cuCtxGetId, context, &id);
    CALL(cuCtxGetId, NULL, &id);
    CALL(cuCtxGetId, context, NULL);
    CALL0(cuCtxSynchronize);
    CALL(cuCtxEnablePeerAccess, context, 0);
    CALL(cuCtxDisablePeerAccess, context);
    CALL(cuCtxSetFlags, CU_CTX_SCHED_YIELD);
    unsigned flags = 0;
    CALL(cuCtxGetFlags, &flags);
    SHOW("%u", flags);
    CALL(cuCtxSetFlags, CU_CTX_LMEM_RESIZE_TO_MAX | CU_CTX_SYNC_MEMOPS);
    CALL(cuCtxGetFlags, &flags);
    SHOW("%u", flags);
    CALL(cuMemAlloc, &block, 64);
    CALL(cuMemsetD8, block, 3, 64);
    CALL(cuMemcpyDtoD, block, block + 32, 32);
    CALL(cuStreamQuery, NULL);
    CALL(cuMemFree, block);
    CALL(cuCtxSetFlags, CU_CTX_SCHED_AUTO);
    CALL(cuCtxGetFlags, &flags);
    SHOW("%u", flags);
    CALL(cuCtxSetFlags, 0xff00);
    CUcontext made = NULL;
    CALL(cuCtxCreate, &made, &parameters, 0, device);
    CALL(cuCtxDestroy, made);
}

static void destroyed(void) {
    CUcontext made = NULL, found = NULL;
    CUdeviceptr block = 0;
    CALL(cuInit, 0);
    CALL(cuDeviceGet, &device, 0);
    CALL(cuCtxCreate, &made, NULL, 0, device);
    CALL(cuMemAlloc, &block, 64);
    CALL(cuCtxDestroy, made);
    CALL(cuCtxGetCurrent, &found);
    SHOW("%d", found == NULL);
    CALL(cuMemAlloc, &block, 64);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"primary", primary}, {"stack", stack}, {"without_context", without_context},
        {"settings", settings}, {"destroyed", destroyed},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
