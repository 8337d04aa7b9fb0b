// A word of the host that streams wait for, and who lets them go on.
#pragma once

#include <pthread.h>
#include <stdint.h>
#include <time.h>

static volatile uint32_t *word;

static void *release_later(void *nothing) {
    struct timespec pause = {0, 300 * 1000 * 1000};
    (void)nothing;
    nanosleep(&pause, NULL);
    *word = 1;
    return NULL;
}
