/*
 * Mounts a FUSE file system with one directory, in which the positions of entries are beyond 2^63, as NFS servers may give
 * them: getdents64(2) shows them, and lseek(2) does not take them. Arguments: the mount point and the number of files.
 * Serves until it is unmounted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define ROOM 8192
#define HIGH 0x8000000000000000ULL
/* Neighbours have far positions, and every second one is below 2^63. */
#define MIX(n) ((uint64_t)((n) * 2654435761ULL % 4294967296ULL))

static unsigned long file_count;

static uint64_t position_after(uint64_t index)
{
    return (index % 2 ? HIGH : 1ULL << 40) | MIX(index + 1);
}

/* The first entry behind a position. */
static uint64_t index_behind(uint64_t position)
{
    for (uint64_t index = 0; position != 0 && index < file_count; index++)
        if (position_after(index) == position)
            return index + 1;
    return position == 0 ? 0 : file_count;
}

static struct fuse_attr attributes_of(uint64_t node)
{
    return (struct fuse_attr){ .ino = node, .mode = node == 1 ? S_IFDIR | 0755 : S_IFREG | 0644, .nlink = 1 };
}

static size_t list(const struct fuse_read_in *in, char *out)
{
    size_t at = 0;

    for (uint64_t index = index_behind(in->offset); index < file_count; index++) {
        struct fuse_dirent entry = { .ino = index + 2, .off = position_after(index), .type = 8 };
        char name[32];
        size_t size;

        entry.namelen = (uint32_t)sprintf(name, "file-%llu", (unsigned long long)index);
        size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + entry.namelen);
        if (at + size > in->size || at + size > ROOM)
            break;
        memset(out + at, 0, size);
        memcpy(out + at, &entry, FUSE_NAME_OFFSET);
        memcpy(out + at + FUSE_NAME_OFFSET, name, entry.namelen);
        at += size;
    }
    return at;
}

/* Returns the bytes of the reply's body in out, or a negative errno. */
static ssize_t answer(const struct fuse_in_header *in, const void *args, char *out)
{
    unsigned long index;

    switch (in->opcode) {
    case FUSE_INIT: {
        struct fuse_init_out init = { .major = 7, .minor = 31, .max_write = 4096, .max_readahead = 4096 };
        memcpy(out, &init, sizeof(init));
        return sizeof(init);
    }
    case FUSE_LOOKUP: {
        struct fuse_entry_out entry = { .attr_valid = 60, .entry_valid = 60 };
        if (sscanf(args, "file-%lu", &index) != 1 || index >= file_count)
            return -ENOENT;
        entry.nodeid = index + 2;
        entry.attr = attributes_of(entry.nodeid);
        memcpy(out, &entry, sizeof(entry));
        return sizeof(entry);
    }
    case FUSE_GETATTR: {
        struct fuse_attr_out attr = { .attr_valid = 60, .attr = attributes_of(in->nodeid) };
        memcpy(out, &attr, sizeof(attr));
        return sizeof(attr);
    }
    case FUSE_OPENDIR:
        memset(out, 0, sizeof(struct fuse_open_out));
        return sizeof(struct fuse_open_out);
    case FUSE_READDIR:
        return (ssize_t)list(args, out);
    case FUSE_STATFS:
        memset(out, 0, sizeof(struct fuse_statfs_out));
        return sizeof(struct fuse_statfs_out);
    case FUSE_RELEASEDIR:
        return 0;
    default:
        return -ENOSYS;
    }
}

int main(int argc, char **argv)
{
    static char request[FUSE_MIN_READ_BUFFER + 4096], body[ROOM];
    char options[128];
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

    if (argc != 3 || fd < 0)
        return 2;
    file_count = strtoul(argv[2], NULL, 10);
    snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd);
    if (mount("high-cookies", argv[1], "fuse", 0, options) < 0)
        return 3;
    for (;;) {
        const ssize_t got = read(fd, request, sizeof(request));
        const struct fuse_in_header *const in = (const void *)request;
        struct fuse_out_header out = { 0 };
        ssize_t size;

        if (got < 0 && errno == ENODEV)
            return 0;
        if (got < (ssize_t)sizeof(*in) || in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET)
            continue;
        size = answer(in, in + 1, body);
        out.unique = in->unique;
        out.error = size < 0 ? (int)size : 0;
        if (size < 0)
            size = 0;
        out.len = (uint32_t)(sizeof(out) + (size_t)size);
        if (writev(fd, (struct iovec[]){ { &out, sizeof(out) }, { body, (size_t)size } }, 2) < 0 && errno != ENOENT)
            perror("a reply");
    }
}
