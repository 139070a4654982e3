/* Synchronous transfers between guest memory and files or our own buffers. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "args.h"
#include "guest-cursor.h"
#include "kernel-calls.h"
#include "module.h"

typedef ssize_t transfer_fn(int fd, const struct iovec *iov, int count, off_t offset, int flags);

/* A single piece needs no list, which the kernel would first have to fetch and check. */
static ssize_t read_pieces(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    if (count == 1 && flags == 0)
        return pread(fd, iov->iov_base, iov->iov_len, offset);
    return kernel_preadv2(fd, iov, count, offset, flags);
}

static ssize_t write_pieces(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    if (count == 1 && flags == 0)
        return pwrite(fd, iov->iov_base, iov->iov_len, offset);
    return kernel_pwritev2(fd, iov, count, offset, flags);
}

/* Reads or writes until the cursor ends or the kernel moves less than asked. Returns bytes moved, or -errno if
 * none were. */
static int64_t transfer(struct cursor *cursor, transfer_fn *move, int fd, int64_t offset, int flags)
{
    struct iovec iov[IOV_MAX];
    int64_t moved_bytes = 0;

    for (;;) {
        uint64_t want_bytes;
        ssize_t got;
        int count = cursor_fill(cursor, iov, &want_bytes);

        if (count < 0)
            return moved_bytes > 0 ? moved_bytes : count;
        if (count == 0)
            return moved_bytes;
        do
            got = move(fd, iov, count, offset + moved_bytes, flags);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            return moved_bytes > 0 ? moved_bytes : -errno;
        moved_bytes += got;
        if ((uint64_t)got < want_bytes)
            return moved_bytes;
    }
}

static napi_value guest_transfer(napi_env env, napi_callback_info info, transfer_fn *move)
{
    napi_value argv[CURSOR_ARGS + 3];
    struct cursor cursor;
    uint64_t offset;
    int32_t flags;
    int fd;

    if (!args_get(env, info, argv, COUNT_OF(argv)) || !arg_cursor(env, argv, &cursor) ||
        !arg_fd(env, argv[CURSOR_ARGS], &fd) || !arg_u53(env, argv[CURSOR_ARGS + 1], &offset) ||
        !arg_i32(env, argv[CURSOR_ARGS + 2], &flags))
        return NULL;
    return ret_int(env, transfer(&cursor, move, fd, (int64_t)offset, flags));
}

/* guestPreadv(memory, segments, firstSegment, endSegment, skipBytes, lenBytes, fd, offsetBytes, flags): bytes read */
static napi_value guest_preadv(napi_env env, napi_callback_info info)
{
    return guest_transfer(env, info, read_pieces);
}

/* guestPwritev(same arguments): bytes written */
static napi_value guest_pwritev(napi_env env, napi_callback_info info)
{
    return guest_transfer(env, info, write_pieces);
}

/* argv: cursor, bytes, at. Copies all of lenBytes or fails. */
static napi_value guest_copy(napi_env env, napi_callback_info info, bool to_guest)
{
    napi_value argv[CURSOR_ARGS + 2];
    struct cursor cursor;
    struct iovec piece;
    uint64_t len_bytes;
    size_t room_bytes;
    uint8_t *bytes;
    int got;

    if (!args_get(env, info, argv, COUNT_OF(argv)) || !arg_cursor(env, argv, &cursor))
        return NULL;
    len_bytes = cursor.remaining_bytes;
    if (!arg_bytes_from(env, argv[CURSOR_ARGS], argv[CURSOR_ARGS + 1], len_bytes, &bytes, &room_bytes))
        return NULL;
    while ((got = cursor_next(&cursor, &piece)) > 0) {
        /* In bounds: the pieces add up to at most len_bytes, and arg_bytes_from checked that `bytes` has room for
         * that. */
        if (to_guest)
            memcpy(piece.iov_base, bytes, piece.iov_len);
        else
            memcpy(bytes, piece.iov_base, piece.iov_len);
        bytes += piece.iov_len;
    }
    return ret_int(env, got < 0 || cursor.remaining_bytes > 0 ? -EFAULT : (int64_t)len_bytes);
}

/* guestRead(memory, segments, firstSegment, endSegment, skipBytes, lenBytes, bytes, at): lenBytes */
static napi_value guest_read(napi_env env, napi_callback_info info)
{
    return guest_copy(env, info, false);
}

/* guestWrite(same arguments): lenBytes */
static napi_value guest_write(napi_env env, napi_callback_info info)
{
    return guest_copy(env, info, true);
}

bool register_guest_io(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("guestPreadv", guest_preadv),
        METHOD("guestPwritev", guest_pwritev),
        METHOD("guestRead", guest_read),
        METHOD("guestWrite", guest_write),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
