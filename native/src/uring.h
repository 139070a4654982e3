#ifndef URING_H
#define URING_H

#include <stdbool.h>

#include "async-op.h"

/*
 * The number of results the ring has room for, 16 bytes each of the locked memory that all processes of a user share. The
 * kernel keeps further ones (IORING_FEAT_NODROP) until asked for them.
 */
#define URING_RESULTS 2048

struct uring;

/* Returns NULL with errno set if io_uring is missing or forbidden. The ring does only transfers, fsync and
 * fallocate. */
struct uring *uring_create(void);
/* Makes up to `count` rings for threads to come. From then on, uring_create takes one of these and makes none. Returns
 * how many were made. */
int uring_reserve(int count);
void uring_destroy(struct uring *ring);
/* Returns a descriptor that is readable while results wait. */
int uring_fd(const struct uring *ring);
bool uring_can(enum async_kind kind);
/* Queues an operation and copies its iov. Returns 0, or -EAGAIN if the ring is full until uring_submit. */
int uring_queue(struct uring *ring, const struct async_op *op);
/* Submits the queued entries. Returns how many the kernel did not take, or -errno. */
int uring_submit(struct uring *ring);
/* Returns true if results wait; costs three loads. */
bool uring_ready(const struct uring *ring);
/* Takes up to `max` results. Returns how many. */
int uring_reap(struct uring *ring, struct async_result *out, int max);

/*
 * Asks the kernel to cancel all operations that have not begun or can be interrupted. Linux before 5.19 cannot: there
 * it cancels none.
 */
void uring_cancel(struct uring *ring);

#endif
