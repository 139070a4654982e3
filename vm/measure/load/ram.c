#define _GNU_SOURCE
#include "ram.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fail.h"

static int fd = -1;
static uint8_t *base;
static uint64_t size_bytes;
static uint64_t taken_bytes;
static uint64_t pages_taken;
static pthread_mutex_t taking = PTHREAD_MUTEX_INITIALIZER;

void ram_create(uint64_t wanted_bytes)
{
    size_bytes = wanted_bytes;
    fd = memfd_create("guest-memory", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size_bytes) < 0)
        fail_errno("guest memory");
    base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (base == MAP_FAILED)
        fail_errno("guest memory");
}

int ram_fd(void)
{
    return fd;
}

uint64_t ram_size_bytes(void)
{
    return size_bytes;
}

uint8_t *ram_base(void)
{
    return base;
}

void *ram_take(size_t len_bytes)
{
    uint8_t *at;

    pthread_mutex_lock(&taking);
    at = base + taken_bytes;
    taken_bytes += (len_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    if (taken_bytes > size_bytes / 2)
        fail("the guest's memory is too small");
    pthread_mutex_unlock(&taking);
    return at;
}

void *ram_take_page(void)
{
    const uint64_t count = size_bytes / 2 / PAGE_BYTES;
    /* An odd step visits each page of a power-of-two count once, never two neighbours in a row. */
    const uint64_t step = 0x9e3779b97f4a7c15ULL | 1;
    uint64_t number;

    pthread_mutex_lock(&taking);
    number = pages_taken++;
    pthread_mutex_unlock(&taking);
    if (number >= count)
        fail("the guest's memory is too small");
    return base + size_bytes / 2 + (number * step) % count * PAGE_BYTES;
}

uint64_t ram_gpa(const void *at)
{
    return (uint64_t)((const uint8_t *)at - base);
}
