// Host functions between device work: they run in order, see the results, and the stream waits for them.
#include "check.h"

__global__ void add_to_all(int *values, int summand, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] += summand;
}

struct Step {
    int *values;
    int seen;
};

static int order[8], steps = 0;

static void CUDART_CB look(void *data) {
    Step *step = static_cast<Step *>(data);
    step->seen = step->values[0];
    order[steps++] = step->seen;
}

static void CUDART_CB old_callback(cudaStream_t, cudaError_t status, void *data) {
    if (status == cudaSuccess) look(data);
}

int main() {
    const int count = 64;
    int *values = nullptr;
    CHECK(cudaMallocHost(&values, count * sizeof(int)));
    for (int i = 0; i < count; i++) values[i] = 0;
    cudaStream_t stream;
    CHECK(cudaStreamCreate(&stream));
    Step step[4];
    for (int i = 0; i < 4; i++) {
        step[i] = {values, -1};
        add_to_all<<<1, count, 0, stream>>>(values, 10, count);
        CHECK(cudaGetLastError());
        if (i < 3)
            CHECK(cudaLaunchHostFunc(stream, look, &step[i]));
        else
            CHECK(cudaStreamAddCallback(stream, old_callback, &step[i], 0));
    }
    add_to_all<<<1, count, 0, stream>>>(values, 1, count);
    CHECK(cudaStreamSynchronize(stream));
    EXPECT(steps == 4);
    for (int i = 0; i < 4; i++) EXPECT(order[i] == 10 * (i + 1));
    EXPECT(values[count - 1] == 41);
    std::printf("4 host functions saw %d %d %d %d\n", order[0], order[1], order[2], order[3]);
    CHECK(cudaStreamDestroy(stream));
    CHECK(cudaFreeHost(values));
    return 0;
}
