/* The launcher's task: read from its arguments, and carried out by each of its parts. */
#ifndef PLAN_H
#define PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_MOUNTS 128
#define MAX_ID_RANGES 64
/* Shares added later included. */
#define MAX_SOCKETS 1024

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

/* The path of a socket of this process, and the descriptor that holds the lock on PATH.pid, or -1. */
struct socket_file {
    const char *path;
    int lock_fd;
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
    /* NULL-terminated. */
    char **program;
    /* A broker stays outside and starts helpers that change the running process; NULL: there is none. A helper is
     * `program` with this script in place of word `script_at`. */
    char *helper_script;
    size_t script_at;
    /* The socket at which clients ask for changes, or -1. */
    int changes_fd;
    /* SIGHUP asks for a reload of the configuration file instead of the end. */
    bool reloads;
    /* The broker removes these files. */
    struct socket_file sockets[MAX_SOCKETS];
    size_t socket_count;
    /* Set when the broker runs: this process's link to it, and the program's socket to its helpers. A successor of a
     * program is given that socket by --handover-fd. */
    int broker_fd;
    int handover_fd;
};

#endif
