/*
 * Moves bytes between guest memory and files or buffers of ours, over the segments of a descriptor chain.
 *
 * Segments arrive as a Float64Array of pairs [gpa, lenBytes]. They come from the guest: each is translated and
 * bounded here, whatever TypeScript has checked before. A segment may cross regions.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/uio.h>

#include "args.h"
#include "guest-memory.h"
#include "module.h"

#define MAX_SAFE_INTEGER 9007199254740991.0

/* Walks the bytes [skip, skip + remaining) of segments [next, end). */
struct cursor {
    struct guest_memory *memory;
    const double *segments;
    uint32_t next;
    uint32_t end;
    uint64_t skip_bytes;
    uint64_t remaining_bytes;
};

/* argv: memory, segments, firstSegment, endSegment, skipBytes, lenBytes */
#define CURSOR_ARGS 6

static bool arg_cursor(napi_env env, const napi_value *argv, struct cursor *cursor)
{
    size_t len_bytes;
    uint8_t *bytes;

    cursor->memory = arg_memory(env, argv[0]);
    if (!cursor->memory || !arg_bytes(env, argv[1], &bytes, &len_bytes) || !arg_u32(env, argv[2], &cursor->next) ||
        !arg_u32(env, argv[3], &cursor->end) || !arg_u53(env, argv[4], &cursor->skip_bytes) ||
        !arg_u53(env, argv[5], &cursor->remaining_bytes))
        return false;
    if ((uintptr_t)bytes % sizeof(double) != 0 || cursor->end > len_bytes / (2 * sizeof(double))) {
        napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "more segments than the array holds");
        return false;
    }
    cursor->segments = (const double *)(const void *)bytes;
    return true;
}

/*
 * The next piece of guest memory that is contiguous here, at most remaining_bytes long.
 * 1 with *out set, 0 at the end of the segments or of the bytes, -EFAULT outside guest memory.
 */
static int cursor_next(struct cursor *cursor, struct iovec *out)
{
    while (cursor->remaining_bytes > 0 && cursor->next < cursor->end) {
        const double gpa = cursor->segments[2 * cursor->next];
        const double len = cursor->segments[2 * cursor->next + 1];
        uint64_t len_bytes, span_bytes;
        uint8_t *base;

        /* Also false for NaN. Past this both convert exactly. */
        if (!(gpa >= 0 && gpa <= MAX_SAFE_INTEGER && len >= 0 && len <= UINT32_MAX))
            return -EFAULT;
        len_bytes = (uint64_t)len;
        if (cursor->skip_bytes >= len_bytes) {
            cursor->skip_bytes -= len_bytes;
            cursor->next++;
            continue;
        }
        len_bytes -= cursor->skip_bytes;
        base = memory_translate(cursor->memory, (uint64_t)gpa + cursor->skip_bytes, &span_bytes);
        if (!base)
            return -EFAULT;
        if (len_bytes > span_bytes)
            len_bytes = span_bytes;
        if (len_bytes > cursor->remaining_bytes)
            len_bytes = cursor->remaining_bytes;
        cursor->skip_bytes += len_bytes;
        cursor->remaining_bytes -= len_bytes;
        /* In bounds: len_bytes <= span_bytes, the rest of the region that holds base. */
        out->iov_base = base;
        out->iov_len = len_bytes;
        return 1;
    }
    return 0;
}

/* Fills iov with up to IOV_MAX pieces, neighbours joined: fewer, larger pieces are cheaper for the kernel. */
static int cursor_fill(struct cursor *cursor, struct iovec *iov, uint64_t *total_bytes)
{
    int count = 0;

    *total_bytes = 0;
    while (count < IOV_MAX) {
        struct iovec piece;
        int got = cursor_next(cursor, &piece);

        if (got < 0)
            return got;
        if (got == 0)
            break;
        *total_bytes += piece.iov_len;
        if (count > 0 && (uint8_t *)iov[count - 1].iov_base + iov[count - 1].iov_len == (uint8_t *)piece.iov_base)
            iov[count - 1].iov_len += piece.iov_len;
        else
            iov[count++] = piece;
    }
    return count;
}

typedef ssize_t transfer_fn(int fd, const struct iovec *iov, int count, off_t offset, int flags);

/* Reads or writes until the cursor ends or the kernel gives less than asked. Bytes moved, or -errno if none were. */
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
    return guest_transfer(env, info, preadv2);
}

/* guestPwritev(the same): bytes written */
static napi_value guest_pwritev(napi_env env, napi_callback_info info)
{
    return guest_transfer(env, info, pwritev2);
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
        /* In bounds: the pieces add up to at most len_bytes, which arg_bytes_from found room for. */
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

/* guestWrite(the same): lenBytes */
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
