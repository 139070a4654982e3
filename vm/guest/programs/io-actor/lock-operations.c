/*
 * Locks. Only waitlock waits.
 *
 *   lock FILE read|write|none START LENGTH   fcntl(F_SETLK), of the process
 *   waitlock FILE read|write START LENGTH    fcntl(F_SETLKW)
 *   testlock FILE START LENGTH               fcntl(F_GETLK) for a write lock; value: text "free", or of the lock that is
 *                                            in the way "held START+LENGTH by PROCESS"
 *   flock FILE shared|exclusive|none
 */
#define _GNU_SOURCE
#include "lock-operations.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "table.h"

static long set_lock(int command, const char *line)
{
    char name[NAME_BYTES], type[NAME_BYTES];
    struct flock lock = { .l_whence = SEEK_SET };
    if (sscanf(line, NAME_FORMAT " " NAME_FORMAT " %ld %ld", name, type, &lock.l_start, &lock.l_len) != 4)
        return -EINVAL;
    lock.l_type = strcmp(type, "read") == 0 ? F_RDLCK : strcmp(type, "write") == 0 ? F_WRLCK : F_UNLCK;
    int fd = fd_of(name);
    return fd < 0 ? fd : result(fcntl(fd, command, &lock));
}

long do_lock(const char *line, struct outcome *outcome)
{
    (void)outcome;
    return set_lock(F_SETLK, line);
}

long do_wait_lock(const char *line, struct outcome *outcome)
{
    (void)outcome;
    return set_lock(F_SETLKW, line);
}

long do_test_lock(const char *line, struct outcome *outcome)
{
    char name[NAME_BYTES];
    struct flock lock = { .l_whence = SEEK_SET, .l_type = F_WRLCK };
    if (sscanf(line, NAME_FORMAT " %ld %ld", name, &lock.l_start, &lock.l_len) != 3)
        return -EINVAL;
    int fd = fd_of(name);
    long value = fd < 0 ? fd : result(fcntl(fd, F_GETLK, &lock));
    if (lock.l_type == F_UNLCK)
        snprintf(outcome->text, sizeof outcome->text, "free");
    else
        snprintf(outcome->text, sizeof outcome->text, "held %ld+%ld by %d", (long)lock.l_start, (long)lock.l_len,
                 (int)lock.l_pid);
    return value;
}

long do_flock(const char *line, struct outcome *outcome)
{
    char name[NAME_BYTES], type[NAME_BYTES];
    (void)outcome;
    if (sscanf(line, NAME_FORMAT " " NAME_FORMAT, name, type) != 2)
        return -EINVAL;
    int operation = strcmp(type, "shared") == 0 ? LOCK_SH : strcmp(type, "exclusive") == 0 ? LOCK_EX : LOCK_UN;
    int fd = fd_of(name);
    return fd < 0 ? fd : result(flock(fd, operation | LOCK_NB));
}
