/* System calls that some C libraries lack: musl before 1.2.5, and glibc older than Node needs. */
#ifndef KERNEL_CALLS_H
#define KERNEL_CALLS_H

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Later C libraries define struct statx, and with it this macro. */
#ifndef STATX_BASIC_STATS
#include <linux/stat.h>
#endif

/*
 * 64-bit kernels take the whole offset in one argument and ignore its second half. Without flags the older calls do
 * the same, and qemu-user has only those.
 */
static inline ssize_t kernel_preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    if (flags == 0)
        return preadv(fd, iov, count, offset);
    return syscall(SYS_preadv2, fd, iov, count, offset, 0, flags);
}

static inline ssize_t kernel_pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    if (flags == 0)
        return pwritev(fd, iov, count, offset);
    return syscall(SYS_pwritev2, fd, iov, count, offset, 0, flags);
}

static inline int kernel_renameat2(int old_dir, const char *old_name, int new_dir, const char *new_name, uint32_t flags)
{
    return (int)syscall(SYS_renameat2, old_dir, old_name, new_dir, new_name, flags);
}

static inline int kernel_statx(int dir, const char *name, int flags, uint32_t mask, struct statx *out)
{
    return (int)syscall(SYS_statx, dir, name, flags, mask, out);
}

#endif
