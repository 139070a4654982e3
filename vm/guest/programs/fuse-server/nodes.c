/* Inodes by number. A node keeps an O_PATH descriptor, so that names may change behind it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server.h"

static struct node *nodes;
static uint64_t next_id = FUSE_ROOT_ID;

static struct node *add_node(int fd, const struct stat *about)
{
    struct node *node = calloc(1, sizeof *node);
    node->id = next_id++;
    node->fd = fd;
    node->device = about->st_dev;
    node->inode = about->st_ino;
    node->next = nodes;
    nodes = node;
    return node;
}

void init_nodes(void)
{
    struct stat about;
    int fd = open(options.source, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) < 0) {
        perror(options.source);
        exit(1);
    }
    add_node(fd, &about);
}

struct node *first_node(void)
{
    return nodes;
}

struct node *find_node(uint64_t id)
{
    for (struct node *node = nodes; node != NULL; node = node->next)
        if (node->id == id)
            return node;
    return NULL;
}

/* Writes the path of a name below the root, or of the node itself (NULL), in PATH_BYTES. */
void name_path(const struct node *node, const char *name, char *path)
{
    size_t used = (size_t)snprintf(path, PATH_BYTES, "%s", node->path);
    if (name != NULL)
        snprintf(path + used, PATH_BYTES - used, "%s%s", used == 0 ? "" : "/", name);
}

static void set_seconds(double seconds, uint64_t *whole, uint32_t *nanoseconds)
{
    *whole = (uint64_t)seconds;
    *nanoseconds = (uint32_t)((seconds - (double)*whole) * 1e9);
}

static int fill(int fd, struct fuse_attr *attr)
{
    struct stat about;
    if (fstatat(fd, "", &about, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    *attr = (struct fuse_attr){
        .ino = about.st_ino,
        .size = (uint64_t)about.st_size,
        .blocks = (uint64_t)about.st_blocks,
        .atime = (uint64_t)about.st_atim.tv_sec,
        .atimensec = (uint32_t)about.st_atim.tv_nsec,
        .mtime = (uint64_t)about.st_mtim.tv_sec,
        .mtimensec = (uint32_t)about.st_mtim.tv_nsec,
        .ctime = (uint64_t)about.st_ctim.tv_sec,
        .ctimensec = (uint32_t)about.st_ctim.tv_nsec,
        .mode = about.st_mode,
        .nlink = (uint32_t)about.st_nlink,
        .uid = about.st_uid,
        .gid = about.st_gid,
        .rdev = (uint32_t)about.st_rdev,
        .blksize = (uint32_t)about.st_blksize,
    };
    return 0;
}

int fill_attr(const struct node *node, struct fuse_attr *attr)
{
    return fill(node->fd, attr);
}

/* Returns NULL with errno. */
struct node *look_up(struct node *parent, const char *name, struct fuse_entry_out *out)
{
    struct stat about;
    int fd = openat(parent->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &about) < 0) {
        close(fd);
        return NULL;
    }
    struct node *node = nodes;
    while (node != NULL && (node->inode != about.st_ino || node->device != about.st_dev))
        node = node->next;
    if (node == NULL) {
        node = add_node(fd, &about);
        name_path(parent, name, node->path);
    } else {
        close(fd);
    }
    node->lookups++;
    memset(out, 0, sizeof *out);
    out->nodeid = node->id;
    set_seconds(options.entry_seconds, &out->entry_valid, &out->entry_valid_nsec);
    set_seconds(options.attr_seconds, &out->attr_valid, &out->attr_valid_nsec);
    fill(node->fd, &out->attr);
    return node;
}

void forget_node(uint64_t id, uint64_t count)
{
    for (struct node **at = &nodes; *at != NULL; at = &(*at)->next) {
        struct node *node = *at;
        if (node->id != id || id == FUSE_ROOT_ID)
            continue;
        node->lookups -= count < node->lookups ? count : node->lookups;
        if (node->lookups > 0)
            return;
        *at = node->next;
        close(node->fd);
        free(node);
        return;
    }
}

/* Returns a descriptor, or -errno. */
int reopen(const struct node *node, int flags)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", node->fd);
    int fd = open(path, (flags & ~(O_NOFOLLOW | O_CREAT | O_EXCL)) | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}
