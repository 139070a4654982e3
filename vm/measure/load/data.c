/* Workloads on the data of one large file. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"
#include "lane.h"

static void open_data(struct lane *lane, uint32_t flags)
{
    const uint64_t blocks = place.data_bytes / lane->bytes;

    lane->nodeid = call_lookup(lane, FUSE_ROOT_ID, "data");
    call_open(lane, lane->nodeid, flags);
    /* Sequential lanes divide the file among themselves. */
    lane->offset = blocks * lane->number / lane->count * lane->bytes;
}

static void open_cached(struct lane *lane)
{
    open_data(lane, O_RDWR);
}

static void open_direct(struct lane *lane)
{
    open_data(lane, O_RDWR | O_DIRECT);
}

static void close_data(struct lane *lane)
{
    call_release(lane, lane->nodeid);
    request_forget(lane->hiprio, lane->nodeid, 1);
}

static void send_read(struct lane *lane)
{
    const struct shape shape = { .arg_bytes = sizeof(struct fuse_read_in), .read_bytes = lane->bytes };

    *(struct fuse_read_in *)lane->request.args =
        (struct fuse_read_in){ .fh = lane->handle, .offset = lane->offset, .size = lane->bytes };
    request_send(&lane->request, FUSE_READ, lane->nodeid, &shape);
}

static void send_write(struct lane *lane)
{
    const struct shape shape = { .arg_bytes = sizeof(struct fuse_write_in),
                                 .write_bytes = lane->bytes,
                                 .reply_bytes = sizeof(struct fuse_write_out) };

    *(struct fuse_write_in *)lane->request.args =
        (struct fuse_write_in){ .fh = lane->handle, .offset = lane->offset, .size = lane->bytes };
    request_send(&lane->request, FUSE_WRITE, lane->nodeid, &shape);
}

static void go_on(struct lane *lane)
{
    lane->offset += lane->bytes;
    if (lane->offset + lane->bytes > place.data_bytes)
        lane->offset = 0;
}

static void go_anywhere(struct lane *lane)
{
    lane->offset = lane_random(lane, place.data_bytes / lane->bytes) * lane->bytes;
}

static bool all_read(struct lane *lane)
{
    if (request_reply_bytes(&lane->request) != lane->bytes)
        fail("READ at %llu gave %u bytes", (unsigned long long)lane->offset, request_reply_bytes(&lane->request));
    return true;
}

static bool all_written(struct lane *lane)
{
    const struct fuse_write_out *out = lane->request.reply;

    if (out->size != lane->bytes)
        fail("WRITE at %llu took %u bytes", (unsigned long long)lane->offset, out->size);
    return true;
}

static void read_next(struct lane *lane)
{
    go_on(lane);
    send_read(lane);
}

static void read_anywhere(struct lane *lane)
{
    go_anywhere(lane);
    send_read(lane);
}

static void write_next(struct lane *lane)
{
    go_on(lane);
    send_write(lane);
}

static void write_anywhere(struct lane *lane)
{
    go_anywhere(lane);
    send_write(lane);
}

#define DATA_WORKLOAD(id, text, opened, first, checked)                                                                \
    const struct workload id = {                                                                                       \
        .name = text,                                                                                                  \
        .prepare = opened,                                                                                             \
        .begin = first,                                                                                                \
        .proceed = checked,                                                                                            \
        .clean_up = close_data,                                                                                        \
        .moves_data = true,                                                                                            \
    }

DATA_WORKLOAD(read_workload, "read", open_cached, read_next, all_read);
DATA_WORKLOAD(write_workload, "write", open_cached, write_next, all_written);
DATA_WORKLOAD(read_random_workload, "read-random", open_cached, read_anywhere, all_read);
DATA_WORKLOAD(write_random_workload, "write-random", open_cached, write_anywhere, all_written);
DATA_WORKLOAD(read_direct_workload, "read-direct", open_direct, read_anywhere, all_read);
DATA_WORKLOAD(write_direct_workload, "write-direct", open_direct, write_anywhere, all_written);

/* Drops the file from the host's page cache before the first read; no block is then read twice. */
static void open_dropped(struct lane *lane)
{
    open_cached(lane);
    lane->step = 0;
    if (lane->number == 0) {
        char path[4096];
        int fd;

        snprintf(path, sizeof(path), "%s/data", place.host_dir);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0 || (errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)) != 0)
            fail_errno(path);
        close(fd);
    }
}

static void read_unread(struct lane *lane)
{
    const uint64_t blocks = place.data_bytes / lane->bytes;
    const uint64_t turn = (uint64_t)lane->step++ * lane->count + lane->number;

    /* An odd step visits each block of a power-of-two count once. */
    lane->offset = turn * 0x9e3779b97f4a7c15ULL % blocks * lane->bytes;
    send_read(lane);
}

DATA_WORKLOAD(read_cold_workload, "read-cold", open_dropped, read_unread, all_read);

/* WRITE, and FSYNC after it. */
enum { WRITING, SYNCING };

static void write_first(struct lane *lane)
{
    lane->step = WRITING;
    write_anywhere(lane);
}

static bool written_or_synced(struct lane *lane)
{
    static const struct shape shape = { .arg_bytes = sizeof(struct fuse_fsync_in) };

    if (lane->step == SYNCING)
        return true;
    all_written(lane);
    lane->step = SYNCING;
    *(struct fuse_fsync_in *)lane->request.args = (struct fuse_fsync_in){ .fh = lane->handle };
    request_send(&lane->request, FUSE_FSYNC, lane->nodeid, &shape);
    return false;
}

DATA_WORKLOAD(fsync_workload, "write+fsync", open_cached, write_first, written_or_synced);
