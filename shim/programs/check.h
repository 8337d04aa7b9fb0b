// What every program here uses: a check that ends the program with the place and CUDA's own words, and a verdict.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>

#define CHECK(call)                                                                                    \
    do {                                                                                               \
        cudaError_t check_status = (call);                                                             \
        if (check_status != cudaSuccess) {                                                             \
            std::fprintf(stderr, "%s:%d: %s: %s (%s)\n", __FILE__, __LINE__, #call,                    \
                         cudaGetErrorName(check_status), cudaGetErrorString(check_status));            \
            std::exit(1);                                                                              \
        }                                                                                              \
    } while (0)

#define EXPECT(condition)                                                                              \
    do {                                                                                               \
        if (!(condition)) {                                                                            \
            std::fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);              \
            std::exit(1);                                                                              \
        }                                                                                              \
    } while (0)

// Prints the name of a status where a certain one is expected.
#define EXPECT_STATUS(wanted, call)                                                                    \
    do {                                                                                               \
        cudaError_t expect_status = (call);                                                            \
        if (expect_status != (wanted)) {                                                               \
            std::fprintf(stderr, "%s:%d: %s: expected %s, found %s\n", __FILE__, __LINE__, #call,      \
                         cudaGetErrorName(wanted), cudaGetErrorName(expect_status));                   \
            std::exit(1);                                                                              \
        }                                                                                              \
    } while (0)

static inline unsigned blocks_of(int count, int block) { return static_cast<unsigned>((count + block - 1) / block); }
