/*
 * fuse-server: a /dev/fuse file system that passes a folder on, with the flags that virtiofsd-ts gives virtio-fs.
 *
 *   fuse-server FOLDER MOUNTPOINT WORD...
 *
 * Words: direct, parallel, mmap, noasync, writeback, keep, keep-unchanged, cache-dir, passthrough, attr=SECONDS, entry=SECONDS,
 * cached-readers=PREFIX. Its standard input takes orders, one a line, each answered with one line of JSON: see control.c. One
 * thread serves both; a request that is held waits in a list.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server.h"

struct options options = { .async_dio = true };
int fuse_fd;
unsigned guest_minor;
uint64_t agreed_flags;
int forced_open_flags = -1;

double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static bool *flag_called(const char *word)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        { "direct", &options.direct },     { "parallel", &options.parallel },   { "mmap", &options.allow_mmap },
        { "keep", &options.keep },         { "writeback", &options.writeback }, { "cache-dir", &options.cache_dir },
        { "keep-unchanged", &options.keep_unchanged },
        { "noasync", &options.async_dio }, { "passthrough", &options.passthrough },
    };
    for (size_t n = 0; n < sizeof flags / sizeof flags[0]; n++)
        if (strcmp(flags[n].name, word) == 0)
            return flags[n].flag;
    return NULL;
}

static void take_word(const char *word)
{
    bool *flag = flag_called(word);
    if (flag != NULL)
        *flag = flag != &options.async_dio;
    else if (sscanf(word, "attr=%lf", &options.attr_seconds) != 1 &&
             sscanf(word, "entry=%lf", &options.entry_seconds) != 1) {
        if (strncmp(word, "cached-readers=", 15) != 0) {
            fprintf(stderr, "fuse-server: unknown word %s\n", word);
            exit(2);
        }
        options.cached_readers = word + 15;
    }
}

/* Orders arrive in pieces; a whole line is obeyed. */
static bool take_orders(void)
{
    static char line[4096];
    static size_t len;
    ssize_t got = read(0, line + len, sizeof line - 1 - len);
    if (got <= 0)
        return false;
    len += (size_t)got;
    for (char *end; (end = memchr(line, '\n', len)) != NULL;) {
        *end = '\0';
        obey(line);
        fflush(stdout);
        len -= (size_t)(end + 1 - line);
        memmove(line, end + 1, len);
    }
    return true;
}

static bool take_requests(void)
{
    for (;;) {
        char *buffer = malloc(REQUEST_BYTES);
        ssize_t got = buffer == NULL ? -1 : read(fuse_fd, buffer, REQUEST_BYTES);
        if (got > 0) {
            take_request(buffer, (size_t)got);
            continue;
        }
        free(buffer);
        if (errno == ENODEV)
            return false; /* unmounted */
        if (errno != EINTR && errno != ENOENT)
            return true;
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: fuse-server FOLDER MOUNTPOINT WORD...\n");
        return 2;
    }
    options.source = argv[1];
    options.target = argv[2];
    for (int n = 3; n < argc; n++)
        take_word(argv[n]);
    umask(0);
    init_nodes();
    mount_share();
    struct pollfd fds[] = { { .fd = 0, .events = POLLIN }, { .fd = fuse_fd, .events = POLLIN } };
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return 1;
        if (fds[0].revents != 0 && !take_orders())
            return 0;
        if (fds[1].revents != 0 && !take_requests())
            return 0;
    }
}
