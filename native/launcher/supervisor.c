/* Stays outside: seals the program when asked to, hands signals on, removes the sockets, and ends as the program did. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher.h"

#define STATUS_OF_SIGNAL 128

/* A file by its directory, which stays reachable when the root has changed. */
struct leftover {
    int dir_fd;
    char name[256];
};

static struct leftover leftovers[MAX_UNLINKS];

static void find_leftovers(const struct plan *plan)
{
    for (size_t n = 0; n < plan->unlink_count; n++) {
        char *const dir = strdup(plan->unlinks[n]), *const base = strdup(plan->unlinks[n]);

        leftovers[n].dir_fd = open(dirname(dir), O_PATH | O_DIRECTORY | O_CLOEXEC);
        snprintf(leftovers[n].name, sizeof(leftovers[n].name), "%s", basename(base));
        free(dir);
        free(base);
    }
}

static void remove_leftovers(const struct plan *plan)
{
    for (size_t n = 0; n < plan->unlink_count; n++)
        unlinkat(leftovers[n].dir_fd, leftovers[n].name, 0);
}

/* Reads the request, a byte, and answers with an int: 0 or -errno. False when the program has closed its end. */
static bool answer_seal(const struct plan *plan, int seal_fd)
{
    char request;
    int result;

    if (recv(seal_fd, &request, 1, 0) != 1)
        return false;
    result = plan->namespaces ? seal_into_new_root() : seal_by_chroot(plan);
    send(seal_fd, &result, sizeof(result), MSG_NOSIGNAL);
    return true;
}

/* They have been blocked since before the program was forked, so that none is lost. */
static int make_signal_fd(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* True once the program has ended, with its exit status in `status`. */
static bool handle_signal(int signal_fd, int child, int *status)
{
    struct signalfd_siginfo info;
    int wait_status;

    if (read(signal_fd, &info, sizeof(info)) != sizeof(info))
        return false;
    if (info.ssi_signo != SIGCHLD) {
        kill(child, (int)info.ssi_signo);
        return false;
    }
    if (waitpid(child, &wait_status, WNOHANG) != child)
        return false;
    *status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : STATUS_OF_SIGNAL + WTERMSIG(wait_status);
    if (WIFSIGNALED(wait_status))
        fprintf(stderr, "virtiofsd-ts: ended by signal %d (%s)\n", WTERMSIG(wait_status),
                strsignal(WTERMSIG(wait_status)));
    return true;
}

int supervise(const struct plan *plan, int child, int seal_fd)
{
    struct pollfd fds[2] = { { .events = POLLIN }, { .fd = seal_fd, .events = POLLIN } };
    int status = 0;

    find_leftovers(plan);
    fds[0].fd = make_signal_fd();
    must(fds[0].fd, "make a signal descriptor");
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        /* Sealed once: a program that was taken over has nothing to gain by asking again. */
        if (fds[1].revents != 0) {
            answer_seal(plan, seal_fd);
            fds[1].fd = -1;
        }
        if (fds[0].revents != 0 && handle_signal(fds[0].fd, child, &status))
            break;
    }
    remove_leftovers(plan);
    return status;
}
