/* Reading directories. A position is 64 opaque bits in two 32-bit words, since some file systems use 63 of them. */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "args.h"
#include "module.h"

/* getdents64(fd, out): bytes of struct linux_dirent64 records in out, 0 at the end */
static napi_value directory_getdents64(napi_env env, napi_callback_info info)
{
    napi_value argv[2];
    size_t len_bytes;
    uint8_t *out;
    int fd;

    if (!args_get(env, info, argv, 2) || !arg_fd(env, argv[0], &fd) || !arg_bytes(env, argv[1], &out, &len_bytes))
        return NULL;
    return ret_errno(env, syscall(SYS_getdents64, fd, out, len_bytes));
}

/* seekDirectory(fd, low, high): 0; low and high are the 32-bit halves of a position from getdents64 */
static napi_value directory_seek(napi_env env, napi_callback_info info)
{
    napi_value argv[3];
    uint32_t low, high;
    int fd;

    if (!args_get(env, info, argv, 3) || !arg_fd(env, argv[0], &fd) || !arg_u32(env, argv[1], &low) ||
        !arg_u32(env, argv[2], &high))
        return NULL;
    return ret_errno(env, lseek(fd, (off_t)((uint64_t)high << 32 | low), SEEK_SET) < 0 ? -1 : 0);
}

bool register_directory(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("getdents64", directory_getdents64),
        METHOD("seekDirectory", directory_seek),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
