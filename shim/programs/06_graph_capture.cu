// A stream's work captured as a graph, launched many times, updated, launched again.
#include "check.h"

__global__ void add_to_all(int *values, int summand, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] += summand;
}

static cudaGraph_t capture(cudaStream_t stream, cudaStream_t side, int *values, int count, int summand) {
    cudaEvent_t fork, join;
    CHECK(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
    CHECK(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    CHECK(cudaStreamIsCapturing(stream, &status));
    EXPECT(status == cudaStreamCaptureStatusActive);
    CHECK(cudaMemsetAsync(values, 0, count * sizeof(int), stream));
    CHECK(cudaEventRecord(fork, stream));
    CHECK(cudaStreamWaitEvent(side, fork, 0));
    // Two halves at the same time, on two streams.
    int half = count / 2;
    add_to_all<<<blocks_of(half, 128), 128, 0, stream>>>(values, summand, half);
    add_to_all<<<blocks_of(half, 128), 128, 0, side>>>(values + half, 2 * summand, half);
    CHECK(cudaEventRecord(join, side));
    CHECK(cudaStreamWaitEvent(stream, join, 0));
    add_to_all<<<blocks_of(count, 128), 128, 0, stream>>>(values, 1, count);
    CHECK(cudaGetLastError());
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(stream, &graph));
    CHECK(cudaStreamIsCapturing(stream, &status));
    EXPECT(status == cudaStreamCaptureStatusNone);
    CHECK(cudaEventDestroy(fork));
    CHECK(cudaEventDestroy(join));
    return graph;
}

int main() {
    const int count = 2048;
    int *values = nullptr, host[count];
    cudaStream_t stream, side;
    CHECK(cudaMalloc(&values, sizeof(host)));
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CHECK(cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking));
    cudaGraph_t graph = capture(stream, side, values, count, 10);
    size_t nodes = 0;
    CHECK(cudaGraphGetNodes(graph, nullptr, &nodes));
    cudaGraphExec_t exec = nullptr;
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    for (int i = 0; i < 20; i++) CHECK(cudaGraphLaunch(exec, stream));
    CHECK(cudaMemcpyAsync(host, values, sizeof(host), cudaMemcpyDeviceToHost, stream));
    CHECK(cudaStreamSynchronize(stream));
    for (int i = 0; i < count; i++) EXPECT(host[i] == (i < count / 2 ? 11 : 21));
    std::printf("%zu nodes, first half %d, second half %d\n", nodes, host[0], host[count - 1]);

    cudaGraph_t other = capture(stream, side, values, count, 100);
    cudaGraphExecUpdateResultInfo info;
    CHECK(cudaGraphExecUpdate(exec, other, &info));
    EXPECT(info.result == cudaGraphExecUpdateSuccess);
    CHECK(cudaGraphUpload(exec, stream));
    CHECK(cudaGraphLaunch(exec, stream));
    CHECK(cudaMemcpyAsync(host, values, sizeof(host), cudaMemcpyDeviceToHost, stream));
    CHECK(cudaStreamSynchronize(stream));
    for (int i = 0; i < count; i++) EXPECT(host[i] == (i < count / 2 ? 101 : 201));
    std::printf("updated: first half %d, second half %d\n", host[0], host[count - 1]);

    CHECK(cudaGraphExecDestroy(exec));
    CHECK(cudaGraphDestroy(graph));
    CHECK(cudaGraphDestroy(other));
    CHECK(cudaStreamDestroy(stream));
    CHECK(cudaStreamDestroy(side));
    CHECK(cudaFree(values));
    return 0;
}
