#include "descriptors.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "refuse.h"

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

void close_all_but(int *kept, size_t count)
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

void tell_descriptor(const char *variable, int fd)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", fd);
    must(setenv(variable, text, 1), "set an environment variable");
}
