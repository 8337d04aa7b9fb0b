// Many kernels in one program, most never used; parameters of 2.8 KB; many small launches.
#include "check.h"
#include <utility>

template <int N>
__global__ void tag(int *out) {
    out[N] = 1000 + N;
}

struct Table {
    int values[700];
};

__global__ void sum_table(Table table, int *out) {
    int sum = 0;
    for (int value : table.values) sum += value;
    *out = sum;
}

__global__ void mix_types(char a, short b, int c, long long d, float e, double f, double *out) {
    *out = a + b + c + static_cast<double>(d) + e + f;
}

template <int... N>
static void launch_all(int *out, std::integer_sequence<int, N...>) {
    (tag<N><<<1, 1>>>(out), ...);
}

int main() {
    const int kinds = 64;
    int *out = nullptr, host[kinds];
    double *result = nullptr, found = 0;
    CHECK(cudaMalloc(&out, sizeof(host)));
    CHECK(cudaMalloc(&result, sizeof(double)));
    CHECK(cudaMemset(out, 0, sizeof(host)));
    for (int round = 0; round < 5; round++) launch_all(out, std::make_integer_sequence<int, kinds>());
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpy(host, out, sizeof(host), cudaMemcpyDeviceToHost));
    for (int i = 0; i < kinds; i++) EXPECT(host[i] == 1000 + i);
    Table table;
    int expected = 0, sum = 0;
    for (int i = 0; i < 700; i++) expected += table.values[i] = i * i % 1001;
    sum_table<<<1, 1>>>(table, out);
    CHECK(cudaMemcpy(&sum, out, sizeof(sum), cudaMemcpyDeviceToHost));
    EXPECT(sum == expected);
    mix_types<<<1, 1>>>(1, -2, 30, 400'000'000'000LL, 0.5f, 0.25, result);
    CHECK(cudaMemcpy(&found, result, sizeof(found), cudaMemcpyDeviceToHost));
    EXPECT(found == 400'000'000'029.75);
    for (int i = 0; i < 5000; i++) tag<7><<<1, 1>>>(out);
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaFree(out));
    CHECK(cudaFree(result));
    std::printf("%d kernels, table %d, mixed %.2f\n", kinds, sum, found);
    return 0;
}
