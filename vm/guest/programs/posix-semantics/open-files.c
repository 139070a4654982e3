/* Open files: flags, files without names, holes, locks, mappings, and reading directories. */
#define _GNU_SOURCE
#include "posix-semantics.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static void say_text(const char *what, int fd)
{
    char text[64];
    const ssize_t got = pread(fd, text, sizeof(text) - 1, 0);

    text[got < 0 ? 0 : got] = '\0';
    printf("%s: %zd bytes, %s\n", what, got, text);
}

static void flags(void)
{
    int fd = open("o/file", O_WRONLY | O_APPEND);

    TRY(pwrite(fd, "!", 1, 0));
    TRY(lseek(fd, 0, SEEK_SET));
    TRY(write(fd, "?", 1));
    TRY(lseek(fd, 0, SEEK_CUR));
    TRY(read(fd, (char[1]){ 0 }, 1));
    close(fd);
    fd = open("o/file", O_RDONLY);
    say_text("appended", fd);
    TRY(write(fd, "x", 1));
    TRY(ftruncate(fd, 0));
    close(fd);
    fd = open("o/file", O_RDONLY | O_TRUNC);
    say_text("emptied by a reader", fd);
    close(fd);
    fd = open("o/read-only", O_CREAT | O_RDWR | O_EXCL, 0400);
    TRY(write(fd, "text", 4));
    say_text("a new file of mode 0400", fd);
    close(fd);
    fd = open("o", O_TMPFILE | O_RDWR, 0640);
    TRY(write(fd, "temporary", 9));
    TRY(linkat(fd, "", AT_FDCWD, "o/tmpfile", AT_EMPTY_PATH));
    close(fd);
    say_mode("O_TMPFILE", "o/tmpfile");
    fd = open("o", O_TMPFILE | O_RDWR | O_EXCL, 0640);
    TRY(linkat(fd, "", AT_FDCWD, "o/never", AT_EMPTY_PATH));
    close(fd);
}

static void nameless(void)
{
    struct stat st;
    int fd = open("o/gone", O_CREAT | O_RDWR, 0644);

    TRY(write(fd, "kept", 4));
    TRY(unlink("o/gone"));
    TRY(fstat(fd, &st));
    printf("links %lu size %ld\n", (unsigned long)st.st_nlink, (long)st.st_size);
    TRY(fchmod(fd, 0600));
    TRY(fchown(fd, 1000, 1000));
    TRY(ftruncate(fd, 2));
    TRY(futimens(fd, NULL));
    say_text("a file without a name", fd);
    close(fd);
    fd = open("o/old", O_CREAT | O_RDWR, 0644);
    TRY(write(fd, "old", 3));
    make_file("o/new", 0644, 0, 0);
    TRY(rename("o/new", "o/old"));
    say_text("a file whose name was taken", fd);
    close(fd);
    TRY(mkdir("o/directory", 0755));
    fd = open("o/directory", O_RDONLY);
    TRY(rmdir("o/directory"));
    TRY(openat(fd, "x", O_CREAT | O_RDWR, 0644));
    TRY(mkdirat(fd, "x", 0755));
    close(fd);
}

static void holes(void)
{
    struct stat st;
    const int fd = open("o/sparse", O_CREAT | O_RDWR, 0644);

    TRY(ftruncate(fd, 1 << 20));
    TRY(pwrite(fd, "data", 4, 512 << 10));
    TRY(lseek(fd, 0, SEEK_DATA));
    TRY(lseek(fd, 512 << 10, SEEK_HOLE));
    TRY(lseek(fd, (512 << 10) + 4096, SEEK_DATA));
    TRY(lseek(fd, 2 << 20, SEEK_HOLE));
    TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 512 << 10, 4096));
    TRY(lseek(fd, 0, SEEK_DATA));
    TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
    TRY(fallocate(fd, 0, 0, 0));
    TRY(fallocate(fd, 0, -1, 4096));
    TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 2 << 20));
    TRY(fstat(fd, &st));
    printf("size %ld\n", (long)st.st_size);
    close(fd);
}

static void mappings_and_locks(void)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 5 };
    const int fd = open("o/mapped", O_CREAT | O_RDWR, 0644);
    const int other = open("o/mapped", O_RDWR);
    char *map;

    TRY(ftruncate(fd, 4096));
    map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        say("mmap", -1);
    } else {
        strcpy(map, "through a mapping");
        TRY(msync(map, 4096, MS_SYNC));
        TRY(pwrite(other, "THROUGH", 7, 0));
        printf("%s\n", map);
        munmap(map, 4096);
    }
    TRY(flock(fd, LOCK_EX));
    TRY(flock(other, LOCK_SH | LOCK_NB));
    TRY(flock(fd, LOCK_UN));
    TRY(flock(other, LOCK_SH | LOCK_NB));
    TRY(fcntl(fd, F_OFD_SETLK, &lock));
    TRY(fcntl(other, F_OFD_SETLK, &lock));
    TRY(fcntl(fd, F_SETLK, &lock));
    TRY(copy_file_range(fd, &(off_t){ 0 }, other, &(off_t){ 100 }, 7, 0));
    TRY(copy_file_range(fd, &(off_t){ 0 }, other, &(off_t){ 3 }, 7, 0));
    close(fd);
    close(other);
}

static void listings(void)
{
    char name[32];
    long position = 0;
    int count = 0, again = 0;
    DIR *directory;

    TRY(mkdir("o/many", 0755));
    for (int n = 0; n < 200; n++) {
        snprintf(name, sizeof(name), "o/many/entry-%d", n);
        close(open(name, O_CREAT | O_RDWR, 0644));
    }
    directory = opendir("o/many");
    while (readdir(directory) != NULL)
        if (++count == 100)
            position = telldir(directory);
    seekdir(directory, position);
    while (readdir(directory) != NULL)
        again++;
    printf("entries %d, from the middle %d\n", count, again);
    rewinddir(directory);
    TRY(unlink("o/many/entry-7"));
    for (count = 0; readdir(directory) != NULL;)
        count++;
    printf("rewound %d\n", count);
    closedir(directory);
}

void check_open_files(void)
{
    struct statvfs fs;

    make_directory("o", 0755, 0, 0);
    make_file("o/file", 0644, 0, 0);
    flags();
    nameless();
    holes();
    mappings_and_locks();
    listings();
    TRY(statvfs("o", &fs));
    printf("longest name %lu\n", fs.f_namemax);
}
