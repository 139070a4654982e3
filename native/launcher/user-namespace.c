/* The user namespace: this process's identity in it, and the other users it holds. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "refuse.h"
#include "user-namespace.h"

/* "INSIDE OUTSIDE COUNT" for each range, and newlines between them. */
#define MAP_BYTES (MAX_ID_RANGES * 40)

static void write_file(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC);

    must(fd, "open the id maps");
    must(write(fd, text, strlen(text)), "write the id maps");
    close(fd);
}

static bool maps_only(const struct id_map *map, unsigned id)
{
    return map->count == 1 && map->ranges[0].outside == id && map->ranges[0].count == 1;
}

static void format_map(const struct id_map *map, char text[MAP_BYTES])
{
    size_t length = 0;

    for (size_t n = 0; n < map->count; n++) {
        const struct id_range *const range = &map->ranges[n];

        length += (size_t)snprintf(text + length, MAP_BYTES - length, "%u %u %u\n", range->inside, range->outside,
                                   range->count);
    }
}

static void write_own_map(const char *path, const struct id_map *map)
{
    char text[MAP_BYTES];

    format_map(map, text);
    write_file(path, text);
}

/* Root may map any ids, but only from outside the namespace. */
static int map_as_root(const char *name, int pid, const struct id_map *map)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    write_own_map(path, map);
    return 0;
}

/* newuidmap and newgidmap map the ids that /etc/subuid and /etc/subgid grant this user. */
static int map_by_helper(const char *helper, int pid, const struct id_map *map)
{
    char numbers[3 * MAX_ID_RANGES + 1][16], *argv[3 * MAX_ID_RANGES + 3];
    int status, child;
    size_t used = 0;

    snprintf(numbers[used++], sizeof(numbers[0]), "%d", pid);
    for (size_t n = 0; n < map->count; n++) {
        snprintf(numbers[used++], sizeof(numbers[0]), "%u", map->ranges[n].inside);
        snprintf(numbers[used++], sizeof(numbers[0]), "%u", map->ranges[n].outside);
        snprintf(numbers[used++], sizeof(numbers[0]), "%u", map->ranges[n].count);
    }
    argv[0] = (char *)helper;
    for (size_t n = 0; n < used; n++)
        argv[n + 1] = numbers[n];
    argv[used + 1] = NULL;
    child = fork();
    if (child == 0) {
        execvp(helper, argv);
        perror(helper);
        _exit(EXIT_FAILURE);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        return -1;
    return 0;
}

/* Stays outside the namespace until it exists, then writes its maps. Returns a status for the parent. */
static int write_maps(const struct plan *plan, int go_fd, int pid)
{
    char go;

    if (read(go_fd, &go, 1) != 1)
        return -1;
    if (geteuid() == 0)
        return map_as_root("uid_map", pid, &plan->users) + map_as_root("gid_map", pid, &plan->groups);
    if (map_by_helper("newuidmap", pid, &plan->users) < 0)
        return -1;
    return map_by_helper("newgidmap", pid, &plan->groups);
}

static void unshare_with_maps(const struct plan *plan)
{
    const int pid = getpid();
    int fds[2], status, child;

    must(pipe2(fds, O_CLOEXEC), "make a pipe");
    child = fork();
    must(child, "fork");
    if (child == 0) {
        close(fds[1]);
        _exit(write_maps(plan, fds[0], pid) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    close(fds[0]);
    must(unshare(CLONE_NEWUSER), "make a user namespace");
    must(write(fds[1], "", 1), "ask for the id maps");
    must(waitpid(child, &status, 0), "wait for the id maps");
    close(fds[1]);
    errno = EPERM;
    must(status == 0 ? 0 : -1, "map the ids of --uid-map and --gid-map");
}

void enter_user_namespace(const struct plan *plan)
{
    const unsigned uid = geteuid(), gid = getegid();

    /* Mapping only oneself needs no privilege, but then groups cannot be changed. */
    if (maps_only(&plan->users, uid) && maps_only(&plan->groups, gid)) {
        must(unshare(CLONE_NEWUSER),
             "make a user namespace, which an ordinary user needs and the host may forbid "
             "(user.max_user_namespaces, kernel.unprivileged_userns_clone, AppArmor)");
        write_file("/proc/self/setgroups", "deny");
        write_own_map("/proc/self/uid_map", &plan->users);
        write_own_map("/proc/self/gid_map", &plan->groups);
    } else {
        unshare_with_maps(plan);
    }
}

static bool maps_root(const struct id_map *map)
{
    for (size_t n = 0; n < map->count; n++)
        if (map->ranges[n].inside == 0)
            return true;
    return false;
}

void become_root_inside(const struct plan *plan)
{
    if (maps_root(&plan->groups))
        must(setresgid(0, 0, 0), "become group 0 of the user namespace");
    /* EPERM: groups cannot be changed in this namespace, where the only one is this process's own. */
    if (setgroups(0, NULL) < 0 && errno != EPERM)
        refuse("drop supplementary groups");
    if (maps_root(&plan->users))
        must(setresuid(0, 0, 0), "become user 0 of the user namespace");
}
