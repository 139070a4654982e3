/*
 * Orders of the host, each answered with one line of JSON:
 *
 *   fault OPCODE PATH hold UNTIL    PATH is below the root, or *; OPCODE a number
 *   fault OPCODE PATH errno NUMBER LIMIT
 *   fault OPCODE PATH short BYTES LIMIT
 *   fault OPCODE PATH count         counts the requests that it chooses
 *   faults                          {"applied":[N ...]}
 *   clear | release                 {"released":N}
 *   open-flags FLAGS                for the opens that follow; -1: as the options say; with bit 30 for passthrough to a
 *                                   backing file of its own
 *   reset
 *   counts PATH                     counts of the inodes of that path
 *   served                          {"served":N}
 *   state                           {"minor":N,"flags":[LOW,HIGH]}
 *   trace on | trace off            {"nowMs":N} of the guest's clock
 *   trace                           the requests that were traced, and how many were lost
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server.h"

static void print_counts(const char *path)
{
    unsigned reads = 0, cached = 0, direct = 0, in_flight = 0, overlap = 0;
    for (struct node *node = first_node(); node != NULL; node = node->next)
        if (strcmp(node->path, path) == 0) {
            reads += node->reads;
            cached += node->cached_writes;
            direct += node->direct_writes;
            in_flight += node->writes_in_flight;
            if (node->highest_overlap > overlap)
                overlap = node->highest_overlap;
        }
    printf("{\"reads\":%u,\"cachedWrites\":%u,\"directWrites\":%u,\"writesInFlight\":%u,\"highestOverlap\":%u}\n", reads,
           cached, direct, in_flight, overlap);
}

static void reset_counts(void)
{
    for (struct node *node = first_node(); node != NULL; node = node->next) {
        node->reads = node->cached_writes = node->direct_writes = 0;
        node->highest_overlap = node->writes_in_flight;
    }
}

void obey(char *line)
{
    if (strncmp(line, "fault ", 6) == 0) {
        puts(add_fault(line + 6) ? "{}" : "{\"error\":\"no such fault\"}");
    } else if (strcmp(line, "clear") == 0) {
        printf("{\"released\":%u}\n", clear_faults());
    } else if (strcmp(line, "release") == 0) {
        printf("{\"released\":%u}\n", release_all());
    } else if (strcmp(line, "faults") == 0) {
        print_faults();
    } else if (strncmp(line, "open-flags ", 11) == 0) {
        forced_open_flags = atoi(line + 11);
        puts("{}");
    } else if (strcmp(line, "reset") == 0) {
        reset_counts();
        puts("{}");
    } else if (strncmp(line, "counts ", 7) == 0) {
        print_counts(line + 7);
    } else if (strcmp(line, "served") == 0) {
        printf("{\"served\":%u}\n", served_requests());
    } else if (strcmp(line, "state") == 0) {
        printf("{\"minor\":%u,\"flags\":[%u,%u]}\n", guest_minor, (uint32_t)agreed_flags, (uint32_t)(agreed_flags >> 32));
    } else if (strcmp(line, "trace") == 0) {
        print_trace();
    } else if (strncmp(line, "trace ", 6) == 0) {
        switch_trace(strcmp(line + 6, "on") == 0);
    } else {
        puts("{\"error\":\"no such order\"}");
    }
}
