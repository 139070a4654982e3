/* Requests from their arrival to their reply: counts, faults, and the list of those that are held. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server.h"

#define FAULTS 16

enum effect { NO_FAULT, HOLD, ERRNO, SHORT, COUNT };

static struct fault {
    enum effect effect;
    unsigned opcode;
    char path[PATH_BYTES];
    long value;
    unsigned limit; /* 0: none */
    unsigned applied, held;
} faults[FAULTS];

static unsigned served;
static struct request *held;

/* The fields that requests have in common, at the places of uapi fuse.h. */
static void summarise(struct request *r)
{
    struct fuse_write_in *data = (void *)r->args;
    struct fuse_read_in *read = (void *)r->args;
    struct fuse_fallocate_in *range = (void *)r->args;
    struct fuse_setattr_in *attr = (void *)r->args;
    struct fuse_lseek_in *seek = (void *)r->args;
    struct fuse_open_in *open = (void *)r->args;
    struct fuse_create_in *create = (void *)r->args;
    switch (r->in->opcode) {
    case FUSE_READ:
    case FUSE_READDIR:
        r->handle = read->fh, r->offset = read->offset, r->size = read->size, r->flags = read->flags;
        r->detail = read->read_flags;
        break;
    case FUSE_WRITE:
        r->handle = data->fh, r->offset = data->offset, r->size = data->size, r->flags = data->flags;
        r->detail = data->write_flags;
        break;
    case FUSE_FALLOCATE:
        r->handle = range->fh, r->offset = range->offset, r->size = range->length, r->detail = range->mode;
        break;
    case FUSE_LSEEK:
        r->handle = seek->fh, r->offset = seek->offset, r->detail = seek->whence;
        break;
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
        r->handle = ((struct fuse_fsync_in *)r->args)->fh;
        r->detail = ((struct fuse_fsync_in *)r->args)->fsync_flags;
        break;
    case FUSE_GETATTR:
        r->detail = ((struct fuse_getattr_in *)r->args)->getattr_flags;
        if ((r->detail & FUSE_GETATTR_FH) != 0)
            r->handle = ((struct fuse_getattr_in *)r->args)->fh;
        break;
    case FUSE_SETATTR:
        r->size = attr->size, r->detail = attr->valid;
        break;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        r->flags = open->flags, r->detail = open->open_flags;
        break;
    case FUSE_CREATE:
        r->flags = create->flags, r->detail = create->open_flags;
        break;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
        r->handle = ((struct fuse_release_in *)r->args)->fh;
        break;
    case FUSE_FLUSH:
        r->handle = ((struct fuse_flush_in *)r->args)->fh;
        break;
    }
}

/* Returns the name that the request takes first, or NULL. */
static const char *name_of(const struct request *r)
{
    switch (r->in->opcode) {
    case FUSE_LOOKUP:
    case FUSE_SYMLINK:
    case FUSE_UNLINK:
    case FUSE_RMDIR: return r->args;
    case FUSE_RENAME: return r->args + sizeof(struct fuse_rename_in);
    case FUSE_MKDIR: return r->args + sizeof(struct fuse_mkdir_in);
    case FUSE_LINK: return r->args + sizeof(struct fuse_link_in);
    case FUSE_MKNOD: return r->args + sizeof(struct fuse_mknod_in);
    case FUSE_CREATE: return r->args + sizeof(struct fuse_create_in);
    case FUSE_RENAME2: return r->args + sizeof(struct fuse_rename2_in);
    default: return NULL;
    }
}

static bool chooses(const struct fault *fault, const struct request *r)
{
    return fault->effect != NO_FAULT && fault->opcode == r->in->opcode &&
           (fault->limit == 0 || fault->applied < fault->limit) &&
           (strcmp(fault->path, "*") == 0 || strcmp(fault->path, r->path) == 0);
}

static void complete(struct request *r)
{
    if (r->in->opcode == FUSE_WRITE && r->node != NULL)
        r->node->writes_in_flight--;
    serve(r);
    served++;
    keep_trace(r);
    free(r->in);
    free(r);
}

/* Lets go what a fault holds; NULL: what any holds. */
static unsigned release_held(const struct fault *fault)
{
    unsigned released = 0;
    for (struct request **at = &held; *at != NULL;) {
        struct request *r = *at;
        if (fault != NULL && !chooses(fault, r)) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        complete(r);
        released++;
    }
    for (int n = 0; n < FAULTS; n++)
        if (fault == NULL || fault == &faults[n])
            faults[n].held = 0;
    return released;
}

static void hold(struct request *r, struct fault *fault)
{
    struct request **end = &held;
    while (*end != NULL)
        end = &(*end)->next;
    *end = r;
    if (++fault->held >= fault->value)
        release_held(fault);
}

static void count(struct request *r)
{
    struct node *node = r->node;
    if (node == NULL)
        return;
    if (r->in->opcode == FUSE_READ)
        node->reads++;
    if (r->in->opcode != FUSE_WRITE)
        return;
    if ((r->detail & FUSE_WRITE_CACHE) != 0)
        node->cached_writes++;
    else
        node->direct_writes++;
    node->writes_in_flight++;
    if (node->writes_in_flight > node->highest_overlap)
        node->highest_overlap = node->writes_in_flight;
}

/* Takes a request from its arrival to its reply, or to the list of those that are held. Owns the buffer. */
void take_request(char *buffer, size_t bytes)
{
    struct request *r = calloc(1, sizeof *r);
    r->in = (void *)buffer;
    r->args = buffer + sizeof *r->in;
    r->args_bytes = bytes - sizeof *r->in;
    r->seen_ms = now_ms();
    r->short_bytes = -1;
    r->node = find_node(r->in->nodeid);
    if (r->node != NULL)
        name_path(r->node, name_of(r), r->path);
    summarise(r);
    count(r);
    for (int n = 0; n < FAULTS; n++) {
        struct fault *fault = &faults[n];
        if (!chooses(fault, r))
            continue;
        fault->applied++;
        if (fault->effect == HOLD)
            return hold(r, fault);
        if (fault->effect == ERRNO)
            r->forced_error = -(int)fault->value;
        if (fault->effect == SHORT)
            r->short_bytes = fault->value;
    }
    complete(r);
}

bool add_fault(const char *line)
{
    char effect[16];
    struct fault fault = { 0 };
    int fields = sscanf(line, "%u %511s %15s %ld %u", &fault.opcode, fault.path, effect, &fault.value, &fault.limit);
    if (fields < 3)
        return false;
    fault.effect = strcmp(effect, "hold") == 0 ? HOLD : strcmp(effect, "errno") == 0 ? ERRNO
                 : strcmp(effect, "short") == 0 ? SHORT : COUNT;
    for (int n = 0; n < FAULTS; n++)
        if (faults[n].effect == NO_FAULT) {
            faults[n] = fault;
            return true;
        }
    return false;
}

unsigned release_all(void)
{
    return release_held(NULL);
}

unsigned clear_faults(void)
{
    memset(faults, 0, sizeof faults);
    return release_held(NULL);
}

unsigned served_requests(void)
{
    return served;
}

void print_faults(void)
{
    printf("{\"applied\":[");
    for (int n = 0, comma = 0; n < FAULTS; n++)
        if (faults[n].effect != NO_FAULT)
            printf("%s%u", comma++ > 0 ? "," : "", faults[n].applied);
    puts("]}");
}
