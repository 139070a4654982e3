/*
 * Makes a mount of a directory for a confined program that runs already. The program gets only this mount, from which
 * no ".." leads up, and not the directory.
 */
#include "hand-over.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "namespaces.h"
#include "packet.h"
#include "refuse.h"
#include "user-namespace.h"

#define SOCKET_FD 3

/* Only root of the host may make mounts; every other user may in a user namespace, where it is alone. */
static void enter_own_namespaces(struct plan *plan)
{
    plan->users = (struct id_map){ .ranges = { { geteuid(), geteuid(), 1 } }, .count = 1 };
    plan->groups = (struct id_map){ .ranges = { { getegid(), getegid(), 1 } }, .count = 1 };
    enter_user_namespace(plan);
    must(unshare(CLONE_NEWNS), "make namespaces");
}

int hand_over_mount(struct plan *plan, int argc, char **argv)
{
    plan->namespaces = true;
    errno = EINVAL;
    must(argc == 4 ? 0 : -1, "read its arguments");
    const struct mount_request request = { .path = argv[3], .readonly = strcmp(argv[2], "readonly") == 0 };

    if (geteuid() != 0)
        enter_own_namespaces(plan);
    const int fd = clone_share(&request);

    must(send_packet(SOCKET_FD, "m", 1, &fd, 1), "send the mount");
    return EXIT_SUCCESS;
}
