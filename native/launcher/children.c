#include "children.h"

#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "refuse.h"

#define STATUS_OF_SIGNAL 128

int make_signal_fd(const int *signals, size_t count)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    for (size_t n = 0; n < count; n++)
        sigaddset(&set, signals[n]);
    fd = signalfd(-1, &set, SFD_CLOEXEC);
    must(fd, "make a signal descriptor");
    return fd;
}

int status_of(int ended)
{
    return WIFEXITED(ended) ? WEXITSTATUS(ended) : STATUS_OF_SIGNAL + WTERMSIG(ended);
}

int told_status_of(int ended)
{
    if (WIFSIGNALED(ended))
        say("ended by signal %d (%s)", WTERMSIG(ended), strsignal(WTERMSIG(ended)));
    return status_of(ended);
}
