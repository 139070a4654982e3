/* Keeps signals for the program that this process is about to become. */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "args.h"
#include "module.h"

/* These signals would end this process, or start Node's debugger. */
static const int put_off_signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };
/* Asks a thread to block them. Nothing else uses it here, and it is ignored where it comes unasked. */
#define ASK_SIGNAL SIGURG
/* How often threads are looked at, and the time between; together longer than a thread needs to take a signal. */
#define PUT_OFF_LOOKS 10000
#define PUT_OFF_PAUSE_NS 200000

static void add_put_off(sigset_t *set)
{
    for (size_t n = 0; n < COUNT_OF(put_off_signals); n++)
        sigaddset(set, put_off_signals[n]);
}

/* The mask lasts: the kernel takes it from the context when the handler returns. */
static void block_here(int signal, siginfo_t *info, void *context)
{
    add_put_off(&((ucontext_t *)context)->uc_sigmask);
}

/* True if the thread of this process has ended, or blocks the signals. */
static bool blocks_put_off(pid_t thread)
{
    unsigned long long blocked = 0, wanted = 0;
    char path[64], line[128];
    bool found = false;
    FILE *status;

    for (size_t n = 0; n < COUNT_OF(put_off_signals); n++)
        wanted |= 1ULL << (put_off_signals[n] - 1);
    snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)thread);
    if ((status = fopen(path, "re")) == NULL)
        return true;
    while (!found && fgets(line, sizeof(line), status) != NULL)
        found = sscanf(line, "SigBlk: %llx", &blocked) == 1;
    fclose(status);
    return !found || (blocked & wanted) == wanted;
}

/* Asks the threads that do not block the signals yet. Returns how many these are. */
static unsigned int ask_threads(void)
{
    unsigned int asked = 0;
    struct dirent *entry;
    DIR *threads = opendir("/proc/self/task");

    while (threads != NULL && (entry = readdir(threads)) != NULL) {
        const pid_t thread = atoi(entry->d_name);

        if (thread == 0 || blocks_put_off(thread))
            continue;
        asked++;
        syscall(SYS_tgkill, getpid(), thread, ASK_SIGNAL);
    }
    if (threads != NULL)
        closedir(threads);
    return asked;
}

/*
 * Node's own handler of this signal is there for one time, after which it ends the process. True if that time has begun.
 * The thread that took the signal blocks all others meanwhile, and so looks as if it could not have taken it.
 */
static bool is_being_handled(int signal)
{
    struct sigaction action;

    return sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_DFL &&
           (action.sa_flags & (int)SA_RESETHAND) != 0;
}

static void end_by(int signal)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signal);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    raise(signal);
}

/*
 * putOffSignals(): 0; lets all threads block the signals that would end this process, or start Node's debugger: they
 * stay pending for the next program. Pending signals and the calling thread's mask survive execve; a signal that
 * another thread has taken does not, and ends the process here.
 */
static napi_value put_off_all(napi_env env, napi_callback_info info)
{
    struct sigaction action = { .sa_sigaction = block_here, .sa_flags = SA_SIGINFO | SA_RESTART };
    const struct timespec pause = { .tv_nsec = PUT_OFF_PAUSE_NS };
    sigset_t set;

    sigemptyset(&set);
    add_put_off(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    sigemptyset(&action.sa_mask);
    sigaction(ASK_SIGNAL, &action, NULL);
    /* A thread that is stuck in the kernel cannot take a signal either. */
    for (int looks = 0; looks < PUT_OFF_LOOKS && ask_threads() > 0; looks++)
        nanosleep(&pause, NULL);
    for (size_t n = 0; n < COUNT_OF(put_off_signals); n++)
        if (is_being_handled(put_off_signals[n]))
            end_by(put_off_signals[n]);
    return ret_int(env, 0);
}

bool register_signals(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("putOffSignals", put_off_all),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
