/* Locks on files. None of these calls waits. */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "args.h"
#include "module.h"

/* lockFile(fd): 0; -EAGAIN if another open file holds the lock. The lock lasts until the descriptor is closed. */
static napi_value lock_file(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    int fd;

    if (!args_get(env, info, argv, 1) || !arg_fd(env, argv[0], &fd))
        return NULL;
    return ret_errno(env, flock(fd, LOCK_EX | LOCK_NB));
}

/* flock(fd, operation): 0; -EAGAIN instead of waiting */
static napi_value lock_flock(napi_env env, napi_callback_info info)
{
    napi_value argv[2];
    int32_t operation;
    int fd;

    if (!args_get(env, info, argv, 2) || !arg_fd(env, argv[0], &fd) || !arg_i32(env, argv[1], &operation))
        return NULL;
    return ret_errno(env, flock(fd, operation | LOCK_NB));
}

/* argv[0..3]: fd, type, startBytes, lenBytes */
static bool arg_range(napi_env env, const napi_value *argv, int *fd, struct flock *lock)
{
    uint64_t start, len;
    int32_t type;

    if (!arg_fd(env, argv[0], fd) || !arg_i32(env, argv[1], &type) || !arg_u53(env, argv[2], &start) ||
        !arg_u53(env, argv[3], &len))
        return false;
    *lock = (struct flock){
        .l_type = (short)type, .l_whence = SEEK_SET, .l_start = (off_t)start, .l_len = (off_t)len
    };
    return true;
}

/* setRangeLock(fd, type, startBytes, lenBytes): 0; -EAGAIN if another owner holds a conflicting lock */
static napi_value lock_set_range(napi_env env, napi_callback_info info)
{
    napi_value argv[4];
    struct flock lock;
    int fd;

    if (!args_get(env, info, argv, 4) || !arg_range(env, argv, &fd, &lock))
        return NULL;
    return ret_errno(env, fcntl(fd, F_OFD_SETLK, &lock));
}

/*
 * getRangeLock(fd, type, startBytes, lenBytes, out: Float64Array): 0 if the lock could be taken; else 1, with [type,
 * startBytes, lenBytes, pid] of a conflicting lock in out
 */
static napi_value lock_get_range(napi_env env, napi_callback_info info)
{
    napi_value argv[5];
    struct flock lock;
    size_t len_bytes;
    uint8_t *bytes;
    double *out;
    int fd;

    if (!args_get(env, info, argv, 5) || !arg_range(env, argv, &fd, &lock) ||
        !arg_bytes(env, argv[4], &bytes, &len_bytes))
        return NULL;
    if (len_bytes < 4 * sizeof(double) || (uintptr_t)bytes % sizeof(double) != 0)
        return ret_int(env, -EINVAL);
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return ret_errno(env, -1);
    if (lock.l_type == F_UNLCK)
        return ret_int(env, 0);
    /* In bounds: there is room for four numbers. */
    out = (double *)(void *)bytes;
    out[0] = lock.l_type;
    out[1] = (double)lock.l_start;
    out[2] = (double)lock.l_len;
    out[3] = lock.l_pid;
    return ret_int(env, 1);
}

bool register_lock(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("lockFile", lock_file),
        METHOD("flock", lock_flock),
        METHOD("setRangeLock", lock_set_range),
        METHOD("getRangeLock", lock_get_range),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
