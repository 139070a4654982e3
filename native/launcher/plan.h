/* The launcher's task: read from its arguments, and carried out by each of its parts. */
#ifndef PLAN_H
#define PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_MOUNTS 128
#define MAX_UNLINKS 512
#define MAX_PRIVATE_FDS 256
#define MAX_ID_RANGES 64

/* A path of the host that the program sees once it is sealed, and its name in the new root. */
struct mount_request {
    const char *name;
    const char *path;
    bool readonly;
};

/* A range of users or groups, mapped one to one between outside and inside of a user namespace. */
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
    /* No namespaces and no chroot: only privileges are reduced. */
    bool none;
    /* True: namespaces; false: chroot. */
    bool namespaces;
    bool user_namespace;
    /* The users and groups of the user namespace. */
    struct id_map users;
    struct id_map groups;
    /* The capabilities that the program keeps, one bit each. */
    uint64_t capabilities;
    struct mount_request mounts[MAX_MOUNTS];
    size_t mount_count;
    /* Files to remove when the program has ended. */
    const char *unlinks[MAX_UNLINKS];
    size_t unlink_count;
    /* Descriptors that the program does not inherit. */
    int private_fds[MAX_PRIVATE_FDS];
    size_t private_fd_count;
    /* NULL-terminated. */
    char **program;
};

#endif
