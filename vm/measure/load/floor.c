/* The cost of the kernel and the machine alone for a device's work: no device can be faster. */
#define _GNU_SOURCE
#include "floor.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cpu-time.h"
#include "fail.h"
#include "lane.h"
#include "ram.h"

#define ROUND_NS 100000000ULL
#define PIECES (1048576U / PAGE_BYTES)
#define PIECES_128K (131072 / PAGE_BYTES)
#define LOOP_NS 5000000000ULL
#define WAKE_UPS 2000
#define FALL_ASLEEP_US 300

static struct {
    int dir_fd, data_fd, path_fd, proc_fd, event_fd;
    char number[16]; /* path_fd in /proc/self/fd */
    struct iovec pieces[PIECES];
    uint64_t random;
} bare;

static off_t somewhere(uint64_t block_bytes)
{
    bare.random = bare.random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (off_t)((bare.random >> 33) % (place.data_bytes / block_bytes) * block_bytes);
}

static void must(long result)
{
    if (result < 0)
        fail_errno("floor");
}

static void getattr(void)
{
    struct statx st;

    must(statx(bare.path_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st));
}

static void lookup_forget(void)
{
    struct statx st;
    int fd = openat(bare.dir_fd, "data", O_PATH | O_NOFOLLOW | O_CLOEXEC);

    must(fd);
    must(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st));
    close(fd);
}

static void open_release(void)
{
    int fd = openat(bare.proc_fd, bare.number, O_RDWR | O_CLOEXEC);

    must(fd);
    close(fd);
}

static void read_4k(void)
{
    must(pread(bare.data_fd, bare.pieces[0].iov_base, PAGE_BYTES, somewhere(PAGE_BYTES)));
}

static void write_4k(void)
{
    must(pwrite(bare.data_fd, bare.pieces[0].iov_base, PAGE_BYTES, somewhere(PAGE_BYTES)));
}

static void read_128k(void)
{
    must(preadv(bare.data_fd, bare.pieces, PIECES_128K, somewhere(131072)));
}

static void write_128k(void)
{
    must(pwritev(bare.data_fd, bare.pieces, PIECES_128K, somewhere(131072)));
}

static void read_1m(void)
{
    must(preadv(bare.data_fd, bare.pieces, PIECES, somewhere(1048576)));
}

static void write_1m(void)
{
    must(pwritev(bare.data_fd, bare.pieces, PIECES, somewhere(1048576)));
}

static void signal_call(void)
{
    must(eventfd_write(bare.event_fd, 1));
}

/* Sleeps on an eventfd, on another processor than the caller's if there is one. */
static pid_t start_sleeper(int event_fd)
{
    const pid_t pid = fork();
    eventfd_t value;
    cpu_set_t set;

    must(pid);
    if (pid > 0)
        return pid;
    CPU_ZERO(&set);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (cpu != sched_getcpu())
            CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
    while (eventfd_read(event_fd, &value) == 0)
        ;
    _exit(0);
}

/* Returns the processor time that it costs to wake a sleeping guest. */
static double wake_up_us(void)
{
    const int event_fd = eventfd(0, EFD_CLOEXEC);
    const pid_t sleeper = start_sleeper(event_fd);
    uint64_t used_ns = 0;

    for (unsigned n = 0; n < WAKE_UPS; n++) {
        struct timespec from, to;

        usleep(FALL_ASLEEP_US);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
        must(eventfd_write(event_fd, 1));
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
        used_ns += (uint64_t)((to.tv_sec - from.tv_sec) * 1000000000L + to.tv_nsec - from.tv_nsec);
    }
    kill(sleeper, SIGKILL);
    waitpid(sleeper, NULL, 0);
    close(event_fd);
    return (double)used_ns / WAKE_UPS / 1e3;
}

/* Returns the longest time that the machine keeps a busy thread from its processor. */
static double longest_pause_us(void)
{
    const uint64_t from_ns = now_ns();
    uint64_t last_ns = from_ns, longest_ns = 0;

    while (last_ns - from_ns < LOOP_NS) {
        const uint64_t ns = now_ns();

        if (ns - last_ns > longest_ns)
            longest_ns = ns - last_ns;
        last_ns = ns;
    }
    return (double)longest_ns / 1e3;
}

static void prepare(void)
{
    bare.dir_fd = open(place.host_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    bare.data_fd = openat(bare.dir_fd, "data", O_RDWR | O_CLOEXEC);
    bare.path_fd = openat(bare.dir_fd, "data", O_PATH | O_CLOEXEC);
    bare.proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    bare.event_fd = eventfd(0, EFD_CLOEXEC);
    must(bare.dir_fd | bare.data_fd | bare.path_fd | bare.proc_fd | bare.event_fd);
    snprintf(bare.number, sizeof(bare.number), "%d", bare.path_fd);
    for (unsigned n = 0; n < PIECES; n++)
        bare.pieces[n] = (struct iovec){ ram_take_page(), PAGE_BYTES };
}

void print_floor(void)
{
    static const struct {
        const char *name;
        void (*call)(void);
    } calls[] = {
        { "getattr", getattr },
        { "lookup+forget", lookup_forget },
        { "open+release", open_release },
        { "read 4 KiB", read_4k },
        { "write 4 KiB", write_4k },
        { "read 128 KiB", read_128k },
        { "write 128 KiB", write_128k },
        { "read 1 MiB", read_1m },
        { "write 1 MiB", write_1m },
        { "eventfd, nobody asleep", signal_call },
    };

    prepare();
    printf("{");
    for (size_t n = 0; n < sizeof(calls) / sizeof(*calls); n++) {
        const uint64_t from_ns = process_cpu_ns(getpid());
        uint64_t count = 0, used_ns = 0;

        for (; used_ns < ROUND_NS; used_ns = process_cpu_ns(getpid()) - from_ns)
            for (unsigned turn = 0; turn < 64; turn++, count++)
                calls[n].call();
        printf("\"%s\":%.3f,", calls[n].name, (double)used_ns / (double)count / 1e3);
    }
    printf("\"eventfd, a sleeper on another processor\":%.3f,", wake_up_us());
    printf("\"longest pause of an empty loop in 5 s\":%.3f}\n", longest_pause_us());
    fflush(stdout);
}
