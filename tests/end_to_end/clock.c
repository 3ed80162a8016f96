// A wall clock that jumps: preloaded, it moves CLOCK_REALTIME, gettimeofday(2) and time(2) by six hours forward and back,
// three times a second by the monotonic clock, and adds a line to the file CLOCK_LOG when it is read after a jump.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef int (*get)(clockid_t, struct timespec *);

static int read_clock(clockid_t clock, struct timespec *now)
{
    static get real;
    if (!real)
        real = (get)dlsym(RTLD_NEXT, "clock_gettime");
    return real(clock, now);
}

static time_t shift(void)
{
    static const time_t HOURS[] = {0, 6, -6};
    static long last = -1;
    struct timespec now;
    read_clock(CLOCK_MONOTONIC, &now);
    long period = now.tv_sec * 3 + now.tv_nsec / 333333334;
    if (period != last) {
        last = period;
        const char *log = getenv("CLOCK_LOG");
        int file = log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
        if (file >= 0) {
            if (write(file, "jump\n", 5) < 0)
                abort();
            close(file);
        }
    }
    return HOURS[period % 3] * 3600;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = read_clock(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += shift();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now)
        *now = precise.tv_sec;
    return precise.tv_sec;
}
