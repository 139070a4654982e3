/*
 * Operations on names. A path must not contain spaces.
 *
 *   rename FLAGS OLD NEW              renameat2
 *   cut SIZE PATH                     truncate
 *   mkdir PATH
 *   unlink PATH
 *   tmpfile MODE PATH                 O_TMPFILE; MODE in octal; value: text "MODE LINKS" of what was made
 *   setxattr FLAGS NAME TEXT PATH
 *   getxattr NAME PATH                value: the text
 *   listxattr PATH                    value: names that begin with "user.", in order
 *   removexattr NAME PATH
 *   listtwice COUNT PATH              reads COUNT entries, then the rest, seeks back and reads the rest again; value: text
 *                                     "all/regular files/entries of the rest/equal ones when read again"
 *   listdropped COUNT PATH            the same, and drops the kernel's caches before it seeks back
 *   entries FILE BYTES                one getdents64 with room for BYTES; value: text "entries first", the first regular file
 *                                     of them, or "-"
 */
#define _GNU_SOURCE
#include "name-operations.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "table.h"

#define PATH_FORMAT "%255s"
#define PATH_BYTES 256
#define XATTR_FORMAT "%63s"
#define XATTR_BYTES 64
#define LIST_BYTES 1024
#define ENTRIES 1024
#define DIRENT_BYTES 32768

long do_rename(const char *line, struct outcome *outcome)
{
    unsigned flags;
    char from[PATH_BYTES], to[PATH_BYTES];
    (void)outcome;
    if (sscanf(line, "%u " PATH_FORMAT " " PATH_FORMAT, &flags, from, to) != 3)
        return -EINVAL;
    return result(renameat2(AT_FDCWD, from, AT_FDCWD, to, flags));
}

long do_cut(const char *line, struct outcome *outcome)
{
    long size;
    char path[PATH_BYTES];
    (void)outcome;
    return sscanf(line, "%ld " PATH_FORMAT, &size, path) != 2 ? -EINVAL : result(truncate(path, size));
}

long do_mkdir(const char *line, struct outcome *outcome)
{
    char path[PATH_BYTES];
    (void)outcome;
    return sscanf(line, PATH_FORMAT, path) != 1 ? -EINVAL : result(mkdir(path, 0755));
}

long do_unlink(const char *line, struct outcome *outcome)
{
    char path[PATH_BYTES];
    (void)outcome;
    return sscanf(line, PATH_FORMAT, path) != 1 ? -EINVAL : result(unlink(path));
}

long do_tmpfile(const char *line, struct outcome *outcome)
{
    unsigned mode;
    char path[PATH_BYTES];
    struct stat about;
    if (sscanf(line, "%o " PATH_FORMAT, &mode, path) != 2)
        return -EINVAL;
    int fd = open(path, O_RDWR | O_TMPFILE | O_CLOEXEC, mode);
    if (fd < 0)
        return -errno;
    long value = result(fstat(fd, &about));
    snprintf(outcome->text, sizeof outcome->text, "%o %lu", about.st_mode & 07777, (unsigned long)about.st_nlink);
    close(fd);
    return value;
}

long do_set_xattr(const char *line, struct outcome *outcome)
{
    int flags;
    char name[XATTR_BYTES], text[XATTR_BYTES], path[PATH_BYTES];
    (void)outcome;
    if (sscanf(line, "%d " XATTR_FORMAT " " XATTR_FORMAT " " PATH_FORMAT, &flags, name, text, path) != 4)
        return -EINVAL;
    return result(setxattr(path, name, text, strlen(text), flags));
}

/* Asks for the length first, as most programs do. */
long do_get_xattr(const char *line, struct outcome *outcome)
{
    char name[XATTR_BYTES], path[PATH_BYTES];
    if (sscanf(line, XATTR_FORMAT " " PATH_FORMAT, name, path) != 2)
        return -EINVAL;
    long len = result(getxattr(path, name, NULL, 0));
    if (len < 0)
        return len;
    if ((size_t)len >= sizeof outcome->text)
        return -E2BIG;
    long got = result(getxattr(path, name, outcome->text, (size_t)len));
    outcome->text[got < 0 ? 0 : got] = '\0';
    return got;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

long do_list_xattrs(const char *line, struct outcome *outcome)
{
    char path[PATH_BYTES], list[LIST_BYTES], *names[LIST_BYTES];
    size_t count = 0, used = 0;
    if (sscanf(line, PATH_FORMAT, path) != 1)
        return -EINVAL;
    long len = result(listxattr(path, NULL, 0));
    if (len >= 0)
        len = (size_t)len > sizeof list ? -E2BIG : result(listxattr(path, list, (size_t)len));
    for (long at = 0; at < len; at += (long)strlen(list + at) + 1)
        if (strncmp(list + at, "user.", 5) == 0)
            names[count++] = list + at;
    qsort(names, count, sizeof names[0], by_text);
    used = (size_t)snprintf(outcome->text, sizeof outcome->text, "%zu:", count);
    for (size_t n = 0; n < count; n++)
        used += (size_t)snprintf(outcome->text + used, sizeof outcome->text - used, " %s", names[n]);
    return len;
}

long do_remove_xattr(const char *line, struct outcome *outcome)
{
    char name[XATTR_BYTES], path[PATH_BYTES];
    (void)outcome;
    if (sscanf(line, XATTR_FORMAT " " PATH_FORMAT, name, path) != 2)
        return -EINVAL;
    return result(removexattr(path, name));
}

/* Reads at most `most` entries. Counts those that are regular files. */
static int read_names(DIR *dir, char names[][NAME_MAX + 1], int most, int *regular)
{
    struct dirent *entry;
    int count = 0;
    while (count < most && (entry = readdir(dir)) != NULL) {
        *regular += entry->d_type == DT_REG;
        snprintf(names[count++], NAME_MAX + 1, "%s", entry->d_name);
    }
    return count;
}

static void drop_caches(void)
{
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "3", 1) != 1)
        fprintf(stderr, "cannot drop caches\n");
    close(fd);
}

static long list_twice(const char *line, struct outcome *outcome, void (*pause_by)(void))
{
    static char rest[ENTRIES][NAME_MAX + 1], again[ENTRIES][NAME_MAX + 1];
    char path[PATH_BYTES];
    int first, regular = 0, unused = 0, equal = 0;
    if (sscanf(line, "%d " PATH_FORMAT, &first, path) != 2 || first > ENTRIES)
        return -EINVAL;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return -errno;
    int before = read_names(dir, rest, first, &regular);
    long place = telldir(dir);
    int behind = read_names(dir, rest, ENTRIES, &regular);
    if (pause_by != NULL)
        pause_by();
    seekdir(dir, place);
    int repeated = read_names(dir, again, ENTRIES, &unused);
    for (int n = 0; n < behind && n < repeated; n++)
        equal += strcmp(rest[n], again[n]) == 0;
    closedir(dir);
    snprintf(outcome->text, sizeof outcome->text, "%d/%d/%d/%d", before + behind, regular, behind, equal);
    return 0;
}

long do_list_twice(const char *line, struct outcome *outcome)
{
    return list_twice(line, outcome, NULL);
}

long do_list_dropped(const char *line, struct outcome *outcome)
{
    return list_twice(line, outcome, drop_caches);
}

long do_entries(const char *line, struct outcome *outcome)
{
    char bytes[DIRENT_BYTES], name[NAME_BYTES];
    struct named dir;
    size_t room;
    int count = 0;
    const char *first = "-";
    if (sscanf(line, NAME_FORMAT " %zu", name, &room) != 2 || room > sizeof bytes)
        return -EINVAL;
    if (find(name, &dir) < 0)
        return -ENOENT;
    long len = result(getdents64(dir.fd, bytes, room));
    for (long at = 0; at < len; count++) {
        const struct dirent64 *entry = (const struct dirent64 *)(bytes + at);
        if (entry->d_type == DT_REG && first[0] == '-')
            first = entry->d_name;
        at += entry->d_reclen;
    }
    snprintf(outcome->text, sizeof outcome->text, "%d %s", count, first);
    return len;
}
