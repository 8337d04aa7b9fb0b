// What the programs here share: every call prints one line with its name, its arguments as written, its code and the values
// that must not differ between two libraries. Addresses, handles and times never are among them.
//
// Each section runs in a process of its own, so that one that dies costs no other's lines:
//
//   PROGRAM             all sections
//   PROGRAM SECTION     one of them, in this process
#pragma once

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_OF(name) #name
#define WORDS(name) WORDS_OF(name)

// NVIDIA's library dies of some null pointers where this one answers. Such a call's line says so, and the next one is made.
#define DIED (-1)

static __thread volatile sig_atomic_t calling;
static __thread sigjmp_buf before_call;

static inline void died(int number) {
    if (!calling) {
        signal(number, SIG_DFL);
        raise(number);
    }
    siglongjmp(before_call, 1);
}

// CUDA's headers rename functions (cuMemAlloc is cuMemAlloc_v2): the line has the name that is really called.
#define MADE(call)                                                                                 \
    do {                                                                                           \
        fflush(stdout);                                                                            \
        calling = 1;                                                                               \
        code = sigsetjmp(before_call, 1) == 0 ? (int)(call) : DIED;                                \
        calling = 0;                                                                               \
        if (code == DIED) printf(" = died");                                                       \
        else printf(" = %d", code);                                                                \
        fflush(stdout);                                                                            \
    } while (0)
#define CALL(function, ...)                                                                        \
    do {                                                                                           \
        printf("\n%s(%s)", WORDS(function), #__VA_ARGS__);                                         \
        MADE(function(__VA_ARGS__));                                                               \
    } while (0)
#define CALL0(function)                                                                            \
    do {                                                                                           \
        printf("\n%s()", WORDS(function));                                                         \
        MADE(function());                                                                          \
    } while (0)
// A value of the call before; left out if it failed, as outputs are undefined then.
#define SHOW(format, ...) (code == 0 ? (void)printf(" " format, __VA_ARGS__) : (void)0)
// A value whatever the code was.
#define SHOW_ALWAYS(format, ...) (void)printf(" " format, __VA_ARGS__)

static int code;

struct section {
    const char *name;
    void (*run)(void);
};

// A sum that tells contents apart.
static inline unsigned long long checksum(const void *bytes, size_t count) {
    unsigned long long sum = 1469598103934665603ull;
    for (size_t i = 0; i < count; i++) sum = (sum ^ ((const unsigned char *)bytes)[i]) * 1099511628211ull;
    return sum;
}

static inline int run_section(const struct section *section) {
    printf("\n== %s", section->name);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, died);
        // A lock that a call died with would hold the next one for ever.
        alarm(30);
        section->run();
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) printf("\n== %s ended by signal %d", section->name, WTERMSIG(status));
    fflush(stdout);
    return status != 0;
}

static inline int run_sections(const struct section *sections, size_t count, int arguments, char **argument) {
    int failed = 0;
    for (size_t i = 0; i < count; i++) {
        if (arguments < 2) failed |= run_section(&sections[i]);
        else if (strcmp(argument[1], sections[i].name) == 0) sections[i].run();
    }
    printf("\n");
    return failed;
}
