/* The requests that were answered, for the host to read. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "server.h"

#define TRACED 2048

static struct {
    uint32_t opcode;
    uint64_t nodeid, unique;
    char path[PATH_BYTES];
    double seen_ms, took_ms;
    uint64_t offset, size, handle;
    uint32_t flags, detail, open_flags, pid;
    int error;
    size_t reply_bytes;
} traced[TRACED];
static unsigned traced_count, lost;
static bool tracing;

void keep_trace(const struct request *r)
{
    if (!tracing)
        return;
    if (traced_count == TRACED) {
        lost++;
        return;
    }
    traced[traced_count].opcode = r->in->opcode;
    traced[traced_count].nodeid = r->in->nodeid;
    traced[traced_count].unique = r->in->unique;
    traced[traced_count].seen_ms = r->seen_ms;
    traced[traced_count].took_ms = now_ms() - r->seen_ms;
    traced[traced_count].offset = r->offset;
    traced[traced_count].size = r->size;
    traced[traced_count].handle = r->handle;
    traced[traced_count].flags = r->flags;
    traced[traced_count].detail = r->detail;
    traced[traced_count].open_flags = r->open_flags;
    traced[traced_count].pid = r->in->pid;
    traced[traced_count].error = r->error;
    traced[traced_count].reply_bytes = r->reply_bytes;
    memcpy(traced[traced_count].path, r->path, PATH_BYTES);
    traced_count++;
}

void print_trace(void)
{
    printf("{\"lost\":%u,\"requests\":[", lost);
    for (unsigned n = 0; n < traced_count; n++)
        printf("%s{\"opcode\":%u,\"nodeid\":%lu,\"unique\":%lu,\"path\":\"%s\",\"seenMs\":%.3f,\"tookMs\":%.3f,"
               "\"offsetBytes\":%lu,\"sizeBytes\":%lu,\"handle\":%lu,\"flags\":%u,\"detailFlags\":%u,\"openFlags\":%u,"
               "\"pid\":%u,\"error\":%d,\"replyBytes\":%zu}",
               n > 0 ? "," : "", traced[n].opcode, traced[n].nodeid, traced[n].unique, traced[n].path, traced[n].seen_ms,
               traced[n].took_ms, traced[n].offset, traced[n].size, traced[n].handle & 0xffffffffffffUL, traced[n].flags,
               traced[n].detail, traced[n].open_flags, traced[n].pid, traced[n].error, traced[n].reply_bytes);
    puts("]}");
}

/* Begins a new trace, or ends it. Prints the guest's time, which the host compares with its own. */
void switch_trace(bool on)
{
    tracing = on;
    if (on)
        traced_count = lost = 0;
    printf("{\"nowMs\":%.3f}\n", now_ms());
}
