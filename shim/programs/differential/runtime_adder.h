// What the runtime programs about graphs share: a kernel that adds, memory and a stream for it.
#pragma once

#include "runtime.h"

static const void *add;
static int *block;
static cudaStream_t stream;

static inline void prepare(void) {
    begin();
    add = kernel_of("_Z10add_to_allPiii");
    cudaMalloc((void **)&block, 4096);
    cudaMemset(block, 0, 4096);
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    cudaDeviceSynchronize();
}

static inline int value_at(size_t index) {
    int value = -1;
    cudaMemcpy(&value, block + index, sizeof value, cudaMemcpyDeviceToHost);
    return value;
}
