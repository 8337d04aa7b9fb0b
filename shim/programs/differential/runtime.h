// The runtime programs' common beginning.
#pragma once

#include "image.h"
#include "lines.h"
#include <cuda_runtime_api.h>
#include <driver_functions.h>

static inline void begin(void) {
    if (cudaFree(NULL) != cudaSuccess) {
        printf("\nthe runtime does not start");
        fflush(stdout);
        _exit(1);
    }
}

// A kernel of the module, as a symbol that launches take.
static inline const void *kernel_of(const char *name) {
    cudaLibrary_t library = NULL;
    cudaKernel_t kernel = NULL;
    if (cudaLibraryLoadData(&library, image, NULL, NULL, 0, NULL, NULL, 0) != cudaSuccess ||
        cudaLibraryGetKernel(&kernel, library, name) != cudaSuccess)
        printf("\n%s is not found", name);
    return kernel;
}
