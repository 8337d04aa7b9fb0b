// Memory and events of another process.
#include "driver.h"
#include "peer.h"

enum { BYTES = 4 << 20 };

struct handles {
    CUipcMemHandle memory;
    CUipcEventHandle event;
};

static int value_at(CUdeviceptr at) {
    int value = -1;
    cuMemcpyDtoH(&value, at, sizeof value);
    return value;
}

static void other_memory(void) {
    struct handles handles, nothing;
    CUdeviceptr at = 0, again = 0, base = 0;
    size_t bytes = 0;
    CUmemorytype type = (CUmemorytype)0;
    int ordinal = -7, summand = 3, length = 4;
    void *arguments[] = {&at, &summand, &length};
    hear(&handles, sizeof handles);
    begin();
    CUfunction add = function_of(load(), "_Z10add_to_allPiii");
    memset(&nothing, 0, sizeof nothing);
    CALL(cuIpcOpenMemHandle, NULL, handles.memory, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    CALL(cuIpcOpenMemHandle, &at, handles.memory, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    SHOW("%d %d", at != 0, value_at(at));
    CALL(cuIpcOpenMemHandle, &again, handles.memory, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    SHOW("%d", again == at);
    CALL(cuMemGetAddressRange, &base, &bytes, at + 64);
    SHOW("%d %d", base == at, bytes >= BYTES);
    CALL(cuPointerGetAttribute, &type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at);
    SHOW("%d", (int)type);
    CALL(cuPointerGetAttribute, &ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, at);
    SHOW("%d", ordinal);
    CALL(cuLaunchKernel, add, 1, 1, 1, 32, 1, 1, 0, NULL, arguments, NULL);
    CALL(cuMemsetD32, at + BYTES - 16, 77, 4);
    CALL(cuCtxSynchronize);
    SHOW("%d", value_at(at));
    your_turn();
    my_turn();
    SHOW_ALWAYS("%d", value_at(at + 64));
    CALL(cuIpcCloseMemHandle, at);
    SHOW("%d", value_at(at));
    CALL(cuIpcCloseMemHandle, at);
    CALL(cuMemcpyDtoH, &length, at, sizeof length);
    your_turn();
}

static void memory(void) {
    struct handles handles;
    CUdeviceptr block = 0, at = 0;
    memset(&handles, 0, sizeof handles);
    pid_t child = begin_child(other_memory);
    begin();
    CALL(cuMemAlloc, &block, BYTES);
    CALL(cuMemsetD32, block, 40, BYTES / 4);
    CALL(cuCtxSynchronize);
    CALL(cuIpcGetMemHandle, NULL, block);
    CALL(cuIpcGetMemHandle, &handles.memory, 0);
    CALL(cuIpcGetMemHandle, &handles.memory, block);
    CALL(cuIpcOpenMemHandle, &at, handles.memory, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    CALL(cuIpcCloseMemHandle, block);
    tell(&handles, sizeof handles);
    my_turn();
    printf("\nthe other's changes: %d %d %d", value_at(block), value_at(block + 16), value_at(block + BYTES - 4));
    cuMemsetD32(block + 64, 99, 1);
    cuCtxSynchronize();
    your_turn();
    my_turn();
    end_child(child);
    CALL(cuMemFree, block);
}

static void other_event(void) {
    struct handles handles;
    CUevent event = NULL;
    CUdeviceptr at = 0;
    CUstream stream = NULL;
    float milliseconds = 0;
    hear(&handles, sizeof handles);
    begin();
    cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
    cuIpcOpenMemHandle(&at, handles.memory, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    CALL(cuIpcOpenEventHandle, NULL, handles.event);
    CALL(cuIpcOpenEventHandle, &event, handles.event);
    SHOW("%d", event != NULL);
    your_turn();
    my_turn();
    CALL(cuStreamWaitEvent, stream, event, 0);
    CALL(cuStreamSynchronize, stream);
    SHOW("%d", value_at(at));
    CALL(cuEventQuery, event);
    CALL(cuEventElapsedTime, &milliseconds, event, event);
    CALL(cuMemsetD32Async, at, 6, 1, stream);
    CALL(cuEventRecord, event, stream);
    your_turn();
    my_turn();
    CALL(cuEventSynchronize, event);
    CALL(cuEventDestroy, event);
    CALL(cuIpcCloseMemHandle, at);
    your_turn();
}

static void events(void) {
    struct handles handles;
    CUdeviceptr block = 0;
    CUevent event = NULL, ordinary = NULL;
    CUstream stream = NULL;
    pid_t child = begin_child(other_event);
    begin();
    cuMemAlloc(&block, BYTES);
    cuMemsetD8(block, 0, BYTES);
    cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
    cuCtxSynchronize();
    CALL(cuEventCreate, &event, CU_EVENT_INTERPROCESS);
    CALL(cuEventCreate, &event, CU_EVENT_INTERPROCESS | CU_EVENT_DISABLE_TIMING);
    CALL(cuEventCreate, &ordinary, CU_EVENT_DISABLE_TIMING);
    CALL(cuIpcGetMemHandle, &handles.memory, block);
    CALL(cuIpcGetEventHandle, NULL, event);
    CALL(cuIpcGetEventHandle, &handles.event, ordinary);
    CALL(cuIpcGetEventHandle, &handles.event, event);
    CALL(cuIpcOpenEventHandle, &ordinary, handles.event);
    tell(&handles, sizeof handles);
    my_turn();
    CALL(cuMemsetD32Async, block, 5, BYTES / 4, stream);
    CALL(cuEventRecord, event, stream);
    your_turn();
    my_turn();
    CALL(cuEventSynchronize, event);
    SHOW("%d", value_at(block));
    CALL(cuEventQuery, event);
    your_turn();
    my_turn();
    end_child(child);
    CALL(cuEventDestroy, event);
    CALL(cuMemFree, block);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {{"memory", memory}, {"events", events}};
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
