/*
 * Preloaded into Node: a SIGTERM comes as soon as the main thread blocks the signals that are put off, and the thread that
 * takes it in its place is slow to carry it out.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define TAKEN_US 100000
#define SLOW_US 500000

/* Node's handler of SIGTERM calls this. */
int raise(int signal)
{
    if (signal == SIGTERM)
        usleep(SLOW_US);
    return tgkill(getpid(), gettid(), signal);
}

int pthread_sigmask(int how, const sigset_t *set, sigset_t *before)
{
    int (*const next)(int, const sigset_t *, sigset_t *) = dlsym(RTLD_NEXT, "pthread_sigmask");
    const int result = next(how, set, before);

    /* Others block all signals. */
    if (how == SIG_BLOCK && set != NULL && sigismember(set, SIGUSR2) == 1 && sigismember(set, SIGWINCH) == 0) {
        kill(getpid(), SIGTERM);
        usleep(TAKEN_US);
    }
    return result;
}
