#ifndef URING_H
#define URING_H

#include <stdbool.h>

#include "async-op.h"

/*
 * Results that the ring has room for. What does not fit all the same the kernel keeps (IORING_FEAT_NODROP) until it is
 * asked for it.
 */
#define URING_RESULTS 8192

struct uring;

/* NULL with errno set where io_uring is missing or forbidden. The ring can do transfers, fsync and fallocate only. */
struct uring *uring_create(void);
void uring_destroy(struct uring *ring);
/* A descriptor that is readable while results wait. */
int uring_fd(const struct uring *ring);
bool uring_can(enum async_kind kind);
/* Queues an operation; its iov is copied. 0, or -EAGAIN when the ring is full until uring_submit. */
int uring_queue(struct uring *ring, const struct async_op *op);
/* Hands what is queued to the kernel. The number of entries that it does not take now, or -errno. */
int uring_submit(struct uring *ring);
/* Whether results wait; costs three loads. */
bool uring_ready(const struct uring *ring);
/* Takes up to `max` results. */
int uring_reap(struct uring *ring, struct async_result *out, int max);

/*
 * Asks the kernel to end all operations that have not begun, or that can be interrupted. Linux before 5.19 cannot, and
 * ends none.
 */
void uring_cancel(struct uring *ring);

#endif
