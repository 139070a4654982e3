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

#include "operations.h"
#include "threads.h"

#define LINE_BYTES 4096

static void answer(const char *line)
{
    struct outcome outcome;
    if (strncmp(line, "start ", 6) == 0) {
        start_thread(line + 6);
        puts("{\"value\":0}");
    } else if (strncmp(line, "settle ", 7) == 0) {
        settle(atoi(line + 7));
    } else if (strcmp(line, "join") == 0) {
        join_threads();
    } else {
        operate(line, &outcome);
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
