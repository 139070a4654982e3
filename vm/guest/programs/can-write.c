/* can-write FILE: prints what access(2) says of writing to FILE, and whether statvfs(3) calls its file system read-only. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct statvfs st;

    if (argc != 2)
        return 2;
    printf("access: %s", access(argv[1], W_OK) == 0 ? "yes" : strerror(errno));
    if (statvfs(argv[1], &st) < 0)
        return 1;
    printf(", statvfs: %s\n", st.f_flag & ST_RDONLY ? "read-only" : "read-write");
    return 0;
}
