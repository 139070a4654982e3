#ifndef POOL_H
#define POOL_H

#include <stdbool.h>

#include "async-op.h"

struct pool;

/* NULL with errno set. Threads are started when there is work for them, at most `max_threads`. */
struct pool *pool_create(int max_threads);
/* Waits for what is being carried out; what is still queued is dropped. */
void pool_destroy(struct pool *pool);
/* A descriptor that is readable while results wait. */
int pool_fd(const struct pool *pool);
/* Hands an operation to a thread; its iov is copied. 0 or -errno. */
int pool_queue(struct pool *pool, const struct async_op *op);
/* Whether results wait; costs one load. */
bool pool_ready(const struct pool *pool);
/* Takes up to `max` results. */
int pool_reap(struct pool *pool, struct async_result *out, int max);

/* Ends operations that no thread has begun with -ECANCELED: those of a kind, or all (ASYNC_KINDS). */
void pool_cancel(struct pool *pool, enum async_kind kind);

#endif
