/* mmap-write FILE TEXT: writes TEXT to the start of FILE through a shared mapping, and syncs it. */
#include <fcntl.h>
#include <stdio.h>
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
    if (argc != 3)
        return 2;
    const char *text = argv[2];
    size_t len = strlen(text);
    int fd = open(argv[1], O_RDWR | O_CREAT, 0644);
    if (fd < 0 || ftruncate(fd, (off_t)len) < 0)
        return fail(argv[1]);
    char *bytes = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return fail("mmap");
    memcpy(bytes, text, len);
    if (msync(bytes, len, MS_SYNC) < 0)
        return fail("msync");
    return 0;
}
