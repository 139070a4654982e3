/*
 * The launcher: makes namespaces, mounts and privileges for a program and starts it. This must happen before node
 * starts, since node's threads would each keep the state they began with. It stays as up to three processes: the keeper,
 * whose process id is known outside, the broker, which sees the host, and the supervisor of a program in a sandbox.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arguments.h"
#include "broker.h"
#include "descriptors.h"
#include "hand-over.h"
#include "keeper.h"
#include "namespaces.h"
#include "plan.h"
#include "privileges.h"
#include "refuse.h"
#include "supervisor.h"
#include "user-namespace.h"

static struct plan plan;

/* The program shares root and working directory with its supervisor, so that the supervisor can chroot it. */
static int fork_program(void)
{
    const long flags = plan.namespaces ? SIGCHLD : SIGCHLD | CLONE_FS;

    return (int)syscall(SYS_clone, flags, 0, 0, 0, 0);
}

/* Signals wait until the supervisor or the keeper is ready for them: the broker has files to remove. */
static void block_signals(int how)
{
    sigset_t set;

    sigfillset(&set);
    must(sigprocmask(how, &set, NULL), "block signals");
}

_Noreturn static void become_program(int seal_fd)
{
    struct pollfd supervisor = { .fd = seal_fd, .events = POLLIN };

    block_signals(SIG_UNBLOCK);
    /* This comes first, because a change of identity resets the settings below. */
    if (plan.user_namespace)
        become_root_inside(&plan);
    /* If the supervisor is killed, the kernel kills the program too. A supervisor killed before this line has
     * closed its end. */
    must(prctl(PR_SET_PDEATHSIG, SIGKILL), "be ended with its supervisor");
    if (poll(&supervisor, 1, 0) != 0)
        exit(EXIT_REFUSED);
    if (plan.namespaces) {
        mount_new_root(&plan);
        /* A successor keeps these mounts, on which the inodes lie that the guest knows. */
        tell_descriptor("VIRTIOFSD_TS_MOUNTS_FD", open("/proc/self/ns/mnt", O_RDONLY));
    }
    tell_descriptor("VIRTIOFSD_TS_SEAL_FD", seal_fd);
    tell_descriptor("VIRTIOFSD_TS_HANDOVER_FD", plan.handover_fd);
    tell_descriptor("VIRTIOFSD_TS_PROC_FD", open_own_descriptors(&plan));
    drop_privileges(&plan);
    execv(plan.program[0], plan.program);
    refuse("start node");
}

/* Without a need to supervise, the program takes this process over, with fewer privileges. */
_Noreturn static void become_unsupervised_program(void)
{
    block_signals(SIG_UNBLOCK);
    tell_descriptor("VIRTIOFSD_TS_PROC_FD", open("/proc/self/fd", O_PATH | O_DIRECTORY));
    tell_descriptor("VIRTIOFSD_TS_HANDOVER_FD", plan.handover_fd);
    drop_privileges(&plan);
    execv(plan.program[0], plan.program);
    refuse("start node");
}

int main(int argc, char **argv)
{
    int fds[2], child;

    refuse_for(&plan);
    if (argc > 1 && strcmp(argv[1], "hand-over") == 0)
        return hand_over_mount(&plan, argc, argv);
    read_arguments(argc, argv, &plan);
    block_signals(SIG_BLOCK);
    if (plan.helper_script != NULL) {
        start_broker(&plan);
        keep_program(&plan);
    }
    if (plan.none)
        become_unsupervised_program();
    if (plan.namespaces)
        enter_namespaces(&plan);
    /* Relative paths mean nothing from here on, and a working directory outside would keep the old root alive. */
    must(chdir("/"), "enter /");
    must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), "make a socket pair");
    child = fork_program();
    must(child, "fork");
    if (child == 0) {
        close(fds[0]);
        become_program(fds[1]);
    }
    close(fds[1]);
    if (plan.handover_fd >= 0)
        close(plan.handover_fd);
    return supervise(&plan, child, fds[0]);
}
