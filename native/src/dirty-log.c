/* The log of guest pages that the device has written, for a front-end that migrates the guest. */
#include <errno.h>
#include <stdlib.h>

#include "args.h"
#include "guest-cursor.h"
#include "module.h"
#include "shared-file.h"

/* vhost-user: one bit for each 4 KiB page of guest-physical addresses, whatever the host's page size. */
#define LOG_PAGE_SHIFT 12

struct dirty_log {
    struct shared_file file; /* its bytes are the bits of the log; NULL once closed */
    uint64_t size_bytes;
};

static void log_finalize(napi_env env, void *data, void *hint)
{
    struct dirty_log *log = data;

    shared_file_unmap(&log->file);
    free(log);
}

/* dirtyLogOpen(fd, offsetBytes, sizeBytes): the log, or -errno */
static napi_value dirty_log_open(napi_env env, napi_callback_info info)
{
    napi_value argv[3], external;
    uint64_t offset_bytes;
    struct dirty_log *log;
    int64_t result;
    int fd;

    log = calloc(1, sizeof(*log));
    if (!log)
        return ret_int(env, -ENOMEM);
    if (!args_get(env, info, argv, 3) || !arg_fd(env, argv[0], &fd) || !arg_u53(env, argv[1], &offset_bytes) ||
        !arg_u53(env, argv[2], &log->size_bytes)) {
        free(log);
        return NULL;
    }
    result = log->size_bytes == 0 ? -EINVAL : shared_file_map(&log->file, fd, offset_bytes, log->size_bytes, 0);
    if (result == 0 && napi_create_external(env, log, log_finalize, NULL, &external) == napi_ok)
        return external;
    log_finalize(env, log, NULL);
    return ret_int(env, result < 0 ? result : -ENOMEM);
}

static struct dirty_log *arg_log(napi_env env, napi_value value)
{
    napi_valuetype type;
    void *log;

    if (napi_typeof(env, value, &type) != napi_ok || type != napi_external ||
        napi_get_value_external(env, value, &log) != napi_ok) {
        napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "not a dirty log");
        return NULL;
    }
    return log;
}

/* dirtyLogClose(log): 0; the log is unmapped and takes no more marks */
static napi_value dirty_log_close(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    struct dirty_log *log;

    if (!args_get(env, info, argv, 1) || !(log = arg_log(env, argv[0])))
        return NULL;
    shared_file_unmap(&log->file);
    return ret_int(env, 0);
}

/* dirtyLogIsLost(log): true if the front-end has truncated its file and a mark found that out */
static napi_value dirty_log_is_lost(napi_env env, napi_callback_info info)
{
    napi_value argv[1], result;
    struct dirty_log *log;

    if (!args_get(env, info, argv, 1) || !(log = arg_log(env, argv[0])))
        return NULL;
    return napi_get_boolean(env, log->file.is_lost, &result) == napi_ok ? result : NULL;
}

/* Marks each page of [gpa, gpa + len_bytes), which is not empty. The front-end clears bits at the same time. */
static bool mark(struct dirty_log *log, uint64_t gpa, uint64_t len_bytes)
{
    const uint64_t first = gpa >> LOG_PAGE_SHIFT;
    const uint64_t last = (gpa + len_bytes - 1) >> LOG_PAGE_SHIFT;

    if (!log->file.bytes || last / 8 >= log->size_bytes)
        return false;
    /* In bounds: at <= last / 8 < size_bytes. */
    for (uint64_t at = first / 8; at <= last / 8; at++) {
        unsigned bits = 0xff;

        if (at == first / 8)
            bits &= 0xffU << (first % 8);
        if (at == last / 8)
            bits &= 0xffU >> (7 - last % 8);
        __atomic_fetch_or(&log->file.bytes[at], (uint8_t)bits, __ATOMIC_SEQ_CST);
    }
    return true;
}

/*
 * dirtyLogMark(log, segments, first, end): 0; marks every page of segments [first, end) of pairs [gpa, lenBytes].
 * -EFAULT if one lies outside the log; those before it are marked.
 */
static napi_value dirty_log_mark(napi_env env, napi_callback_info info)
{
    napi_value argv[4];
    struct dirty_log *log;
    const double *segments;
    uint32_t first, end;

    if (!args_get(env, info, argv, 4) || !(log = arg_log(env, argv[0])) || !arg_u32(env, argv[2], &first) ||
        !arg_u32(env, argv[3], &end) || !arg_segments(env, argv[1], end, &segments))
        return NULL;
    for (uint32_t n = first; n < end; n++) {
        uint64_t gpa, len_bytes;

        if (!segment_at(segments, n, &gpa, &len_bytes) || (len_bytes > 0 && !mark(log, gpa, len_bytes)))
            return ret_int(env, -EFAULT);
    }
    return ret_int(env, 0);
}

bool register_dirty_log(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("dirtyLogOpen", dirty_log_open),
        METHOD("dirtyLogClose", dirty_log_close),
        METHOD("dirtyLogIsLost", dirty_log_is_lost),
        METHOD("dirtyLogMark", dirty_log_mark),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
