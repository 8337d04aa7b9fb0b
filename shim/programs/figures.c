// What calls cost: one figure a line, `figure NAME VALUE UNIT`. The same binary runs on NVIDIA's library and on ringbar's.
//
//   figures           everything
//   figures start     nothing but what every program does first: driver, context, a little memory
//   figures quick     everything, few times: to see that it runs
#include "measure.h"

// out[0] = a1 + ... + a7, by one thread.
static const char image[] =
    ".version 7.8\n.target sm_75\n.address_size 64\n"
    ".visible .entry eight_arguments(\n"
    ".param .u64 p0, .param .u32 p1, .param .u32 p2, .param .u32 p3,\n"
    ".param .u32 p4, .param .u32 p5, .param .u32 p6, .param .u32 p7)\n"
    "{\n.reg .b32 %r<15>;\n.reg .b64 %rd<3>;\n"
    "ld.param.u64 %rd1, [p0];\ncvta.to.global.u64 %rd2, %rd1;\n"
    "ld.param.u32 %r1, [p1];\nld.param.u32 %r2, [p2];\nld.param.u32 %r3, [p3];\nld.param.u32 %r4, [p4];\n"
    "ld.param.u32 %r5, [p5];\nld.param.u32 %r6, [p6];\nld.param.u32 %r7, [p7];\n"
    "add.s32 %r8, %r1, %r2;\nadd.s32 %r9, %r8, %r3;\nadd.s32 %r10, %r9, %r4;\nadd.s32 %r11, %r10, %r5;\n"
    "add.s32 %r12, %r11, %r6;\nadd.s32 %r13, %r12, %r7;\nst.global.u32 [%rd2], %r13;\nret;\n}\n";

static CUcontext context;
static CUstream stream;
static CUfunction function;
static CUdeviceptr device_block;
static int quick;

static void figure(const char *name, double value, const char *unit) {
    printf("figure %s %.4f %s\n", name, value, unit);
    fflush(stdout);
}

static void begin(void) {
    CUdevice device;
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuDevicePrimaryCtxRetain(&context, device));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuMemAlloc(&device_block, 256 * MIB));
}

static void launch(void) {
    CUdeviceptr out = device_block;
    int a1 = 1, a2 = 2, a3 = 3, a4 = 4, a5 = 5, a6 = 6, a7 = 7;
    void *arguments[] = {&out, &a1, &a2, &a3, &a4, &a5, &a6, &a7};
    CHECK(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, arguments, NULL));
}

static void check_result(void) {
    int found = 0;
    launch();
    CHECK(cuStreamSynchronize(stream));
    CHECK(cuMemcpyDtoH(&found, device_block, sizeof found));
    if (found != 28) {
        fprintf(stderr, "figures: the kernel wrote %d, not 28\n", found);
        exit(1);
    }
}

// Bursts of 100: few enough that no queue fills up.
static void launch_bursts(void) {
    enum { BURST = 100, BURSTS = 200 };
    static double whole[BURSTS], single[BURST * BURSTS];
    int bursts = quick ? 5 : BURSTS, singles = 0;
    for (int i = 0; i < bursts; i++) {
        double start = now_ns();
        for (int j = 0; j < BURST; j++) launch();
        whole[i] = (now_ns() - start) / BURST;
        CHECK(cuStreamSynchronize(stream));
    }
    for (int i = 0; i < bursts; i++) {
        for (int j = 0; j < BURST; j++) {
            double start = now_ns();
            launch();
            single[singles++] = now_ns() - start;
        }
        CHECK(cuStreamSynchronize(stream));
    }
    figure("launch_burst", quantile(whole, bursts, 0.5) / 1e3, "us");
    figure("launch_single_p50", quantile(single, singles, 0.5) / 1e3, "us");
    figure("launch_single_p99", quantile(single, singles, 0.99) / 1e3, "us");
    check_result();
}

static void launches_sustained(void) {
    enum { RUNS = 5 };
    double took[RUNS];
    int count = quick ? 1000 : 15000;
    for (int run = -1; run < RUNS; run++) {
        double start = now_ns();
        for (int i = 0; i < count; i++) launch();
        CHECK(cuStreamSynchronize(stream));
        if (run >= 0) took[run] = (now_ns() - start) / count;
    }
    figure("launch_sustained", quantile(took, RUNS, 0.5) / 1e3, "us");
}

static void launch_and_wait(void) {
    enum { COUNT = 3000 };
    static double took[COUNT];
    int count = quick ? 50 : COUNT;
    for (int i = 0; i < count; i++) {
        double start = now_ns();
        launch();
        CHECK(cuStreamSynchronize(stream));
        took[i] = now_ns() - start;
    }
    figure("launch_sync", quantile(took, count, 0.5) / 1e3, "us");
    figure("launch_sync_p99", quantile(took, count, 0.99) / 1e3, "us");
}

static void events(void) {
    CUevent event;
    int count = quick ? 100 : 20000;
    CHECK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    launch();
    CHECK(cuEventRecord(event, stream));
    CHECK(cuEventSynchronize(event));
    CHECK(cuEventQuery(event));
    double start = now_ns();
    for (int i = 0; i < count; i++) CHECK(cuEventQuery(event));
    figure("event_query", (now_ns() - start) / count / 1e3, "us");
    start = now_ns();
    for (int i = 0; i < count / 20; i++) CHECK(cuEventRecord(event, stream));
    figure("event_record", (now_ns() - start) / (count / 20) / 1e3, "us");
    CHECK(cuStreamSynchronize(stream));
    start = now_ns();
    for (int i = 0; i < count / 20; i++) CHECK(cuStreamSynchronize(stream));
    figure("idle_stream_sync", (now_ns() - start) / (count / 20) / 1e3, "us");
    CHECK(cuEventDestroy(event));
}

static const char *size_name(uint64_t bytes) {
    static char name[32];
    if (bytes >= MIB) snprintf(name, sizeof name, "%lluMiB", (unsigned long long)(bytes / MIB));
    else snprintf(name, sizeof name, "%lluKiB", (unsigned long long)(bytes / KIB));
    return name;
}

static void size_figure(const char *what, uint64_t bytes, double value, const char *unit) {
    char name[64];
    snprintf(name, sizeof name, "%s_%s", what, size_name(bytes));
    figure(name, value, unit);
}

// Gigabytes a second of 32 copies at once.
static double outstanding(char *host, uint64_t room, uint64_t bytes, int to_device) {
    enum { AT_ONCE = 32, ROUNDS = 5 };
    double rates[ROUNDS];
    int rounds = quick ? 1 : bytes > 64 * MIB ? 2 : ROUNDS;
    for (int round = -1; round < rounds; round++) {
        double start = now_ns();
        for (int i = 0; i < AT_ONCE; i++) {
            uint64_t at = bytes * i % room;
            if (to_device) CHECK(cuMemcpyHtoDAsync(device_block + at, host + at, bytes, stream));
            else CHECK(cuMemcpyDtoHAsync(host + at, device_block + at, bytes, stream));
        }
        CHECK(cuStreamSynchronize(stream));
        if (round >= 0) rates[round] = AT_ONCE * (double)bytes / (now_ns() - start);
    }
    return quantile(rates, rounds, 0.5);
}

static double one_and_wait(char *host, uint64_t bytes, int to_device) {
    enum { COUNT = 500 };
    static double took[COUNT];
    int count = quick ? 5 : bytes > MIB ? 100 : COUNT;
    for (int i = 0; i < count; i++) {
        double start = now_ns();
        if (to_device) CHECK(cuMemcpyHtoDAsync(device_block, host, bytes, stream));
        else CHECK(cuMemcpyDtoHAsync(host, device_block, bytes, stream));
        CHECK(cuStreamSynchronize(stream));
        took[i] = now_ns() - start;
    }
    return quantile(took, count, 0.5) / 1e3;
}

static void pinned_copies(void) {
    static const uint64_t many[] = {64 * KIB, MIB, 16 * MIB, 256 * MIB};
    static const uint64_t single[] = {4 * KIB, 64 * KIB, MIB, 3 * MIB};
    char *host = NULL;
    uint64_t room = 256 * MIB;
    while (cuMemHostAlloc((void **)&host, room, 0) != CUDA_SUCCESS && room > 4 * MIB) room /= 2;
    figure("pinned_room", (double)room / MIB, "MiB");
    memset(host, 1, room);
    for (int i = 0; i < 4 && many[i] <= room; i++) {
        size_figure("pinned_h2d", many[i], outstanding(host, room, many[i], 1), "GB/s");
        size_figure("pinned_d2h", many[i], outstanding(host, room, many[i], 0), "GB/s");
    }
    for (int i = 0; i < 4; i++) {
        size_figure("pinned_h2d_sync", single[i], one_and_wait(host, single[i], 1), "us");
        size_figure("pinned_d2h_sync", single[i], one_and_wait(host, single[i], 0), "us");
    }
    CHECK(cuMemFreeHost(host));
}

static double pageable(char *host, uint64_t bytes, int to_device) {
    enum { ROUNDS = 100 };
    static double rates[ROUNDS];
    int rounds = quick ? 1 : bytes > 64 * MIB ? 3 : bytes > MIB ? 15 : ROUNDS;
    for (int round = 0; round < rounds; round++) {
        double start = now_ns();
        if (to_device) CHECK(cuMemcpyHtoD(device_block, host, bytes));
        else CHECK(cuMemcpyDtoH(host, device_block, bytes));
        rates[round] = bytes / (now_ns() - start);
    }
    return quantile(rates, rounds, 0.5);
}

static void pageable_copies(void) {
    static const uint64_t sizes[] = {MIB, 16 * MIB, 256 * MIB};
    char *host = malloc(256 * MIB);
    if (host == NULL) exit(1);
    memset(host, 2, 256 * MIB);
    for (int i = 0; i < 3; i++) {
        size_figure("pageable_h2d", sizes[i], pageable(host, sizes[i], 1), "GB/s");
        size_figure("pageable_d2h", sizes[i], pageable(host, sizes[i], 0), "GB/s");
    }
    free(host);
}

static void small_copies(void) {
    enum { COUNT = 3000 };
    static double to_host[COUNT], to_device[COUNT];
    uint64_t value = 3;
    int count = quick ? 50 : COUNT;
    for (int i = 0; i < count; i++) {
        double start = now_ns();
        CHECK(cuMemcpyDtoH(&value, device_block, sizeof value));
        to_host[i] = now_ns() - start;
        start = now_ns();
        CHECK(cuMemcpyHtoD(device_block, &value, sizeof value));
        to_device[i] = now_ns() - start;
    }
    figure("d2h_8B", quantile(to_host, count, 0.5) / 1e3, "us");
    figure("d2h_8B_p99", quantile(to_host, count, 0.99) / 1e3, "us");
    figure("h2d_8B", quantile(to_device, count, 0.5) / 1e3, "us");
}

static void allocations(void) {
    enum { COUNT = 100 };
    static double took[COUNT];
    int count = quick ? 5 : COUNT;
    for (int i = 0; i < count; i++) {
        CUdeviceptr block;
        double start = now_ns();
        CHECK(cuMemAlloc(&block, MIB));
        CHECK(cuMemFree(block));
        took[i] = now_ns() - start;
    }
    figure("alloc_free_1MiB", quantile(took, count, 0.5) / 1e3, "us");
}

static int all(void) {
    CUmodule module;
    CHECK(cuModuleLoadData(&module, image));
    CHECK(cuModuleGetFunction(&function, module, "eight_arguments"));
    CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    for (int i = 0; i < 100; i++) launch();
    check_result();
    launch_bursts();
    launches_sustained();
    launch_and_wait();
    events();
    small_copies();
    allocations();
    pinned_copies();
    pageable_copies();
    check_result();
    CHECK(cuStreamDestroy(stream));
    CHECK(cuModuleUnload(module));
    return 0;
}

int main(int count, char **arguments) {
    double start = now_ns();
    begin();
    figure("begin", (now_ns() - start) / 1e6, "ms");
    if (count > 1 && strcmp(arguments[1], "start") == 0) return 0;
    quick = count > 1 && strcmp(arguments[1], "quick") == 0;
    return all();
}
