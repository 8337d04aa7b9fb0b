// What must be over before what, by the runtime: memory that is freed while it is used, launches with events, what a launch
// may ask for, which devices are valid, and what is told after a fault.
#include "runtime_adder.h"
#include "held.h"

int cuStreamWaitValue32_v2(cudaStream_t stream, unsigned long long at, unsigned value, unsigned flags);

static void prepare_word(void) {
    void *pinned = NULL;
    prepare();
    cudaHostAlloc(&pinned, 65536, cudaHostAllocMapped);
    memset(pinned, 0, 65536);
    word = (uint32_t *)pinned;
}

static void hold(cudaStream_t held) { cuStreamWaitValue32_v2(held, (uintptr_t)word, 1, 1); }

// Makes the call while the stream is held for a while: whether the stream's work was done when it came back.
#define WHILE_HELD(function, ...)                                                                  \
    do {                                                                                           \
        pthread_t thread;                                                                          \
        *word = 0;                                                                                 \
        word[16] = 0;                                                                              \
        hold(stream);                                                                              \
        cudaMemsetAsync(block, 7, 4, stream);                                                      \
        cudaMemcpyAsync((void *)&word[16], block, 4, cudaMemcpyDeviceToHost, stream);              \
        pthread_create(&thread, NULL, release_later, NULL);                                        \
        CALL(function, __VA_ARGS__);                                                               \
        unsigned seen = word[16];                                                                  \
        SHOW("%s", seen != 0 ? "waited" : "did not wait");                                         \
        pthread_join(thread, NULL);                                                                \
        cudaStreamSynchronize(stream);                                                             \
    } while (0)

static void freed_while_busy(void) {
    void *other = NULL;
    prepare_word();
    cudaMalloc(&other, 4096);
    WHILE_HELD(cudaFree, other);
    cudaMallocManaged(&other, 4096, cudaMemAttachGlobal);
    WHILE_HELD(cudaFree, other);
    cudaMallocAsync(&other, 4096, NULL);
    cudaStreamSynchronize(NULL);
    WHILE_HELD(cudaFree, other);
    cudaMallocHost(&other, 4096);
    WHILE_HELD(cudaFreeHost, other);
    WHILE_HELD(cudaFree, NULL);
    cudaMalloc(&other, 4096);
    WHILE_HELD(cudaFreeAsync, other, stream);
    CALL(cudaFreeAsync, other, stream);
    CALL(cudaFree, other);
    cudaMalloc(&other, 4096);
    CALL(cudaFreeAsync, other, NULL);
    CALL0(cudaGetLastError);
}

static void launch_event(cudaLaunchAttributeID id) {
    cudaEvent_t event = NULL;
    cudaStream_t second = NULL;
    cudaLaunchAttribute attribute;
    cudaLaunchConfig_t config;
    int summand = 5, count = 8;
    void *arguments[] = {&block, &summand, &count};
    cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    memset(&attribute, 0, sizeof attribute);
    memset(&config, 0, sizeof config);
    attribute.id = id;
    attribute.val.launchCompletionEvent.event = event;
    config.gridDim = (dim3){1, 1, 1};
    config.blockDim = (dim3){32, 1, 1};
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = 1;
    printf("\nattribute %d", (int)id);
    // Its code is loaded by its first launch, which would wait for the stream.
    cudaLaunchKernel(add, (dim3){1, 1, 1}, (dim3){32, 1, 1}, arguments, 0, stream);
    cudaDeviceSynchronize();
    cudaMemset(block, 0, 4096);
    cudaDeviceSynchronize();
    *word = 0;
    hold(stream);
    CALL(cudaLaunchKernelExC, &config, add, arguments);
    CALL(cudaEventQuery, event);
    CALL(cudaStreamWaitEvent, second, event, 0);
    CALL(cudaMemcpyAsync, (void *)&word[16], block, 4, cudaMemcpyDeviceToHost, second);
    CALL(cudaStreamQuery, second);
    *word = 1;
    CALL(cudaEventSynchronize, event);
    CALL(cudaStreamSynchronize, second);
    SHOW("%u", word[16]);
    CALL(cudaStreamSynchronize, stream);
    CALL(cudaEventQuery, event);
    CALL0(cudaGetLastError);
}

static void launch_events(void) {
    prepare_word();
    launch_event(cudaLaunchAttributeLaunchCompletionEvent);
    launch_event(cudaLaunchAttributeProgrammaticEvent);
}

static void launch_limits(void) {
    const void *limited = NULL;
    int value = 5, count = 8;
    void *arguments[] = {&block, &value, &count};
    prepare();
    limited = kernel_of("_Z9fill_withPiii");
    for (unsigned threads = 255; threads <= 257; threads++) {
        printf("\n%u threads", threads);
        CALL(cudaLaunchKernel, limited, (dim3){1, 1, 1}, (dim3){threads, 1, 1}, arguments, 0, stream);
        CALL0(cudaGetLastError);
    }
    CALL(cudaLaunchKernel, limited, (dim3){1, 1, 1}, (dim3){1024, 1, 1}, arguments, 0, stream);
    CALL0(cudaGetLastError);
    CALL(cudaLaunchKernel, limited, (dim3){1, 1, 1}, (dim3){1025, 1, 1}, arguments, 0, stream);
    CALL0(cudaGetLastError);
    CALL(cudaLaunchCooperativeKernel, limited, (dim3){1, 1, 1}, (dim3){512, 1, 1}, arguments, 0, stream);
    CALL0(cudaGetLastError);
    CALL(cudaStreamSynchronize, stream);
}

static void valid_devices(void) {
    int list[8] = {0, 99, 0, 0, 0, 0, 0, 0}, many = 0, now = 9;
    CALL(cudaGetDeviceCount, &many);
    CALL(cudaSetValidDevices, list, 2);
    CALL(cudaSetValidDevices, list + 1, 1);
    CALL(cudaSetValidDevices, list, many + 1);
    list[1] = 0;
    CALL(cudaSetValidDevices, list, many + 1);
    list[1] = -1;
    CALL(cudaSetValidDevices, list + 1, 1);
    CALL(cudaSetValidDevices, NULL, 1);
    CALL(cudaSetValidDevices, NULL, -1);
    CALL(cudaSetValidDevices, list, -1);
    CALL(cudaSetValidDevices, list, 0);
    CALL(cudaSetValidDevices, list, 1);
    CALL(cudaGetDevice, &now);
    SHOW("%d", now);
    CALL0(cudaGetLastError);
    CALL(cudaFree, NULL);
    // Once a context is there.
    CALL(cudaSetValidDevices, list, 1);
    CALL(cudaSetValidDevices, list + 1, 1);
    CALL(cudaSetValidDevices, NULL, 0);
    CALL(cudaGetDevice, &now);
    SHOW("%d", now);
    CALL0(cudaGetLastError);
}

static void after_a_fault(void) {
    int *nowhere = (int *)16, summand = 5, count = 8, value = 0;
    void *arguments[] = {&nowhere, &summand, &count}, *at = NULL;
    cudaEvent_t event = NULL;
    cudaStream_t other = NULL;
    struct cudaPointerAttributes where;
    struct cudaFuncAttributes attributes;
    size_t free_bytes = 0, all_bytes = 0;
    prepare();
    cudaEventCreate(&event);
    CALL(cudaLaunchKernel, add, (dim3){1, 1, 1}, (dim3){32, 1, 1}, arguments, 0, stream);
    CALL0(cudaDeviceSynchronize);
    CALL0(cudaPeekAtLastError);
    CALL0(cudaGetLastError);
    CALL0(cudaGetLastError);
    CALL0(cudaPeekAtLastError);
    CALL(cudaGetDevice, &value);
    CALL(cudaGetDeviceCount, &value);
    CALL(cudaSetDevice, 0);
    CALL(cudaDriverGetVersion, &value);
    CALL(cudaDeviceGetAttribute, &value, cudaDevAttrWarpSize, 0);
    cudaGetLastError();
    CALL(cudaMalloc, &at, 4096);
    CALL0(cudaGetLastError);
    CALL0(cudaGetLastError);
    CALL(cudaMemGetInfo, &free_bytes, &all_bytes);
    CALL(cudaStreamQuery, stream);
    CALL0(cudaPeekAtLastError);
    CALL(cudaEventQuery, event);
    CALL(cudaEventRecord, event, stream);
    CALL(cudaStreamCreate, &other);
    CALL(cudaPointerGetAttributes, &where, block);
    CALL(cudaFuncGetAttributes, &attributes, add);
    CALL(cudaLaunchKernel, add, (dim3){1, 1, 1}, (dim3){32, 1, 1}, arguments, 0, stream);
    CALL0(cudaPeekAtLastError);
    CALL0(cudaGetLastError);
    CALL(cudaMemcpy, &value, block, 4, cudaMemcpyDeviceToHost);
    CALL(cudaMallocHost, &at, 4096);
    CALL(cudaMallocManaged, &at, 4096, cudaMemAttachGlobal);
    CALL(cudaSetDevice, 99);
    cudaGetLastError();
    CALL0(cudaGetLastError);
    CALL(cudaFree, block);
    CALL(cudaFree, NULL);
    CALL(cudaStreamDestroy, stream);
    CALL(cudaEventDestroy, event);
    CALL0(cudaGetLastError);
    CALL0(cudaDeviceReset);
}

int main(int arguments, char **argument) {
    static const struct section sections[] = {
        {"freed while busy", freed_while_busy},
        {"launch events", launch_events},
        {"launch limits", launch_limits},
        {"valid devices", valid_devices},
        {"after a fault", after_a_fault},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, arguments, argument);
}
