/* Requests by opcode, and the mount. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "server.h"

/* Newer than some headers: 7.45. */
#define OPCODE_COPY_FILE_RANGE_64 53

void mount_share(void)
{
    char data[128];
    fuse_fd = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    snprintf(data, sizeof data, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions", fuse_fd);
    if (fuse_fd < 0 || mount("fuse-server", options.target, "fuse.lab", 0, data) < 0) {
        perror("mount of /dev/fuse");
        exit(1);
    }
}

void send_reply(struct request *r, int error, const void *data, size_t bytes)
{
    struct fuse_out_header out = { .error = error, .unique = r->in->unique };
    struct iovec parts[] = { { &out, sizeof out }, { (void *)data, error == 0 ? bytes : 0 } };
    out.len = (uint32_t)(sizeof out + parts[1].iov_len);
    r->error = error;
    r->reply_bytes = out.len;
    /* The process that asked may be gone. */
    if (writev(fuse_fd, parts, 2) < 0)
        r->error = -errno;
}

static void init(struct request *r)
{
    struct fuse_init_in *in = (void *)r->args;
    struct fuse_init_out out = { 0 };
    uint64_t offered = in->flags | ((in->flags & INIT_EXT_BIT) != 0 ? (uint64_t)in->flags2 << 32 : 0);
    uint64_t wanted = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ATOMIC_O_TRUNC | FUSE_AUTO_INVAL_DATA | FUSE_MAX_PAGES |
                      FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_EXPORT_SUPPORT | FUSE_CACHE_SYMLINKS |
                      INIT_EXT_BIT;
    if (options.async_dio)
        wanted |= FUSE_ASYNC_DIO;
    if (options.allow_mmap)
        wanted |= DIRECT_IO_ALLOW_MMAP_BIT;
    if (options.passthrough)
        wanted |= PASSTHROUGH_BIT;
    if (options.writeback)
        wanted |= FUSE_WRITEBACK_CACHE;
    guest_minor = in->minor;
    agreed_flags = offered & wanted;
    out.major = FUSE_KERNEL_VERSION;
    out.minor = in->minor;
    out.max_readahead = in->max_readahead;
    out.max_background = 64;
    out.congestion_threshold = 48;
    out.max_write = 1 << 20;
    out.max_pages = 256;
    out.time_gran = 1;
    out.flags = (uint32_t)agreed_flags;
    out.flags2 = (uint32_t)(agreed_flags >> 32);
    if ((agreed_flags & PASSTHROUGH_BIT) != 0)
        out.unused[0] = 1; /* max_stack_depth */
    send_reply(r, 0, &out, sizeof out);
}

static void send_entry(struct request *r, const char *name)
{
    struct fuse_entry_out out;
    if (look_up(r->node, name, &out) == NULL)
        return send_reply(r, -errno, NULL, 0);
    send_reply(r, 0, &out, sizeof out);
}

static void send_attr(struct request *r)
{
    struct fuse_attr_out out = { .attr_valid = (uint64_t)options.attr_seconds };
    out.attr_valid_nsec = (uint32_t)((options.attr_seconds - (double)out.attr_valid) * 1e9);
    int error = fill_attr(r->node, &out.attr);
    send_reply(r, error, &out, sizeof out);
}

static struct timespec time_of(uint32_t valid, uint32_t set, uint32_t now, uint64_t seconds, uint32_t nanoseconds)
{
    if ((valid & now) != 0)
        return (struct timespec){ .tv_nsec = UTIME_NOW };
    if ((valid & set) != 0)
        return (struct timespec){ .tv_sec = (time_t)seconds, .tv_nsec = nanoseconds };
    return (struct timespec){ .tv_nsec = UTIME_OMIT };
}

static int set_attributes(const struct node *node, const struct fuse_setattr_in *in)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", node->fd);
    if ((in->valid & FATTR_MODE) != 0 && chmod(path, in->mode & 07777) < 0)
        return -errno;
    if ((in->valid & (FATTR_UID | FATTR_GID)) != 0 &&
        fchownat(node->fd, "", (in->valid & FATTR_UID) != 0 ? in->uid : (uid_t)-1,
                 (in->valid & FATTR_GID) != 0 ? in->gid : (gid_t)-1, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if ((in->valid & FATTR_SIZE) != 0 && truncate(path, (off_t)in->size) < 0)
        return -errno;
    if ((in->valid & FATTR_KILL_SUIDGID) != 0)
        drop_suidgid(node->fd);
    if ((in->valid & (FATTR_ATIME | FATTR_MTIME)) != 0) {
        struct timespec times[] = {
            time_of(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
            time_of(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
        };
        if (utimensat(AT_FDCWD, path, times, 0) < 0)
            return -errno;
    }
    return 0;
}

static void set_attr(struct request *r)
{
    int error = set_attributes(r->node, (void *)r->args);
    if (error != 0)
        return send_reply(r, error, NULL, 0);
    send_attr(r);
}

/* MKNOD, MKDIR, SYMLINK, LINK: something new, and its entry. */
static void make(struct request *r)
{
    const char *name = r->args;
    int made = -1;
    if (r->in->opcode == FUSE_MKNOD) {
        struct fuse_mknod_in *in = (void *)r->args;
        name += sizeof *in;
        made = mknodat(r->node->fd, name, in->mode & ~in->umask, in->rdev);
    } else if (r->in->opcode == FUSE_MKDIR) {
        struct fuse_mkdir_in *in = (void *)r->args;
        name += sizeof *in;
        made = mkdirat(r->node->fd, name, in->mode & ~in->umask);
    } else if (r->in->opcode == FUSE_SYMLINK) {
        made = symlinkat(name + strlen(name) + 1, r->node->fd, name);
    } else {
        struct fuse_link_in *in = (void *)r->args;
        struct node *old = find_node(in->oldnodeid);
        char path[64];
        name += sizeof *in;
        snprintf(path, sizeof path, "/proc/self/fd/%d", old == NULL ? -1 : old->fd);
        made = linkat(AT_FDCWD, path, r->node->fd, name, AT_SYMLINK_FOLLOW);
    }
    if (made < 0)
        return send_reply(r, -errno, NULL, 0);
    if (r->in->opcode != FUSE_LINK &&
        fchownat(r->node->fd, name, r->in->uid, r->in->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return send_reply(r, -errno, NULL, 0);
    send_entry(r, name);
}

static void rename_entry(struct request *r)
{
    bool second = r->in->opcode == FUSE_RENAME2;
    struct fuse_rename2_in *in = (void *)r->args; /* begins as fuse_rename_in */
    const char *name = r->args + (second ? sizeof *in : sizeof(struct fuse_rename_in));
    struct node *target = find_node(in->newdir);
    int done = target == NULL ? -1
                              : renameat2(r->node->fd, name, target->fd, name + strlen(name) + 1, second ? in->flags : 0);
    send_reply(r, target == NULL ? -ENOENT : done < 0 ? -errno : 0, NULL, 0);
}

static void read_link(struct request *r)
{
    char target[4096];
    ssize_t len = readlinkat(r->node->fd, "", target, sizeof target);
    send_reply(r, len < 0 ? -errno : 0, target, len < 0 ? 0 : (size_t)len);
}

static void stat_fs(struct request *r)
{
    struct statvfs about;
    struct fuse_statfs_out out = { 0 };
    int failed = fstatvfs(r->node->fd, &about);
    if (failed == 0)
        out.st = (struct fuse_kstatfs){ .blocks = about.f_blocks, .bfree = about.f_bfree, .bavail = about.f_bavail,
                                        .files = about.f_files, .ffree = about.f_ffree, .bsize = (uint32_t)about.f_bsize,
                                        .namelen = NAME_BYTES - 1, .frsize = (uint32_t)about.f_frsize };
    send_reply(r, failed < 0 ? -errno : 0, &out, sizeof out);
}

static void forget_many(struct request *r)
{
    struct fuse_batch_forget_in *in = (void *)r->args;
    struct fuse_forget_one *each = (void *)(in + 1);
    for (uint32_t n = 0; n < in->count; n++)
        forget_node(each[n].nodeid, each[n].nlookup);
}

static void seek(struct request *r)
{
    struct handle *handle = (void *)(uintptr_t)r->handle;
    struct fuse_lseek_out out = { .offset = (uint64_t)lseek(handle->fd, (off_t)r->offset, (int)r->detail) };
    send_reply(r, (int64_t)out.offset < 0 ? -errno : 0, &out, sizeof out);
}

static void finish(struct request *r, int done)
{
    send_reply(r, done < 0 ? -errno : 0, NULL, 0);
}

/* Answers a request. A fault may have chosen its error. */
void serve(struct request *r)
{
    struct handle *handle = (void *)(uintptr_t)r->handle;
    struct fuse_fallocate_in *range = (void *)r->args;
    if (r->forced_error != 0)
        return send_reply(r, r->forced_error, NULL, 0);
    if (r->node == NULL && r->in->opcode != FUSE_INIT && r->in->opcode != FUSE_BATCH_FORGET &&
        r->in->opcode != FUSE_INTERRUPT && r->in->opcode != FUSE_DESTROY && r->in->opcode != FUSE_RELEASE)
        return send_reply(r, -ENOENT, NULL, 0);
    switch (r->in->opcode) {
    case FUSE_INIT: return init(r);
    case FUSE_LOOKUP: return send_entry(r, r->args);
    case FUSE_FORGET: return forget_node(r->in->nodeid, ((struct fuse_forget_in *)r->args)->nlookup);
    case FUSE_BATCH_FORGET: return forget_many(r);
    case FUSE_INTERRUPT: return;
    case FUSE_GETATTR: return send_attr(r);
    case FUSE_SETATTR: return set_attr(r);
    case FUSE_READLINK: return read_link(r);
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_SYMLINK:
    case FUSE_LINK: return make(r);
    case FUSE_UNLINK: return finish(r, unlinkat(r->node->fd, r->args, 0));
    case FUSE_RMDIR: return finish(r, unlinkat(r->node->fd, r->args, AT_REMOVEDIR));
    case FUSE_RENAME:
    case FUSE_RENAME2: return rename_entry(r);
    case FUSE_OPEN: return open_file(r);
    case FUSE_CREATE: return create_file(r);
    case FUSE_READ: return read_file(r);
    case FUSE_WRITE: return write_file(r);
    case FUSE_RELEASE: return release_file(r);
    case FUSE_FLUSH:
    case FUSE_DESTROY:
    case FUSE_FSYNCDIR: return finish(r, 0);
    case FUSE_FSYNC: return finish(r, fsync(handle->fd));
    case FUSE_STATFS: return stat_fs(r);
    case FUSE_OPENDIR: return open_directory(r);
    case FUSE_READDIR: return read_directory(r);
    case FUSE_RELEASEDIR: return release_directory(r);
    case FUSE_LSEEK: return seek(r);
    case FUSE_FALLOCATE:
        return finish(r, fallocate(handle->fd, (int)range->mode, (off_t)range->offset, (off_t)range->length));
    case FUSE_COPY_FILE_RANGE: return copy_range(r, false);
    case OPCODE_COPY_FILE_RANGE_64: return copy_range(r, true);
    default: return send_reply(r, -ENOSYS, NULL, 0);
    }
}
