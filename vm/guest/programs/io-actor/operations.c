/*
 * The operations. FILE and MAP are names that the host chooses; BYTE is a number.
 *
 *   open FILE FLAGS PATH              FLAGS as a number
 *   make FILE MODE PATH               the same with O_RDWR, O_CREAT and O_EXCL; MODE in octal
 *   close FILE
 *   fsync FILE
 *   fdatasync FILE
 *   sync                              of all file systems
 *   syncfs FILE                       of its file system
 *   truncate FILE SIZE
 *   allocate FILE MODE OFFSET LENGTH  fallocate
 *   copy FROM TO LENGTH OFFSET OFFSET copy_file_range
 *   seek FILE OFFSET WHENCE           lseek; value: the position
 *   size FILE                         fstat; value: st_size
 *   mtime FILE                        fstat; value: st_mtime in seconds
 *   settimes FILE SECONDS             futimens: both times
 *   setfl FILE FLAGS                  fcntl(F_SETFL)
 *   setflags FILE FLAGS               FS_IOC_SETFLAGS, as chattr does
 *   flags FILE                        FS_IOC_GETFLAGS, as lsattr does; value: the flags
 *   cpu NUMBER                        the threads that follow run on this processor
 *   user UID [GID [GROUP]]            the process becomes this user, without capabilities. GID: UID; GROUP: none
 *   pid                               value: that of the process
 *   statx FILE FLAGS MASK             value: text "LINKS birth" if a time of birth came, else "LINKS none"
 *   repeat COUNT OP ARGUMENTS         the same again and again, until it fails
 *
 * data-operations.c has reads and writes, map-operations.c mappings, name-operations.c names, lock-operations.c locks.
 */
#define _GNU_SOURCE
#include "operations.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data-operations.h"
#include "lock-operations.h"
#include "map-operations.h"
#include "name-operations.h"
#include "table.h"

void describe_runs(const unsigned char *bytes, size_t len, char *text, size_t text_bytes)
{
    size_t used = 0;
    for (size_t at = 0; at < len && used + 32 < text_bytes;) {
        size_t end = at;
        while (end < len && bytes[end] == bytes[at])
            end++;
        used += (size_t)snprintf(text + used, text_bytes - used, "%s%ux%zu", at == 0 ? "" : " ", bytes[at], end - at);
        at = end;
    }
}

static long do_open(const char *line, struct outcome *outcome)
{
    struct named file = { 0 };
    int flags, at = 0;
    (void)outcome;
    if (sscanf(line, "%31s %d %n", file.name, &flags, &at) < 2 || at == 0)
        return -EINVAL;
    file.fd = open(line + at, flags | O_CLOEXEC, 0644);
    return file.fd < 0 ? -errno : keep(&file);
}

static long do_make(const char *line, struct outcome *outcome)
{
    struct named file = { 0 };
    unsigned mode;
    int at = 0;
    (void)outcome;
    if (sscanf(line, "%31s %o %n", file.name, &mode, &at) < 2 || at == 0)
        return -EINVAL;
    file.fd = open(line + at, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    return file.fd < 0 ? -errno : keep(&file);
}

static long do_close(const char *line, struct outcome *outcome)
{
    struct named file;
    int place = find(line, &file);
    (void)outcome;
    if (place < 0)
        return -ENOENT;
    forget(place);
    return result(close(file.fd));
}

static long do_truncate(const char *line, struct outcome *outcome)
{
    char name[NAME_BYTES];
    struct named file;
    long size;
    (void)outcome;
    if (sscanf(line, "%31s %ld", name, &size) != 2)
        return -EINVAL;
    return find(name, &file) < 0 ? -ENOENT : result(ftruncate(file.fd, size));
}

static long do_allocate(const char *line, struct outcome *outcome)
{
    char name[NAME_BYTES];
    struct named file;
    int mode;
    long offset, len;
    (void)outcome;
    if (sscanf(line, "%31s %d %ld %ld", name, &mode, &offset, &len) != 4)
        return -EINVAL;
    return find(name, &file) < 0 ? -ENOENT : result(fallocate(file.fd, mode, offset, len));
}

static long do_copy(const char *line, struct outcome *outcome)
{
    char from_name[NAME_BYTES], to_name[NAME_BYTES];
    struct named from, to;
    size_t len;
    loff_t from_offset, to_offset;
    (void)outcome;
    if (sscanf(line, "%31s %31s %zu %ld %ld", from_name, to_name, &len, &from_offset, &to_offset) != 5)
        return -EINVAL;
    if (find(from_name, &from) < 0 || find(to_name, &to) < 0)
        return -ENOENT;
    return result(copy_file_range(from.fd, &from_offset, to.fd, &to_offset, len, 0));
}

static long do_seek(const char *line, struct outcome *outcome)
{
    char name[NAME_BYTES];
    struct named file;
    long offset;
    int whence;
    (void)outcome;
    if (sscanf(line, "%31s %ld %d", name, &offset, &whence) != 3)
        return -EINVAL;
    return find(name, &file) < 0 ? -ENOENT : result(lseek(file.fd, offset, whence));
}

static long do_size(const char *line, struct outcome *outcome)
{
    struct named file;
    struct stat about;
    (void)outcome;
    if (find(line, &file) < 0)
        return -ENOENT;
    return fstat(file.fd, &about) < 0 ? -errno : about.st_size;
}

static long do_setfl(const char *line, struct outcome *outcome)
{
    char name[NAME_BYTES];
    struct named file;
    int flags;
    (void)outcome;
    if (sscanf(line, "%31s %d", name, &flags) != 2)
        return -EINVAL;
    return find(name, &file) < 0 ? -ENOENT : result(fcntl(file.fd, F_SETFL, flags));
}

static long do_setflags(const char *line, struct outcome *outcome)
{
    char name[NAME_BYTES];
    int flags, fd;
    (void)outcome;
    if (sscanf(line, NAME_FORMAT " %d", name, &flags) != 2)
        return -EINVAL;
    fd = fd_of(name);
    return fd < 0 ? fd : result(ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

static long do_flags(const char *line, struct outcome *outcome)
{
    int flags = 0, fd = fd_of(line);
    (void)outcome;
    if (fd < 0)
        return fd;
    return ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 ? -errno : flags;
}

static long do_cpu(const char *line, struct outcome *outcome)
{
    cpu_set_t set;
    (void)outcome;
    CPU_ZERO(&set);
    CPU_SET(atoi(line), &set);
    return result(sched_setaffinity(0, sizeof set, &set));
}

static long do_user(const char *line, struct outcome *outcome)
{
    unsigned user, group, other;
    (void)outcome;
    int given = sscanf(line, "%u %u %u", &user, &group, &other);
    if (given < 1)
        return -EINVAL;
    if (given < 2)
        group = user;
    return result(setgroups(given == 3, &other) < 0 || setresgid(group, group, group) < 0 ||
                          setresuid(user, user, user) < 0
                      ? -1
                      : 0);
}

static long do_pid(const char *line, struct outcome *outcome)
{
    (void)line;
    (void)outcome;
    return getpid();
}

static long do_statx(const char *line, struct outcome *outcome)
{
    char name[NAME_BYTES];
    int flags;
    unsigned mask;
    struct statx about;
    if (sscanf(line, NAME_FORMAT " %d %u", name, &flags, &mask) != 3)
        return -EINVAL;
    int fd = fd_of(name);
    long value = fd < 0 ? fd : result(statx(fd, "", flags | AT_EMPTY_PATH, mask, &about));
    if (value < 0)
        return value;
    bool has_birth = (about.stx_mask & STATX_BTIME) != 0 && about.stx_btime.tv_sec != 0;
    snprintf(outcome->text, sizeof outcome->text, "%u %s", about.stx_nlink, has_birth ? "birth" : "none");
    return 0;
}

static long do_fsync(const char *line, struct outcome *outcome)
{
    struct named file;
    (void)outcome;
    return find(line, &file) < 0 ? -ENOENT : result(fsync(file.fd));
}

static long do_fdatasync(const char *line, struct outcome *outcome)
{
    struct named file;
    (void)outcome;
    return find(line, &file) < 0 ? -ENOENT : result(fdatasync(file.fd));
}

static long do_sync(const char *line, struct outcome *outcome)
{
    (void)line;
    (void)outcome;
    sync();
    return 0;
}

static long do_syncfs(const char *line, struct outcome *outcome)
{
    int fd = fd_of(line);
    (void)outcome;
    return fd < 0 ? fd : result(syncfs(fd));
}

static long do_mtime(const char *line, struct outcome *outcome)
{
    struct named file;
    struct stat about;
    (void)outcome;
    if (find(line, &file) < 0)
        return -ENOENT;
    return fstat(file.fd, &about) < 0 ? -errno : about.st_mtime;
}

static long do_settimes(const char *line, struct outcome *outcome)
{
    char name[NAME_BYTES];
    struct named file;
    long seconds;
    (void)outcome;
    if (sscanf(line, "%31s %ld", name, &seconds) != 2)
        return -EINVAL;
    struct timespec times[2] = { { .tv_sec = seconds }, { .tv_sec = seconds } };
    return find(name, &file) < 0 ? -ENOENT : result(futimens(file.fd, times));
}

static long do_repeat(const char *line, struct outcome *outcome)
{
    int count, at = 0;
    if (sscanf(line, "%d %n", &count, &at) < 1 || at == 0)
        return -EINVAL;
    outcome->value = 0;
    while (count-- > 0 && outcome->value >= 0)
        operate(line + at, outcome);
    return outcome->value;
}

static const struct operation {
    const char *name;
    long (*run)(const char *line, struct outcome *outcome);
} operations[] = {
    { "open", do_open },   { "close", do_close }, { "write", do_write }, { "aio", do_aio },
    { "uring", do_uring }, { "read", do_read },   { "fsync", do_fsync }, { "map", do_map },
    { "unmap", do_unmap }, { "poke", do_poke },   { "peek", do_peek },   { "msync", do_msync },
    { "repeat", do_repeat },
    { "fill", do_fill },   { "check", do_check }, { "size", do_size },   { "truncate", do_truncate },
    { "seek", do_seek },   { "setfl", do_setfl }, { "user", do_user },   { "allocate", do_allocate },
    { "copy", do_copy },   { "append", do_append }, { "dsync", do_dsync }, { "cpu", do_cpu },
    { "pull", do_pull },   { "fdatasync", do_fdatasync }, { "mtime", do_mtime }, { "settimes", do_settimes },
    { "splice", do_splice }, { "rename", do_rename }, { "setxattr", do_set_xattr }, { "getxattr", do_get_xattr },
    { "listxattr", do_list_xattrs }, { "removexattr", do_remove_xattr }, { "listtwice", do_list_twice },
    { "aiomany", do_aiomany }, { "lock", do_lock }, { "testlock", do_test_lock }, { "flock", do_flock },
    { "entries", do_entries }, { "protect", do_protect }, { "sync", do_sync },
    { "mkdir", do_mkdir }, { "cut", do_cut }, { "unlink", do_unlink }, { "aioread", do_aioread },
    { "waitlock", do_wait_lock }, { "pid", do_pid }, { "statx", do_statx }, { "make", do_make }, { "listdropped", do_list_dropped },
    { "vector", do_vector }, { "poll", do_poll }, { "syncfs", do_syncfs }, { "tmpfile", do_tmpfile },
    { "setflags", do_setflags }, { "flags", do_flags },
};

void operate(const char *line, struct outcome *outcome)
{
    size_t verb = strcspn(line, " ");
    const char *arguments = line + verb + (line[verb] == ' ');
    outcome->text[0] = '\0';
    outcome->value = -ENOSYS;
    for (size_t n = 0; n < sizeof operations / sizeof operations[0]; n++)
        if (strlen(operations[n].name) == verb && strncmp(operations[n].name, line, verb) == 0)
            outcome->value = operations[n].run(arguments, outcome);
}

void print_outcome(const struct outcome *outcome)
{
    if (outcome->value < 0)
        printf("{\"error\":\"%s\"}", strerrorname_np((int)-outcome->value));
    else if (outcome->text[0] != '\0')
        printf("{\"value\":\"%s\"}", outcome->text);
    else
        printf("{\"value\":%ld}", outcome->value);
}
