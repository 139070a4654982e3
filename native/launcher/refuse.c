#include "refuse.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct plan *refused;
static int launcher_pid;

void refuse_for(const struct plan *plan)
{
    refused = plan;
    launcher_pid = getpid();
}

/* A socket without a lock has no pid file. */
static void remove_socket(const char *path, int lock_fd)
{
    char pid_path[PATH_MAX];

    unlink(path);
    if (lock_fd >= 0 && snprintf(pid_path, sizeof(pid_path), "%s.pid", path) < (int)sizeof(pid_path))
        unlink(pid_path);
}

void refuse(const char *what)
{
    const int error = errno;
    const char *const kind = refused->none ? "none" : refused->namespaces ? "namespace" : "chroot";

    fprintf(stderr, "virtiofsd-ts: --sandbox %s: cannot %s: %s\n", kind, what, strerror(error));
    /* Only the process that was started removes files here: for its children, the broker does. */
    for (size_t n = 0; getpid() == launcher_pid && n < refused->socket_count; n++)
        remove_socket(refused->sockets[n].path, refused->sockets[n].lock_fd);
    exit(EXIT_REFUSED);
}

void must(long result, const char *what)
{
    if (result < 0)
        refuse(what);
}

void say(const char *format, ...)
{
    struct pollfd pollfd = { .fd = STDERR_FILENO, .events = POLLOUT };
    char line[256];
    va_list values;

    va_start(values, format);
    vsnprintf(line, sizeof(line), format, values);
    va_end(values);
    if (poll(&pollfd, 1, 0) == 1 && (pollfd.revents & POLLOUT) != 0)
        dprintf(STDERR_FILENO, "virtiofsd-ts: %s\n", line);
}
