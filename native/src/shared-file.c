/*
 * Mappings of files that a front-end shares. If it truncates such a file, a touch of what is gone is a SIGBUS, which would
 * end the process with all of its shares. The handler puts zeros there instead, and reports the loss on an eventfd.
 */
#include "shared-file.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "args.h"
#include "kernel-calls.h"
#include "module.h"

/* The calling thread's mappings. A SIGBUS comes to the thread that touched the memory. */
static _Thread_local struct shared_file *mapped;
static _Thread_local int lost_fd = -1;

static pthread_once_t handler_once = PTHREAD_ONCE_INIT;
static struct sigaction action_before;
static uintptr_t page_bytes;

/* The file ends before `address`, so from its page on nothing of the mapping is left. */
static bool put_zeros(const struct shared_file *file, uintptr_t address)
{
    const uintptr_t start = (uintptr_t)file->mapping;
    const uintptr_t from = address & ~(page_bytes - 1);
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;

    /* Huge pages can only be replaced together. */
    return mmap((void *)from, start + file->mapping_bytes - from, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED ||
           mmap(file->mapping, file->mapping_bytes, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED;
}

/* Makes system calls alone, as a handler may. */
static void on_sigbus(int signal_number, siginfo_t *info, void *context)
{
    const uintptr_t address = (uintptr_t)info->si_addr;
    const int error = errno;
    const uint64_t one = 1;

    for (struct shared_file *file = mapped; file; file = file->next) {
        if (address - (uintptr_t)file->mapping >= file->mapping_bytes)
            continue;
        if (!put_zeros(file, address))
            break;
        file->is_lost = true;
        /* The counter of an eventfd is never full of ones. */
        if (write(lost_fd, &one, sizeof(one)) < 0) {
        }
        errno = error;
        return;
    }
    /* Not ours: the instruction runs again, and its signal does what it did before. */
    sigaction(SIGBUS, &action_before, NULL);
}

static void install_handler(void)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &action_before);
}

int64_t shared_file_map(struct shared_file *file, int fd, uint64_t offset_bytes, uint64_t size_bytes, int flags)
{
    const uint64_t slack_bytes = offset_bytes % (uint64_t)sysconf(_SC_PAGESIZE);
    struct statx st;

    if (kernel_statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_SIZE, &st) < 0)
        return -errno;
    if (!S_ISREG(st.stx_mode) || st.stx_size < offset_bytes || st.stx_size - offset_bytes < size_bytes)
        return -EFBIG;
    pthread_once(&handler_once, install_handler);
    file->mapping_bytes = size_bytes + slack_bytes;
    file->mapping = mmap(NULL, file->mapping_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd,
                         (off_t)(offset_bytes - slack_bytes));
    if (file->mapping == MAP_FAILED)
        return -errno;
    file->bytes = (uint8_t *)file->mapping + slack_bytes;
    file->is_lost = false;
    file->next = mapped;
    mapped = file;
    return 0;
}

void shared_file_unmap(struct shared_file *file)
{
    if (!file->bytes)
        return;
    for (struct shared_file **link = &mapped; *link; link = &(*link)->next) {
        if (*link != file)
            continue;
        *link = file->next;
        break;
    }
    munmap(file->mapping, file->mapping_bytes);
    file->bytes = NULL;
}

/* lostMemoryFd(): this thread's eventfd, which counts files that are mapped here and were found truncated */
static napi_value lost_memory_fd(napi_env env, napi_callback_info info)
{
    return ret_int(env, lost_fd);
}

/* An environment ends on its own thread. */
static void on_cleanup(void *arg)
{
    close(lost_fd);
    lost_fd = -1;
}

bool register_shared_file(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("lostMemoryFd", lost_memory_fd),
    };

    lost_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return lost_fd >= 0 && napi_add_env_cleanup_hook(env, on_cleanup, NULL) == napi_ok &&
           napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
