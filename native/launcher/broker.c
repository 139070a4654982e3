/*
 * The broker stays outside of the confinement, where it sees the host. It starts a helper (src/helper.ts) for each
 * client that asks for a change of the running process, and for each SIGHUP, and it removes the sockets' files at the
 * end. The confined program cannot ask the broker for anything: the program's end of `handover` leads to the helpers,
 * which send descriptors there and take no requests from it.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker.h"
#include "refuse.h"
#include "socket-files.h"

/* Requests on the link of the supervisor. */
#define RELOAD 'h'
#define END 'q'
/* The time that the supervisor gives the broker to remove files, which a dead disk can prevent. */
#define PATIENCE_MS 5000
/* A helper that is silent for longer waits for the host's file system: it waits for an answer of the program for 30 s. */
#define SILENCE_MS 40000
/* Tells the program that a helper is gone, and with it every change that it has not committed. */
#define ABORT "{\"op\":\"abort\"}"

struct broker {
    const struct plan *plan;
    int link_fd;
    int handover_fd;
    /* The helper that runs, and this end of its socket; -1 if none runs. */
    int helper_pid;
    int helper_fd;
    bool reload_asked;
};

static const int ending_signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* The broker outlives the program's end by a moment, whatever signal the whole group gets. */
static void set_signals(void (*handler)(int))
{
    sigset_t none;

    for (size_t n = 0; n < COUNT_OF(ending_signals); n++)
        signal(ending_signals[n], handler);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* A copy of a listening socket here would keep it open after the program has closed it. */
static void close_all_but(int *kept, size_t count)
{
    int first = STDERR_FILENO + 1;

    qsort(kept, count, sizeof(*kept), compare);
    for (size_t n = 0; n <= count; n++) {
        const unsigned last = n < count ? (unsigned)kept[n] - 1 : ~0U;

        if (n < count && kept[n] < first)
            continue;
        if ((unsigned)first <= last && syscall(SYS_close_range, first, last, 0) < 0)
            for (int fd = first, end = n < count ? kept[n] : (int)sysconf(_SC_OPEN_MAX); fd < end; fd++)
                close(fd);
        if (n < count)
            first = kept[n] + 1;
    }
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

static void set_number(const char *name, int number)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", number);
    setenv(name, text, 1);
}

/* Becomes the program with another script: see src/helper.ts for the descriptors. */
_Noreturn static void become_helper(const struct broker *broker, int helper_fd, int client_fd)
{
    char **const words = broker->plan->program;
    int kept[] = { broker->handover_fd, helper_fd, client_fd };

    set_signals(SIG_DFL);
    close_all_but(kept, COUNT_OF(kept));
    set_number("VIRTIOFSD_TS_HANDOVER_FD", broker->handover_fd);
    set_number("VIRTIOFSD_TS_BROKER_FD", helper_fd);
    set_number("VIRTIOFSD_TS_CLIENT_FD", client_fd);
    words[broker->plan->script_at] = broker->plan->helper_script;
    execv(words[0], words);
    perror("virtiofsd-ts: node cannot be started");
    _exit(EXIT_REFUSED);
}

/* `client_fd` is -1 for a reload that SIGHUP asked for. */
static void start_helper(struct broker *broker, int client_fd)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) < 0)
        return;
    broker->helper_pid = fork();
    if (broker->helper_pid == 0) {
        close(fds[0]);
        become_helper(broker, fds[1], client_fd);
    }
    close(fds[1]);
    broker->helper_fd = fds[0];
    if (broker->helper_pid < 0) {
        close(fds[0]);
        broker->helper_fd = -1;
    }
}

/* What it has not finished is undone, as if it had never been asked. */
static void end_helper(struct broker *broker)
{
    close(broker->helper_fd);
    broker->helper_fd = -1;
    waitpid(broker->helper_pid, NULL, 0);
    drop_fresh_files();
    send(broker->handover_fd, ABORT, strlen(ABORT), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void kill_helper(struct broker *broker)
{
    kill(broker->helper_pid, SIGKILL);
    end_helper(broker);
}

static void take_client(struct broker *broker)
{
    const int fd = accept(broker->plan->changes_fd, NULL, NULL);

    if (fd < 0)
        return;
    start_helper(broker, fd);
    close(fd);
}

/* Returns false if the supervisor, or the program without one, has ended. */
static bool take_request(struct broker *broker)
{
    char request;
    const ssize_t got = recv(broker->link_fd, &request, 1, 0);

    if (got == 1 && request == RELOAD)
        broker->reload_asked = true;
    return got == 1 ? request != END : got < 0 && errno == EINTR;
}

static void serve(struct broker *broker)
{
    for (;;) {
        const bool idle = broker->helper_fd < 0;
        struct pollfd fds[] = {
            { .fd = broker->link_fd, .events = POLLIN },
            { .fd = broker->helper_fd, .events = POLLIN },
            { .fd = idle ? broker->plan->changes_fd : -1, .events = POLLIN },
        };

        const int ready = poll(fds, COUNT_OF(fds), idle ? -1 : SILENCE_MS);

        if (ready < 0)
            continue;
        if (ready == 0) {
            kill_helper(broker);
            continue;
        }
        if (fds[0].revents != 0 && !take_request(broker))
            return;
        if (fds[1].revents != 0 && !serve_socket_files(broker->helper_fd))
            end_helper(broker);
        if (broker->helper_fd < 0 && broker->reload_asked) {
            broker->reload_asked = false;
            start_helper(broker, -1);
        } else if (fds[2].revents != 0) {
            take_client(broker);
        }
    }
}

_Noreturn static void run_broker(struct broker *broker)
{
    set_signals(SIG_IGN);
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
    struct broker broker = { .plan = plan, .helper_fd = -1 };
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

void ask_for_reload(const struct plan *plan)
{
    const char request = RELOAD;

    send(plan->broker_fd, &request, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void end_broker(const struct plan *plan)
{
    struct pollfd pollfd = { .fd = plan->broker_fd, .events = POLLIN };
    const char request = END;

    if (plan->broker_fd < 0)
        return;
    send(plan->broker_fd, &request, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    poll(&pollfd, 1, PATIENCE_MS);
}
