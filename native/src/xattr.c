/*
 * Extended attributes of the inode behind a descriptor, O_PATH or not, of any file type. The calls use the
 * descriptor's name in /proc/self/fd, which must be the calling thread's working directory: Linux before 6.13 has no
 * call that takes an O_PATH descriptor, and opening the file could block.
 */
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "args.h"
#include "module.h"

/* Large enough for any int in decimal. */
struct fd_name {
    char text[12];
};

static bool arg_inode(napi_env env, napi_value value, struct fd_name *name)
{
    int fd;

    if (!arg_fd(env, value, &fd))
        return false;
    snprintf(name->text, sizeof(name->text), "%d", fd);
    return true;
}

/* enterDirectory(fd): 0; makes the directory behind fd, O_PATH or not, this thread's working directory */
static napi_value xattr_enter_directory(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    int fd;

    if (!args_get(env, info, argv, 1) || !arg_fd(env, argv[0], &fd))
        return NULL;
    return ret_errno(env, fchdir(fd));
}

/* inodeGetxattr(fd, name, nameAt, out, outAt, lenBytes): bytes of the value; lenBytes 0 asks for its size */
static napi_value xattr_get(napi_env env, napi_callback_info info)
{
    struct fd_name inode;
    napi_value argv[6];
    size_t room_bytes;
    uint32_t len_bytes;
    const char *name;
    uint8_t *out;

    if (!args_get(env, info, argv, 6) || !arg_inode(env, argv[0], &inode) ||
        !arg_cstring(env, argv[1], argv[2], &name) || !arg_u32(env, argv[5], &len_bytes) ||
        !arg_bytes_from(env, argv[3], argv[4], len_bytes, &out, &room_bytes))
        return NULL;
    return ret_errno(env, getxattr(inode.text, name, out, len_bytes));
}

/* inodeSetxattr(fd, name, nameAt, value, valueAt, lenBytes, flags): 0 */
static napi_value xattr_set(napi_env env, napi_callback_info info)
{
    struct fd_name inode;
    napi_value argv[7];
    size_t room_bytes;
    uint32_t len_bytes;
    const char *name;
    uint8_t *value;
    int32_t flags;

    if (!args_get(env, info, argv, 7) || !arg_inode(env, argv[0], &inode) ||
        !arg_cstring(env, argv[1], argv[2], &name) || !arg_u32(env, argv[5], &len_bytes) ||
        !arg_bytes_from(env, argv[3], argv[4], len_bytes, &value, &room_bytes) || !arg_i32(env, argv[6], &flags))
        return NULL;
    return ret_errno(env, setxattr(inode.text, name, value, len_bytes, flags));
}

/* inodeListxattr(fd, out, outAt, lenBytes): bytes of the names, each with its NUL; lenBytes 0 asks for the size */
static napi_value xattr_list(napi_env env, napi_callback_info info)
{
    struct fd_name inode;
    napi_value argv[4];
    size_t room_bytes;
    uint32_t len_bytes;
    uint8_t *out;

    if (!args_get(env, info, argv, 4) || !arg_inode(env, argv[0], &inode) || !arg_u32(env, argv[3], &len_bytes) ||
        !arg_bytes_from(env, argv[1], argv[2], len_bytes, &out, &room_bytes))
        return NULL;
    return ret_errno(env, listxattr(inode.text, (char *)out, len_bytes));
}

/* inodeRemovexattr(fd, name, nameAt): 0 */
static napi_value xattr_remove(napi_env env, napi_callback_info info)
{
    struct fd_name inode;
    napi_value argv[3];
    const char *name;

    if (!args_get(env, info, argv, 3) || !arg_inode(env, argv[0], &inode) ||
        !arg_cstring(env, argv[1], argv[2], &name))
        return NULL;
    return ret_errno(env, removexattr(inode.text, name));
}

bool register_xattr(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("enterDirectory", xattr_enter_directory),
        METHOD("inodeGetxattr", xattr_get),
        METHOD("inodeSetxattr", xattr_set),
        METHOD("inodeListxattr", xattr_list),
        METHOD("inodeRemovexattr", xattr_remove),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
