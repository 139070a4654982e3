/*
 * Runs commands for the host, which speaks over a virtio-serial port, or over a serial port where the kernel has
 * no driver for that. One line each way is one message.
 *
 * From the host (every line is acknowledged, and the host sends the next one only then, because a
 * serial port drops what nobody reads in time):
 *   run ID TIMEOUT_MS HAS_STDIN BASE64      start /bin/sh -c COMMAND
 *   stdin ID BASE64                         more of its standard input
 *   eof ID                                  the end of its standard input
 *   kill ID SIGNAL                          signal its process group
 *   reboot                                  sync, then reset the machine
 *   poweroff                                sync, then switch it off
 * To the host, JSON:
 *   {"hello":"KERNEL RELEASE"}              once, at the start
 *   {"ack":1}
 *   {"id":N,"stdout":"BASE64"}              a piece of output, as it comes; "stderr" alike
 *   {"id":N,"status":S,"signal":G,"ms":T,"timedOut":B,"stack":"BASE64"}   the end; "stack" only if it cannot be killed
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base64.h"
#include "jobs.h"
#include "line.h"

#define LINE_BYTES 65536
#define CLOSED_PAUSE_US 10000

/* Runs in a child, so that a file system that hangs in sync() blocks only the child. */
static void end_machine(int how)
{
    if (fork() != 0)
        return;
    sync();
    reboot(how);
    _exit(1);
}

static void obey(char *line)
{
    char verb[16] = "";
    long id = 0, number = 0, has_stdin = 0;
    int fields = sscanf(line, "%15s %ld %ld %ld", verb, &id, &number, &has_stdin);
    char *data = strrchr(line, ' ');
    data = data == NULL ? line : data + 1;
    struct job *j = fields >= 2 ? find_job(id) : NULL;

    if (strcmp(verb, "run") == 0) {
        data[base64_decode(data)] = '\0';
        start_job(id, number, has_stdin != 0, data);
    } else if (strcmp(verb, "reboot") == 0) {
        end_machine(RB_AUTOBOOT);
    } else if (strcmp(verb, "poweroff") == 0) {
        end_machine(RB_POWER_OFF);
    } else if (j == NULL) {
        return; /* the job ended while this was on its way */
    } else if (strcmp(verb, "stdin") == 0) {
        size_t len = base64_decode(data);
        add_input(j, data, len);
    } else if (strcmp(verb, "eof") == 0) {
        end_input(j);
    } else if (strcmp(verb, "kill") == 0) {
        signal_job(j, (int)number);
    }
}

static void read_host(int fd)
{
    static char line[LINE_BYTES];
    static size_t len;
    ssize_t n = read(fd, line + len, sizeof line - len);
    if (n < 0 && errno != EINTR)
        die("read from the host");
    if (n == 0)
        usleep(CLOSED_PAUSE_US); /* a virtio-serial port whose other end is not there yet */
    if (n > 0)
        len += (size_t)n;
    char *end;
    while ((end = memchr(line, '\n', len)) != NULL) {
        *end = '\0';
        obey(line);
        send_text("{\"ack\":1}\n");
        len -= (size_t)(end + 1 - line);
        memmove(line, end + 1, len);
    }
    if (len == sizeof line) {
        errno = EMSGSIZE;
        die("line from the host");
    }
}

static int watch_children(void)
{
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC);
}

int main(void)
{
    struct pollfd fds[2 + MAX_JOB_FDS];
    struct utsname host;
    int line = open_line();
    int signals = watch_children();
    uname(&host);
    send_text("\n{\"hello\":\"%s\"}\n", host.release);

    for (;;) {
        fds[0] = (struct pollfd){ .fd = line, .events = POLLIN };
        fds[1] = (struct pollfd){ .fd = signals, .events = POLLIN };
        nfds_t n = watch_jobs(fds + 2);
        if (poll(fds, 2 + n, next_deadline_ms()) < 0 && errno != EINTR)
            die("poll");

        if (fds[0].revents != 0)
            read_host(line);
        if (fds[1].revents != 0) {
            struct signalfd_siginfo info;
            while (read(signals, &info, sizeof info) > 0)
                ;
            reap_children();
        }
        advance_jobs();
    }
}
