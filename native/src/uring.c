/* io_uring by its three system calls: one ring for each thread. */
#include "uring.h"

#include <errno.h>
#include <limits.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SQ_ENTRIES 64

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif

/* The user_data of a cancellation's own result, which is dropped; tokens have only 32 bits. */
#define OF_CANCEL UINT64_MAX

#ifndef IORING_ASYNC_CANCEL_ALL
#define IORING_ASYNC_CANCEL_ALL (1U << 0)
#endif
#ifndef IORING_ASYNC_CANCEL_ANY
#define IORING_ASYNC_CANCEL_ANY (1U << 2)
#endif

struct uring {
    int fd;
    void *rings; /* both rings, in one mapping */
    size_t rings_bytes;
    struct io_uring_sqe *sqes;
    size_t sqes_bytes;
    unsigned *sq_head, *sq_tail, *sq_mask, *sq_flags, *sq_array;
    unsigned *cq_head, *cq_tail, *cq_mask;
    struct io_uring_cqe *cqes;
    unsigned queued; /* entries written since the last submit */
    unsigned in_flight; /* entries without a result, cancellations included */
    bool spare; /* made by uring_reserve: it goes back there */
    struct uring *next;
    /* The pieces of each queued entry. The kernel copies them when it takes the entry. */
    struct iovec iov[SQ_ENTRIES][IOV_MAX];
};

static int setup(struct io_uring_params *params, unsigned flags)
{
    memset(params, 0, sizeof(*params));
    params->flags = flags | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE;
    params->cq_entries = URING_RESULTS;
    return (int)syscall(SYS_io_uring_setup, SQ_ENTRIES, params);
}

/*
 * A seccomp filter does not see a ring's operations. So the ring is restricted to those used here before it takes the
 * first one. Closing the ring and reaping need no permission.
 */
static int restrict_and_enable(int fd)
{
    static const unsigned char allowed[] = { IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE,
                                             IORING_OP_ASYNC_CANCEL };
    struct io_uring_restriction restrictions[sizeof(allowed)];

    memset(restrictions, 0, sizeof(restrictions));
    for (size_t n = 0; n < sizeof(allowed); n++) {
        restrictions[n].opcode = IORING_RESTRICTION_SQE_OP;
        restrictions[n].sqe_op = allowed[n];
    }
    if (syscall(SYS_io_uring_register, fd, IORING_REGISTER_RESTRICTIONS, restrictions, sizeof(allowed)) < 0)
        return -1;
    return (int)syscall(SYS_io_uring_register, fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static bool map_rings(struct uring *ring, const struct io_uring_params *params)
{
    const size_t sq_bytes = params->sq_off.array + params->sq_entries * sizeof(unsigned);
    const size_t cq_bytes = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
    char *base;

    ring->rings_bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
    ring->rings = mmap(NULL, ring->rings_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
                       IORING_OFF_SQ_RING);
    if (ring->rings == MAP_FAILED)
        return false;
    ring->sqes_bytes = params->sq_entries * sizeof(struct io_uring_sqe);
    ring->sqes =
        mmap(NULL, ring->sqes_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
    if (ring->sqes == MAP_FAILED)
        return false;
    base = ring->rings;
    ring->sq_head = (unsigned *)(base + params->sq_off.head);
    ring->sq_tail = (unsigned *)(base + params->sq_off.tail);
    ring->sq_mask = (unsigned *)(base + params->sq_off.ring_mask);
    ring->sq_flags = (unsigned *)(base + params->sq_off.flags);
    ring->sq_array = (unsigned *)(base + params->sq_off.array);
    ring->cq_head = (unsigned *)(base + params->cq_off.head);
    ring->cq_tail = (unsigned *)(base + params->cq_off.tail);
    ring->cq_mask = (unsigned *)(base + params->cq_off.ring_mask);
    ring->cqes = (struct io_uring_cqe *)(base + params->cq_off.cqes);
    return true;
}

/* Rings that wait for a thread. A thread of a sealed process may not make its own. */
static struct {
    pthread_mutex_t lock;
    struct uring *first;
    bool closed; /* true: no more rings are made */
} spares = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct uring *take_spare(bool *closed)
{
    struct uring *ring;

    pthread_mutex_lock(&spares.lock);
    *closed = spares.closed;
    ring = spares.first;
    if (ring)
        spares.first = ring->next;
    pthread_mutex_unlock(&spares.lock);
    return ring;
}

static void give_spare(struct uring *ring)
{
    pthread_mutex_lock(&spares.lock);
    ring->next = spares.first;
    spares.first = ring;
    pthread_mutex_unlock(&spares.lock);
}

static void destroy(struct uring *ring);

static struct uring *make_ring(unsigned flags)
{
    const unsigned needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE;
    struct uring *ring = calloc(1, sizeof(*ring));
    struct io_uring_params params;

    if (!ring)
        return NULL;
    ring->rings = MAP_FAILED;
    ring->sqes = MAP_FAILED;
    ring->fd = setup(&params, flags);
    if (ring->fd < 0 && errno == EINVAL && flags != 0)
        ring->fd = setup(&params, 0);
    if (ring->fd < 0) {
        free(ring);
        return NULL;
    }
    if ((params.features & needed) != needed)
        errno = ENOSYS;
    else if (restrict_and_enable(ring->fd) == 0 && map_rings(ring, &params))
        return ring;
    destroy(ring);
    return NULL;
}

struct uring *uring_create(void)
{
    bool closed;
    struct uring *const ring = take_spare(&closed);

    if (ring || !closed)
        return ring ? ring : make_ring(IORING_SETUP_SINGLE_ISSUER);
    errno = EPERM;
    return NULL;
}

int uring_reserve(int count)
{
    int made = 0;

    for (; made < count; made++) {
        /* Several threads use it, one after the other. */
        struct uring *const ring = make_ring(0);

        if (!ring)
            break;
        ring->spare = true;
        give_spare(ring);
    }
    pthread_mutex_lock(&spares.lock);
    spares.closed = true;
    pthread_mutex_unlock(&spares.lock);
    return made;
}

void uring_destroy(struct uring *ring)
{
    /* A result that came later would be taken for one of the next thread. */
    if (ring->spare && ring->in_flight == 0)
        give_spare(ring);
    else
        destroy(ring);
}

static void destroy(struct uring *ring)
{
    const int error = errno;

    if (ring->sqes != MAP_FAILED)
        munmap(ring->sqes, ring->sqes_bytes);
    if (ring->rings != MAP_FAILED)
        munmap(ring->rings, ring->rings_bytes);
    close(ring->fd);
    free(ring);
    errno = error;
}

int uring_fd(const struct uring *ring)
{
    return ring->fd;
}

bool uring_can(enum async_kind kind)
{
    return kind <= ASYNC_FALLOCATE;
}

static void fill_transfer(struct io_uring_sqe *sqe, const struct async_op *op, struct iovec *iov)
{
    sqe->opcode = op->kind == ASYNC_READ ? IORING_OP_READV : IORING_OP_WRITEV;
    /* In bounds: a cursor never fills more than IOV_MAX pieces. */
    memcpy(iov, op->iov, (size_t)op->iov_count * sizeof(*iov));
    sqe->addr = (uintptr_t)iov;
    sqe->len = (uint32_t)op->iov_count;
    sqe->off = (uint64_t)op->offset;
    sqe->rw_flags = op->flags;
}

int uring_queue(struct uring *ring, const struct async_op *op)
{
    const unsigned tail = *ring->sq_tail;
    const unsigned slot = tail & *ring->sq_mask;
    struct io_uring_sqe *sqe = &ring->sqes[slot];

    if (tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE) == SQ_ENTRIES)
        return -EAGAIN;
    memset(sqe, 0, sizeof(*sqe));
    sqe->fd = op->fd;
    sqe->user_data = op->token;
    switch (op->kind) {
    case ASYNC_READ:
    case ASYNC_WRITE:
        fill_transfer(sqe, op, ring->iov[slot]);
        break;
    case ASYNC_FSYNC:
    case ASYNC_FDATASYNC:
        sqe->opcode = IORING_OP_FSYNC;
        sqe->fsync_flags = op->kind == ASYNC_FDATASYNC ? IORING_FSYNC_DATASYNC : 0;
        break;
    case ASYNC_FALLOCATE:
        sqe->opcode = IORING_OP_FALLOCATE;
        sqe->off = (uint64_t)op->offset;
        sqe->addr = (uint64_t)op->len;
        sqe->len = (uint32_t)op->flags;
        break;
    default:
        return -EINVAL;
    }
    ring->sq_array[slot] = slot;
    __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
    ring->queued++;
    ring->in_flight++;
    return 0;
}

void uring_cancel(struct uring *ring)
{
    const unsigned tail = *ring->sq_tail;
    const unsigned slot = tail & *ring->sq_mask;
    struct io_uring_sqe *sqe = &ring->sqes[slot];

    uring_submit(ring);
    if (tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE) == SQ_ENTRIES)
        return;
    memset(sqe, 0, sizeof(*sqe));
    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->fd = -1;
    /* This field is cancel_flags, which older headers do not name. */
    sqe->rw_flags = (int)(IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
    sqe->user_data = OF_CANCEL;
    ring->sq_array[slot] = slot;
    __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
    ring->queued++;
    ring->in_flight++;
    uring_submit(ring);
}

int uring_submit(struct uring *ring)
{
    while (ring->queued > 0) {
        long taken = syscall(SYS_io_uring_enter, ring->fd, ring->queued, 0, 0, NULL, 0);

        if (taken < 0 && errno == EINTR)
            continue;
        /* The kernel has no memory now; or, in Linux 5.5 to 5.18, overflowed results must be taken first. */
        if (taken == 0 || (taken < 0 && (errno == EAGAIN || errno == EBUSY)))
            break;
        if (taken < 0)
            return -errno;
        ring->queued -= (unsigned)taken;
    }
    return (int)ring->queued;
}

/* Returns true if the kernel keeps results that did not fit into the completion queue. */
static bool has_overflowed(const struct uring *ring)
{
    return (__atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) & IORING_SQ_CQ_OVERFLOW) != 0;
}

bool uring_ready(const struct uring *ring)
{
    return __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) != *ring->cq_head || has_overflowed(ring);
}

/* Takes the results in the completion queue. */
static int take_results(struct uring *ring, struct async_result *out, int max)
{
    unsigned head = *ring->cq_head;
    const unsigned tail = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
    int count = 0;

    for (; head != tail && count < max; head++) {
        const struct io_uring_cqe *cqe = &ring->cqes[head & *ring->cq_mask];

        ring->in_flight--;
        if (cqe->user_data == OF_CANCEL)
            continue;
        out[count].token = (uint32_t)cqe->user_data;
        out[count++].result = cqe->res;
    }
    __atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
    return count;
}

int uring_reap(struct uring *ring, struct async_result *out, int max)
{
    int count = take_results(ring, out, max);

    /* The queue has room now for the overflowed results. If the kernel does not deliver them, the next call asks
     * again. */
    while (count < max && has_overflowed(ring)) {
        int more;

        syscall(SYS_io_uring_enter, ring->fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
        more = take_results(ring, out + count, max - count);
        count += more;
        if (more == 0)
            break;
    }
    return count;
}
