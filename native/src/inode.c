/*
 * Opens and changes the inode behind an O_PATH descriptor, without its name. The calls go through the directory
 * /proc/self/fd, whose descriptor the caller passes as procFd, so that they work when /proc is out of sight.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"
#include "module.h"

/* Large enough for any int in decimal. */
struct fd_name {
    char text[12];
};

/* argv[0..1]: procFd, fd. Makes the name of fd in procFd. */
static bool arg_inode(napi_env env, const napi_value *argv, int *proc_fd, struct fd_name *name)
{
    int fd;

    if (!arg_fd(env, argv[0], proc_fd) || !arg_fd(env, argv[1], &fd))
        return false;
    snprintf(name->text, sizeof(name->text), "%d", fd);
    return true;
}

/* inodeOpen(procFd, fd, flags): a new descriptor, always close-on-exec */
static napi_value inode_open(napi_env env, napi_callback_info info)
{
    struct fd_name name;
    napi_value argv[3];
    int32_t flags;
    int proc_fd;

    if (!args_get(env, info, argv, 3) || !arg_inode(env, argv, &proc_fd, &name) || !arg_i32(env, argv[2], &flags))
        return NULL;
    /* The last component is the magic link itself: O_NOFOLLOW would open the link, so it is removed. */
    return ret_errno(env, openat(proc_fd, name.text, (flags & ~(O_NOFOLLOW | O_CREAT)) | O_CLOEXEC));
}

/* inodeOpenByHandle(mountFd, handle, flags): a new descriptor; `handle` is [handle type, handle...] in 32-bit words */
static napi_value inode_open_by_handle(napi_env env, napi_callback_info info)
{
    struct {
        struct file_handle head;
        unsigned char bytes[MAX_HANDLE_SZ];
    } handle;
    napi_value argv[3];
    size_t len_bytes;
    uint8_t *bytes;
    int32_t flags;
    int mount_fd;

    if (!args_get(env, info, argv, 3) || !arg_fd(env, argv[0], &mount_fd) ||
        !arg_bytes(env, argv[1], &bytes, &len_bytes) || !arg_i32(env, argv[2], &flags))
        return NULL;
    if (len_bytes < 4 || len_bytes > 4 + MAX_HANDLE_SZ)
        return ret_int(env, -EINVAL);
    handle.head.handle_bytes = (unsigned)(len_bytes - 4);
    memcpy(&handle.head.handle_type, bytes, 4);
    /* In bounds: len_bytes - 4 <= MAX_HANDLE_SZ. */
    memcpy(handle.head.f_handle, bytes + 4, len_bytes - 4);
    return ret_errno(env, open_by_handle_at(mount_fd, &handle.head, flags | O_CLOEXEC));
}

/* inodePath(procFd, fd, out): bytes of the host's present path, without a NUL */
static napi_value inode_path(napi_env env, napi_callback_info info)
{
    struct fd_name name;
    napi_value argv[3];
    size_t len_bytes;
    uint8_t *out;
    int proc_fd;

    if (!args_get(env, info, argv, 3) || !arg_inode(env, argv, &proc_fd, &name) ||
        !arg_bytes(env, argv[2], &out, &len_bytes))
        return NULL;
    return ret_errno(env, readlinkat(proc_fd, name.text, (char *)out, len_bytes));
}

/* inodeChmod(procFd, fd, mode): 0 */
static napi_value inode_chmod(napi_env env, napi_callback_info info)
{
    struct fd_name name;
    napi_value argv[3];
    uint32_t mode;
    int proc_fd;

    if (!args_get(env, info, argv, 3) || !arg_inode(env, argv, &proc_fd, &name) || !arg_u32(env, argv[2], &mode))
        return NULL;
    return ret_errno(env, fchmodat(proc_fd, name.text, mode, 0));
}

/* inodeChown(fd, uid, gid): 0; -1 leaves an id unchanged */
static napi_value inode_chown(napi_env env, napi_callback_info info)
{
    napi_value argv[3];
    int64_t uid, gid;
    int fd;

    if (!args_get(env, info, argv, 3) || !arg_fd(env, argv[0], &fd) || !arg_i64(env, argv[1], &uid) ||
        !arg_i64(env, argv[2], &gid))
        return NULL;
    return ret_errno(env, fchownat(fd, "", (uid_t)uid, (gid_t)gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
}

static bool arg_time(napi_env env, const napi_value *argv, struct timespec *out)
{
    int64_t seconds, nanoseconds;

    if (!arg_i64(env, argv[0], &seconds) || !arg_i64(env, argv[1], &nanoseconds))
        return false;
    out->tv_sec = seconds;
    out->tv_nsec = nanoseconds;
    return true;
}

/* inodeUtimens(procFd, fd, atimeSec, atimeNsec, mtimeSec, mtimeNsec): 0; nsec may be UTIME_NOW or UTIME_OMIT */
static napi_value inode_utimens(napi_env env, napi_callback_info info)
{
    struct timespec times[2];
    struct fd_name name;
    napi_value argv[6];
    int proc_fd;

    if (!args_get(env, info, argv, 6) || !arg_inode(env, argv, &proc_fd, &name) ||
        !arg_time(env, argv + 2, &times[0]) || !arg_time(env, argv + 4, &times[1]))
        return NULL;
    return ret_errno(env, utimensat(proc_fd, name.text, times, 0));
}

/* inodeLink(procFd, fd, newDirFd, newName, newAt): 0 */
static napi_value inode_link(napi_env env, napi_callback_info info)
{
    struct fd_name name;
    const char *new_name;
    napi_value argv[5];
    int proc_fd, new_dir_fd;

    if (!args_get(env, info, argv, 5) || !arg_inode(env, argv, &proc_fd, &name) ||
        !arg_fd(env, argv[2], &new_dir_fd) || !arg_cstring(env, argv[3], argv[4], &new_name))
        return NULL;
    return ret_errno(env, linkat(proc_fd, name.text, new_dir_fd, new_name, AT_SYMLINK_FOLLOW));
}

bool register_inode(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("inodeOpen", inode_open),
        METHOD("inodeOpenByHandle", inode_open_by_handle),
        METHOD("inodePath", inode_path),
        METHOD("inodeChmod", inode_chmod),
        METHOD("inodeChown", inode_chown),
        METHOD("inodeUtimens", inode_utimens),
        METHOD("inodeLink", inode_link),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
