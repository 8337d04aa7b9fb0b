// What registering costs that the compiler's code does before `main`: as many fat binaries, kernels and variables as PyTorch
// registers when it is imported. Nothing is loaded, so neither a driver nor an executor is needed.
//
//   registration LIBRARY          the path of a libcudart.so.13
//   registration LIBRARY only     looks no kernel up: NVIDIA's library would load the image for that
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define BINARIES 454
#define FUNCTIONS 21569
#define VARIABLES 13219

static struct {
    unsigned magic, version;
    const void *image;
    void *more;
} wrapper = {0x466243b1, 1, "no image: nobody looks before the first launch", 0};

static char functions[FUNCTIONS], variables[VARIABLES];
static char names[FUNCTIONS][96];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static long resident_kib(void) {
    long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &all, &resident) != 2) exit(1);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void *library;

static void *find(const char *name) {
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return found;
}

int main(int count, char **words) {
    library = dlopen(count > 1 ? words[1] : "libcudart.so.13", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    void **(*binary)(void *) = find("__cudaRegisterFatBinary");
    void (*end)(void **) = find("__cudaRegisterFatBinaryEnd");
    void (*function)(void **, const char *, char *, const char *, int, void *, void *, void *, void *, int *) =
        find("__cudaRegisterFunction");
    void (*variable)(void **, char *, char *, const char *, int, size_t, int, int) = find("__cudaRegisterVar");
    int (*kernel)(void **, const void *) = find("__cudaGetKernel");
    for (int i = 0; i < FUNCTIONS; i++)
        snprintf(names[i], sizeof names[i], "_ZN2at6native29vectorized_elementwise_kernelILi4ENS0_11FillFunctor%dEEEvi", i);

    long memory = resident_kib();
    double start = now();
    int next_function = 0, next_variable = 0;
    for (int i = 0; i < BINARIES; i++) {
        void **handle = binary(&wrapper);
        for (; next_function < (long)FUNCTIONS * (i + 1) / BINARIES; next_function++)
            function(handle, &functions[next_function], names[next_function], names[next_function], -1, 0, 0, 0, 0, 0);
        for (; next_variable < (long)VARIABLES * (i + 1) / BINARIES; next_variable++)
            variable(handle, &variables[next_variable], names[next_variable], names[next_variable], 0, 4, 0, 0);
        end(handle);
    }
    double registered = now();
    memory = resident_kib() - memory;
    printf("figure registration %.3f ms\n", registered - start);
    printf("figure registration_memory %ld KiB\n", memory);
    fflush(stdout);
    // Not by the runtime's own end: it would unregister what has no image.
    if (count > 2) _exit(0);
    for (int i = 0; i < FUNCTIONS; i++) {
        void *found = NULL;
        int code = kernel(&found, &functions[i]);
        if (code != 0 || !found) {
            fprintf(stderr, "kernel %d is not known: %d\n", i, code);
            return 1;
        }
    }
    double looked_up = now();
    printf("%d fat binaries, %d kernels, %d variables: %.2f ms, %ld KiB; all kernels looked up: %.2f ms\n", BINARIES,
           next_function, next_variable, registered - start, memory, looked_up - registered);
    return 0;
}
