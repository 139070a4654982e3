#ifndef POOL_H
#define POOL_H

#include <stdbool.h>

#include "async-op.h"

struct pool;

/*
 * Returns NULL with errno set on failure. Threads are started on demand, at most `max_threads`. With `owner_helps`, no
 * thread need exist: pool_help carries out what they do not.
 */
struct pool *pool_create(int max_threads, bool owner_helps);
/* Waits for the operations under way; drops those still queued. */
void pool_destroy(struct pool *pool);
/* Returns a descriptor that is readable while results wait. */
int pool_fd(const struct pool *pool);
/* Hands an operation to a thread and copies its iov. Returns 0 or -errno. */
int pool_queue(struct pool *pool, const struct async_op *op);
/* Carries out one operation that no thread has begun. Returns false if there is none. */
bool pool_help(struct pool *pool);
/* Returns true if results wait; costs one load. */
bool pool_ready(const struct pool *pool);
/* Takes up to `max` results. Returns how many. */
int pool_reap(struct pool *pool, struct async_result *out, int max);

/* Ends operations that no thread has begun with -ECANCELED: those of one kind, or all (ASYNC_KINDS). */
void pool_cancel(struct pool *pool, enum async_kind kind);

#endif
