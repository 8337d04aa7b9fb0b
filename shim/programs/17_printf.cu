// Kernels print to the program's own standard output.
#include "check.h"

__global__ void greet(int number, double share) {
    printf("kernel %d: block %d, %.2f of %s\n", number, static_cast<int>(blockIdx.x), share, "all");
}

int main() {
    for (int number = 1; number <= 3; number++) {
        greet<<<1, 1>>>(number, number / 4.0);
        CHECK(cudaGetLastError());
        CHECK(cudaDeviceSynchronize());
    }
    std::fflush(stdout);
    std::printf("3 greetings\n");
    return 0;
}
