/*
 * Reads and writes of open files. All bytes written are the same.
 *
 *   write FILE LENGTH OFFSET BYTE     pwrite; value: bytes written
 *   aio FILE LENGTH OFFSET BYTE       the same by io_submit, and by io_uring
 *   uring FILE LENGTH OFFSET BYTE
 *   aiomany FILE COUNT LENGTH BYTE    COUNT writes by one io_submit, one behind the other; value: how many were written
 *   append FILE LENGTH OFFSET BYTE    pwritev2 with RWF_APPEND, and with RWF_DSYNC
 *   dsync FILE LENGTH OFFSET BYTE
 *   read FILE LENGTH OFFSET           pread; value: text "BYTExCOUNT ..." of the runs of equal bytes
 *   aioread FILE LENGTH OFFSET        the same by io_submit
 *   fill FILE LENGTH OFFSET SEED      as write, but each byte says where it should be: see pattern()
 *   check FILE LENGTH OFFSET SEED     as read; value: text "right bytes/bytes read"
 *   splice FROM TO LENGTH OFFSET OFFSET  through a pipe; value: bytes
 *   vector FILE PARTS LENGTH OFFSET BYTE  pwritev of so many parts of LENGTH bytes; value: bytes written
 *   poll FILE                         for POLLIN and POLLOUT; value: the events that came
 */
#define _GNU_SOURCE
#include "data-operations.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "async-write.h"
#include "table.h"

#define ALIGNMENT 4096
#define IOV_PARTS 64

/* FILE LENGTH OFFSET BYTE, and a buffer that begins at the same offset within a page as in the file. */
struct transfer {
    struct named file;
    size_t len;
    long offset;
    char *memory, *bytes;
};

static long prepare_transfer(const char *line, struct transfer *t)
{
    char name[NAME_BYTES];
    int byte = 0;
    if (sscanf(line, "%31s %zu %ld %d", name, &t->len, &t->offset, &byte) < 3)
        return -EINVAL;
    if (find(name, &t->file) < 0)
        return -ENOENT;
    t->memory = aligned_alloc(ALIGNMENT, (t->len + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (t->memory == NULL)
        return -ENOMEM;
    t->bytes = t->memory + t->offset % ALIGNMENT;
    memset(t->bytes, byte, t->len);
    return 0;
}

typedef long (*writer)(int fd, const void *bytes, size_t len, long offset);

static long write_by(writer write_bytes, const char *line)
{
    struct transfer t;
    long error = prepare_transfer(line, &t);
    if (error < 0)
        return error;
    long value = write_bytes(t.file.fd, t.bytes, t.len, t.offset);
    free(t.memory);
    return value;
}

static long sync_write(int fd, const void *bytes, size_t len, long offset)
{
    return result(pwrite(fd, bytes, len, offset));
}

static long flagged_write(int fd, const void *bytes, size_t len, long offset, int flags)
{
    struct iovec part = { (void *)bytes, len };
    return result(pwritev2(fd, &part, 1, offset, flags));
}

static long append_write(int fd, const void *bytes, size_t len, long offset)
{
    return flagged_write(fd, bytes, len, offset, RWF_APPEND);
}

static long dsync_write(int fd, const void *bytes, size_t len, long offset)
{
    return flagged_write(fd, bytes, len, offset, RWF_DSYNC);
}

long do_append(const char *line, struct outcome *outcome)
{
    (void)outcome;
    return write_by(append_write, line);
}

long do_dsync(const char *line, struct outcome *outcome)
{
    (void)outcome;
    return write_by(dsync_write, line);
}

long do_write(const char *line, struct outcome *outcome)
{
    (void)outcome;
    return write_by(sync_write, line);
}

long do_aio(const char *line, struct outcome *outcome)
{
    (void)outcome;
    return write_by(aio_write_once, line);
}

long do_aiomany(const char *line, struct outcome *outcome)
{
    char name[NAME_BYTES];
    struct named file;
    int count, byte;
    size_t len;
    (void)outcome;
    if (sscanf(line, "%31s %d %zu %d", name, &count, &len, &byte) != 4)
        return -EINVAL;
    if (find(name, &file) < 0)
        return -ENOENT;
    char *bytes = aligned_alloc(ALIGNMENT, (len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (bytes == NULL)
        return -ENOMEM;
    memset(bytes, byte, len);
    long value = aio_write_many(file.fd, bytes, len, count);
    free(bytes);
    return value;
}

long do_uring(const char *line, struct outcome *outcome)
{
    (void)outcome;
    return write_by(uring_write_once, line);
}

typedef long (*reader)(int fd, void *bytes, size_t len, long offset);

static long sync_read(int fd, void *bytes, size_t len, long offset)
{
    return result(pread(fd, bytes, len, offset));
}

static long read_by(reader read_bytes, const char *line, struct outcome *outcome)
{
    struct transfer t;
    long error = prepare_transfer(line, &t);
    if (error < 0)
        return error;
    long value = read_bytes(t.file.fd, t.bytes, t.len, t.offset);
    if (value > 0)
        describe_runs((unsigned char *)t.bytes, (size_t)value, outcome->text, sizeof outcome->text);
    free(t.memory);
    return value;
}

long do_read(const char *line, struct outcome *outcome)
{
    return read_by(sync_read, line, outcome);
}

long do_aioread(const char *line, struct outcome *outcome)
{
    return read_by(aio_read_once, line, outcome);
}

/* Returns the byte for a place in the file, such that exchanged bytes, pages or requests are noticed. */
static unsigned char pattern(long offset, int seed)
{
    return (unsigned char)(offset * 7 + (offset >> 12) * 31 + (offset >> 20) * 101 + seed);
}

long do_fill(const char *line, struct outcome *outcome)
{
    struct transfer t;
    int seed = 0;
    (void)outcome;
    long error = prepare_transfer(line, &t);
    if (error < 0)
        return error;
    sscanf(line, "%*s %*s %*s %d", &seed);
    for (size_t n = 0; n < t.len; n++)
        t.bytes[n] = (char)pattern(t.offset + (long)n, seed);
    long value = sync_write(t.file.fd, t.bytes, t.len, t.offset);
    free(t.memory);
    return value;
}

long do_check(const char *line, struct outcome *outcome)
{
    struct transfer t;
    int seed = 0;
    long error = prepare_transfer(line, &t), right = 0;
    if (error < 0)
        return error;
    sscanf(line, "%*s %*s %*s %d", &seed);
    long value = result(pread(t.file.fd, t.bytes, t.len, t.offset));
    for (long n = 0; n < value; n++)
        right += (unsigned char)t.bytes[n] == pattern(t.offset + n, seed);
    if (value >= 0)
        snprintf(outcome->text, sizeof outcome->text, "%ld/%ld", right, value);
    free(t.memory);
    return value;
}

long do_vector(const char *line, struct outcome *outcome)
{
    char name[NAME_BYTES];
    struct iovec parts[IOV_PARTS];
    int count, byte, fd;
    size_t len;
    long offset, value = -ENOMEM;
    (void)outcome;
    if (sscanf(line, NAME_FORMAT " %d %zu %ld %d", name, &count, &len, &offset, &byte) != 5 || count > IOV_PARTS)
        return -EINVAL;
    if ((fd = fd_of(name)) < 0)
        return fd;
    /* Each part begins a page away from the end of the one before it. */
    size_t stride = (len + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    char *memory = aligned_alloc(ALIGNMENT, stride * (size_t)count);
    if (memory == NULL)
        return value;
    memset(memory, byte, stride * (size_t)count);
    for (int n = 0; n < count; n++)
        parts[n] = (struct iovec){ .iov_base = memory + stride * (size_t)n, .iov_len = len };
    value = result(pwritev(fd, parts, count, offset));
    free(memory);
    return value;
}

long do_poll(const char *line, struct outcome *outcome)
{
    struct pollfd asked = { .fd = fd_of(line), .events = POLLIN | POLLOUT };
    (void)outcome;
    if (asked.fd < 0)
        return asked.fd;
    return poll(&asked, 1, 0) < 0 ? -errno : asked.revents;
}

long do_splice(const char *line, struct outcome *outcome)
{
    char from_name[NAME_BYTES], to_name[NAME_BYTES];
    struct named from, to;
    size_t len;
    int ends[2];
    loff_t from_offset, to_offset;
    (void)outcome;
    if (sscanf(line, "%31s %31s %zu %ld %ld", from_name, to_name, &len, &from_offset, &to_offset) != 5)
        return -EINVAL;
    if (find(from_name, &from) < 0 || find(to_name, &to) < 0)
        return -ENOENT;
    if (pipe(ends) < 0)
        return -errno;
    long moved = 0, in = 1;
    while (len > 0 && in > 0) {
        in = result(splice(from.fd, &from_offset, ends[1], NULL, len, 0));
        for (long left = in, out; left > 0; left -= out) {
            out = result(splice(ends[0], NULL, to.fd, &to_offset, (size_t)left, 0));
            if (out <= 0) {
                in = out < 0 ? out : -EIO;
                break;
            }
            moved += out;
            len -= (size_t)out;
        }
    }
    close(ends[0]);
    close(ends[1]);
    return in < 0 ? in : moved;
}
