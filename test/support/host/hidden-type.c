/* Preloaded into Node: FUSE file systems look like ones of a type that nobody knows. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/vfs.h>

#define FUSE_MAGIC 0x65735546
#define NOBODYS_MAGIC 0x0badcafe

int fstatfs(int fd, struct statfs *st)
{
    int (*const next)(int, struct statfs *) = dlsym(RTLD_NEXT, "fstatfs");
    const int result = next(fd, st);

    if (result == 0 && st->f_type == FUSE_MAGIC)
        st->f_type = NOBODYS_MAGIC;
    return result;
}
