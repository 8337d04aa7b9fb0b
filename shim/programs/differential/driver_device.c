// Devices, versions, errors, entry points.
#include "driver.h"

static void before_init(void) {
    int number = 0;
    CUdevice found;
    CUdeviceptr block;
    CALL(cuDeviceGetCount, &number);
    CALL(cuDeviceGet, &found, 0);
    CALL(cuMemAlloc, &block, 16);
    CALL(cuCtxGetCurrent, &context);
    CALL(cuInit, 1);
    CALL(cuDriverGetVersion, &number);
    SHOW("%d", number / 1000);
    CALL(cuDriverGetVersion, NULL);
    CALL(cuInit, 0);
    CALL(cuInit, 0);
}

static void attributes(void) {
    int value = 0;
    begin();
    for (int attribute = 0; attribute <= CU_DEVICE_ATTRIBUTE_MAX; attribute++) {
        CALL(cuDeviceGetAttribute, &value, (CUdevice_attribute)attribute, device);
        SHOW_ALWAYS("attribute %d", attribute);
        SHOW("%d", value);
    }
    CALL(cuDeviceGetAttribute, NULL, CU_DEVICE_ATTRIBUTE_WARP_SIZE, device);
    CALL(cuDeviceGetAttribute, &value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 99);
    CALL(cuDeviceGetAttribute, &value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, -1);
    CALL(cuDeviceGetAttribute, &value, (CUdevice_attribute)5000, device);
}

static void devices(void) {
    int number = 0, other = 0;
    size_t bytes = 0;
    char text[256] = "";
    CUuuid uuid;
    CUdevprop properties;
    begin();
    CALL(cuDeviceGetCount, &number);
    SHOW("%d", number);
    CALL(cuDeviceGetCount, NULL);
    CALL(cuDeviceGet, &device, 0);
    SHOW("%d", device);
    CALL(cuDeviceGet, &device, 64);
    CALL(cuDeviceGet, &device, -1);
    CALL(cuDeviceGet, NULL, 0);
    CALL(cuDeviceGetName, text, sizeof text, device);
    SHOW("%s", text);
    memset(text, 'x', sizeof text);
    CALL(cuDeviceGetName, text, 5, device);
    SHOW("%.4s %d", text, text[4]);
    CALL(cuDeviceGetName, NULL, 10, device);
    CALL(cuDeviceGetName, text, sizeof text, 50);
    CALL(cuDeviceGetUuid, &uuid, device);
    SHOW("%llx", checksum(&uuid, sizeof uuid));
    CALL(cuDeviceGetUuid, NULL, device);
    CALL(cuDeviceGetUuid, &uuid, 50);
    CALL(cuDeviceTotalMem, &bytes, device);
    SHOW("%zu", bytes);
    CALL(cuDeviceTotalMem, NULL, device);
    CALL(cuDeviceTotalMem, &bytes, 50);
    CALL(cuDeviceGetPCIBusId, text, sizeof text, device);
    SHOW("%s", text);
    CALL(cuDeviceGetByPCIBusId, &other, text);
    SHOW("%d", other);
    CALL(cuDeviceGetByPCIBusId, &other, "nonsense");
    CALL(cuDeviceGetByPCIBusId, NULL, text);
    CALL(cuDeviceGetPCIBusId, NULL, 10, device);
    CALL(cuDeviceGetPCIBusId, text, sizeof text, 50);
    CALL(cuDeviceGetProperties, &properties, device);
    SHOW("%d %d %d %d", properties.maxThreadsPerBlock, properties.sharedMemPerBlock, properties.SIMDWidth,
         properties.regsPerBlock);
    CALL(cuDeviceGetProperties, NULL, device);
    CALL(cuDeviceComputeCapability, &number, &other, device);
    SHOW("%d.%d", number, other);
    CALL(cuDeviceComputeCapability, NULL, &other, device);
}

static void peers(void) {
    static int number[16];
    static size_t bytes[16];
    begin();
    CALL(cuDeviceCanAccessPeer, number, device, device);
    SHOW("%d", number[0]);
    CALL(cuDeviceCanAccessPeer, number, device, 50);
    CALL(cuDeviceCanAccessPeer, NULL, device, device);
    CALL(cuDeviceGetP2PAttribute, number, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, device, device);
    CALL(cuDeviceGetP2PAttribute, number, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, device, 50);
    CALL(cuDeviceGetTexture1DLinearMaxWidth, bytes, CU_AD_FORMAT_FLOAT, 4, device);
    SHOW("%zu", bytes[0]);
    CALL(cuDeviceGetExecAffinitySupport, number, CU_EXEC_AFFINITY_TYPE_SM_COUNT, device);
    SHOW("%d", number[0]);
}

static void errors(void) {
    const char *text = NULL;
    for (int status = 0; status < 1000; status++) {
        text = NULL;
        if (cuGetErrorName((CUresult)status, &text) != 0 && text == NULL) continue;
        CALL(cuGetErrorName, (CUresult)status, &text);
        SHOW_ALWAYS("%d %s", status, text == NULL ? "none" : text);
        CALL(cuGetErrorString, (CUresult)status, &text);
        SHOW_ALWAYS("%s", text == NULL ? "none" : text);
    }
    CALL(cuGetErrorName, (CUresult)12345, &text);
    SHOW_ALWAYS("%s", text == NULL ? "none" : "some");
    CALL(cuGetErrorString, (CUresult)12345, &text);
    CALL(cuGetErrorName, CUDA_SUCCESS, NULL);
    CALL(cuGetErrorString, CUDA_SUCCESS, NULL);
}

static void entry_point(const char *name, int version, cuuint64_t flags) {
    void *found = NULL;
    CUdriverProcAddressQueryResult result = (CUdriverProcAddressQueryResult)77;
    CALL(cuGetProcAddress, name, &found, version, flags, &result);
    SHOW_ALWAYS("%s %d %llu: %d %s", name, version, (unsigned long long)flags, (int)result, found == NULL ? "null" : "found");
}

static void entry_points(void) {
    static const char *const names[] = {
        "cuInit", "cuMemAlloc", "cuMemAlloc_v2", "cuMemFree", "cuCtxCreate", "cuCtxGetDevice", "cuCtxSynchronize",
        "cuLaunchKernel", "cuLaunchKernelEx", "cuStreamSynchronize", "cuStreamSynchronize_ptsz", "cuMemcpyHtoD",
        "cuMemcpyHtoDAsync", "cuGetProcAddress", "cuGetProcAddress_v2", "cuEventElapsedTime", "cuGraphInstantiate",
        "cuGraphInstantiateWithParams", "cuGraphKernelNodeSetParams", "cuStreamGetCaptureInfo", "cuDeviceGetUuid",
        "cuMemPrefetchAsync", "cuMemAdvise", "cuDevicePrimaryCtxReset", "cuStreamBatchMemOp", "cuTensorMapEncodeTiled",
        "cuLibraryLoadData", "cuKernelGetFunction", "cuMemMap", "cuNoSuchFunction", "cudaMalloc", ""};
    static const int versions[] = {1000, 2000, 3020, 4000, 7000, 10000, 11030, 12000, 12080, 13000};
    void *found;
    CALL(cuInit, 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t j = 0; j < sizeof versions / sizeof *versions; j++) entry_point(names[i], versions[j], 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        entry_point(names[i], 13000, CU_GET_PROC_ADDRESS_LEGACY_STREAM);
        entry_point(names[i], 13000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM);
    }
    entry_point("cuInit", 13000, 64);
    CALL(cuGetProcAddress, NULL, &found, 13000, 0, NULL);
    CALL(cuGetProcAddress, "cuInit", NULL, 13000, 0, NULL);
    CALL(cuGetProcAddress, "cuInit", &found, 13000, 0, NULL);
    CALL(cuGetProcAddress, "cuNoSuchFunction", &found, 13000, 0, NULL);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"before_init", before_init}, {"attributes", attributes}, {"devices", devices}, {"peers", peers},
        {"errors", errors}, {"entry_points", entry_points},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
