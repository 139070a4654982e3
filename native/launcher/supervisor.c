/* The supervisor stays outside: it seals the program on request, forwards signals, and ends with the program's status. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "namespaces.h"
#include "privileges.h"
#include "refuse.h"
#include "supervisor.h"

/* The time a program has to end after a signal; then the time the kernel has to kill it, which a dead disk can
 * prevent. */
#define PATIENCE_MS 5000

/* Reads the request, one byte, and answers with an int: 0 or -errno. Returns false if the program has closed its
 * end. */
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

/* They were blocked before the program was forked, so none is lost. */
static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGCHLD };

/* The program's state. */
struct supervised {
    int pid;
    /* True once it is sealed, and so has signal handlers: it can be asked to end. Earlier it can only be killed. */
    bool ready;
    /* True if it was asked to end, or killed because it was not ready. */
    bool asked;
    bool killed;
    bool ended;
    int status;
};

static void kill_program(struct supervised *program)
{
    kill(program->pid, SIGKILL);
    program->killed = true;
}

static void end_program(struct supervised *program, int signal)
{
    program->asked = true;
    if (program->ready)
        kill(program->pid, signal);
    else
        kill_program(program);
}

static void take_status(struct supervised *program)
{
    int status;

    if (waitpid(program->pid, &status, WNOHANG) != program->pid)
        return;
    program->ended = true;
    /* No complaint about how the program ended if it was asked to end. */
    program->status = program->asked ? EXIT_SUCCESS : told_status_of(status);
}

static void handle_signal(const struct plan *plan, int signal_fd, struct supervised *program)
{
    struct signalfd_siginfo info;

    if (read(signal_fd, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGCHLD)
        take_status(program);
    else if (info.ssi_signo == SIGHUP && plan->reloads)
        /* The keeper has got it, too, and asks for a reload. */
        return;
    else
        end_program(program, (int)info.ssi_signo);
}

/* The program has not ended in time. Returns false if even the kernel cannot end it and waiting is useless. */
static bool lose_patience(struct supervised *program)
{
    if (program->killed) {
        program->status = EXIT_FAILURE;
        say("process %d waits for the host and cannot be ended: left behind", program->pid);
        return false;
    }
    kill_program(program);
    return true;
}

int supervise(const struct plan *plan, int child, int seal_fd)
{
    struct pollfd fds[2] = { { .events = POLLIN }, { .fd = seal_fd, .events = POLLIN } };
    struct supervised program = { .pid = child };

    keep_privileges_for_sealing(plan);
    fds[0].fd = make_signal_fd(signals, sizeof(signals) / sizeof(signals[0]));
    while (!program.ended) {
        const int count = poll(fds, 2, program.asked ? PATIENCE_MS : -1);

        if (count < 0 && errno != EINTR)
            break;
        if (count == 0 && !lose_patience(&program))
            break;
        if (count <= 0)
            continue;
        /* Seals once: a program taken over by an attacker gains nothing by asking again. */
        if (fds[1].revents != 0) {
            program.ready = answer_seal(plan, seal_fd);
            keep_privileges_for_ending();
            fds[1].fd = -1;
        }
        if (fds[0].revents != 0)
            handle_signal(plan, fds[0].fd, &program);
    }
    return program.status;
}
