/* Workloads on names and attributes. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail.h"
#include "lane.h"

#define NAME_BYTES 32

static void find_data(struct lane *lane)
{
    lane->nodeid = call_lookup(lane, FUSE_ROOT_ID, "data");
}

static void forget_node(struct lane *lane)
{
    request_forget(lane->hiprio, lane->nodeid, 1);
}

static void send_getattr(struct lane *lane)
{
    static const struct shape shape = { .arg_bytes = sizeof(struct fuse_getattr_in),
                                        .reply_bytes = sizeof(struct fuse_attr_out) };

    *(struct fuse_getattr_in *)lane->request.args = (struct fuse_getattr_in){ 0 };
    request_send(&lane->request, FUSE_GETATTR, lane->nodeid, &shape);
}

const struct workload getattr_workload = {
    .name = "getattr",
    .prepare = find_data,
    .begin = send_getattr,
    .clean_up = forget_node,
};

static void find_entries(struct lane *lane)
{
    lane->parent = call_lookup(lane, FUSE_ROOT_ID, "entries");
}

static void forget_parent(struct lane *lane)
{
    request_forget(lane->hiprio, lane->parent, 1);
}

static void send_lookup(struct lane *lane)
{
    struct shape shape = { .reply_bytes = sizeof(struct fuse_entry_out) };
    char name[NAME_BYTES];

    snprintf(name, sizeof(name), "entry-%08u", (unsigned)lane_random(lane, place.entries));
    shape.arg_bytes = put_name(lane->request.args, 0, name);
    request_send(&lane->request, FUSE_LOOKUP, lane->parent, &shape);
}

static bool forget_found(struct lane *lane)
{
    request_forget(lane->hiprio, ((struct fuse_entry_out *)lane->request.reply)->nodeid, 1);
    return true;
}

/* LOOKUP of a name that the guest does not know, and FORGET. */
const struct workload lookup_workload = {
    .name = "lookup+forget",
    .prepare = find_entries,
    .begin = send_lookup,
    .proceed = forget_found,
    .clean_up = forget_parent,
};

/* LOOKUP of a name again, as a guest that may not cache names does at every path it walks. */
static void find_one(struct lane *lane)
{
    find_entries(lane);
    lane->step = 0;
    lane->nodeid = call_lookup(lane, lane->parent, "entry-00000001");
}

static void send_same_lookup(struct lane *lane)
{
    const struct shape shape = { .arg_bytes = put_name(lane->request.args, 0, "entry-00000001"),
                                 .reply_bytes = sizeof(struct fuse_entry_out) };

    lane->step++;
    request_send(&lane->request, FUSE_LOOKUP, lane->parent, &shape);
}

static void forget_all(struct lane *lane)
{
    request_forget(lane->hiprio, lane->nodeid, lane->step + 1);
    forget_parent(lane);
}

const struct workload lookup_known_workload = {
    .name = "lookup-again",
    .prepare = find_one,
    .begin = send_same_lookup,
    .clean_up = forget_all,
};

enum { OPENING, RELEASING };

static void send_open(struct lane *lane)
{
    static const struct shape shape = { .arg_bytes = sizeof(struct fuse_open_in),
                                        .reply_bytes = sizeof(struct fuse_open_out) };

    lane->step = OPENING;
    *(struct fuse_open_in *)lane->request.args = (struct fuse_open_in){ .flags = O_RDWR };
    request_send(&lane->request, FUSE_OPEN, lane->nodeid, &shape);
}

static void send_release(struct lane *lane, uint64_t handle)
{
    static const struct shape shape = { .arg_bytes = sizeof(struct fuse_release_in) };

    *(struct fuse_release_in *)lane->request.args = (struct fuse_release_in){ .fh = handle, .flags = O_RDWR };
    request_send(&lane->request, FUSE_RELEASE, lane->nodeid, &shape);
}

static bool opened_or_released(struct lane *lane)
{
    if (lane->step == RELEASING)
        return true;
    lane->step = RELEASING;
    send_release(lane, ((struct fuse_open_out *)lane->request.reply)->fh);
    return false;
}

const struct workload open_workload = {
    .name = "open+release",
    .prepare = find_data,
    .begin = send_open,
    .proceed = opened_or_released,
    .clean_up = forget_node,
};

/* Opens up to `bytes` files; then opens and releases one more each time. Releases all at the end. */
#define MANY 1000000

static uint64_t handles[MANY];
static unsigned handle_count;

static bool opened_one_more(struct lane *lane)
{
    if (lane->step == OPENING && handle_count < lane->bytes && handle_count < MANY) {
        handles[handle_count++] = ((struct fuse_open_out *)lane->request.reply)->fh;
        return true;
    }
    return opened_or_released(lane);
}

static void release_all(struct lane *lane)
{
    while (handle_count > 0) {
        lane->handle = handles[--handle_count];
        call_release(lane, lane->nodeid);
    }
    forget_node(lane);
}

const struct workload open_many_workload = {
    .name = "open-many",
    .prepare = find_data,
    .begin = send_open,
    .proceed = opened_one_more,
    .clean_up = release_all,
};

enum { CREATING, CLOSING, UNLINKING };

static void find_scratch(struct lane *lane)
{
    lane->parent = call_lookup(lane, FUSE_ROOT_ID, "scratch");
}

static const char *own_name(struct lane *lane)
{
    static _Thread_local char name[NAME_BYTES];

    snprintf(name, sizeof(name), "made-%d-%u", (int)getpid(), lane->number);
    return name;
}

static void send_create(struct lane *lane)
{
    struct shape shape = { .reply_bytes = sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out) };
    struct fuse_create_in *in = lane->request.args;

    lane->step = CREATING;
    *in = (struct fuse_create_in){ .flags = O_RDWR | O_CREAT | O_EXCL, .mode = S_IFREG | 0644, .umask = 022 };
    shape.arg_bytes = put_name(in, sizeof(*in), own_name(lane));
    request_send(&lane->request, FUSE_CREATE, lane->parent, &shape);
}

static bool created_or_unlinked(struct lane *lane)
{
    const struct fuse_entry_out *entry = lane->request.reply;
    struct shape shape = { 0 };

    switch (lane->step++) {
    case CREATING:
        lane->nodeid = entry->nodeid;
        send_release(lane, ((const struct fuse_open_out *)(entry + 1))->fh);
        return false;
    case CLOSING:
        shape.arg_bytes = put_name(lane->request.args, 0, own_name(lane));
        request_send(&lane->request, FUSE_UNLINK, lane->parent, &shape);
        return false;
    default:
        forget_node(lane);
        return true;
    }
}

/* CREATE, RELEASE, UNLINK, FORGET. */
const struct workload create_workload = {
    .name = "create+unlink",
    .prepare = find_scratch,
    .begin = send_create,
    .proceed = created_or_unlinked,
    .clean_up = forget_parent,
};
