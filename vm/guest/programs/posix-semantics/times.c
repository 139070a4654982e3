/* Which times an operation changes, and who may set them. */
#define _GNU_SOURCE
#include "posix-semantics.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Does `call` and prints which times of `path` it changed. */
#define TOUCH(path, call)                                                                                              \
    do {                                                                                                               \
        watch(path);                                                                                                   \
        TRY(call);                                                                                                     \
        say_touched(#call " " path, path);                                                                             \
    } while (0)

static void changes(void)
{
    int fd;

    TOUCH("t", mkdir("t/directory", 0755));
    TOUCH("t", mkfifo("t/fifo", 0644));
    TOUCH("t", symlink("x", "t/link"));
    TOUCH("t", link("t/file", "t/linked"));
    TOUCH("t/file", unlink("t/linked"));
    TOUCH("t", rename("t/fifo", "t/renamed"));
    TOUCH("t/renamed", rename("t/renamed", "t/fifo"));
    TOUCH("t/file", link("t/file", "t/linked"));
    TOUCH("t", rmdir("t/directory"));
    TOUCH("t/file", chmod("t/file", 0600));
    TOUCH("t/file", chown("t/file", 1000, 1000));
    TOUCH("t/file", chown("t/file", (uid_t)-1, (gid_t)-1));
    TOUCH("t/file", truncate("t/file", 10));
    TOUCH("t/file", truncate("t/file", 10));
    fd = open("t/file", O_RDWR);
    TOUCH("t/file", write(fd, "text", 4));
    TOUCH("t/file", write(fd, "", 0));
    TOUCH("t/file", pwrite(fd, "x", 1, 100));
    TOUCH("t/file", ftruncate(fd, 101));
    TOUCH("t/file", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 4096));
    TOUCH("t/file", fsync(fd));
    close(fd);
    TOUCH("t/file", close(open("t/file", O_WRONLY | O_TRUNC)));
    TOUCH("t/file", close(open("t/file", O_RDONLY)));
    TOUCH("t", close(open("t/file", O_CREAT | O_RDWR, 0644)));
}

static void set(const char *what, long a_nsec, long m_nsec)
{
    const struct timespec times[2] = { { 1000000000, a_nsec }, { 1100000000, m_nsec } };
    struct stat st;

    say(what, utimensat(AT_FDCWD, "t/file", times, 0));
    if (stat("t/file", &st) == 0)
        printf("%s: atime %s, mtime %s\n", what,
               st.st_atim.tv_sec == 1000000000 ? "set" : st.st_atim.tv_sec < 1200000000 ? "kept" : "now",
               st.st_mtim.tv_sec == 1100000000 ? "set" : st.st_mtim.tv_sec < 1200000000 ? "kept" : "now");
}

static void settings(void)
{
    const struct timespec early[2] = { { -1, 5 }, { -100000, 999999999 } };
    struct stat st;

    set("utimensat", 123456789, 987654321);
    set("utimensat OMIT OMIT", UTIME_OMIT, UTIME_OMIT);
    set("utimensat NOW OMIT", UTIME_NOW, UTIME_OMIT);
    set("utimensat OMIT NOW", UTIME_OMIT, UTIME_NOW);
    set("utimensat again", 1, 2);
    set("utimensat NOW NOW", UTIME_NOW, UTIME_NOW);
    set("utimensat 10^9", 1000000000, 0);
    TRY(utimensat(AT_FDCWD, "t/link", early, AT_SYMLINK_NOFOLLOW));
    TRY(lstat("t/link", &st));
    printf("before 1970: %ld.%09ld %ld.%09ld\n", (long)st.st_atim.tv_sec, st.st_atim.tv_nsec, (long)st.st_mtim.tv_sec,
           st.st_mtim.tv_nsec);
    TRY(chmod("t/file", 0666));
    TRY(chown("t/file", 0, 0));
    become(1000, 1000, 0);
    set("stranger who may write", 1, 2);
    set("stranger who may write NOW NOW", UTIME_NOW, UTIME_NOW);
    set("stranger who may write NOW OMIT", UTIME_NOW, UTIME_OMIT);
    set("stranger OMIT OMIT", UTIME_OMIT, UTIME_OMIT);
    become_root();
    TRY(chmod("t/file", 0644));
    become(1000, 1000, 0);
    set("stranger NOW NOW", UTIME_NOW, UTIME_NOW);
    become_root();
}

void check_times(void)
{
    make_directory("t", 0755, 0, 0);
    make_file("t/file", 0644, 0, 0);
    changes();
    settings();
}
