#include "refuse.h"

#include <errno.h>
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

void refuse(const char *what)
{
    const int error = errno;
    const char *const kind = refused->none ? "none" : refused->namespaces ? "namespace" : "chroot";

    fprintf(stderr, "virtiofsd-ts: --sandbox %s: cannot %s: %s\n", kind, what, strerror(error));
    /* If the program refuses, its supervisor cleans up; only the launcher's own process removes files here. */
    for (size_t n = 0; getpid() == launcher_pid && n < refused->unlink_count; n++)
        unlink(refused->unlinks[n]);
    exit(EXIT_REFUSED);
}

void must(long result, const char *what)
{
    if (result < 0)
        refuse(what);
}
