/* Processor time by process and for the whole machine. */
#ifndef CPU_TIME_H
#define CPU_TIME_H

#include <stdint.h>
#include <sys/types.h>

uint64_t now_ns(void);

/* Returns the time of a process, including its ended threads. 0 if the process is gone. */
uint64_t process_cpu_ns(pid_t pid);

/*
 * Returns the time split into user and kernel mode, from /proc/PID/stat: one sample at each tick of the machine's
 * clock, in the unit of sysconf(_SC_CLK_TCK). Add up many.
 */
struct split_time {
    uint64_t user_ticks, kernel_ticks;
};
struct split_time process_split_time(pid_t pid);

/* Opens the scheduler's account of a thread: /proc/TID/schedstat. Returns a descriptor, or -1. */
int open_wait_time(pid_t tid);
/* Returns the time for which the thread could have run, but had no processor. 0 if it is gone, or for -1. */
uint64_t wait_time_ns(int fd);

/* The time of all programs of this machine together, to 10 ms, and the time that the host took away. */
struct machine_time {
    uint64_t busy_ns;
    uint64_t stolen_ns;
};
struct machine_time machine_time(void);

#endif
