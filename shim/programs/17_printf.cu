// Kernels print to the program's own standard output.
#include "check.h"

__global__ void greet(int number, double share) {
    printf("kernel %d: block %d, %.2f of %s\n", number, static_cast<int>(blockIdx.x), share, "all");
}

int main() {
    // Where standard output is a file or a pipe this waits in the C library's buffer, and the kernels' lines behind it.
    std::printf("greetings:\n");
    for (int number = 1; number <= 3; number++) {
        greet<<<1, 1>>>(number, number / 4.0);
        CHECK(cudaGetLastError());
        CHECK(cudaDeviceSynchronize());
    }
    std::printf("3 greetings\n");
    return 0;
}
