// What 32 pinned copies at once cost, taken apart: by the kind of memory, by how their end is waited for, and by whether
// something ran just before them. One line a measurement: `copies KIND WAY_SIZE CASE RATE GB/s POSTED us WHOLE us`, medians.
//
//   copies KIND           alloc: cuMemHostAlloc; shmem: a memfd of small pages, registered, as an executor's arena is;
//                         thp: the same with huge pages asked for; hugetlb: of reserved huge pages
//   copies KIND quick     few times: to see that it runs
//
// The cases: `sync` ends with cuStreamSynchronize, `poll` with a loop of cuEventQuery; `warm` means that a small fill was
// synchronised right before, so that nobody who takes part is asleep.
#include "measure.h"
#include <sys/mman.h>
#include <unistd.h>

#define ROOM (256 * MIB)

enum { AT_ONCE = 32, ROUNDS = 21, CASES = 4 };

static CUstream stream;
static CUevent event;
static CUdeviceptr device_block;
static char *host;

static double now_us(void) { return now_ns() / 1e3; }

static void *shared_memory(int flags, int advice) {
    int fd = memfd_create("copies", flags);
    if (fd < 0 || ftruncate(fd, ROOM) != 0) return NULL;
    // An address that huge pages can lie at.
    char *room = mmap(NULL, ROOM + 2 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) return NULL;
    char *at = (char *)(((uintptr_t)room + 2 * MIB - 1) & ~(2 * MIB - 1));
    if (mmap(at, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) return NULL;
    if (advice && madvise(at, ROOM, advice) != 0) perror("copies: madvise");
    return at;
}

// False if this machine has no such memory.
static int memory(const char *kind) {
    if (strcmp(kind, "alloc") == 0) {
        CHECK(cuMemHostAlloc((void **)&host, ROOM, 0));
    } else {
        int huge = strcmp(kind, "thp") == 0, reserved = strcmp(kind, "hugetlb") == 0;
        host = shared_memory(reserved ? MFD_HUGETLB : 0, huge ? MADV_HUGEPAGE : 0);
        if (host == NULL) return 0;
        if (!reserved) memset(host, 1, ROOM);
        if (cuMemHostRegister(host, ROOM, CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP) != CUDA_SUCCESS)
            return 0;
    }
    memset(host, 1, ROOM);
    return 1;
}

static void wait_end(int poll) {
    if (!poll) {
        CHECK(cuStreamSynchronize(stream));
        return;
    }
    CUresult found;
    CHECK(cuEventRecord(event, stream));
    while ((found = cuEventQuery(event)) == CUDA_ERROR_NOT_READY) {}
    CHECK(found);
}

static void measure(const char *kind, uint64_t bytes, int to_device, int rounds) {
    static const char *names[CASES] = {"sync", "poll", "warm_sync", "warm_poll"};
    static double posted[CASES][ROUNDS], whole[CASES][ROUNDS];
    for (int round = -1; round < rounds; round++) {
        for (int which = 0; which < CASES; which++) {
            if (which >= 2) {
                CHECK(cuMemsetD8Async(device_block, 1, 16, stream));
                wait_end(0);
            }
            double start = now_us();
            for (int i = 0; i < AT_ONCE; i++) {
                uint64_t at = bytes * i % ROOM;
                if (to_device) CHECK(cuMemcpyHtoDAsync(device_block + at, host + at, bytes, stream));
                else CHECK(cuMemcpyDtoHAsync(host + at, device_block + at, bytes, stream));
            }
            double after = now_us();
            wait_end(which & 1);
            if (round < 0) continue;
            posted[which][round] = after - start;
            whole[which][round] = now_us() - start;
        }
    }
    for (int which = 0; which < CASES; which++) {
        double took = quantile(whole[which], rounds, 0.5);
        char size[32];
        if (bytes >= MIB) snprintf(size, sizeof size, "%lluMiB", (unsigned long long)(bytes / MIB));
        else snprintf(size, sizeof size, "%lluKiB", (unsigned long long)(bytes / KIB));
        printf("copies %s %s_%s %s %.3f GB/s %.2f us %.2f us\n", kind, to_device ? "h2d" : "d2h", size, names[which],
               AT_ONCE * (double)bytes / took / 1e3, quantile(posted[which], rounds, 0.5), took);
    }
    fflush(stdout);
}

int main(int count, char **arguments) {
    static const uint64_t sizes[] = {64 * KIB, MIB, 16 * MIB, 256 * MIB};
    const char *kind = count > 1 ? arguments[1] : "alloc";
    int quick = count > 2 && strcmp(arguments[2], "quick") == 0;
    CUdevice device;
    CUcontext context;
    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuDevicePrimaryCtxRetain(&context, device));
    CHECK(cuCtxSetCurrent(context));
    CHECK(cuMemAlloc(&device_block, ROOM));
    CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CHECK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    if (!memory(kind)) {
        printf("copies %s: this machine has no such memory\n", kind);
        return 0;
    }
    for (int i = 0; i < (quick ? 2 : 4); i++) {
        int rounds = quick || sizes[i] > 64 * MIB ? 1 : sizes[i] > MIB ? 7 : ROUNDS;
        measure(kind, sizes[i], 1, rounds);
        measure(kind, sizes[i], 0, rounds);
    }
    return 0;
}
