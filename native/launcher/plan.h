/* What the launcher was asked to do: read from its arguments, and followed by each of its parts. */
#ifndef PLAN_H
#define PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_MOUNTS 128
#define MAX_UNLINKS 512
#define MAX_PRIVATE_FDS 256
#define MAX_ID_RANGES 64

/* What the program may see of the host once it is sealed: `path`, under the name `name` in its new root. */
struct mount_request {
    const char *name;
    const char *path;
    bool readonly;
};

/* Users or groups outside and inside of a user namespace, one to one. */
struct id_range {
    unsigned inside;
    unsigned outside;
    unsigned count;
};

struct id_map {
    struct id_range ranges[MAX_ID_RANGES];
    size_t count;
};

struct plan {
    /* Neither namespaces nor chroot: privileges alone. */
    bool none;
    /* Namespaces; otherwise chroot. */
    bool namespaces;
    bool user_namespace;
    /* Who there is in the user namespace. */
    struct id_map users;
    struct id_map groups;
    /* Capabilities that the program keeps, a bit each. */
    uint64_t capabilities;
    struct mount_request mounts[MAX_MOUNTS];
    size_t mount_count;
    /* Removed when the program has ended. */
    const char *unlinks[MAX_UNLINKS];
    size_t unlink_count;
    /* Descriptors that stay with the supervisor. */
    int private_fds[MAX_PRIVATE_FDS];
    size_t private_fd_count;
    /* NULL-terminated. */
    char **program;
};

#endif
