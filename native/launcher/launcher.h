/*
 * The launcher: makes namespaces, mounts and privileges for a program, starts it, and stays beside it as its
 * supervisor. What it does has to be done before node starts, whose threads would each keep what they began with.
 */
#ifndef LAUNCHER_H
#define LAUNCHER_H

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

/* Ends the launcher with status 2 and "virtiofsd-ts: --sandbox KIND: cannot WHAT: REASON" for the errno. */
_Noreturn void refuse(const char *what);
/* refuse(what) when result is negative. */
void must(long result, const char *what);

/* arguments.c */
void read_arguments(int argc, char **argv, struct plan *plan);

/* namespaces.c: before the program is forked, in its first moments, and when it says that it has loaded everything. */
void enter_namespaces(const struct plan *plan);
void mount_new_root(const struct plan *plan);
/* A descriptor of /proc/self/fd, from which there is no way up. */
int open_own_descriptors(const struct plan *plan);
/* Both return 0 or -errno. */
int seal_into_new_root(void);
int seal_by_chroot(const struct plan *plan);

/* user-namespace.c: before the program is forked, and in its first moments. */
void enter_user_namespace(const struct plan *plan);
void become_root_inside(const struct plan *plan);

/* privileges.c */
void drop_privileges(const struct plan *plan);
/* Of the supervisor: it is the way to every file of the host when it keeps more than it needs. */
void keep_privileges_for_sealing(const struct plan *plan);
void keep_privileges_for_ending(void);

/* supervisor.c: waits for the program, seals it when it asks for that on `seal_fd`. Returns the exit status. */
int supervise(const struct plan *plan, int child, int seal_fd);

#endif
