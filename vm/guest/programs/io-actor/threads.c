#define _GNU_SOURCE
#include "threads.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "operations.h"

#define THREADS 64
#define STACK_BYTES (256 * 1024)
#define FUNCTION_BYTES 64

/* A thread must be asleep in this many looks in a row, so that one about to wake up is noticed. */
#define QUIET_LOOKS 5
#define LOOK_EVERY_NS 1000000
#define SETTLE_LOOKS 8000

struct thread {
    pthread_t id;
    char line[512];
    struct outcome outcome;
};

static struct thread threads[THREADS];
static int started;
static atomic_int ended;

static void *run(void *argument)
{
    struct thread *t = argument;
    operate(t->line, &t->outcome);
    atomic_fetch_add(&ended, 1);
    return NULL;
}

void start_thread(const char *line)
{
    pthread_attr_t attributes;
    struct thread *t = &threads[started];
    if (started == THREADS)
        abort();
    snprintf(t->line, sizeof t->line, "%s", line);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (pthread_create(&t->id, &attributes, run, t) != 0)
        abort();
    started++;
}

/* Kernel functions that threads wait in, and the number of threads in each. */
struct waits {
    int count;
    struct {
        char function[FUNCTION_BYTES];
        int threads;
    } at[THREADS];
};

static void count_wait(struct waits *waits, const char *function)
{
    int n = 0;
    while (n < waits->count && strcmp(waits->at[n].function, function) != 0)
        n++;
    if (n == THREADS)
        return;
    if (n == waits->count) {
        snprintf(waits->at[n].function, FUNCTION_BYTES, "%s", function);
        waits->at[n].threads = 0;
        waits->count++;
    }
    waits->at[n].threads++;
}

static size_t read_file(const char *path, char *text, size_t bytes)
{
    FILE *file = fopen(path, "re");
    size_t len = file == NULL ? 0 : fread(text, 1, bytes - 1, file);
    if (file != NULL)
        fclose(file);
    text[len] = '\0';
    return len;
}

/* Returns true if a thread sleeps in the kernel, and counts where. A thread that has ended counts as asleep. */
static bool sleeps(const char *id, struct waits *waits)
{
    char path[64], text[512], function[FUNCTION_BYTES];
    snprintf(path, sizeof path, "/proc/self/task/%.16s/stat", id);
    if (read_file(path, text, sizeof text) == 0)
        return true;
    const char *state = strrchr(text, ')');
    if (state == NULL || strchr("SDZX", state[2]) == NULL)
        return false;
    snprintf(path, sizeof path, "/proc/self/task/%.16s/wchan", id);
    read_file(path, function, sizeof function);
    /* Idle workers of io_uring wait for work, not for a file. */
    if (function[0] != '\0' && strcmp(function, "0") != 0 && strcmp(function, "io_wq_worker") != 0)
        count_wait(waits, function);
    return true;
}

/* Looks at all threads except the calling one, including those that io_uring made in the kernel. */
static bool all_sleep(struct waits *waits)
{
    bool quiet = true;
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    waits->count = 0;
    while (quiet && (entry = readdir(tasks)) != NULL)
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != (int)syscall(SYS_gettid))
            quiet = sleeps(entry->d_name, waits);
    closedir(tasks);
    return quiet;
}

void settle(int wanted)
{
    struct waits waits = { 0 };
    struct timespec pause = { .tv_nsec = LOOK_EVERY_NS };
    int quiet = 0, before = -1;
    for (int looks = 0; quiet < QUIET_LOOKS && looks < SETTLE_LOOKS; looks++) {
        int now = atomic_load(&ended);
        quiet = now >= wanted && now == before && all_sleep(&waits) ? quiet + 1 : 0;
        before = now;
        nanosleep(&pause, NULL);
    }
    if (quiet < QUIET_LOOKS) {
        puts("{\"error\":\"ETIMEDOUT\"}");
        return;
    }
    printf("{\"ended\":%d,\"waiting\":{", atomic_load(&ended));
    for (int n = 0; n < waits.count; n++)
        printf("%s\"%s\":%d", n == 0 ? "" : ",", waits.at[n].function, waits.at[n].threads);
    puts("}}");
}

void join_threads(void)
{
    printf("{\"results\":[");
    for (int n = 0; n < started; n++) {
        pthread_join(threads[n].id, NULL);
        printf("%s", n == 0 ? "" : ",");
        print_outcome(&threads[n].outcome);
    }
    puts("]}");
    started = 0;
    atomic_store(&ended, 0);
}
