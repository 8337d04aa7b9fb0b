// Modules, libraries, functions, launches, occupancy, tensor maps.
#include "driver.h"

static void modules(void) {
    CUmodule module = NULL, other = NULL;
    CUfunction function = NULL;
    CUdeviceptr variable = 0;
    CUmoduleLoadingMode mode = (CUmoduleLoadingMode)9;
    size_t bytes = 0;
    unsigned count = 0;
    int value = 0;
    begin();
    CALL(cuModuleGetLoadingMode, &mode);
    SHOW("%d", (int)mode);
    CALL(cuModuleGetLoadingMode, NULL);
    CALL(cuModuleLoadData, &module, image);
    CALL(cuModuleLoadDataEx, &other, image, 0, NULL, NULL);
    CALL(cuModuleUnload, other);
    CALL(cuModuleLoadFatBinary, &other, image);
    CALL(cuModuleLoadData, NULL, image);
    CALL(cuModuleLoadData, &other, NULL);
    CALL(cuModuleLoadData, &other, "nonsense");
    CALL(cuModuleLoad, &other, "/no/such/file");
    CALL(cuModuleLoad, &other, NULL);
    CALL(cuModuleGetFunction, &function, module, "_Z10add_to_allPiii");
    CALL(cuModuleGetFunction, &function, module, "no_such_kernel");
    CALL(cuModuleGetFunction, &function, module, "");
    CALL(cuModuleGetFunction, &function, module, NULL);
    CALL(cuModuleGetFunction, NULL, module, "_Z10add_to_allPiii");
    CALL(cuModuleGetFunction, &function, NULL, "_Z10add_to_allPiii");
    CALL(cuModuleGetFunctionCount, &count, module);
    SHOW("%u", count);
    CALL(cuModuleGetGlobal, &variable, &bytes, module, "counter");
    SHOW("%zu", bytes);
    CALL(cuMemcpyDtoH, &value, variable, sizeof value);
    SHOW("%d", value);
    value = 41;
    CALL(cuMemcpyHtoD, variable, &value, sizeof value);
    CALL(cuModuleGetGlobal, &variable, NULL, module, "coefficients");
    CALL(cuModuleGetGlobal, NULL, &bytes, module, "coefficients");
    SHOW("%zu", bytes);
    CALL(cuModuleGetGlobal, NULL, NULL, module, "coefficients");
    CALL(cuModuleGetGlobal, &variable, &bytes, module, "no_such_variable");
    CALL(cuModuleGetGlobal, &variable, &bytes, module, NULL);
    CALL(cuModuleUnload, module);
    CALL(cuModuleUnload, NULL);
}

#define PTX(instruction) \
    ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry some_kernel()\n{\n" instruction "\nret;\n}\n"

// What the compiler is told and what it says: that it says something, not what, which changes from release to release.
static void compiler(void) {
    CUmodule module = NULL;
    CUlibrary library = NULL;
    CUfunction function = NULL;
    char errors[4096] = "", infos[4096] = "";
    int registers = 0;
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, CU_JIT_INFO_LOG_BUFFER,
                              CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, CU_JIT_LOG_VERBOSE, CU_JIT_MAX_REGISTERS,
                              CU_JIT_OPTIMIZATION_LEVEL, CU_JIT_TARGET};
    void *values[] = {errors, (void *)sizeof errors, infos, (void *)sizeof infos, (void *)1, (void *)32, (void *)3,
                      (void *)CU_TARGET_COMPUTE_90};
    begin();
    CALL(cuModuleLoadDataEx, &module, PTX(""), 8, options, values);
    // Whether there is something in the other log depends on what the driver has compiled before.
    SHOW("%d %d", errors[0] != 0, (unsigned)(uintptr_t)values[1] != 0);
    CALL(cuModuleGetFunction, &function, module, "some_kernel");
    CALL(cuFuncGetAttribute, &registers, CU_FUNC_ATTRIBUTE_NUM_REGS, function);
    SHOW("%d", registers);
    values[1] = (void *)sizeof errors;
    values[3] = (void *)sizeof infos;
    CALL(cuModuleLoadDataEx, &module, PTX("no_such_instruction;"), 8, options, values);
    SHOW_ALWAYS("%d %d", strstr(errors, "no_such_instruction") != NULL, (unsigned)(uintptr_t)values[1] > 0);
    memset(errors, 1, sizeof errors);
    values[1] = (void *)16;
    CALL(cuModuleLoadDataEx, &module, PTX("no_such_instruction;"), 2, options, values);
    SHOW_ALWAYS("%d %d", (unsigned)(uintptr_t)values[1] <= 16, errors[16] == 1);
    memset(errors, 0, sizeof errors);
    values[1] = (void *)sizeof errors;
    CALL(cuLibraryLoadData, &library, PTX("no_such_instruction;"), options, values, 2, NULL, NULL, 0);
    SHOW_ALWAYS("%d", strstr(errors, "no_such_instruction") != NULL);
    values[1] = (void *)sizeof errors;
    CALL(cuLibraryLoadData, &library, PTX(""), options, values, 2, NULL, NULL, 0);
    CALL(cuModuleLoadDataEx, &module, PTX(""), 1, NULL, NULL);
    options[0] = CU_JIT_NUM_OPTIONS;
    CALL(cuModuleLoadDataEx, &module, PTX(""), 1, options, values);
}

static void libraries(void) {
    CUlibrary library = NULL;
    CUkernel kernel = NULL, kernels[4];
    CUmodule module = NULL;
    CUfunction function = NULL;
    CUdeviceptr variable = 0, block = 0;
    const char *name = NULL;
    size_t bytes = 0, offset = 0;
    unsigned count = 0;
    int value = 0, back = 0, summand = 5, length = 1;
    void *arguments[] = {&block, &summand, &length};
    begin();
    CALL(cuLibraryLoadData, &library, image, NULL, NULL, 0, NULL, NULL, 0);
    CALL(cuLibraryLoadData, NULL, image, NULL, NULL, 0, NULL, NULL, 0);
    CALL(cuLibraryGetKernel, &kernel, library, "_Z10add_to_allPiii");
    CALL(cuLibraryGetKernel, &kernel, library, "no_such_kernel");
    CALL(cuLibraryGetKernel, NULL, library, "_Z10add_to_allPiii");
    CALL(cuLibraryGetKernel, &kernel, NULL, "_Z10add_to_allPiii");
    CALL(cuLibraryGetKernelCount, &count, library);
    SHOW("%u", count);
    CALL(cuLibraryEnumerateKernels, kernels, 4, library);
    CALL(cuLibraryGetModule, &module, library);
    CALL(cuLibraryGetModule, NULL, library);
    CALL(cuLibraryGetGlobal, &variable, &bytes, library, "counter");
    SHOW("%zu", bytes);
    CALL(cuLibraryGetGlobal, &variable, &bytes, library, "no_such_variable");
    CALL(cuLibraryGetManaged, &variable, &bytes, library, "no_such_variable");
    CALL(cuLibraryGetUnifiedFunction, (void **)&name, library, "no_such_function");
    CALL(cuKernelGetFunction, &function, kernel);
    CALL(cuKernelGetFunction, NULL, kernel);
    CALL(cuKernelGetName, &name, kernel);
    SHOW("%s", name);
    CALL(cuKernelGetAttribute, &value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, kernel, device);
    SHOW("%d", value);
    CALL(cuKernelGetAttribute, &value, (CUfunction_attribute)99, kernel, device);
    CALL(cuKernelSetAttribute, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 1024, kernel, device);
    CALL(cuKernelSetCacheConfig, kernel, CU_FUNC_CACHE_PREFER_L1, device);
    for (unsigned i = 0; i < 4; i++) {
        CALL(cuKernelGetParamInfo, kernel, i, &offset, &bytes);
        SHOW("%zu %zu", offset, bytes);
    }
    CALL(cuKernelGetParamInfo, kernel, 0, NULL, &bytes);
    CALL(cuKernelGetParamInfo, kernel, 0, &offset, NULL);
    CALL(cuKernelGetLibrary, &library, kernel);
    CALL(cuMemAlloc, &block, 64);
    CALL(cuMemsetD32, block, 3, 16);
    CALL(cuLaunchKernel, (CUfunction)kernel, 1, 1, 1, 32, 1, 1, 0, NULL, arguments, NULL);
    CALL(cuMemcpyDtoH, &back, block, sizeof back);
    SHOW("%d", back);
    CALL(cuLibraryUnload, library);
    CALL(cuLibraryUnload, NULL);
}

static void functions(void) {
    CUmodule module, found = NULL;
    CUfunction function;
    const char *name = NULL;
    size_t offset = 0, bytes = 0;
    int value = 0;
    begin();
    module = load();
    function = function_of(module, "_Z9fill_withPiii");
    static const CUfunction_attribute attributes[] = {
        CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES,
        CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES,
        CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, CU_FUNC_ATTRIBUTE_NUM_REGS,
        CU_FUNC_ATTRIBUTE_PTX_VERSION, CU_FUNC_ATTRIBUTE_BINARY_VERSION, CU_FUNC_ATTRIBUTE_CACHE_MODE_CA,
        CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES};
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++) {
        CALL(cuFuncGetAttribute, &value, attributes[i], function);
        SHOW_ALWAYS("attribute %d", (int)attributes[i]);
        SHOW("%d", value);
    }
    CALL(cuFuncGetAttribute, &value, (CUfunction_attribute)99, function);
    CALL(cuFuncGetAttribute, NULL, CU_FUNC_ATTRIBUTE_NUM_REGS, function);
    CALL(cuFuncGetAttribute, &value, CU_FUNC_ATTRIBUTE_NUM_REGS, NULL);
    CALL(cuFuncSetAttribute, function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 65536);
    CALL(cuFuncGetAttribute, &value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, function);
    SHOW("%d", value);
    CALL(cuFuncSetAttribute, function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 1 << 30);
    CALL(cuFuncSetAttribute, function, CU_FUNC_ATTRIBUTE_NUM_REGS, 3);
    CALL(cuFuncSetCacheConfig, function, CU_FUNC_CACHE_PREFER_SHARED);
    CALL(cuFuncGetModule, &found, function);
    SHOW("%d", found == module);
    CALL(cuFuncGetModule, NULL, function);
    CALL(cuFuncGetName, &name, function);
    SHOW("%s", name);
    for (unsigned i = 0; i < 4; i++) {
        CALL(cuFuncGetParamInfo, function, i, &offset, &bytes);
        SHOW("%zu %zu", offset, bytes);
    }
    CALL(cuFuncGetParamInfo, NULL, 0, &offset, &bytes);
    CALL(cuFuncLoad, function);
    CUfunctionLoadingState state = (CUfunctionLoadingState)9;
    CALL(cuFuncIsLoaded, &state, function);
    SHOW("%d", (int)state);
    CALL(cuModuleUnload, module);
}

static void launches(void) {
    CUmodule module;
    CUfunction add, fill;
    CUdeviceptr block = 0;
    int back[64] = {0}, summand = 3, length = 50;
    void *arguments[] = {&block, &summand, &length};
    struct {
        CUdeviceptr block;
        int summand, length;
    } packed;
    size_t packed_bytes = sizeof packed;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &packed_bytes,
                     CU_LAUNCH_PARAM_END};
    CUlaunchConfig config = {0};
    CUlaunchAttribute attribute = {0};
    begin();
    module = load();
    add = function_of(module, "_Z10add_to_allPiii");
    fill = function_of(module, "_Z9fill_withPiii");
    cuMemAlloc(&block, sizeof back);
    packed.block = block;
    packed.summand = 100;
    packed.length = 10;
    CALL(cuMemsetD8, block, 0, sizeof back);
    CALL(cuLaunchKernel, add, 2, 1, 1, 32, 1, 1, 0, NULL, arguments, NULL);
    CALL(cuLaunchKernel, add, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, extra);
    config.gridDimX = 1;
    config.gridDimY = 1;
    config.gridDimZ = 1;
    config.blockDimX = 16;
    config.blockDimY = 1;
    config.blockDimZ = 1;
    config.hStream = NULL;
    CALL(cuLaunchKernelEx, &config, add, arguments, NULL);
    attribute.id = CU_LAUNCH_ATTRIBUTE_PRIORITY;
    attribute.value.priority = 0;
    config.attrs = &attribute;
    config.numAttrs = 1;
    CALL(cuLaunchKernelEx, &config, add, arguments, NULL);
    CALL(cuLaunchKernelEx, NULL, add, arguments, NULL);
    CALL(cuLaunchCooperativeKernel, fill, 1, 1, 1, 4, 1, 1, 0, NULL, arguments);
    CALL(cuMemcpyDtoH, back, block, sizeof back);
    for (int i = 0; i < 64; i += 3) SHOW("%d", back[i]);
    CALL(cuLaunchKernel, NULL, 1, 1, 1, 1, 1, 1, 0, NULL, arguments, NULL);
    CALL(cuLaunchKernel, add, 0, 1, 1, 32, 1, 1, 0, NULL, arguments, NULL);
    CALL(cuLaunchKernel, add, 1, 0, 1, 32, 1, 1, 0, NULL, arguments, NULL);
    CALL(cuLaunchKernel, add, 1, 1, 1, 0, 1, 1, 0, NULL, arguments, NULL);
    CALL(cuLaunchKernel, add, 1, 1, 1, 2048, 1, 1, 0, NULL, arguments, NULL);
    CALL(cuLaunchKernel, add, 1, 1, 1, 1, 1, 128, 0, NULL, arguments, NULL);
    CALL(cuLaunchKernel, add, 1, 70000, 1, 1, 1, 1, 0, NULL, arguments, NULL);
    CALL(cuLaunchKernel, add, 1, 1, 1, 32, 1, 1, 1 << 20, NULL, arguments, NULL);
    CALL(cuLaunchKernel, add, 1, 1, 1, 32, 1, 1, 40000, NULL, arguments, NULL);
    CALL(cuLaunchKernel, fill, 1, 1, 1, 512, 1, 1, 0, NULL, arguments, NULL);
    CALL(cuLaunchKernel, add, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, NULL);
    CALL(cuLaunchKernel, add, 1, 1, 1, 32, 1, 1, 0, NULL, arguments, extra);
    CALL(cuLaunchCooperativeKernel, add, 1 << 20, 1, 1, 32, 1, 1, 0, NULL, arguments);
    CALL0(cuCtxSynchronize);
    CALL(cuModuleUnload, module);
}

// A store to nowhere makes the context unusable.
static void broken(void) {
    CUdeviceptr nowhere = 0x10, block = 0;
    int value = 1, length = 1;
    void *arguments[] = {&nowhere, &value, &length};
    CUfunction fill;
    begin();
    fill = function_of(load(), "_Z9fill_withPiii");
    CALL(cuLaunchKernel, fill, 1, 1, 1, 32, 1, 1, 0, NULL, arguments, NULL);
    CALL0(cuCtxSynchronize);
    CALL0(cuCtxSynchronize);
    CALL(cuMemAlloc, &block, 64);
    CALL(cuStreamSynchronize, NULL);
}

static size_t CUDA_CB shared_of(int block) { return (size_t)block * 4; }

static void occupancy(void) {
    CUmodule module;
    CUfunction function;
    CUlaunchConfig config = {0};
    int blocks = 0, grid = 0, block = 0;
    size_t bytes = 0;
    begin();
    module = load();
    function = function_of(module, "_Z10add_to_allPiii");
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, &blocks, function, 128, 0);
    SHOW("%d", blocks);
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, &blocks, function, 1024, 40000);
    SHOW("%d", blocks);
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, &blocks, function, 0, 0);
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, NULL, function, 128, 0);
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, &blocks, NULL, 128, 0);
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, &blocks, function, 256, 0, CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE);
    SHOW("%d", blocks);
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, &blocks, function, 256, 0, 77);
    CALL(cuOccupancyMaxPotentialBlockSize, &grid, &block, function, NULL, 0, 0);
    SHOW("%d %d", grid, block);
    CALL(cuOccupancyMaxPotentialBlockSize, &grid, &block, function, shared_of, 0, 256);
    SHOW("%d %d", grid, block);
    CALL(cuOccupancyMaxPotentialBlockSizeWithFlags, &grid, &block, function, NULL, 0, 0, 0);
    SHOW("%d %d", grid, block);
    CALL(cuOccupancyMaxPotentialBlockSize, NULL, &block, function, NULL, 0, 0);
    CALL(cuOccupancyAvailableDynamicSMemPerBlock, &bytes, function, 2, 256);
    SHOW("%zu", bytes);
    config.gridDimX = config.gridDimY = config.gridDimZ = 1;
    config.blockDimX = 128;
    config.blockDimY = config.blockDimZ = 1;
    CALL(cuOccupancyMaxPotentialClusterSize, &blocks, function, &config);
    SHOW("%d", blocks);
    CALL(cuModuleUnload, module);
}

static void tensor_maps(void) {
    CUdeviceptr block = 0;
    CUtensorMap map;
    cuuint64_t sizes[] = {64, 32, 4}, strides[] = {256, 8192};
    cuuint32_t box[] = {32, 8, 1}, steps[] = {1, 1, 1};
    begin();
    cuMemAlloc(&block, 1 << 20);
    memset(&map, 0, sizeof map);
    CALL(cuTensorMapEncodeTiled, &map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 3, (void *)(uintptr_t)block, sizes, strides, box,
         steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
         CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    SHOW("%d", ((uint64_t *)&map)[1] != 0);
    CALL(cuTensorMapReplaceAddress, &map, (void *)(uintptr_t)(block + 4096));
    CALL(cuTensorMapEncodeTiled, &map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 9, (void *)(uintptr_t)block, sizes, strides, box,
         steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_NONE,
         CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    CALL(cuTensorMapEncodeTiled, NULL, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 3, (void *)(uintptr_t)block, sizes, strides, box,
         steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_NONE,
         CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    CALL(cuTensorMapEncodeTiled, &map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 3, (void *)(uintptr_t)(block + 1), sizes,
         strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
         CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

int main(int count, char **arguments) {
    static const struct section sections[] = {
        {"modules", modules}, {"compiler", compiler}, {"libraries", libraries}, {"functions", functions}, {"launches", launches},
        {"broken", broken}, {"occupancy", occupancy}, {"tensor_maps", tensor_maps},
    };
    return run_sections(sections, sizeof sections / sizeof *sections, count, arguments);
}
