// The driver programs' common beginning.
#pragma once

#include "image.h"
#include "lines.h"
#include <cuda.h>

static CUdevice device;
static CUcontext context;

// Starts the driver with the primary context current, and prints nothing.
static inline void begin(void) {
    if (cuInit(0) != 0 || cuDeviceGet(&device, 0) != 0 || cuDevicePrimaryCtxRetain(&context, device) != 0 ||
        cuCtxSetCurrent(context) != 0) {
        printf("\nthe driver does not start");
        fflush(stdout);
        _exit(1);
    }
}

static inline CUmodule load(void) {
    CUmodule module = NULL;
    if (cuModuleLoadData(&module, image) != 0) printf("\nthe module does not load");
    return module;
}

static inline CUfunction function_of(CUmodule module, const char *name) {
    CUfunction function = NULL;
    if (cuModuleGetFunction(&function, module, name) != 0) printf("\n%s is not found", name);
    return function;
}
