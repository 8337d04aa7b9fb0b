// Variables of a module: __constant__ and __device__, by copies to and from symbols and by address.
#include "check.h"

__constant__ float coefficients[4];
__device__ int evaluations = 100;
__device__ int2 span;

__global__ void polynomial(const float *x, float *y, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) {
        y[i] = ((coefficients[3] * x[i] + coefficients[2]) * x[i] + coefficients[1]) * x[i] + coefficients[0];
        atomicAdd(&evaluations, 1);
        if (i == 0) span = make_int2(0, count);
    }
}

int main() {
    const int count = 300;
    float host[count], result[count], factors[4] = {1, 2, 3, 4};
    for (int i = 0; i < count; i++) host[i] = static_cast<float>(i % 20);
    float *x = nullptr, *y = nullptr;
    CHECK(cudaMalloc(&x, sizeof(host)));
    CHECK(cudaMalloc(&y, sizeof(host)));
    CHECK(cudaMemcpy(x, host, sizeof(host), cudaMemcpyHostToDevice));
    int before = 0;
    CHECK(cudaMemcpyFromSymbol(&before, evaluations, sizeof(before)));
    EXPECT(before == 100);
    CHECK(cudaMemcpyToSymbol(coefficients, factors, sizeof(factors)));
    // One of them again, by its offset.
    factors[2] = -3;
    CHECK(cudaMemcpyToSymbolAsync(coefficients, &factors[2], sizeof(float), 2 * sizeof(float), cudaMemcpyHostToDevice, 0));
    polynomial<<<blocks_of(count, 64), 64>>>(x, y, count);
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpy(result, y, sizeof(result), cudaMemcpyDeviceToHost));
    double total = 0;
    for (int i = 0; i < count; i++) {
        EXPECT(result[i] == ((4 * host[i] - 3) * host[i] + 2) * host[i] + 1);
        total += result[i];
    }
    void *address = nullptr;
    size_t size = 0;
    CHECK(cudaGetSymbolAddress(&address, evaluations));
    CHECK(cudaGetSymbolSize(&size, coefficients));
    EXPECT(size == sizeof(factors));
    int after = 0, pair[2] = {-1, -1};
    CHECK(cudaMemcpy(&after, address, sizeof(after), cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpyFromSymbol(pair, span, sizeof(pair)));
    EXPECT(after == 100 + count && pair[0] == 0 && pair[1] == count);
    EXPECT_STATUS(cudaErrorInvalidSymbol, cudaMemcpyToSymbol(&before, &after, sizeof(int)));
    EXPECT(cudaGetLastError() == cudaErrorInvalidSymbol);
    CHECK(cudaFree(x));
    CHECK(cudaFree(y));
    std::printf("%d evaluations, total %.0f\n", after - 100, total);
    return 0;
}
