/* can-write FILE: prints access(2)'s answer for writing to FILE, and statvfs(3)'s read-only flag. */
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
