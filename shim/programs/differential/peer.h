// Two processes of one section: they take turns, so that their lines come in one order.
#pragma once

#include "lines.h"

static int to_child[2], to_parent[2];
static int is_child;

static inline void tell(const void *bytes, size_t count) {
    fflush(stdout);
    if (write(is_child ? to_parent[1] : to_child[1], bytes, count) != (ssize_t)count) _exit(1);
}

static inline void hear(void *bytes, size_t count) {
    fflush(stdout);
    int from = is_child ? to_child[0] : to_parent[0];
    for (size_t got = 0; got < count;) {
        ssize_t more = read(from, (char *)bytes + got, count - got);
        if (more <= 0) _exit(1);
        got += (size_t)more;
    }
}

static inline void your_turn(void) { tell("x", 1); }

static inline void my_turn(void) {
    char x;
    hear(&x, 1);
}

// Starts the child before either has started the driver. Each end of a pipe is open where it is used alone, so that whoever
// waits for one that has ended ends too.
static inline pid_t begin_child(void (*child)(void)) {
    fflush(stdout);
    if (pipe(to_child) != 0 || pipe(to_parent) != 0) _exit(1);
    pid_t pid = fork();
    is_child = pid == 0;
    close(is_child ? to_child[1] : to_child[0]);
    close(is_child ? to_parent[0] : to_parent[1]);
    if (is_child) {
        signal(SIGSEGV, died);
        alarm(30);
        child();
        fflush(stdout);
        _exit(0);
    }
    return pid;
}

static inline void end_child(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    printf("\nthe child ended with %d", status);
}
