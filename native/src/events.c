/* Waiting and waking: eventfds, epoll, and the short spin on rings before a thread goes to sleep. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "async.h"
#include "guest-memory.h"
#include "module.h"

#define MAX_EVENTS 64
/* A thread that keeps its processor looks more often than this, interrupts included. */
#define PAUSE_NS 50000
#define MAX_PAUSE_NS 1000000000

/* eventfdCreate(flags): fd */
static napi_value eventfd_create(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    int32_t flags;

    if (!args_get(env, info, argv, 1) || !arg_i32(env, argv[0], &flags))
        return NULL;
    return ret_errno(env, eventfd(0, EFD_CLOEXEC | flags));
}

/* eventfdSignal(fd): 0; -EAGAIN instead of blocking, even if a peer put the descriptor in blocking mode */
static napi_value eventfd_signal(napi_env env, napi_callback_info info)
{
    const uint64_t one = 1;
    napi_value argv[1];
    int fd;

    if (!args_get(env, info, argv, 1) || !arg_fd(env, argv[0], &fd))
        return NULL;
    return ret_errno(env, write(fd, &one, sizeof(one)) < 0 ? -1 : 0);
}

/* eventfdSignalPolled(fd): like eventfdSignal, but polls first; for a descriptor in blocking mode */
static napi_value eventfd_signal_polled(napi_env env, napi_callback_info info)
{
    struct pollfd pollfd = { .events = POLLOUT };
    napi_value argv[1];

    if (!args_get(env, info, argv, 1) || !arg_fd(env, argv[0], &pollfd.fd))
        return NULL;
    if (poll(&pollfd, 1, 0) != 1 || !(pollfd.revents & POLLOUT))
        return ret_int(env, -EAGAIN);
    return eventfd_signal(env, info);
}

/* The environment of a thread ends on this thread, also if V8 has ended its JavaScript. */
static void on_cleanup(void *arg)
{
    const uint64_t one = 1;
    const int fd = (int)(intptr_t)arg;

    /* An eventfd that cannot count further is readable already. */
    if (write(fd, &one, sizeof(one)) < 0)
        errno = 0;
    close(fd);
}

/* eventfdSignalAtEnd(fd): 0; signals when this thread ends, however it does; `fd` itself is not kept */
static napi_value eventfd_signal_at_end(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    int fd;

    if (!args_get(env, info, argv, 1) || !arg_fd(env, argv[0], &fd))
        return NULL;
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return ret_errno(env, -1);
    if (napi_add_env_cleanup_hook(env, on_cleanup, (void *)(intptr_t)fd) != napi_ok) {
        close(fd);
        return ret_int(env, -ENOMEM);
    }
    return ret_int(env, 0);
}

/* eventfdDrain(fd): 1 if it was signalled, else 0; for our own non-blocking descriptors */
static napi_value eventfd_drain(napi_env env, napi_callback_info info)
{
    uint64_t count;
    napi_value argv[1];
    int fd;

    if (!args_get(env, info, argv, 1) || !arg_fd(env, argv[0], &fd))
        return NULL;
    if (read(fd, &count, sizeof(count)) < 0)
        return errno == EAGAIN ? ret_int(env, 0) : ret_errno(env, -1);
    return ret_int(env, 1);
}

/* epollCreate(): fd */
static napi_value epoll_new(napi_env env, napi_callback_info info)
{
    return ret_errno(env, epoll_create1(EPOLL_CLOEXEC));
}

/* epollAdd(epollFd, fd, events, tag): 0 */
static napi_value epoll_add(napi_env env, napi_callback_info info)
{
    struct epoll_event event = { 0 };
    napi_value argv[4];
    uint32_t events, tag;
    int epoll_fd, fd;

    if (!args_get(env, info, argv, 4) || !arg_fd(env, argv[0], &epoll_fd) || !arg_fd(env, argv[1], &fd) ||
        !arg_u32(env, argv[2], &events) || !arg_u32(env, argv[3], &tag))
        return NULL;
    event.events = events;
    event.data.u32 = tag;
    return ret_errno(env, epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event));
}

/* epollDelete(epollFd, fd): 0 */
static napi_value epoll_delete(napi_env env, napi_callback_info info)
{
    napi_value argv[2];
    int epoll_fd, fd;

    if (!args_get(env, info, argv, 2) || !arg_fd(env, argv[0], &epoll_fd) || !arg_fd(env, argv[1], &fd))
        return NULL;
    return ret_errno(env, epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL));
}

/* epollWait(epollFd, timeoutMs, out): the number of ready descriptors; out takes pairs [tag, events] */
static napi_value epoll_block(napi_env env, napi_callback_info info)
{
    struct epoll_event events[MAX_EVENTS];
    napi_value argv[3];
    int epoll_fd, ready;
    int32_t timeout_ms;
    size_t len_bytes;
    uint8_t *bytes;
    uint32_t *out;

    if (!args_get(env, info, argv, 3) || !arg_fd(env, argv[0], &epoll_fd) || !arg_i32(env, argv[1], &timeout_ms) ||
        !arg_bytes(env, argv[2], &bytes, &len_bytes))
        return NULL;
    if ((uintptr_t)bytes % sizeof(uint32_t) != 0 || len_bytes < 2 * sizeof(uint32_t))
        return ret_int(env, -EINVAL);
    out = (uint32_t *)(void *)bytes;
    /* Takes no more events than `out` has pairs for. */
    if (len_bytes / (2 * sizeof(uint32_t)) < MAX_EVENTS)
        ready = epoll_wait(epoll_fd, events, (int)(len_bytes / (2 * sizeof(uint32_t))), timeout_ms);
    else
        ready = epoll_wait(epoll_fd, events, MAX_EVENTS, timeout_ms);
    for (int n = 0; n < ready; n++) {
        out[2 * n] = events[n].data.u32;
        out[2 * n + 1] = events[n].events;
    }
    return ret_errno(env, ready);
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static bool watch_moved(const struct guest_memory *memory, const uint16_t *seen)
{
    for (unsigned slot = 0; slot < memory->watch_count; slot++) {
        const uint16_t *word = memory->watches[slot];

        /* The word is mapped: memory_watch checked it, and removing its region clears the slot. */
        if (word && __atomic_load_n(word, __ATOMIC_ACQUIRE) != seen[slot])
            return true;
    }
    return false;
}

/*
 * memorySpin(memory, seen, spinNs): 1 as soon as a watched word differs from seen[slot] or an asynchronous system call
 * of this thread has a result, 0 after spinNs; twice the microseconds of the longest pause between two looks are added.
 * `seen` is a Uint16Array with an element for every slot ever watched.
 */
static napi_value memory_spin(napi_env env, napi_callback_info info)
{
    struct guest_memory *memory;
    napi_value argv[3];
    size_t len_bytes;
    uint8_t *bytes;
    int64_t end_ns, looked_ns, now_ns, lost_ns = 0;
    bool caught = false;
    uint32_t spin_ns;

    if (!args_get(env, info, argv, 3) || !(memory = arg_memory(env, argv[0])) ||
        !arg_bytes(env, argv[1], &bytes, &len_bytes) || !arg_u32(env, argv[2], &spin_ns))
        return NULL;
    if ((uintptr_t)bytes % sizeof(uint16_t) != 0 || len_bytes / sizeof(uint16_t) < memory->watch_count)
        return ret_int(env, -EINVAL);
    now_ns = clock_ns(CLOCK_MONOTONIC);
    end_ns = now_ns + spin_ns;
    do {
        for (int n = 0; n < 16 && !caught; n++) {
            if (watch_moved(memory, (const uint16_t *)(const void *)bytes) || async_ready())
                caught = true;
            else
                cpu_relax();
        }
        looked_ns = now_ns;
        now_ns = clock_ns(CLOCK_MONOTONIC);
        if (now_ns - looked_ns > PAUSE_NS && now_ns - looked_ns > lost_ns)
            lost_ns = now_ns - looked_ns;
    } while (now_ns < end_ns && !caught);
    /* A small integer, however long the pause was. */
    if (lost_ns > MAX_PAUSE_NS)
        lost_ns = MAX_PAUSE_NS;
    return ret_int(env, lost_ns / 1000 * 2 + caught);
}

/* threadCpuNs(): this thread's processor time so far */
static napi_value thread_cpu_ns(napi_env env, napi_callback_info info)
{
    return ret_int(env, clock_ns(CLOCK_THREAD_CPUTIME_ID));
}

/* threadWaits(): how often this thread has given its processor up to wait for something */
static napi_value thread_waits(napi_env env, napi_callback_info info)
{
    struct rusage usage;

    if (getrusage(RUSAGE_THREAD, &usage) < 0)
        return ret_errno(env, -1);
    return ret_int(env, usage.ru_nvcsw);
}

bool register_events(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("eventfdCreate", eventfd_create),
        METHOD("eventfdSignal", eventfd_signal),
        METHOD("eventfdSignalPolled", eventfd_signal_polled),
        METHOD("eventfdSignalAtEnd", eventfd_signal_at_end),
        METHOD("eventfdDrain", eventfd_drain),
        METHOD("epollCreate", epoll_new),
        METHOD("epollAdd", epoll_add),
        METHOD("epollDelete", epoll_delete),
        METHOD("epollWait", epoll_block),
        METHOD("memorySpin", memory_spin),
        METHOD("threadCpuNs", thread_cpu_ns),
        METHOD("threadWaits", thread_waits),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
