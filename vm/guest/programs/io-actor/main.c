/*
 * io-actor: carries out file operations one by one, as its standard input asks, and answers each line with one line.
 *
 *   OP ARGUMENTS          now; the operations are listed in operations.c
 *   start OP ARGUMENTS    in a thread of its own, which may then wait in the kernel
 *   settle N              answered when at least N of those have ended, and every other one sleeps in the kernel
 *   join                  answered when all have ended
 *
 * Answers are JSON: {"value":V}, or {"error":"ENAME"} with the name of an errno; of settle
 * {"ended":N,"waiting":{"KERNEL FUNCTION":THREADS}}; of join {"results":[answers in the order of start]}.
 *
 * A thread that sleeps in the kernel continues only if somebody outside acts, such as the host replying to a request.
 * So after `settle` the host's view no longer depends on timing.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "operations.h"
#include "threads.h"

#define LINE_BYTES 4096

/*
 * Waits until the kernel's clock for files has ticked since the last operation. Otherwise two changes of a file could have the
 * same time, and a guest that keeps the times itself would tell the device of them once or twice.
 */
static void await_tick(const struct timespec *last)
{
    struct timespec now, pause = { .tv_nsec = 1000000 };
    while (clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0 && now.tv_sec == last->tv_sec && now.tv_nsec == last->tv_nsec)
        nanosleep(&pause, NULL);
}

static void answer(const char *line)
{
    static struct timespec last;
    struct outcome outcome;
    if (strncmp(line, "start ", 6) == 0) {
        start_thread(line + 6);
        puts("{\"value\":0}");
    } else if (strncmp(line, "settle ", 7) == 0) {
        settle(atoi(line + 7));
    } else if (strcmp(line, "join") == 0) {
        join_threads();
    } else {
        await_tick(&last);
        operate(line, &outcome);
        clock_gettime(CLOCK_REALTIME_COARSE, &last);
        print_outcome(&outcome);
        puts("");
    }
    fflush(stdout);
}

int main(void)
{
    char line[LINE_BYTES];
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        answer(line);
    }
    return 0;
}
