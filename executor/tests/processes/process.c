// A process that uses the driver library in the ways that ends, forks and loaders make hard: the first argument says which.
// It is compiled without CUDA's headers: what it calls is declared below, as CUDA documents it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef uint64_t address;

static struct {
    int (*init)(unsigned);
    int (*device_count)(int *);
    int (*device_uuid)(unsigned char[16], int);
    int (*retain)(void **, int);
    int (*set_current)(void *);
    int (*get_current)(void **);
    int (*alloc)(address *, size_t);
    int (*release)(address);
    int (*to_device)(address, const void *, size_t);
    int (*to_host)(void *, address, size_t);
    int (*stream)(void **, unsigned);
    int (*wait_value)(void *, address, unsigned, unsigned);
    int (*synchronise)(void *);
    int (*pointer)(void *, int, address);
    int (*add_callback)(void *, void (*)(void *, int, void *), void *, unsigned);
    int (*launch_host)(void *, void (*)(void *), void *);
} cu;

static void *library;
static void *context;

static void fail(const char *what, int code) {
    fprintf(stderr, "%s: %d\n", what, code);
    _exit(1);
}

#define CHECK(call)                                        \
    do {                                                   \
        int check_code = (call);                           \
        if (check_code != 0) fail(#call, check_code);      \
    } while (0)

static void *find(const char *name) {
    void *found = dlsym(library, name);
    if (!found) fail(name, -1);
    return found;
}

static void load(void) {
    library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) fail(dlerror(), -1);
    cu.init = find("cuInit");
    cu.device_count = find("cuDeviceGetCount");
    cu.device_uuid = find("cuDeviceGetUuid_v2");
    cu.retain = find("cuDevicePrimaryCtxRetain");
    cu.set_current = find("cuCtxSetCurrent");
    cu.get_current = find("cuCtxGetCurrent");
    cu.alloc = find("cuMemAlloc_v2");
    cu.release = find("cuMemFree_v2");
    cu.to_device = find("cuMemcpyHtoD_v2");
    cu.to_host = find("cuMemcpyDtoH_v2");
    cu.stream = find("cuStreamCreate");
    cu.wait_value = find("cuStreamWaitValue32_v2");
    cu.synchronise = find("cuStreamSynchronize");
    cu.pointer = find("cuPointerGetAttribute");
    cu.add_callback = find("cuStreamAddCallback");
    cu.launch_host = find("cuLaunchHostFunc");
}

static void start(void) {
    load();
    CHECK(cu.init(0));
    CHECK(cu.retain(&context, 0));
    CHECK(cu.set_current(context));
}

// Memory there and back; the first code that is not 0.
static int round_trip(void) {
    char sent[4096], got[4096] = {0};
    address at = 0;
    memset(sent, 7, sizeof sent);
    int code = cu.alloc(&at, sizeof sent);
    if (!code) code = cu.to_device(at, sent, sizeof sent);
    if (!code) code = cu.to_host(got, at, sizeof got);
    if (!code) code = cu.release(at);
    if (!code && memcmp(sent, got, sizeof got)) fail("other bytes came back", 0);
    return code;
}

// A library that was closed and is opened again is the same one, with its session.
static int closed_and_opened_again(void) {
    start();
    CHECK(round_trip());
    for (int i = 0; i < 3; i++) {
        dlclose(library);
        load();
        void *current = NULL;
        CHECK(cu.get_current(&current));
        if (current != context) fail("the context is another one", 0);
        CHECK(round_trip());
    }
    dlclose(library);
    return 0;
}

static void *wait_for_ever(void *stream) {
    CHECK(cu.set_current(context));
    puts("waiting");
    fflush(stdout);
    cu.synchronise(stream);
    return NULL;
}

// The program's end while a stream stands still and a thread waits for it.
static int ends_while_a_thread_waits(void) {
    start();
    void *stream = NULL;
    address flag = 0;
    unsigned zero = 0;
    pthread_t thread;
    CHECK(cu.alloc(&flag, 4));
    CHECK(cu.to_device(flag, &zero, 4));
    CHECK(cu.stream(&stream, 1));
    CHECK(cu.wait_value(stream, flag, 1, 0));
    pthread_create(&thread, NULL, wait_for_ever, stream);
    usleep(50000);
    return 0;
}

static void *work_for_ever(void *unused) {
    (void)unused;
    if (cu.set_current(context)) return NULL;
    while (!round_trip()) continue;
    return NULL;
}

static void work_in_threads(void) {
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, work_for_ever, NULL);
        pthread_detach(thread);
    }
    usleep(20000);
}

// The program's end while threads are inside calls.
static int ends_while_threads_work(void) {
    start();
    work_in_threads();
    return 0;
}

static address last_words;

static void at_exit(void) {
    int code = cu.release(last_words);
    printf("exit handler: %d\n", code);
}

__attribute__((destructor)) static void destructor(void) {
    if (!last_words) return;
    address at = 0;
    int code = cu.alloc(&at, 64);
    printf("destructor: %d\n", code);
}

// Calls from exit handlers and destructors, as those of C++ objects with device memory are.
static int calls_at_its_end(void) {
    start();
    CHECK(cu.alloc(&last_words, 64));
    atexit(at_exit);
    return 0;
}

static int code_of(pid_t child) {
    int status = 0;
    if (waitpid(child, &status, 0) != child) fail("waitpid", 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 200 + WTERMSIG(status);
}

// Children that are forked while other threads are inside calls end by `exit`, with all that this entails.
static int forks_while_threads_work(void) {
    start();
    work_in_threads();
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            address at = 0;
            exit(cu.alloc(&at, 64) == 3 ? 33 : 1);
        }
        int code = code_of(child);
        if (code != 33) fail("a forked child", code);
        CHECK(round_trip());
    }
    return 0;
}

// The parent uses nothing, its children do; one of them by way of `exec`.
static int children_start_afresh(const char *self) {
    load();
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        if (child == 0) {
            start();
            exit(round_trip() ? 1 : 33);
        }
        int code = code_of(child);
        if (code != 33) fail("a child", code);
    }
    start();
    CHECK(round_trip());
    pid_t child = fork();
    if (child == 0) {
        execl(self, self, "round", NULL);
        _exit(1);
    }
    int code = code_of(child);
    if (code != 0) fail("a child that became another program", code);
    CHECK(round_trip());
    return 0;
}

// What the program sees of several devices, and that memory of each of them works.
static int devices(void) {
    load();
    int code = cu.init(0), count = -1;
    printf("init %d\n", code);
    if (code) return 0;
    CHECK(cu.device_count(&count));
    for (int device = 0; device < count; device++) {
        unsigned char uuid[16];
        unsigned ordinal = 99;
        address at = 0;
        CHECK(cu.device_uuid(uuid, device));
        for (int i = 0; i < 16; i++) printf("%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
        CHECK(cu.retain(&context, device));
        CHECK(cu.set_current(context));
        CHECK(round_trip());
        CHECK(cu.alloc(&at, 64));
        CHECK(cu.pointer(&ordinal, 9, at));
        printf(" %u\n", ordinal);
    }
    int (*runtime_count)(int *) = dlsym(RTLD_DEFAULT, "cudaGetDeviceCount");
    if (runtime_count) {
        int of_runtime = -1;
        CHECK(runtime_count(&of_runtime));
        if (of_runtime != count) fail("the runtime counts otherwise", of_runtime);
    }
    return 0;
}

static int loses_its_executor(void) {
    start();
    puts("ready");
    fflush(stdout);
    int code = 0;
    while (!code) code = round_trip();
    printf("%d", code);
    for (int i = 0; i < 3; i++) printf(" %d", round_trip());
    puts("");
    return 0;
}

static volatile int called_back = -1;

static void call_back(void *stream, int code, void *data) {
    (void)stream;
    (void)data;
    called_back = code;
}

static void host_function(void *data) {
    (void)data;
    fail("a host function is called after an error", 0);
}

// Asks nothing that needs the executor until it is told that there is none. A callback of a stream that stands still is told,
// too.
static int is_told_without_asking(void) {
    start();
    void *stream = NULL, *current = NULL;
    address flag = 0;
    unsigned zero = 0;
    CHECK(cu.alloc(&flag, 4));
    CHECK(cu.to_device(flag, &zero, 4));
    CHECK(cu.stream(&stream, 1));
    CHECK(cu.wait_value(stream, flag, 1, 0));
    CHECK(cu.launch_host(stream, host_function, NULL));
    CHECK(cu.add_callback(stream, call_back, NULL, 0));
    puts("ready");
    fflush(stdout);
    int code = 0;
    while (!code) {
        usleep(1000);
        code = cu.get_current(&current);
    }
    while (called_back < 0) usleep(1000);
    printf("%d %d\n", code, called_back);
    return 0;
}

// Three calls of a function that has no behaviour.
static int asks_for_what_is_not_there(void) {
    start();
    int (*function)(void *, void *) = find("cuEGLStreamConsumerConnect");
    for (int i = 0; i < 3; i++) printf("%d\n", function(NULL, NULL));
    return 0;
}

int main(int count, char **words) {
    const char *which = count > 1 ? words[1] : "";
    if (!strcmp(which, "round")) return start(), round_trip();
    if (!strcmp(which, "reopen")) return closed_and_opened_again();
    if (!strcmp(which, "wait")) return ends_while_a_thread_waits();
    if (!strcmp(which, "work")) return ends_while_threads_work();
    if (!strcmp(which, "end")) return calls_at_its_end();
    if (!strcmp(which, "fork")) return forks_while_threads_work();
    if (!strcmp(which, "fresh")) return children_start_afresh(words[0]);
    if (!strcmp(which, "devices")) return devices();
    if (!strcmp(which, "lose")) return loses_its_executor();
    if (!strcmp(which, "told")) return is_told_without_asking();
    if (!strcmp(which, "unsupported")) return asks_for_what_is_not_there();
    fail("no such way", 0);
}
