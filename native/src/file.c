/* System calls on an open descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "args.h"
#include "module.h"

/* close(fd): 0 */
static napi_value file_close(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    int fd;

    if (!args_get(env, info, argv, 1) || !arg_fd(env, argv[0], &fd))
        return NULL;
    return ret_errno(env, close(fd));
}

/* dup(fd): a new descriptor, close-on-exec */
static napi_value file_dup(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    int fd;

    if (!args_get(env, info, argv, 1) || !arg_fd(env, argv[0], &fd))
        return NULL;
    return ret_errno(env, fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

/* dupTo(fd, target): 0; `target`, an open descriptor, becomes a copy of `fd` */
static napi_value file_dup_to(napi_env env, napi_callback_info info)
{
    napi_value argv[2];
    int fd, target;

    if (!args_get(env, info, argv, 2) || !arg_fd(env, argv[0], &fd) || !arg_fd(env, argv[1], &target))
        return NULL;
    return ret_errno(env, dup3(fd, target, O_CLOEXEC) < 0 ? -1 : 0);
}

/* statusFlags(fd): the O_* status flags */
static napi_value file_status_flags(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    int fd;

    if (!args_get(env, info, argv, 1) || !arg_fd(env, argv[0], &fd))
        return NULL;
    return ret_errno(env, fcntl(fd, F_GETFL));
}

/* setStatusFlags(fd, flags): 0 */
static napi_value file_set_status_flags(napi_env env, napi_callback_info info)
{
    napi_value argv[2];
    int32_t flags;
    int fd;

    if (!args_get(env, info, argv, 2) || !arg_fd(env, argv[0], &fd) || !arg_i32(env, argv[1], &flags))
        return NULL;
    return ret_errno(env, fcntl(fd, F_SETFL, flags));
}

/* Sets a limit as far as privileges allow. Returns the limit in force, or -1 with errno. */
static int64_t set_limit(int resource, uint64_t limit)
{
    struct rlimit now, wanted;

    if (getrlimit(resource, &now) < 0)
        return -1;
    wanted.rlim_cur = limit;
    wanted.rlim_max = limit > now.rlim_max ? limit : now.rlim_max;
    /* Raising the hard limit needs a privilege; without it the hard limit is the most. */
    if (setrlimit(resource, &wanted) < 0) {
        wanted.rlim_max = now.rlim_max;
        wanted.rlim_cur = limit < now.rlim_max ? limit : now.rlim_max;
        if (setrlimit(resource, &wanted) < 0)
            return -1;
    }
    return (int64_t)wanted.rlim_cur;
}

/* setFileLimit(limit): the limit of open files now in force: `limit` (0: unchanged), as far as privileges allow */
static napi_value file_set_limit(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    struct rlimit now;
    uint64_t limit;

    if (!args_get(env, info, argv, 1) || !arg_u53(env, argv[0], &limit))
        return NULL;
    if (limit > 0)
        return ret_errno(env, set_limit(RLIMIT_NOFILE, limit));
    return ret_errno(env, getrlimit(RLIMIT_NOFILE, &now) < 0 ? -1 : (int64_t)now.rlim_cur);
}

/* raiseLockedLimit(limitBytes): 0; a limit of locked memory below `limitBytes` is raised as far as privileges allow */
static napi_value file_raise_locked_limit(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    struct rlimit now;
    uint64_t limit_bytes;

    if (!args_get(env, info, argv, 1) || !arg_u53(env, argv[0], &limit_bytes))
        return NULL;
    if (getrlimit(RLIMIT_MEMLOCK, &now) < 0)
        return ret_errno(env, -1);
    /* RLIM_INFINITY is the highest number. */
    if (now.rlim_cur >= limit_bytes)
        return ret_int(env, 0);
    return ret_errno(env, set_limit(RLIMIT_MEMLOCK, limit_bytes) < 0 ? -1 : 0);
}

/* memfdCreate(sizeBytes): fd of shared memory that cannot shrink */
static napi_value file_memfd_create(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    uint64_t size_bytes;
    int fd;

    if (!args_get(env, info, argv, 1) || !arg_u53(env, argv[0], &size_bytes))
        return NULL;
    fd = memfd_create("guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return ret_errno(env, -1);
    if (ftruncate(fd, (off_t)size_bytes) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0) {
        const int error = errno;

        close(fd);
        return ret_int(env, -error);
    }
    return ret_int(env, fd);
}

/* fsync(fd): 0 */
static napi_value file_fsync(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    int fd;

    if (!args_get(env, info, argv, 1) || !arg_fd(env, argv[0], &fd))
        return NULL;
    return ret_errno(env, fsync(fd));
}

/* fdatasync(fd): 0 */
static napi_value file_fdatasync(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    int fd;

    if (!args_get(env, info, argv, 1) || !arg_fd(env, argv[0], &fd))
        return NULL;
    return ret_errno(env, fdatasync(fd));
}

/* syncfs(fd): 0 */
static napi_value file_syncfs(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    int fd;

    if (!args_get(env, info, argv, 1) || !arg_fd(env, argv[0], &fd))
        return NULL;
    return ret_errno(env, syncfs(fd));
}

/* ftruncate(fd, sizeBytes): 0 */
static napi_value file_ftruncate(napi_env env, napi_callback_info info)
{
    napi_value argv[2];
    uint64_t size_bytes;
    int fd;

    if (!args_get(env, info, argv, 2) || !arg_fd(env, argv[0], &fd) || !arg_u53(env, argv[1], &size_bytes))
        return NULL;
    return ret_errno(env, ftruncate(fd, (off_t)size_bytes));
}

/* fallocate(fd, mode, offsetBytes, lenBytes): 0 */
static napi_value file_fallocate(napi_env env, napi_callback_info info)
{
    uint64_t offset_bytes, len_bytes;
    napi_value argv[4];
    int32_t mode;
    int fd;

    if (!args_get(env, info, argv, 4) || !arg_fd(env, argv[0], &fd) || !arg_i32(env, argv[1], &mode) ||
        !arg_u53(env, argv[2], &offset_bytes) || !arg_u53(env, argv[3], &len_bytes))
        return NULL;
    return ret_errno(env, fallocate(fd, mode, (off_t)offset_bytes, (off_t)len_bytes));
}

/* lseek(fd, offsetBytes, whence): the new offset */
static napi_value file_lseek(napi_env env, napi_callback_info info)
{
    napi_value argv[3];
    int64_t offset_bytes;
    int32_t whence;
    int fd;

    if (!args_get(env, info, argv, 3) || !arg_fd(env, argv[0], &fd) || !arg_i64(env, argv[1], &offset_bytes) ||
        !arg_i32(env, argv[2], &whence))
        return NULL;
    return ret_errno(env, lseek(fd, (off_t)offset_bytes, whence));
}

/* copyFileRange(inFd, inOffsetBytes, outFd, outOffsetBytes, lenBytes): bytes copied */
static napi_value file_copy_range(napi_env env, napi_callback_info info)
{
    uint64_t in_at, out_at, len_bytes;
    napi_value argv[5];
    int in_fd, out_fd;

    if (!args_get(env, info, argv, 5) || !arg_fd(env, argv[0], &in_fd) || !arg_u53(env, argv[1], &in_at) ||
        !arg_fd(env, argv[2], &out_fd) || !arg_u53(env, argv[3], &out_at) || !arg_u53(env, argv[4], &len_bytes))
        return NULL;
    return ret_errno(env, copy_file_range(in_fd, (off_t *)&in_at, out_fd, (off_t *)&out_at, len_bytes, 0));
}

/* fstatfs(fd, out): 0, with a struct statfs (120 bytes) in out; fd may be O_PATH */
static napi_value file_fstatfs(napi_env env, napi_callback_info info)
{
    napi_value argv[2];
    struct statfs st;
    size_t len_bytes;
    uint8_t *out;
    int fd;

    if (!args_get(env, info, argv, 2) || !arg_fd(env, argv[0], &fd) || !arg_bytes(env, argv[1], &out, &len_bytes))
        return NULL;
    if (len_bytes < sizeof(st))
        return ret_int(env, -EINVAL);
    if (fstatfs(fd, &st) < 0)
        return ret_errno(env, -1);
    __builtin_memcpy(out, &st, sizeof(st));
    return ret_int(env, 0);
}

/* ioctl(fd, request, argument): the call's result, mostly 0; for requests that carry their argument's size */
static napi_value file_ioctl(napi_env env, napi_callback_info info)
{
    napi_value argv[3];
    size_t len_bytes;
    uint32_t request;
    uint8_t *argument;
    int fd;

    if (!args_get(env, info, argv, 3) || !arg_fd(env, argv[0], &fd) || !arg_u32(env, argv[1], &request) ||
        !arg_bytes(env, argv[2], &argument, &len_bytes))
        return NULL;
    if (len_bytes < _IOC_SIZE(request))
        return ret_int(env, -EINVAL);
    return ret_errno(env, ioctl(fd, request, argument));
}

bool register_file(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("close", file_close),
        METHOD("dup", file_dup),
        METHOD("dupTo", file_dup_to),
        METHOD("statusFlags", file_status_flags),
        METHOD("setStatusFlags", file_set_status_flags),
        METHOD("setFileLimit", file_set_limit),
        METHOD("raiseLockedLimit", file_raise_locked_limit),
        METHOD("memfdCreate", file_memfd_create),
        METHOD("fsync", file_fsync),
        METHOD("fdatasync", file_fdatasync),
        METHOD("syncfs", file_syncfs),
        METHOD("ftruncate", file_ftruncate),
        METHOD("fallocate", file_fallocate),
        METHOD("lseek", file_lseek),
        METHOD("copyFileRange", file_copy_range),
        METHOD("fstatfs", file_fstatfs),
        METHOD("ioctl", file_ioctl),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
