// Four streams, each with its own piece of pinned memory: copy in, compute, copy out; an event joins them.
#include "check.h"

__global__ void saxpy(float a, const float *x, float *y, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) y[i] = a * x[i] + y[i];
}

int main() {
    const int streams = 4, piece = 16'384, count = streams * piece;
    const size_t piece_bytes = piece * sizeof(float);
    float *x = nullptr, *y = nullptr, *device_x = nullptr, *device_y = nullptr;
    CHECK(cudaMallocHost(&x, count * sizeof(float)));
    CHECK(cudaHostAlloc(&y, count * sizeof(float), cudaHostAllocDefault));
    CHECK(cudaMalloc(&device_x, count * sizeof(float)));
    CHECK(cudaMalloc(&device_y, count * sizeof(float)));
    for (int i = 0; i < count; i++) {
        x[i] = static_cast<float>(i % 512);
        y[i] = static_cast<float>(i % 3);
    }
    int least = 1, greatest = 1;
    CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    EXPECT(least >= greatest);
    cudaStream_t stream[streams], last;
    cudaEvent_t done[streams];
    for (int s = 0; s < streams; s++) {
        CHECK(cudaStreamCreateWithPriority(&stream[s], cudaStreamNonBlocking, s % 2 ? least : greatest));
        CHECK(cudaEventCreateWithFlags(&done[s], cudaEventDisableTiming));
    }
    CHECK(cudaStreamCreate(&last));
    for (int s = 0; s < streams; s++) {
        float *to_x = device_x + s * piece, *to_y = device_y + s * piece;
        CHECK(cudaMemcpyAsync(to_x, x + s * piece, piece_bytes, cudaMemcpyHostToDevice, stream[s]));
        CHECK(cudaMemcpyAsync(to_y, y + s * piece, piece_bytes, cudaMemcpyHostToDevice, stream[s]));
        saxpy<<<blocks_of(piece, 128), 128, 0, stream[s]>>>(0.5f, to_x, to_y, piece);
        CHECK(cudaGetLastError());
        CHECK(cudaEventRecord(done[s], stream[s]));
        CHECK(cudaStreamWaitEvent(last, done[s], 0));
    }
    CHECK(cudaMemcpyAsync(y, device_y, count * sizeof(float), cudaMemcpyDefault, last));
    CHECK(cudaStreamSynchronize(last));
    CHECK(cudaStreamQuery(last));
    double total = 0;
    for (int i = 0; i < count; i++) {
        EXPECT(y[i] == 0.5f * static_cast<float>(i % 512) + static_cast<float>(i % 3));
        total += y[i];
    }
    for (int s = 0; s < streams; s++) {
        CHECK(cudaEventQuery(done[s]));
        CHECK(cudaEventDestroy(done[s]));
        CHECK(cudaStreamDestroy(stream[s]));
    }
    CHECK(cudaStreamDestroy(last));
    CHECK(cudaFreeHost(x));
    CHECK(cudaFreeHost(y));
    CHECK(cudaFree(device_x));
    CHECK(cudaFree(device_y));
    std::printf("4 streams, total %.1f\n", total);
    return 0;
}
