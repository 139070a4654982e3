/*
 * posix-semantics DIR: performs typical operations on names, modes, owners, times and open files in an empty DIR, and
 * prints each result on a line. Two file systems that behave alike print the same. Run as root.
 */
#define _GNU_SOURCE
#include "posix-semantics.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void say(const char *what, long result)
{
    if (result < 0)
        printf("%s: %s\n", what, strerrorname_np(errno));
    else
        printf("%s: %ld\n", what, result);
}

void become(uid_t uid, gid_t gid, gid_t group)
{
    if (seteuid(0) < 0 || setgroups(group == 0 ? 0 : 1, &group) < 0 || setegid(gid) < 0 || seteuid(uid) < 0) {
        perror("become");
        exit(1);
    }
}

void become_root(void)
{
    become(0, 0, 0);
}

void make_file(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
    const int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);

    if (fd < 0 || write(fd, "text", 4) != 4 || fchown(fd, uid, gid) < 0 || fchmod(fd, mode) < 0)
        say("make_file", -1);
    close(fd);
}

void make_directory(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
    if (mkdir(path, 0700) < 0 || chown(path, uid, gid) < 0 || chmod(path, mode) < 0)
        say("make_directory", -1);
}

void say_mode(const char *what, const char *path)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        say(what, -1);
    else
        printf("%s: %o %u:%u links %lu\n", what, st.st_mode, st.st_uid, st.st_gid,
               S_ISDIR(st.st_mode) ? 0 : (unsigned long)st.st_nlink);
}

static struct stat before;

void watch(const char *path)
{
    /* The clock of file times moves with the timer's tick. */
    const struct timespec ticks = { .tv_nsec = 25 * 1000 * 1000 };

    if (lstat(path, &before) < 0)
        say("watch", -1);
    nanosleep(&ticks, NULL);
}

static bool differ(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec || a.tv_nsec != b.tv_nsec;
}

void say_touched(const char *what, const char *path)
{
    struct stat now;

    if (lstat(path, &now) < 0)
        say(what, -1);
    else
        printf("%s touches:%s%s\n", what, differ(before.st_mtim, now.st_mtim) ? " mtime" : "",
               differ(before.st_ctim, now.st_ctim) ? " ctime" : "");
}

int main(int argc, char **argv)
{
    umask(022);
    if (argc != 2 || chdir(argv[1]) < 0) {
        fprintf(stderr, "usage: posix-semantics DIR\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    check_names();
    check_permissions();
    check_times();
    check_open_files();
    return 0;
}
