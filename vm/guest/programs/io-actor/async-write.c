/* The system calls themselves: neither libaio nor liburing is needed for one write. */
#define _GNU_SOURCE
#include "async-write.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static long aio_once(int opcode, int fd, const void *bytes, size_t len, long offset)
{
    aio_context_t context = 0;
    if (syscall(SYS_io_setup, 1, &context) < 0)
        return -errno;
    struct iocb transfer = {
        .aio_lio_opcode = (uint16_t)opcode,
        .aio_fildes = (uint32_t)fd,
        .aio_buf = (uintptr_t)bytes,
        .aio_nbytes = len,
        .aio_offset = offset,
    };
    struct iocb *list = &transfer;
    struct io_event event;
    long value;
    if (syscall(SYS_io_submit, context, 1, &list) != 1 || syscall(SYS_io_getevents, context, 1, 1, &event, NULL) != 1)
        value = -errno;
    else
        value = (long)event.res;
    syscall(SYS_io_destroy, context);
    return value;
}

long aio_write_once(int fd, const void *bytes, size_t len, long offset)
{
    return aio_once(IOCB_CMD_PWRITE, fd, bytes, len, offset);
}

long aio_read_once(int fd, void *bytes, size_t len, long offset)
{
    return aio_once(IOCB_CMD_PREAD, fd, bytes, len, offset);
}

long aio_write_many(int fd, const void *bytes, size_t len, int count)
{
    aio_context_t context = 0;
    struct iocb *writes = calloc((size_t)count, sizeof *writes), **list = calloc((size_t)count, sizeof *list);
    struct io_event *events = calloc((size_t)count, sizeof *events);
    long value = writes == NULL || list == NULL || events == NULL ? -ENOMEM : 0;
    if (value == 0 && syscall(SYS_io_setup, count, &context) < 0)
        value = -errno;
    if (value == 0) {
        for (int n = 0; n < count; n++) {
            writes[n] = (struct iocb){
                .aio_lio_opcode = IOCB_CMD_PWRITE,
                .aio_fildes = (uint32_t)fd,
                .aio_buf = (uintptr_t)bytes,
                .aio_nbytes = len,
                .aio_offset = (int64_t)n * (int64_t)len,
            };
            list[n] = &writes[n];
        }
        long sent = syscall(SYS_io_submit, context, count, list);
        long ended = sent <= 0 ? sent : syscall(SYS_io_getevents, context, sent, sent, events, NULL);
        value = ended < 0 ? -errno : 0;
        for (long n = 0; n < ended; n++)
            value += events[n].res == (int64_t)len;
        syscall(SYS_io_destroy, context);
    }
    free(writes);
    free(list);
    free(events);
    return value;
}

/* A ring of one entry: its index words are read and written in place. */
struct ring {
    int fd;
    char *queues;
    size_t queues_len;
    struct io_uring_sqe *sqe;
    struct io_uring_params params;
};

static long open_ring(struct ring *ring)
{
    struct io_uring_params *p = &ring->params;
    memset(ring, 0, sizeof *ring);
    ring->fd = (int)syscall(SYS_io_uring_setup, 1, p);
    if (ring->fd < 0)
        return -errno;
    /* IORING_FEAT_SINGLE_MMAP (Linux 5.4): both queues lie in one mapping. */
    size_t submissions = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
    size_t completions = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    ring->queues_len = submissions > completions ? submissions : completions;
    ring->queues = mmap(NULL, ring->queues_len, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQ_RING);
    ring->sqe = mmap(NULL, sizeof *ring->sqe, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQES);
    return ring->queues == MAP_FAILED || ring->sqe == MAP_FAILED ? -errno : 0;
}

static void close_ring(struct ring *ring)
{
    munmap(ring->queues, ring->queues_len);
    munmap(ring->sqe, sizeof *ring->sqe);
    close(ring->fd);
}

static long submit_and_wait(struct ring *ring)
{
    uint32_t *tail = (uint32_t *)(ring->queues + ring->params.sq_off.tail);
    ((uint32_t *)(ring->queues + ring->params.sq_off.array))[0] = 0;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
        return -errno;
    struct io_uring_cqe *done = (struct io_uring_cqe *)(ring->queues + ring->params.cq_off.cqes);
    return done->res;
}

long uring_write_once(int fd, const void *bytes, size_t len, long offset)
{
    struct ring ring;
    long error = open_ring(&ring);
    if (error < 0)
        return error;
    memset(ring.sqe, 0, sizeof *ring.sqe);
    ring.sqe->opcode = IORING_OP_WRITE;
    ring.sqe->fd = fd;
    ring.sqe->addr = (uintptr_t)bytes;
    ring.sqe->len = (uint32_t)len;
    ring.sqe->off = (uint64_t)offset;
    long value = submit_and_wait(&ring);
    close_ring(&ring);
    return value;
}
