/*
 * System calls on a name in a directory: (dirFd, name: Uint8Array, at) with the name NUL-terminated from byte `at`.
 * None of them follows a symbolic link in the last component unless its flags say so.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "args.h"
#include "kernel-calls.h"
#include "module.h"

/* argv[0..2] of most calls here: dirFd, name, at */
static bool arg_path(napi_env env, const napi_value *argv, int *dir_fd, const char **name)
{
    return arg_fd(env, argv[0], dir_fd) && arg_cstring(env, argv[1], argv[2], name);
}

/* openat(dirFd, name, at, flags, mode): fd, always close-on-exec */
static napi_value path_openat(napi_env env, napi_callback_info info)
{
    napi_value argv[5];
    const char *name;
    uint32_t mode;
    int32_t flags;
    int dir_fd;

    if (!args_get(env, info, argv, 5) || !arg_path(env, argv, &dir_fd, &name) || !arg_i32(env, argv[3], &flags) ||
        !arg_u32(env, argv[4], &mode))
        return NULL;
    return ret_errno(env, openat(dir_fd, name, flags | O_CLOEXEC, mode));
}

/* openat2(dirFd, name, at, flags, mode, resolve): fd, always close-on-exec */
static napi_value path_openat2(napi_env env, napi_callback_info info)
{
    struct open_how how = { 0 };
    napi_value argv[6];
    const char *name;
    uint32_t mode, resolve;
    int32_t flags;
    int dir_fd;

    if (!args_get(env, info, argv, 6) || !arg_path(env, argv, &dir_fd, &name) || !arg_i32(env, argv[3], &flags) ||
        !arg_u32(env, argv[4], &mode) || !arg_u32(env, argv[5], &resolve))
        return NULL;
    how.flags = (uint32_t)flags | O_CLOEXEC;
    how.mode = mode;
    how.resolve = resolve;
    return ret_errno(env, syscall(SYS_openat2, dir_fd, name, &how, sizeof(how)));
}

/* statx(dirFd, name, at, flags, mask, out): 0, with a struct statx (256 bytes) in out */
static napi_value path_statx(napi_env env, napi_callback_info info)
{
    napi_value argv[6];
    const char *name;
    size_t len_bytes;
    uint32_t mask;
    uint8_t *out;
    int32_t flags;
    int dir_fd;

    if (!args_get(env, info, argv, 6) || !arg_path(env, argv, &dir_fd, &name) || !arg_i32(env, argv[3], &flags) ||
        !arg_u32(env, argv[4], &mask) || !arg_bytes(env, argv[5], &out, &len_bytes))
        return NULL;
    if (len_bytes < sizeof(struct statx))
        return ret_int(env, -EINVAL);
    return ret_errno(env, syscall(SYS_statx, dir_fd, name, flags, mask, out));
}

/* Since Linux 6.11 a NULL name stands for the descriptor itself, and costs a third less than an empty one. */
static int statx_itself(int fd, uint32_t mask, uint8_t *out)
{
    static const char *itself = NULL;
    const char *name = __atomic_load_n(&itself, __ATOMIC_RELAXED);
    long result = syscall(SYS_statx, fd, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, mask, out);

    if (result < 0 && errno == EFAULT && !name) {
        __atomic_store_n(&itself, "", __ATOMIC_RELAXED);
        result = syscall(SYS_statx, fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, mask, out);
    }
    return (int)result;
}

/* fstatx(fd, mask, out): statx of the inode behind fd, O_PATH or not */
static napi_value path_fstatx(napi_env env, napi_callback_info info)
{
    napi_value argv[3];
    size_t len_bytes;
    uint32_t mask;
    uint8_t *out;
    int fd;

    if (!args_get(env, info, argv, 3) || !arg_fd(env, argv[0], &fd) || !arg_u32(env, argv[1], &mask) ||
        !arg_bytes(env, argv[2], &out, &len_bytes))
        return NULL;
    if (len_bytes < sizeof(struct statx))
        return ret_int(env, -EINVAL);
    return ret_errno(env, statx_itself(fd, mask, out));
}

/* mkdirat(dirFd, name, at, mode): 0 */
static napi_value path_mkdirat(napi_env env, napi_callback_info info)
{
    napi_value argv[4];
    const char *name;
    uint32_t mode;
    int dir_fd;

    if (!args_get(env, info, argv, 4) || !arg_path(env, argv, &dir_fd, &name) || !arg_u32(env, argv[3], &mode))
        return NULL;
    return ret_errno(env, mkdirat(dir_fd, name, mode));
}

/* mknodat(dirFd, name, at, mode, dev): 0; dev is the kernel's own encoding: minor bits 0-7 and 20-31, major 8-19 */
static napi_value path_mknodat(napi_env env, napi_callback_info info)
{
    napi_value argv[5];
    const char *name;
    uint32_t mode, dev;
    int dir_fd;

    if (!args_get(env, info, argv, 5) || !arg_path(env, argv, &dir_fd, &name) || !arg_u32(env, argv[3], &mode) ||
        !arg_u32(env, argv[4], &dev))
        return NULL;
    return ret_errno(env, syscall(SYS_mknodat, dir_fd, name, mode, dev));
}

/* symlinkat(target, targetAt, dirFd, name, at): 0 */
static napi_value path_symlinkat(napi_env env, napi_callback_info info)
{
    const char *target, *name;
    napi_value argv[5];
    int dir_fd;

    if (!args_get(env, info, argv, 5) || !arg_cstring(env, argv[0], argv[1], &target) ||
        !arg_path(env, argv + 2, &dir_fd, &name))
        return NULL;
    return ret_errno(env, symlinkat(target, dir_fd, name));
}

/* unlinkat(dirFd, name, at, flags): 0 */
static napi_value path_unlinkat(napi_env env, napi_callback_info info)
{
    napi_value argv[4];
    const char *name;
    int32_t flags;
    int dir_fd;

    if (!args_get(env, info, argv, 4) || !arg_path(env, argv, &dir_fd, &name) || !arg_i32(env, argv[3], &flags))
        return NULL;
    return ret_errno(env, unlinkat(dir_fd, name, flags));
}

/* renameat2(oldDirFd, oldName, oldAt, newDirFd, newName, newAt, flags): 0 */
static napi_value path_renameat2(napi_env env, napi_callback_info info)
{
    const char *old_name, *new_name;
    int old_dir_fd, new_dir_fd;
    napi_value argv[7];
    uint32_t flags;

    if (!args_get(env, info, argv, 7) || !arg_path(env, argv, &old_dir_fd, &old_name) ||
        !arg_path(env, argv + 3, &new_dir_fd, &new_name) || !arg_u32(env, argv[6], &flags))
        return NULL;
    return ret_errno(env, kernel_renameat2(old_dir_fd, old_name, new_dir_fd, new_name, flags));
}

/* readlinkat(dirFd, name, at, out, outAt): bytes of the target, without a NUL; the name "" reads dirFd itself */
static napi_value path_readlinkat(napi_env env, napi_callback_info info)
{
    napi_value argv[5];
    const char *name;
    size_t room_bytes;
    uint8_t *out;
    int dir_fd;

    if (!args_get(env, info, argv, 5) || !arg_path(env, argv, &dir_fd, &name) ||
        !arg_bytes_from(env, argv[3], argv[4], 1, &out, &room_bytes))
        return NULL;
    return ret_errno(env, readlinkat(dir_fd, name, (char *)out, room_bytes));
}

/*
 * nameToHandleAt(dirFd, name, at, flags, out): bytes of the handle, with out = [mount id, handle type, handle...] in
 * 32-bit words. -EOPNOTSUPP or -EOVERFLOW: this file system has no handles.
 */
static napi_value path_name_to_handle_at(napi_env env, napi_callback_info info)
{
    struct {
        struct file_handle head;
        unsigned char bytes[MAX_HANDLE_SZ];
    } handle = { .head.handle_bytes = MAX_HANDLE_SZ };
    napi_value argv[5];
    const char *name;
    size_t len_bytes;
    uint8_t *out;
    int32_t flags;
    int dir_fd, mount_id;

    if (!args_get(env, info, argv, 5) || !arg_path(env, argv, &dir_fd, &name) || !arg_i32(env, argv[3], &flags) ||
        !arg_bytes(env, argv[4], &out, &len_bytes))
        return NULL;
    if (len_bytes < 8 + MAX_HANDLE_SZ)
        return ret_int(env, -EINVAL);
    if (name_to_handle_at(dir_fd, name, &handle.head, &mount_id, flags) < 0)
        return ret_errno(env, -1);
    memcpy(out, &mount_id, 4);
    memcpy(out + 4, &handle.head.handle_type, 4);
    /* In bounds: the kernel returns at most MAX_HANDLE_SZ bytes, and out has room for them. */
    memcpy(out + 8, handle.head.f_handle, handle.head.handle_bytes);
    return ret_int(env, handle.head.handle_bytes);
}

bool register_path(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("openat", path_openat),
        METHOD("openat2", path_openat2),
        METHOD("statx", path_statx),
        METHOD("fstatx", path_fstatx),
        METHOD("mkdirat", path_mkdirat),
        METHOD("mknodat", path_mknodat),
        METHOD("symlinkat", path_symlinkat),
        METHOD("unlinkat", path_unlinkat),
        METHOD("renameat2", path_renameat2),
        METHOD("readlinkat", path_readlinkat),
        METHOD("nameToHandleAt", path_name_to_handle_at),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
