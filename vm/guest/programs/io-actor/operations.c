/*
 * The operations. FILE and MAP are names that the host chooses; BYTE is a number, all bytes written are the same.
 *
 *   open FILE FLAGS PATH              FLAGS as a number
 *   close FILE
 *   write FILE LENGTH OFFSET BYTE     pwrite; value: bytes written
 *   aio FILE LENGTH OFFSET BYTE       the same by io_submit, and by io_uring
 *   uring FILE LENGTH OFFSET BYTE
 *   aiomany FILE COUNT LENGTH BYTE    COUNT writes by one io_submit, one behind the other; value: how many were written
 *   append FILE LENGTH OFFSET BYTE    pwritev2 with RWF_APPEND, and with RWF_DSYNC
 *   dsync FILE LENGTH OFFSET BYTE
 *   read FILE LENGTH OFFSET           pread; value: text "BYTExCOUNT ..." of the runs of equal bytes
 *   fill FILE LENGTH OFFSET SEED      as write, but each byte says where it should be: see pattern()
 *   check FILE LENGTH OFFSET SEED     as read; value: text "right bytes/bytes read"
 *   fsync FILE
 *   truncate FILE SIZE
 *   allocate FILE MODE OFFSET LENGTH  fallocate
 *   copy FROM TO LENGTH OFFSET OFFSET copy_file_range
 *   seek FILE OFFSET WHENCE           lseek; value: the position
 *   size FILE                         fstat; value: st_size
 *   setfl FILE FLAGS                  fcntl(F_SETFL)
 *   cpu NUMBER                        the threads that follow run on this processor
 *   user UID                          the process becomes this user and group, without capabilities
 *   map MAP FILE LENGTH shared|private r|rw
 *   unmap MAP
 *   poke MAP LENGTH OFFSET BYTE
 *   peek MAP LENGTH OFFSET            as read
 *   msync MAP                         MS_SYNC
 *   fdatasync FILE
 *   mtime FILE                        fstat; value: st_mtime in seconds
 *   settimes FILE SECONDS             futimens: both times
 *   splice FROM TO LENGTH OFFSET OFFSET  through a pipe; value: bytes
 *   repeat COUNT OP ARGUMENTS         the same again and again, until it fails
 *
 * name-operations.c has those on names, lock-operations.c has locks.
 */
#define _GNU_SOURCE
#include "operations.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "async-write.h"
#include "lock-operations.h"
#include "name-operations.h"

#define NAMES 64
#define NAME_BYTES 32
#define ALIGNMENT 4096

/* A file or a mapping. */
struct named {
    char name[NAME_BYTES];
    int fd;
    char *bytes;
    size_t len;
};

static struct named table[NAMES];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;

/* Finds a file and copies it, so nothing is locked while an operation waits. An empty name finds a free place. */
static int find(const char *name, struct named *copy)
{
    int found = -1;
    pthread_mutex_lock(&table_lock);
    for (int n = 0; n < NAMES && found < 0; n++)
        if (strcmp(table[n].name, name) == 0)
            found = n;
    if (found >= 0)
        *copy = table[found];
    pthread_mutex_unlock(&table_lock);
    return found;
}

int fd_of(const char *name)
{
    struct named file;
    return find(name, &file) < 0 ? -ENOENT : file.fd;
}

static int keep(const struct named *entry)
{
    struct named unused;
    if (find(entry->name, &unused) >= 0)
        return -EEXIST;
    int place = find("", &unused);
    if (place < 0)
        return -ENFILE;
    pthread_mutex_lock(&table_lock);
    table[place] = *entry;
    pthread_mutex_unlock(&table_lock);
    return 0;
}

static void forget(int place)
{
    pthread_mutex_lock(&table_lock);
    memset(&table[place], 0, sizeof table[place]);
    pthread_mutex_unlock(&table_lock);
}

static long result(long value)
{
    return value < 0 ? -errno : value;
}

/* "65x4096 66x10": the values of bytes and how often each comes in a row. */
static void describe_runs(const unsigned char *bytes, size_t len, char *text, size_t text_bytes)
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

/* FILE LENGTH OFFSET BYTE, and a buffer that begins at the same offset within a page as in the file. */
struct transfer {
    struct named file;
    size_t len;
    long offset;
    char *memory, *bytes;
};

static long prepare_transfer(const char *line, struct transfer *t)
{
    char name[NAME_BYTES];
    int byte = 0;
    if (sscanf(line, "%31s %zu %ld %d", name, &t->len, &t->offset, &byte) < 3)
        return -EINVAL;
    if (find(name, &t->file) < 0)
        return -ENOENT;
    t->memory = aligned_alloc(ALIGNMENT, (t->len + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (t->memory == NULL)
        return -ENOMEM;
    t->bytes = t->memory + t->offset % ALIGNMENT;
    memset(t->bytes, byte, t->len);
    return 0;
}

typedef long (*writer)(int fd, const void *bytes, size_t len, long offset);

static long write_by(writer write_bytes, const char *line)
{
    struct transfer t;
    long error = prepare_transfer(line, &t);
    if (error < 0)
        return error;
    long value = write_bytes(t.file.fd, t.bytes, t.len, t.offset);
    free(t.memory);
    return value;
}

static long sync_write(int fd, const void *bytes, size_t len, long offset)
{
    return result(pwrite(fd, bytes, len, offset));
}

static long flagged_write(int fd, const void *bytes, size_t len, long offset, int flags)
{
    struct iovec part = { (void *)bytes, len };
    return result(pwritev2(fd, &part, 1, offset, flags));
}

static long append_write(int fd, const void *bytes, size_t len, long offset)
{
    return flagged_write(fd, bytes, len, offset, RWF_APPEND);
}

static long dsync_write(int fd, const void *bytes, size_t len, long offset)
{
    return flagged_write(fd, bytes, len, offset, RWF_DSYNC);
}

static long do_append(const char *line, struct outcome *outcome)
{
    (void)outcome;
    return write_by(append_write, line);
}

static long do_dsync(const char *line, struct outcome *outcome)
{
    (void)outcome;
    return write_by(dsync_write, line);
}

static long do_write(const char *line, struct outcome *outcome)
{
    (void)outcome;
    return write_by(sync_write, line);
}

static long do_aio(const char *line, struct outcome *outcome)
{
    (void)outcome;
    return write_by(aio_write_once, line);
}

static long do_aiomany(const char *line, struct outcome *outcome)
{
    char name[NAME_BYTES];
    struct named file;
    int count, byte;
    size_t len;
    (void)outcome;
    if (sscanf(line, "%31s %d %zu %d", name, &count, &len, &byte) != 4)
        return -EINVAL;
    if (find(name, &file) < 0)
        return -ENOENT;
    char *bytes = aligned_alloc(ALIGNMENT, (len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (bytes == NULL)
        return -ENOMEM;
    memset(bytes, byte, len);
    long value = aio_write_many(file.fd, bytes, len, count);
    free(bytes);
    return value;
}

static long do_uring(const char *line, struct outcome *outcome)
{
    (void)outcome;
    return write_by(uring_write_once, line);
}

static long do_read(const char *line, struct outcome *outcome)
{
    struct transfer t;
    long error = prepare_transfer(line, &t);
    if (error < 0)
        return error;
    long value = result(pread(t.file.fd, t.bytes, t.len, t.offset));
    if (value > 0)
        describe_runs((unsigned char *)t.bytes, (size_t)value, outcome->text, sizeof outcome->text);
    free(t.memory);
    return value;
}

/* Returns the byte for a place in the file, such that exchanged bytes, pages or requests are noticed. */
static unsigned char pattern(long offset, int seed)
{
    return (unsigned char)(offset * 7 + (offset >> 12) * 31 + (offset >> 20) * 101 + seed);
}

static long do_fill(const char *line, struct outcome *outcome)
{
    struct transfer t;
    int seed = 0;
    (void)outcome;
    long error = prepare_transfer(line, &t);
    if (error < 0)
        return error;
    sscanf(line, "%*s %*s %*s %d", &seed);
    for (size_t n = 0; n < t.len; n++)
        t.bytes[n] = (char)pattern(t.offset + (long)n, seed);
    long value = sync_write(t.file.fd, t.bytes, t.len, t.offset);
    free(t.memory);
    return value;
}

static long do_check(const char *line, struct outcome *outcome)
{
    struct transfer t;
    int seed = 0;
    long error = prepare_transfer(line, &t), right = 0;
    if (error < 0)
        return error;
    sscanf(line, "%*s %*s %*s %d", &seed);
    long value = result(pread(t.file.fd, t.bytes, t.len, t.offset));
    for (long n = 0; n < value; n++)
        right += (unsigned char)t.bytes[n] == pattern(t.offset + n, seed);
    if (value >= 0)
        snprintf(outcome->text, sizeof outcome->text, "%ld/%ld", right, value);
    free(t.memory);
    return value;
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
    unsigned id = (unsigned)atoi(line);
    (void)outcome;
    return result(setgroups(0, NULL) < 0 || setresgid(id, id, id) < 0 || setresuid(id, id, id) < 0 ? -1 : 0);
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

static long do_splice(const char *line, struct outcome *outcome)
{
    char from_name[NAME_BYTES], to_name[NAME_BYTES];
    struct named from, to;
    size_t len;
    int ends[2];
    loff_t from_offset, to_offset;
    (void)outcome;
    if (sscanf(line, "%31s %31s %zu %ld %ld", from_name, to_name, &len, &from_offset, &to_offset) != 5)
        return -EINVAL;
    if (find(from_name, &from) < 0 || find(to_name, &to) < 0)
        return -ENOENT;
    if (pipe(ends) < 0)
        return -errno;
    long moved = 0, in = 1;
    while (len > 0 && in > 0) {
        in = result(splice(from.fd, &from_offset, ends[1], NULL, len, 0));
        for (long left = in, out; left > 0; left -= out) {
            out = result(splice(ends[0], NULL, to.fd, &to_offset, (size_t)left, 0));
            if (out <= 0) {
                in = out < 0 ? out : -EIO;
                break;
            }
            moved += out;
            len -= (size_t)out;
        }
    }
    close(ends[0]);
    close(ends[1]);
    return in < 0 ? in : moved;
}

static long do_map(const char *line, struct outcome *outcome)
{
    struct named map = { 0 }, file;
    char name[NAME_BYTES], sharing[16], protection[4];
    (void)outcome;
    if (sscanf(line, "%31s %31s %zu %15s %3s", map.name, name, &map.len, sharing, protection) != 5)
        return -EINVAL;
    if (find(name, &file) < 0)
        return -ENOENT;
    int prot = strcmp(protection, "rw") == 0 ? PROT_READ | PROT_WRITE : PROT_READ;
    map.bytes = mmap(NULL, map.len, prot, strcmp(sharing, "shared") == 0 ? MAP_SHARED : MAP_PRIVATE, file.fd, 0);
    return map.bytes == MAP_FAILED ? -errno : keep(&map);
}

static long do_unmap(const char *line, struct outcome *outcome)
{
    struct named map;
    int place = find(line, &map);
    (void)outcome;
    if (place < 0)
        return -ENOENT;
    forget(place);
    return result(munmap(map.bytes, map.len));
}

/* MAP LENGTH OFFSET BYTE, within the mapping. */
static long find_part(const char *line, struct named *map, size_t *len, size_t *offset, int *byte)
{
    char name[NAME_BYTES];
    if (sscanf(line, "%31s %zu %zu %d", name, len, offset, byte) < 3)
        return -EINVAL;
    if (find(name, map) < 0)
        return -ENOENT;
    return *offset <= map->len && *len <= map->len - *offset ? 0 : -ERANGE;
}

static long do_poke(const char *line, struct outcome *outcome)
{
    struct named map;
    size_t len, offset;
    int byte = 0;
    long error = find_part(line, &map, &len, &offset, &byte);
    (void)outcome;
    if (error == 0)
        memset(map.bytes + offset, byte, len);
    return error;
}

static long do_peek(const char *line, struct outcome *outcome)
{
    struct named map;
    size_t len, offset;
    int byte = 0;
    long error = find_part(line, &map, &len, &offset, &byte);
    if (error == 0)
        describe_runs((unsigned char *)map.bytes + offset, len, outcome->text, sizeof outcome->text);
    return error;
}

/* FILE MAP LENGTH: reads from the start of the file into the start of the mapping. */
static long do_pull(const char *line, struct outcome *outcome)
{
    char from[NAME_BYTES], to[NAME_BYTES];
    struct named file, map;
    size_t len;
    (void)outcome;
    if (sscanf(line, "%31s %31s %zu", from, to, &len) != 3)
        return -EINVAL;
    if (find(from, &file) < 0 || find(to, &map) < 0)
        return -ENOENT;
    return len <= map.len ? result(pread(file.fd, map.bytes, len, 0)) : -ERANGE;
}

static long do_msync(const char *line, struct outcome *outcome)
{
    struct named map;
    (void)outcome;
    return find(line, &map) < 0 ? -ENOENT : result(msync(map.bytes, map.len, MS_SYNC));
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
