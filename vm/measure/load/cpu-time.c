#define _GNU_SOURCE
#include "cpu-time.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fail.h"

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    if (clock_gettime(clock, &now) < 0)
        return 0;
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t process_cpu_ns(pid_t pid)
{
    clockid_t clock;

    return clock_getcpuclockid(pid, &clock) == 0 ? clock_ns(clock) : 0;
}

struct split_time process_split_time(pid_t pid)
{
    struct split_time split = { 0 };
    unsigned long long user, kernel;
    char path[64], line[1024];
    const char *after_name;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return split;
    /* The name, in parentheses, may contain anything; utime and stime are the 12th and 13th fields behind it. */
    if (fgets(line, sizeof(line), file) && (after_name = strrchr(line, ')')) &&
        sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &kernel) == 2)
        split = (struct split_time){ .user_ticks = user, .kernel_ticks = kernel };
    fclose(file);
    return split;
}

int open_wait_time(pid_t tid)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)tid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

uint64_t wait_time_ns(int fd)
{
    unsigned long long waited = 0;
    char line[128];
    const ssize_t got = fd < 0 ? -1 : pread(fd, line, sizeof(line) - 1, 0);

    if (got <= 0)
        return 0;
    line[got] = 0;
    return sscanf(line, "%*u %llu", &waited) == 1 ? waited : 0;
}

struct machine_time machine_time(void)
{
    const uint64_t tick_ns = 1000000000U / (uint64_t)sysconf(_SC_CLK_TCK);
    unsigned long long user, nice, system, idle, iowait, irq, softirq, steal;
    FILE *file = fopen("/proc/stat", "re");

    if (!file || fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &iowait, &irq,
                        &softirq, &steal) != 8)
        fail_errno("/proc/stat");
    fclose(file);
    return (struct machine_time){
        .busy_ns = (user + nice + system + irq + softirq) * tick_ns,
        .stolen_ns = steal * tick_ns,
    };
}
