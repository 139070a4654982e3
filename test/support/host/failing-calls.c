/* Preloaded into Node: some system calls fail with the error number in FAILING_ERRNO. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/xattr.h>

static int fail(void)
{
    errno = atoi(getenv("FAILING_ERRNO"));
    return -1;
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    return fail();
}

int setxattr(const char *path, const char *name, const void *value, size_t size, int flags)
{
    return fail();
}
