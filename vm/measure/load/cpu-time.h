/* Who used the processors. */
#ifndef CPU_TIME_H
#define CPU_TIME_H

#include <stdint.h>
#include <sys/types.h>

uint64_t now_ns(void);

/* Of a process, its threads that have ended included. 0 for one that is gone. */
uint64_t process_cpu_ns(pid_t pid);

/*
 * The same, split into the program's own and what the kernel did for it, as /proc/PID/stat has it: by a sample at each tick
 * of the machine's clock, in the unit of sysconf(_SC_CLK_TCK). To be added up over many.
 */
struct split_time {
    uint64_t user_ticks, kernel_ticks;
};
struct split_time process_split_time(pid_t pid);

/* Of everybody on this machine together, to 10 ms; and what the machine below took away from it. */
struct machine_time {
    uint64_t busy_ns;
    uint64_t stolen_ns;
};
struct machine_time machine_time(void);

#endif
