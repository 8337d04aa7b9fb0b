// A device that is reset: what was there is gone, and everything works anew.
#include "check.h"

__device__ int evaluations = 100;
__constant__ float coefficients[4];
__device__ int2 span;

__global__ void polynomial(const float *x, float *y, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) {
        y[i] = ((coefficients[3] * x[i] + coefficients[2]) * x[i] + coefficients[1]) * x[i] + coefficients[0];
        atomicAdd(&evaluations, 1);
        if (i == 0) span = make_int2(0, count);
    }
}

static float round_trip(float third) {
    const int count = 64;
    float host[count], result[count], factors[4] = {1, 2, third, 4};
    float *x = nullptr, *y = nullptr;
    for (int i = 0; i < count; i++) host[i] = static_cast<float>(i);
    CHECK(cudaMalloc(&x, sizeof(host)));
    CHECK(cudaMalloc(&y, sizeof(host)));
    CHECK(cudaMemcpy(x, host, sizeof(host), cudaMemcpyHostToDevice));
    CHECK(cudaMemcpyToSymbol(coefficients, factors, sizeof(factors)));
    polynomial<<<1, count>>>(x, y, count);
    CHECK(cudaGetLastError());
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaMemcpy(result, y, sizeof(result), cudaMemcpyDeviceToHost));
    CHECK(cudaFree(x));
    CHECK(cudaFree(y));
    return result[2];
}

static int evaluated() {
    int value = 0;
    CHECK(cudaMemcpyFromSymbol(&value, evaluations, sizeof(value)));
    return value;
}

int main() {
    float first = round_trip(3);
    std::printf("at first: %.0f, %d evaluations\n", first, evaluated());
    for (int i = 0; i < 2; i++) {
        CHECK(cudaDeviceReset());
        std::printf("after a reset: %d evaluations\n", evaluated());
        float result = round_trip(5);
        std::printf("again: %.0f, %d evaluations\n", result, evaluated());
    }
    return 0;
}
