#include "guest-cursor.h"

#include <errno.h>
#include <limits.h>

#include "args.h"

bool arg_segments(napi_env env, napi_value value, uint32_t end, const double **segments)
{
    size_t len_bytes;
    uint8_t *bytes;

    if (!arg_bytes(env, value, &bytes, &len_bytes))
        return false;
    if ((uintptr_t)bytes % sizeof(double) != 0 || end > len_bytes / (2 * sizeof(double))) {
        napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "more segments than the array holds");
        return false;
    }
    *segments = (const double *)(const void *)bytes;
    return true;
}

bool segment_at(const double *segments, uint32_t n, uint64_t *gpa, uint64_t *len_bytes)
{
    const double at = segments[2 * n], len = segments[2 * n + 1];

    /* Also refuses NaN. After this check both numbers convert exactly, and their sum does not overflow. */
    if (!(at >= 0 && at <= MAX_SAFE_INTEGER && len >= 0 && len <= UINT32_MAX))
        return false;
    *gpa = (uint64_t)at;
    *len_bytes = (uint64_t)len;
    return true;
}

bool arg_cursor(napi_env env, const napi_value *argv, struct cursor *cursor)
{
    cursor->memory = arg_memory(env, argv[0]);
    return cursor->memory && arg_u32(env, argv[2], &cursor->next) && arg_u32(env, argv[3], &cursor->end) &&
           arg_segments(env, argv[1], cursor->end, &cursor->segments) &&
           arg_u53(env, argv[4], &cursor->skip_bytes) && arg_u53(env, argv[5], &cursor->remaining_bytes);
}

int cursor_next(struct cursor *cursor, struct iovec *out)
{
    while (cursor->remaining_bytes > 0 && cursor->next < cursor->end) {
        uint64_t gpa, len_bytes, span_bytes;
        uint8_t *base;

        if (!segment_at(cursor->segments, cursor->next, &gpa, &len_bytes))
            return -EFAULT;
        if (cursor->skip_bytes >= len_bytes) {
            cursor->skip_bytes -= len_bytes;
            cursor->next++;
            continue;
        }
        len_bytes -= cursor->skip_bytes;
        base = memory_translate(cursor->memory, gpa + cursor->skip_bytes, &span_bytes);
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

int cursor_fill(struct cursor *cursor, struct iovec *iov, uint64_t *total_bytes)
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
