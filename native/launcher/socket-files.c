/*
 * The files of sockets, kept by the broker: it holds the lock of each, and removes the files when the share is removed
 * or the process has ended, however it ended.
 *
 * Messages of helpers, each answered with one byte:
 *   "?PATH"  PATH.pid is about to be made
 *   "+PATH"  PATH.pid is locked by the descriptor that comes with the message; PATH is about to be made
 *   "!PATH"  PATH could not be made: remove PATH.pid and give up the lock
 *   "-PATH"  remove both files and give up the lock
 *   "*"      the shares of all these sockets are about to serve: keep the files when the helper ends
 *   "=PATH"  a share serves at PATH
 *   "."      all that serve were named: what an earlier helper made for others is removed. It was killed, or its share
 *            has ended.
 */
#include "socket-files.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* A socket's own path has at most 107 bytes, but it may be relative to a long one. */
#define MAX_PATH PATH_MAX

struct kept {
    char *path;
    int lock_fd;
    /* Stays valid if a directory above is renamed. */
    int dir_fd;
    /* A helper has announced it, and not yet that it serves. */
    bool fresh;
    /* A helper has made it: it is not of the start. */
    bool added;
    bool serves;
};

static struct kept kept[MAX_SOCKETS];
static size_t kept_count;
static char unlocked[MAX_PATH];

static const char *name_of(const struct kept *file)
{
    const char *const slash = strrchr(file->path, '/');

    return slash == NULL ? file->path : slash + 1;
}

static int open_directory_of(const char *path)
{
    char copy[MAX_PATH];

    snprintf(copy, sizeof(copy), "%s", path);
    return open(dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int keep(const char *path, int lock_fd, bool fresh)
{
    struct kept *const file = &kept[kept_count];

    if (kept_count == MAX_SOCKETS)
        return -ENOSPC;
    *file = (struct kept){ .lock_fd = lock_fd, .fresh = fresh, .added = fresh };
    file->dir_fd = open_directory_of(path);
    if (file->dir_fd < 0)
        return -errno;
    file->path = strdup(path);
    if (file->path == NULL) {
        close(file->dir_fd);
        return -ENOMEM;
    }
    kept_count++;
    return 0;
}

static void unlink_pid_file(int dir_fd, const char *name)
{
    char pid_name[NAME_MAX + 1];

    snprintf(pid_name, sizeof(pid_name), "%s.pid", name);
    unlinkat(dir_fd, pid_name, 0);
}

/* A helper that was killed may not have seen yet that the path is a file of others. */
static void unlink_socket(int dir_fd, const char *name)
{
    struct stat stat;

    if (fstatat(dir_fd, name, &stat, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(stat.st_mode))
        unlinkat(dir_fd, name, 0);
}

/* Removes the files first: whoever waits for the lock finds a free path. */
static void drop(size_t n, bool is_made)
{
    if (is_made)
        unlink_socket(kept[n].dir_fd, name_of(&kept[n]));
    if (kept[n].lock_fd >= 0)
        unlink_pid_file(kept[n].dir_fd, name_of(&kept[n]));
    free(kept[n].path);
    close(kept[n].dir_fd);
    if (kept[n].lock_fd >= 0)
        close(kept[n].lock_fd);
    kept[n] = kept[--kept_count];
}

static void drop_path(const char *path, bool is_made)
{
    for (size_t n = kept_count; n-- > 0;)
        if (strcmp(kept[n].path, path) == 0)
            drop(n, is_made);
}

void keep_socket_files(const struct plan *plan)
{
    for (size_t n = 0; n < plan->socket_count; n++)
        keep(plan->sockets[n].path, plan->sockets[n].lock_fd, false);
}

void remove_socket_files(void)
{
    while (kept_count > 0)
        drop(kept_count - 1, true);
}

static void drop_unlocked_file(void)
{
    char pid_path[MAX_PATH + 4];
    struct stat stat;
    int fd;

    if (unlocked[0] == '\0')
        return;
    snprintf(pid_path, sizeof(pid_path), "%s.pid", unlocked);
    unlocked[0] = '\0';
    fd = open(pid_path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    /* Another process's file is locked, and a file with several names, or none of its own, is refused as a lock. */
    if (fd >= 0 && fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) && stat.st_nlink == 1 &&
        flock(fd, LOCK_EX | LOCK_NB) == 0)
        unlink(pid_path);
    if (fd >= 0)
        close(fd);
}

void drop_fresh_files(void)
{
    for (size_t n = kept_count; n-- > 0;)
        if (kept[n].fresh)
            drop(n, true);
    drop_unlocked_file();
}

static void mark_as_serving(const char *path)
{
    for (size_t n = 0; n < kept_count; n++)
        if (strcmp(kept[n].path, path) == 0)
            kept[n].serves = true;
}

static void drop_left_files(void)
{
    for (size_t n = kept_count; n-- > 0;)
        if (kept[n].added && !kept[n].serves)
            drop(n, true);
    for (size_t n = 0; n < kept_count; n++)
        kept[n].serves = false;
}

int serve_socket_files(const char *text, int fd)
{
    int result = 0;

    /* A path cut short would be another one. */
    if (strlen(text) > MAX_PATH) {
        if (fd >= 0)
            close(fd);
        return -ENAMETOOLONG;
    }
    switch (text[0]) {
    case '?':
        snprintf(unlocked, sizeof(unlocked), "%s", text + 1);
        break;
    case '+':
        unlocked[0] = '\0';
        result = keep(text + 1, fd, true);
        break;
    case '*':
        for (size_t n = 0; n < kept_count; n++)
            kept[n].fresh = false;
        break;
    case '=':
        mark_as_serving(text + 1);
        break;
    case '.':
        drop_left_files();
        break;
    case '!':
    case '-':
        unlocked[0] = '\0';
        drop_path(text + 1, text[0] == '-');
        break;
    default:
        result = -EINVAL;
    }
    if (fd >= 0 && (text[0] != '+' || result < 0))
        close(fd);
    return result;
}
