/* Open files and directories. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server.h"

/* uapi fuse.h, 7.40. */
struct backing_map {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};
/* Of open-flags, and not for the kernel. */
#define OTHER_BACKING (1u << 30)
#define DEV_IOC_BACKING_OPEN _IOW(229, 1, struct backing_map)
#define DEV_IOC_BACKING_CLOSE _IOW(229, 2, uint32_t)

/* Returns true if the host's file is as it was at the last open. */
static bool is_unchanged(struct node *node)
{
    struct stat about;
    if (fstatat(node->fd, "", &about, AT_EMPTY_PATH) < 0)
        return false;
    bool same = about.st_ctim.tv_sec == node->changed_seconds && about.st_ctim.tv_nsec == node->changed_nanoseconds;
    node->changed_seconds = about.st_ctim.tv_sec;
    node->changed_nanoseconds = about.st_ctim.tv_nsec;
    return same;
}

static uint32_t choose_flags(struct node *node, uint32_t guest_flags)
{
    if (forced_open_flags >= 0)
        return (uint32_t)forced_open_flags;
    bool reads = (guest_flags & O_ACCMODE) == O_RDONLY;
    bool cached = options.cached_readers != NULL && reads &&
                  strncmp(node->path, options.cached_readers, strlen(options.cached_readers)) == 0;
    if (options.direct && !cached)
        return FOPEN_DIRECT_IO | (options.parallel ? (uint32_t)FOPEN_PARALLEL_DIRECT_WRITES : 0);
    if (options.keep_unchanged && is_unchanged(node))
        return FOPEN_KEEP_CACHE;
    return options.keep && !cached ? FOPEN_KEEP_CACHE : 0;
}

/* Returns 0 if the kernel refuses it. */
static int32_t open_backing(struct node *node)
{
    int fd = reopen(node, O_RDWR);
    struct backing_map map = { .fd = fd };
    int32_t id = fd < 0 ? fd : ioctl(fuse_fd, DEV_IOC_BACKING_OPEN, &map);
    if (fd >= 0)
        close(fd);
    return id < 0 ? 0 : id;
}

/* One backing file for all opens of an inode: the kernel refuses a second one. */
static int32_t backing_of(struct node *node)
{
    if (node->backing_id == 0)
        node->backing_id = open_backing(node);
    node->passthrough_opens++;
    return node->backing_id;
}

static struct handle *handle_of(struct request *r)
{
    return (struct handle *)(uintptr_t)r->handle;
}

static void fill_open(struct request *r, struct node *node, int fd, struct fuse_open_out *out)
{
    struct handle *handle = calloc(1, sizeof *handle);
    handle->fd = fd;
    out->fh = r->handle = (uintptr_t)handle;
    uint32_t flags = choose_flags(node, r->flags);
    bool other = (flags & OTHER_BACKING) != 0;
    out->open_flags = r->open_flags = flags & ~OTHER_BACKING;
    handle->passthrough = (out->open_flags & FOPEN_PASSTHROUGH_BIT) != 0 && !other;
    /* backing_id since 7.40. The other one is closed with the session. */
    if (other)
        out->padding = (uint32_t)open_backing(node);
    else if (handle->passthrough)
        out->padding = (uint32_t)backing_of(node);
}

/* A write-back guest reads to fill pages, and appends by itself. O_DIRECT is between the guest and its page cache. */
static int host_flags(uint32_t flags)
{
    int host = (int)flags & ~(O_DIRECT | O_APPEND);
    if (options.writeback && (host & O_ACCMODE) == O_WRONLY)
        host = (host & ~O_ACCMODE) | O_RDWR;
    return host;
}

/* As the guest's kernel does for a write, a truncate or a new owner by a caller that may not keep the bits. */
void drop_suidgid(int fd)
{
    char path[64];
    struct stat about;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (stat(path, &about) < 0)
        return;
    bool runs_as_group = (about.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);
    mode_t dropped = S_ISUID | (runs_as_group ? S_ISGID : 0);
    if ((about.st_mode & dropped) != 0)
        chmod(path, about.st_mode & 07777 & ~dropped);
}

void open_file(struct request *r)
{
    struct fuse_open_out out = { 0 };
    int fd = reopen(r->node, host_flags(r->flags));
    if (fd < 0)
        return send_reply(r, fd, NULL, 0);
    if ((r->detail & FUSE_OPEN_KILL_SUIDGID) != 0)
        drop_suidgid(fd);
    fill_open(r, r->node, fd, &out);
    send_reply(r, 0, &out, sizeof out);
}

void create_file(struct request *r)
{
    struct fuse_create_in *in = (void *)r->args;
    const char *name = r->args + sizeof *in;
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out = { 0 };
    int fd = openat(r->node->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int file = fd < 0 ? -1 : openat(fd, name, host_flags(in->flags) | O_CREAT | O_NOFOLLOW | O_CLOEXEC, in->mode & ~in->umask);
    int error = -errno;
    if (fd >= 0)
        close(fd);
    if (file < 0)
        return send_reply(r, error, NULL, 0);
    if ((r->detail & FUSE_OPEN_KILL_SUIDGID) != 0)
        drop_suidgid(file);
    if (fchown(file, r->in->uid, r->in->gid) < 0) {
        /* kept as it is: only a test without root comes here */
    }
    struct node *node = look_up(r->node, name, &out.entry);
    if (node == NULL)
        return send_reply(r, -errno, NULL, 0);
    fill_open(r, node, file, &out.open);
    send_reply(r, 0, &out, sizeof out);
}

void read_file(struct request *r)
{
    size_t len = r->short_bytes >= 0 && (size_t)r->short_bytes < r->size ? (size_t)r->short_bytes : r->size;
    char *bytes = malloc(len + 1);
    ssize_t got = pread(handle_of(r)->fd, bytes, len, (off_t)r->offset);
    send_reply(r, got < 0 ? -errno : 0, bytes, got < 0 ? 0 : (size_t)got);
    free(bytes);
}

void write_file(struct request *r)
{
    size_t len = r->short_bytes >= 0 && (size_t)r->short_bytes < r->size ? (size_t)r->short_bytes : r->size;
    ssize_t done = pwrite(handle_of(r)->fd, r->args + sizeof(struct fuse_write_in), len, (off_t)r->offset);
    struct fuse_write_out out = { .size = (uint32_t)done };
    if (done > 0 && (r->detail & FUSE_WRITE_KILL_SUIDGID) != 0)
        drop_suidgid(handle_of(r)->fd);
    send_reply(r, done < 0 ? -errno : 0, &out, sizeof out);
}

void release_file(struct request *r)
{
    struct handle *handle = handle_of(r);
    if (handle->passthrough && r->node != NULL && --r->node->passthrough_opens == 0 && r->node->backing_id > 0) {
        uint32_t id = (uint32_t)r->node->backing_id;
        ioctl(fuse_fd, DEV_IOC_BACKING_CLOSE, &id);
        r->node->backing_id = 0;
    }
    close(handle->fd);
    free(handle);
    send_reply(r, 0, NULL, 0);
}

void copy_range(struct request *r, bool wide)
{
    struct fuse_copy_file_range_in *in = (void *)r->args;
    off_t from = (off_t)in->off_in, to = (off_t)in->off_out;
    struct handle *source = (void *)(uintptr_t)in->fh_in, *target = (void *)(uintptr_t)in->fh_out;
    ssize_t done = copy_file_range(source->fd, &from, target->fd, &to, in->len, 0);
    uint64_t out = (uint64_t)done;
    struct fuse_write_out old = { .size = (uint32_t)done };
    if (wide)
        send_reply(r, done < 0 ? -errno : 0, &out, sizeof out);
    else
        send_reply(r, done < 0 ? -errno : 0, &old, sizeof old);
}

void open_directory(struct request *r)
{
    struct fuse_open_out out = { 0 };
    int fd = reopen(r->node, O_RDONLY | O_DIRECTORY);
    struct handle *handle = calloc(1, sizeof *handle);
    if (fd < 0 || (handle->dir = fdopendir(fd)) == NULL) {
        free(handle);
        return send_reply(r, fd < 0 ? fd : -errno, NULL, 0);
    }
    out.fh = r->handle = (uintptr_t)handle;
    out.open_flags = r->open_flags = options.cache_dir ? FOPEN_CACHE_DIR | (options.keep ? FOPEN_KEEP_CACHE : 0) : 0;
    send_reply(r, 0, &out, sizeof out);
}

void read_directory(struct request *r)
{
    DIR *dir = handle_of(r)->dir;
    char *bytes = calloc(1, r->size + 1);
    size_t used = 0;
    struct dirent *entry;
    seekdir(dir, (long)r->offset);
    if (r->offset == 0)
        rewinddir(dir);
    while ((entry = readdir(dir)) != NULL) {
        size_t name_len = strlen(entry->d_name);
        size_t record = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name_len);
        if (used + record > r->size)
            break;
        struct fuse_dirent *out = (void *)(bytes + used);
        out->ino = entry->d_ino;
        out->off = (uint64_t)entry->d_off;
        out->namelen = (uint32_t)name_len;
        out->type = entry->d_type;
        memcpy(out->name, entry->d_name, name_len);
        used += record;
    }
    send_reply(r, 0, bytes, used);
    free(bytes);
}

void release_directory(struct request *r)
{
    closedir(handle_of(r)->dir);
    free(handle_of(r));
    send_reply(r, 0, NULL, 0);
}
