/*
 * The keeper of a program that can be changed or replaced. Its process id is the one that service managers and pid
 * files know, and it stays the same when another process serves. It forwards signals, tells the broker what SIGHUP and
 * SIGUSR2 ask for, and starts a successor beside the program when the broker asks. A program that ends with
 * EXIT_REPLACED has given everything to its successor.
 */
#include "keeper.h"

#include <errno.h>
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

#include "children.h"
#include "descriptors.h"
#include "packet.h"
#include "refuse.h"

/* More than a supervisor needs to end a program that does not obey. */
#define PATIENCE_MS 15000
/* The time that the broker has to remove files, which a dead disk can prevent. */
#define BROKER_PATIENCE_MS 5000

struct keeper {
    const struct plan *plan;
    int program_pid;
    /* 0: there is none. */
    int successor_pid;
    /* The successor's status if it has ended already, or -1. */
    int successor_status;
    /* The program was asked to end. */
    bool asked;
    bool killed;
    bool ended;
    int status;
};

static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR2, SIGCHLD };

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static void ask_broker(const struct keeper *keeper, char request)
{
    send(keeper->plan->broker_fd, &request, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static bool successor_runs(const struct keeper *keeper)
{
    return keeper->successor_pid > 0 && keeper->successor_status < 0;
}

/* The successor is the program from now on. It may have ended meanwhile. */
static void replace_program(struct keeper *keeper)
{
    keeper->program_pid = keeper->successor_pid;
    keeper->successor_pid = 0;
    ask_broker(keeper, TELL_REPLACED);
    if (keeper->successor_status < 0)
        return;
    keeper->ended = true;
    keeper->status = keeper->asked ? EXIT_SUCCESS : keeper->successor_status;
}

static void take_ends(struct keeper *keeper)
{
    for (;;) {
        int status;
        const int pid = waitpid(-1, &status, WNOHANG);

        if (pid <= 0)
            return;
        if (pid == keeper->successor_pid) {
            keeper->successor_status = status_of(status);
        } else if (pid == keeper->program_pid) {
            if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_REPLACED && keeper->successor_pid > 0) {
                replace_program(keeper);
            } else {
                keeper->ended = true;
                /* No complaint about how it ended if it was asked to end. */
                keeper->status = keeper->asked && !keeper->killed ? EXIT_SUCCESS : told_status_of(status);
            }
        }
    }
}

/* The successor may serve already, before the end of the program says so: both are asked. */
static void end_program(struct keeper *keeper, int signal)
{
    keeper->asked = true;
    kill(keeper->program_pid, signal);
    if (successor_runs(keeper))
        kill(keeper->successor_pid, signal);
}

static void take_signal(struct keeper *keeper, int signal_fd)
{
    struct signalfd_siginfo info;

    if (read(signal_fd, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGCHLD)
        take_ends(keeper);
    else if (info.ssi_signo == SIGUSR2)
        ask_broker(keeper, ASK_REPLACE);
    else if (info.ssi_signo == SIGHUP && keeper->plan->reloads)
        ask_broker(keeper, ASK_RELOAD);
    else
        end_program(keeper, (int)info.ssi_signo);
}

/* Ends with this parent, however that ends. */
static void end_with(int parent_pid)
{
    must(prctl(PR_SET_PDEATHSIG, SIGKILL), "be ended with its parent");
    if (getppid() != parent_pid)
        exit(EXIT_REFUSED);
}

static void unblock_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* src/live/succession-variable.ts and src/sandbox/launch.ts read the descriptors' numbers. */
_Noreturn static void become_successor(int parent_pid, int broker_fd, char **words, const int *fds)
{
    static const char *const names[] = {
        "VIRTIOFSD_TS_SUCCESSION_FD", "VIRTIOFSD_TS_HANDOVER_FD", "VIRTIOFSD_TS_WORDS_FD",
    };

    end_with(parent_pid);
    unblock_signals();
    close(broker_fd);
    for (size_t n = 0; n < COUNT_OF(names); n++) {
        /* They came close-on-exec. */
        const int fd = dup(fds[n]);

        must(fd, "start a successor");
        tell_descriptor(names[n], fd);
    }
    execv(words[0], words);
    fprintf(stderr, "virtiofsd-ts: %s cannot be started: %s\n", words[0], strerror(errno));
    _exit(EXIT_REFUSED);
}

static void start_successor(struct keeper *keeper, char *text, size_t len_bytes, const int *fds)
{
    static char *words[MAX_WORDS];
    const int parent_pid = getpid();
    int pid;

    /* One at a time: a broker that lost count must not leave processes behind. */
    if (successor_runs(keeper))
        kill(keeper->successor_pid, SIGKILL);
    keeper->successor_pid = 0;
    keeper->successor_status = -1;
    if (keeper->asked || split_words(text, len_bytes, words) == 0)
        return;
    pid = fork();
    if (pid == 0)
        become_successor(parent_pid, keeper->plan->broker_fd, words, fds);
    if (pid > 0)
        keeper->successor_pid = pid;
}

/* Returns false if the broker has ended: nothing can be changed any more. */
static bool take_request(struct keeper *keeper)
{
    static char text[MAX_PACKET];
    int fds[MAX_PACKET_FDS];
    const ssize_t got = receive_packet(keeper->plan->broker_fd, text, sizeof(text), fds);

    if (got <= 0)
        return false;
    if (text[0] == START_SUCCESSOR && fds[2] >= 0)
        start_successor(keeper, text + 1, (size_t)got - 1, fds);
    for (size_t n = 0; n < MAX_PACKET_FDS; n++)
        if (fds[n] >= 0)
            close(fds[n]);
    return true;
}

/* The program has not ended in time. Returns false if even the kernel cannot end it. */
static bool lose_patience(struct keeper *keeper)
{
    if (keeper->killed) {
        keeper->status = EXIT_FAILURE;
        return false;
    }
    keeper->killed = true;
    kill(keeper->program_pid, SIGKILL);
    return true;
}

static void end_broker(const struct keeper *keeper)
{
    struct pollfd pollfd = { .fd = keeper->plan->broker_fd, .events = 0 };

    ask_broker(keeper, ASK_END);
    poll(&pollfd, 1, BROKER_PATIENCE_MS);
}

_Noreturn static void keep(struct keeper *keeper)
{
    struct pollfd fds[2] = {
        { .fd = make_signal_fd(signals, COUNT_OF(signals)), .events = POLLIN },
        { .fd = keeper->plan->broker_fd, .events = POLLIN },
    };

    while (!keeper->ended) {
        const int count = poll(fds, 2, keeper->asked ? PATIENCE_MS : -1);

        if (count == 0 && !lose_patience(keeper))
            break;
        if (count <= 0)
            continue;
        if (fds[1].revents != 0 && !take_request(keeper))
            fds[1].fd = -1;
        if (fds[0].revents != 0)
            take_signal(keeper, fds[0].fd);
    }
    if (successor_runs(keeper))
        kill(keeper->successor_pid, SIGKILL);
    end_broker(keeper);
    exit(keeper->status);
}

void keep_program(struct plan *plan)
{
    struct keeper keeper = { .plan = plan, .successor_status = -1 };
    const int parent_pid = getpid();
    int kept[] = { plan->broker_fd };

    keeper.program_pid = fork();
    must(keeper.program_pid, "fork");
    if (keeper.program_pid == 0) {
        end_with(parent_pid);
        close(plan->broker_fd);
        plan->broker_fd = -1;
        return;
    }
    close_all_but(kept, 1);
    keep(&keeper);
}
