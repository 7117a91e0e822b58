/* A wall clock that is CLOCK_OFFSET seconds off, for a program that preloads this. All other clocks go right, and what
   waits on them: libfaketime's do not (0.9.10 with Python's Event.wait and sleep). */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    const char *offset = getenv("CLOCK_OFFSET");
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME && offset)
        now->tv_sec += atol(offset);
    return failed;
}
