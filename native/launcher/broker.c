/*
 * The broker stays outside of the confinement, where it sees the host. It starts a helper (src/helper.ts) for each
 * client that asks for a change of the running process, for each SIGHUP and each SIGUSR2, and it removes the sockets'
 * files at the end, however its keeper ended. The confined program cannot ask the broker for anything: the program's end
 * of `handover` leads to the helpers, which send descriptors there and take no requests from it.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker.h"
#include "descriptors.h"
#include "keeper.h"
#include "packet.h"
#include "refuse.h"
#include "socket-files.h"

/* A helper that is silent for longer waits for the host's file system: REPLACE_TIMEOUT_MS of the helper is 60 s. */
static const struct timespec silence = { .tv_sec = 65 };
/* A helper's message: the program has said that its successor serves. */
#define AWAIT_REPLACED 'd'
/* Added to the nice value of a helper: the shares that serve come first. */
#define NICENESS 10
/* How long a helper may take to end. One that waits for the host's file system may take longer. */
#define END_PATIENCE_MS 1000
/* Tells the program that a helper is gone, and with it every change that it has not committed. */
#define ABORT "{\"op\":\"abort\"}"

struct broker {
    struct plan *plan;
    int link_fd;
    int handover_fd;
    /* The last helper, 0 once it has ended; and this end of the socket of the one that runs, -1 if none does. */
    int helper_pid;
    int helper_fd;
    bool reload_asked;
    bool replace_asked;
    /* The helper waits until the program has been replaced. */
    bool replacing;
    /* Of the successor that was started last: the helpers' end of its handover, and what it says it is to be called by. */
    int next_handover_fd;
    int words_fd;
};

/* The program that the next helper is, as the last successor has told. */
static char next_words[MAX_PACKET];
static char *next_program[MAX_WORDS];

static const int group_signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR2 };

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* The broker outlives the program's end by a moment, whatever signal the whole group gets. */
static void set_signals(void (*handler)(int))
{
    sigset_t none;

    for (size_t n = 0; n < COUNT_OF(group_signals); n++)
        signal(group_signals[n], handler);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void on_child(int signal)
{
    (void)signal;
}

/* The end of a helper interrupts the wait of serve(), and nothing else. */
static void watch_children(void)
{
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    signal(SIGCHLD, on_child);
}

static void close_others(const struct broker *broker)
{
    static int kept[MAX_SOCKETS + 3];
    const struct plan *const plan = broker->plan;
    size_t count = 0;

    kept[count++] = broker->link_fd;
    kept[count++] = broker->handover_fd;
    kept[count++] = plan->changes_fd;
    for (size_t n = 0; n < plan->socket_count; n++)
        kept[count++] = plan->sockets[n].lock_fd;
    close_all_but(kept, count);
}

/* Becomes the program with another script: see src/helper.ts for the descriptors. */
_Noreturn static void become_helper(const struct broker *broker, int helper_fd, int client_fd)
{
    char **const words = broker->plan->program;
    int kept[] = { broker->handover_fd, helper_fd, client_fd };

    set_signals(SIG_DFL);
    (void)!nice(NICENESS);
    close_all_but(kept, COUNT_OF(kept));
    tell_descriptor("VIRTIOFSD_TS_HANDOVER_FD", broker->handover_fd);
    tell_descriptor("VIRTIOFSD_TS_BROKER_FD", helper_fd);
    tell_descriptor("VIRTIOFSD_TS_CLIENT_FD", client_fd);
    words[broker->plan->script_at] = broker->plan->helper_script;
    execv(words[0], words);
    perror("virtiofsd-ts: node cannot be started");
    _exit(EXIT_REFUSED);
}

/* A process that has ended is there until it is reaped. A killed one that waits for the host's file system ends later. */
static void reap_helpers(struct broker *broker)
{
    int pid;

    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
        if (pid == broker->helper_pid)
            broker->helper_pid = 0;
}

/* `client_fd` is -1 for what a signal asked for: `task`. */
static void start_helper(struct broker *broker, int client_fd, const char *task)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) < 0)
        return;
    broker->helper_pid = fork();
    if (broker->helper_pid == 0) {
        close(fds[0]);
        setenv("VIRTIOFSD_TS_TASK", task, 1);
        become_helper(broker, fds[1], client_fd);
    }
    close(fds[1]);
    broker->helper_fd = fds[0];
    if (broker->helper_pid < 0) {
        close(fds[0]);
        broker->helper_fd = -1;
    }
}

static bool helper_ends_in(struct broker *broker, int patience_ms)
{
    static const struct timespec step = { .tv_nsec = 10 * 1000 * 1000 };
    sigset_t none;

    sigemptyset(&none);
    for (int steps = patience_ms / 10; steps > 0; steps--) {
        reap_helpers(broker);
        if (broker->helper_pid <= 0)
            return true;
        /* Interrupted when the helper ends. */
        ppoll(NULL, 0, &step, &none);
    }
    return false;
}

/*
 * What it has not finished is undone, as if it had never been asked. Until a helper has really ended, it can still make
 * a file, and it holds the lock of a file that the broker does not know yet.
 */
static void end_helper(struct broker *broker)
{
    close(broker->helper_fd);
    broker->helper_fd = -1;
    broker->replacing = false;
    if (!helper_ends_in(broker, END_PATIENCE_MS)) {
        kill(broker->helper_pid, SIGKILL);
        helper_ends_in(broker, END_PATIENCE_MS);
    }
    drop_fresh_files();
    send(broker->handover_fd, ABORT, strlen(ABORT), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void kill_helper(struct broker *broker)
{
    if (broker->helper_pid > 0)
        kill(broker->helper_pid, SIGKILL);
    end_helper(broker);
}

static void take_client(struct broker *broker)
{
    const int fd = accept(broker->plan->changes_fd, NULL, NULL);

    if (fd < 0)
        return;
    start_helper(broker, fd, "client");
    close(fd);
}

/* Puts `fd` in the place of the one before. */
static void take_fd(int *place, int fd)
{
    if (*place >= 0)
        close(*place);
    *place = fd;
}

/*
 * "rWORD\0WORD\0": starts a successor of the program. The answer carries the program's end of the socket between both.
 * Returns 0 or a negative errno.
 */
static int start_successor(struct broker *broker, const char *text, size_t len_bytes, int *program_end)
{
    enum { SUCCESSION, HANDOVER, WORDS, PAIRS };
    /* Helpers inherit their end of the handover. */
    static const int types[PAIRS] = { SOCK_SEQPACKET | SOCK_CLOEXEC, SOCK_SEQPACKET, SOCK_SEQPACKET | SOCK_CLOEXEC };
    int own[PAIRS], others[PAIRS], result = 0;
    size_t made = 0;

    while (made < PAIRS && result == 0) {
        int pair[2];

        if (socketpair(AF_UNIX, types[made], 0, pair) < 0) {
            result = -errno;
        } else {
            own[made] = pair[0];
            others[made++] = pair[1];
        }
    }
    if (result == 0 && send_packet(broker->link_fd, text, len_bytes, others, PAIRS) < 0)
        result = -errno;
    for (size_t n = 0; n < made; n++) {
        close(others[n]);
        if (result < 0)
            close(own[n]);
    }
    if (result < 0)
        return result;
    take_fd(&broker->next_handover_fd, own[HANDOVER]);
    take_fd(&broker->words_fd, own[WORDS]);
    *program_end = own[SUCCESSION];
    return 0;
}

/* "N\0SCRIPT\0WORD\0WORD\0": the successor's program; word N of it is its script, and SCRIPT that of helpers. */
static void take_words(struct broker *broker)
{
    static char text[MAX_PACKET];
    static char *words[MAX_WORDS];
    struct plan *const plan = broker->plan;
    const ssize_t got = broker->words_fd < 0 ? 0 : recv(broker->words_fd, text, sizeof(text) - 1, MSG_DONTWAIT);
    size_t count;
    int at;

    if (got <= 0)
        return;
    text[got] = '\0';
    count = split_words(text, (size_t)got, words);
    if (count < 3)
        return;
    at = atoi(words[0]);
    if (at < 1 || (size_t)at >= count - 2)
        return;
    memcpy(next_words, text, sizeof(next_words));
    split_words(next_words, (size_t)got, next_program);
    plan->script_at = (size_t)at;
    plan->helper_script = next_program[1];
    plan->program = next_program + 2;
}

static void answer_helper(const struct broker *broker, int result, int fd)
{
    const char answer = (char)-result;

    send_packet(broker->helper_fd, &answer, 1, &fd, fd < 0 ? 0 : 1);
}

/* Helpers go to the successor from now on. */
static void take_successor(struct broker *broker)
{
    if (broker->next_handover_fd < 0)
        return;
    /* Before the last helper's end, its own copy still leads to the program that has ended. */
    take_fd(&broker->handover_fd, broker->next_handover_fd);
    broker->next_handover_fd = -1;
    take_words(broker);
    take_fd(&broker->words_fd, -1);
    if (broker->replacing)
        answer_helper(broker, 0, -1);
    broker->replacing = false;
}

/* Returns false if the keeper has ended. */
static bool take_request(struct broker *broker)
{
    char request;
    const ssize_t got = recv(broker->link_fd, &request, 1, 0);

    if (got != 1)
        return got < 0 && errno == EINTR;
    if (request == ASK_RELOAD)
        broker->reload_asked = true;
    else if (request == ASK_REPLACE)
        broker->replace_asked = true;
    else if (request == TELL_REPLACED)
        take_successor(broker);
    return request != ASK_END;
}

/* Carries out one message of the helper. Returns false if the helper has ended. */
static bool serve_helper(struct broker *broker)
{
    static char text[MAX_PACKET];
    int fds[MAX_PACKET_FDS], program_end = -1, result;
    const ssize_t got = receive_packet(broker->helper_fd, text, sizeof(text), fds);

    if (got <= 0)
        return false;
    for (size_t n = 1; n < MAX_PACKET_FDS; n++)
        if (fds[n] >= 0)
            close(fds[n]);
    if (text[0] == START_SUCCESSOR) {
        if (fds[0] >= 0)
            close(fds[0]);
        result = start_successor(broker, text, (size_t)got, &program_end);
    } else if (text[0] == AWAIT_REPLACED) {
        /* Answered when the keeper tells; at once if it has told. */
        broker->replacing = broker->next_handover_fd >= 0;
        result = 0;
    } else {
        result = serve_socket_files(text, fds[0]);
    }
    if (!broker->replacing)
        answer_helper(broker, result, program_end);
    if (program_end >= 0)
        close(program_end);
    return true;
}

static void serve(struct broker *broker)
{
    sigset_t none;

    sigemptyset(&none);
    for (;;) {
        const bool idle = broker->helper_fd < 0;
        struct pollfd fds[] = {
            { .fd = broker->link_fd, .events = POLLIN },
            { .fd = broker->helper_fd, .events = POLLIN },
            { .fd = idle ? broker->plan->changes_fd : -1, .events = POLLIN },
        };

        const int ready = ppoll(fds, COUNT_OF(fds), idle ? NULL : &silence, &none);

        if (ready < 0) {
            reap_helpers(broker);
            continue;
        }
        if (ready == 0) {
            kill_helper(broker);
            continue;
        }
        if (fds[0].revents != 0 && !take_request(broker))
            return;
        if (fds[1].revents != 0 && !serve_helper(broker))
            end_helper(broker);
        if (broker->helper_fd < 0 && broker->reload_asked) {
            broker->reload_asked = false;
            start_helper(broker, -1, "reload");
        } else if (broker->helper_fd < 0 && broker->replace_asked) {
            broker->replace_asked = false;
            start_helper(broker, -1, "replace");
        } else if (fds[2].revents != 0) {
            take_client(broker);
        }
    }
}

_Noreturn static void run_broker(struct broker *broker)
{
    set_signals(SIG_IGN);
    watch_children();
    close_others(broker);
    keep_socket_files(broker->plan);
    serve(broker);
    if (broker->helper_fd >= 0)
        kill_helper(broker);
    remove_socket_files();
    _exit(EXIT_SUCCESS);
}

void start_broker(struct plan *plan)
{
    struct broker broker = { .plan = plan, .helper_fd = -1, .next_handover_fd = -1, .words_fd = -1 };
    int link[2], handover[2], child;

    must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, link), "make a socket pair");
    must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, handover), "make a socket pair");
    broker.link_fd = link[1];
    broker.handover_fd = handover[1];
    child = fork();
    must(child, "fork");
    if (child == 0)
        run_broker(&broker);
    close(link[1]);
    close(handover[1]);
    /* The broker holds the locks now. */
    for (size_t n = 0; n < plan->socket_count; n++)
        if (plan->sockets[n].lock_fd >= 0)
            close(plan->sockets[n].lock_fd);
    if (plan->changes_fd >= 0)
        close(plan->changes_fd);
    plan->broker_fd = link[0];
    plan->handover_fd = handover[0];
}
