#include "guest-cursor.h"

#include <errno.h>
#include <limits.h>

#include "args.h"

#define MAX_SAFE_INTEGER 9007199254740991.0

bool arg_cursor(napi_env env, const napi_value *argv, struct cursor *cursor)
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

int cursor_next(struct cursor *cursor, struct iovec *out)
{
    while (cursor->remaining_bytes > 0 && cursor->next < cursor->end) {
        const double gpa = cursor->segments[2 * cursor->next];
        const double len = cursor->segments[2 * cursor->next + 1];
        uint64_t len_bytes, span_bytes;
        uint8_t *base;

        /* Also refuses NaN. After this check both numbers convert exactly. */
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
