/* launcher --sandbox KIND [--user-map INSIDE:OUTSIDE:COUNT]... [--group-map INSIDE:OUTSIDE:COUNT]... --capabilities HEX
 *          {--mount NAME=PATH | --mount-readonly NAME=PATH}...
 *          [--hangup reload] [--handover-fd N]
 *          [--helper N=SCRIPT [--changes-fd N] [--socket LOCK_FD=PATH]...]
 *          -- PROGRAM [ARGUMENT]... */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "refuse.h"

/* src/sandbox/launch.ts writes these arguments; nobody types them. A wrong one is a bug there. */
static void want(bool right, const char *what)
{
    if (right)
        return;
    errno = EINVAL;
    refuse(what);
}

static void add_mount(struct plan *plan, char *value, bool readonly)
{
    /* A path is absolute. The name before it has no slash, so it ends at the first "=/", whatever else it
     * contains. */
    char *const equals = strstr(value, "=/");

    want(equals != NULL && plan->mount_count < MAX_MOUNTS, "take so many shares");
    *equals = '\0';
    plan->mounts[plan->mount_count++] = (struct mount_request){ value, equals + 1, readonly };
}

/* A range of users implies a user namespace. */
static void add_range(struct id_map *map, const char *value)
{
    struct id_range *const range = &map->ranges[map->count];

    want(map->count < MAX_ID_RANGES && sscanf(value, "%u:%u:%u", &range->inside, &range->outside, &range->count) == 3,
         "take so many ranges of ids");
    map->count++;
}

/* "NUMBER=TEXT": returns the text. */
static char *split_number(char *value, int *number)
{
    char *const equals = strchr(value, '=');

    want(equals != NULL, "read its arguments");
    *number = atoi(value);
    return equals + 1;
}

static void add_socket(struct plan *plan, char *value)
{
    struct socket_file *const file = &plan->sockets[plan->socket_count];

    want(plan->socket_count < MAX_SOCKETS, "take so many sockets");
    file->path = split_number(value, &file->lock_fd);
    plan->socket_count++;
}

static void add_helper(struct plan *plan, char *value)
{
    int at;

    plan->helper_script = split_number(value, &at);
    plan->script_at = (size_t)at;
}

static void add_option(struct plan *plan, const char *name, char *value)
{
    if (strcmp(name, "--sandbox") == 0) {
        plan->namespaces = strcmp(value, "namespace") == 0;
        plan->none = strcmp(value, "none") == 0;
    } else if (strcmp(name, "--capabilities") == 0) {
        plan->capabilities = strtoull(value, NULL, 16);
    } else if (strcmp(name, "--user-map") == 0) {
        plan->user_namespace = true;
        add_range(&plan->users, value);
    } else if (strcmp(name, "--group-map") == 0) {
        add_range(&plan->groups, value);
    } else if (strcmp(name, "--mount") == 0) {
        add_mount(plan, value, false);
    } else if (strcmp(name, "--mount-readonly") == 0) {
        add_mount(plan, value, true);
    } else if (strcmp(name, "--helper") == 0) {
        add_helper(plan, value);
    } else if (strcmp(name, "--changes-fd") == 0) {
        plan->changes_fd = atoi(value);
    } else if (strcmp(name, "--handover-fd") == 0) {
        plan->handover_fd = atoi(value);
    } else if (strcmp(name, "--hangup") == 0) {
        plan->reloads = true;
    } else if (strcmp(name, "--socket") == 0) {
        add_socket(plan, value);
    } else {
        want(false, "read its arguments");
    }
}

void read_arguments(int argc, char **argv, struct plan *plan)
{
    int n = 1;

    plan->changes_fd = plan->broker_fd = plan->handover_fd = -1;
    while (n < argc && strcmp(argv[n], "--") != 0) {
        want(n + 1 < argc, "read its arguments");
        add_option(plan, argv[n], argv[n + 1]);
        n += 2;
    }
    want(n + 1 < argc, "read its arguments");
    plan->program = argv + n + 1;
}
