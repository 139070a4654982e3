/*
 * Numbers from the system's headers that node:fs and node:os lack, some of which differ between architectures, and
 * the kinds of asynchronous work.
 */
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#include "args.h"
#include "async-op.h"
#include "kernel-calls.h"
#include "module.h"
#include "uring.h"

#ifdef __x86_64__
#define THIS_ARCH AUDIT_ARCH_X86_64
#else
#define THIS_ARCH AUDIT_ARCH_AARCH64
#endif

#define ENTRY(name) { #name, (name) }

static const struct {
    const char *name;
    int64_t value;
} entries[] = {
    ENTRY(ASYNC_READ), ENTRY(ASYNC_WRITE), ENTRY(ASYNC_FSYNC), ENTRY(ASYNC_FDATASYNC), ENTRY(ASYNC_FALLOCATE),
    ENTRY(ASYNC_SYNCFS), ENTRY(ASYNC_COPY_RANGE), ENTRY(ASYNC_CACHED_READ), { "AUDIT_ARCH", THIS_ARCH },
    ENTRY(AT_EMPTY_PATH), ENTRY(AT_FDCWD), ENTRY(AT_NO_AUTOMOUNT), ENTRY(AT_REMOVEDIR), ENTRY(AT_SYMLINK_NOFOLLOW),
    ENTRY(EFD_NONBLOCK), ENTRY(EPOLLERR), ENTRY(EPOLLET), ENTRY(EPOLLHUP), ENTRY(EPOLLIN), ENTRY(EPOLLOUT),
    ENTRY(EPOLLRDHUP),
    ENTRY(F_RDLCK), ENTRY(F_UNLCK), ENTRY(F_WRLCK),
    ENTRY(FALLOC_FL_KEEP_SIZE), ENTRY(FALLOC_FL_PUNCH_HOLE), ENTRY(FALLOC_FL_COLLAPSE_RANGE),
    ENTRY(FALLOC_FL_ZERO_RANGE), ENTRY(FALLOC_FL_INSERT_RANGE), ENTRY(FALLOC_FL_UNSHARE_RANGE),
    ENTRY(LOCK_EX), ENTRY(LOCK_SH), ENTRY(LOCK_UN),
    ENTRY(MSG_DONTWAIT),
    ENTRY(O_ACCMODE), ENTRY(O_APPEND), ENTRY(O_CLOEXEC), ENTRY(O_CREAT), ENTRY(O_DIRECT), ENTRY(O_DIRECTORY),
    ENTRY(O_DSYNC), ENTRY(O_EXCL), ENTRY(O_NOATIME), ENTRY(O_NOCTTY), ENTRY(O_NOFOLLOW), ENTRY(O_NONBLOCK),
    ENTRY(O_PATH), ENTRY(O_RDONLY), ENTRY(O_RDWR), ENTRY(O_SYNC), ENTRY(O_TMPFILE), ENTRY(O_TRUNC), ENTRY(O_WRONLY),
    ENTRY(RENAME_EXCHANGE), ENTRY(RENAME_NOREPLACE), ENTRY(RENAME_WHITEOUT),
    ENTRY(RESOLVE_BENEATH), ENTRY(RESOLVE_NO_MAGICLINKS), ENTRY(RESOLVE_NO_SYMLINKS), ENTRY(RESOLVE_NO_XDEV),
    ENTRY(RWF_APPEND), ENTRY(RWF_DSYNC), ENTRY(RWF_HIPRI), ENTRY(RWF_NOWAIT), ENTRY(RWF_SYNC),
    ENTRY(SEEK_DATA), ENTRY(SEEK_HOLE), ENTRY(SEEK_SET), ENTRY(SEEK_CUR), ENTRY(SEEK_END),
    ENTRY(STATX_BASIC_STATS), ENTRY(STATX_BTIME), { "STATX_MNT_ID", 0x1000 },
    ENTRY(S_IFMT), ENTRY(S_IFREG), ENTRY(S_IFDIR), ENTRY(S_IFLNK), ENTRY(S_IFSOCK),
    ENTRY(URING_RESULTS), ENTRY(UTIME_NOW), ENTRY(UTIME_OMIT),
    ENTRY(XATTR_CREATE), ENTRY(XATTR_REPLACE),
};

bool register_constants(napi_env env, napi_value exports)
{
    napi_value constants;

    if (napi_create_object(env, &constants) != napi_ok)
        return false;
    for (size_t n = 0; n < COUNT_OF(entries); n++)
        if (napi_set_named_property(env, constants, entries[n].name, ret_int(env, entries[n].value)) != napi_ok)
            return false;
    return napi_object_freeze(env, constants) == napi_ok &&
           napi_set_named_property(env, exports, "constants", constants) == napi_ok;
}
