/* Runs workloads for a given time and prints the results, a line of JSON for each run. */
#ifndef RUN_H
#define RUN_H

#include <stdbool.h>
#include <sys/types.h>

#include "lane.h"

#define MAX_LANES 256
#define MAX_PIDS 16
#define MAX_DRIVERS 8

struct guest {
    struct ring hiprio;
    struct ring *rings; /* of requests */
    unsigned ring_count;
    bool busy_polling;
    bool threaded; /* a thread for each ring, and a call descriptor */
    bool spread;   /* each thread on a processor of its own */
    pid_t pids[MAX_PIDS]; /* of the device */
    unsigned pid_count;
    pid_t thread; /* of the share; 0: its waiting is not measured */
};

struct job {
    const struct workload *workload;
    unsigned depth; /* of each thread */
    uint32_t bytes;
    unsigned warm_up_ms, run_ms;
    /* One lane more, measured apart; NULL: none. */
    const struct workload *beside;
    uint32_t beside_bytes;
};

/* Has the calling thread run on this processor; -1: on any. */
void pin(int cpu);

void run_job(struct guest *guest, const struct job *job);

#endif
