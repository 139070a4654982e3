/* data-ranges FILE: prints "OFFSET LENGTH" of each range of FILE that holds data, as SEEK_DATA and SEEK_HOLE tell. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    off_t data = 0, hole;
    int fd;

    if (argc != 2)
        return 2;
    fd = open(argv[1], O_RDONLY);
    if (fd < 0) {
        perror(argv[1]);
        return 1;
    }
    while ((data = lseek(fd, data, SEEK_DATA)) >= 0) {
        hole = lseek(fd, data, SEEK_HOLE);
        if (hole < 0)
            break;
        printf("%lld %lld\n", (long long)data, (long long)(hole - data));
        data = hole;
    }
    /* ENXIO: no data after this. */
    if (errno == ENXIO)
        return 0;
    perror("lseek");
    return 1;
}
