// What the measuring programs share: a check that ends the program with the place and CUDA's own name of the failure, a clock,
// and quantiles. To be included first.
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <cuda.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHECK(call)                                                                                \
    do {                                                                                           \
        CUresult check_status = (call);                                                            \
        if (check_status != CUDA_SUCCESS) {                                                        \
            const char *check_name = "?";                                                          \
            cuGetErrorName(check_status, &check_name);                                             \
            fprintf(stderr, "%s: line %d: %s: %s\n", program_invocation_short_name, __LINE__,      \
                    #call, check_name);                                                            \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define KIB 1024ull
#define MIB (1024 * KIB)

static inline double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static inline int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Sorts `values`; `part` 0.5 is the median.
static inline double quantile(double *values, int count, double part) {
    qsort(values, count, sizeof(double), by_value);
    int at = (int)(part * count);
    return values[at < count ? at : count - 1];
}
