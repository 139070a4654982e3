/*
 * hold-dirty written|hole|mapped FILE BYTES: puts BYTES times 'c' into FILE and keeps it open without syncing. Makes
 * FILE.ready when done; runs until it is killed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int fail(const char *what)
{
    perror(what);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    const char *how = argv[1];
    size_t len = strtoul(argv[3], NULL, 10);
    char *bytes = malloc(len), ready[4096];
    int fd = open(argv[2], O_RDWR | O_CREAT, 0644);

    if (fd < 0 || !bytes)
        return fail(argv[2]);
    memset(bytes, 'c', len);
    if (ftruncate(fd, strcmp(how, "written") == 0 ? 0 : (off_t)len) < 0)
        return fail("ftruncate");
    if (strcmp(how, "mapped") == 0) {
        char *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            return fail("mmap");
        memcpy(map, bytes, len);
    } else if (write(fd, bytes, len) != (ssize_t)len) {
        return fail("write");
    }
    snprintf(ready, sizeof(ready), "%s.ready", argv[2]);
    close(open(ready, O_CREAT | O_WRONLY, 0644));
    pause();
    return 0;
}
