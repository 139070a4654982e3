/* Prints the rate of this machine's time stamp counter in kHz. Runs on the host. */
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define TRIES 1000
#define PAUSE_NS 20000000L

struct moment {
    unsigned long long ticks;
    long long ns;
};

/* Of many readings of both clocks, the one that took the shortest time. */
static struct moment now(void)
{
    struct moment best = { 0 };
    unsigned long long shortest = ~0ULL;
    for (int n = 0; n < TRIES; n++) {
        struct timespec time;
        unsigned long long before = __rdtsc();
        clock_gettime(CLOCK_MONOTONIC, &time);
        unsigned long long ticks = __rdtsc() - before;
        if (ticks < shortest) {
            shortest = ticks;
            best.ticks = before + ticks / 2;
            best.ns = time.tv_sec * 1000000000LL + time.tv_nsec;
        }
    }
    return best;
}

int main(void)
{
    struct timespec pause = { .tv_nsec = PAUSE_NS };
    struct moment first = now();
    nanosleep(&pause, NULL);
    struct moment second = now();
    double kilohertz = (double)(second.ticks - first.ticks) * 1e6 / (double)(second.ns - first.ns);
    printf("%.0f\n", kilohertz);
    return 0;
}
