/* Helper threads for the system calls that io_uring cannot do, or for all of them without io_uring. */
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kernel-calls.h"

#define THREAD_STACK_BYTES (128 * 1024)

struct job {
    struct job *next;
    struct async_op op;
    int32_t result;
    struct iovec iov[];
};

/* A queue of jobs, first in first out. */
struct jobs {
    struct job *first;
    struct job **last;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct jobs waiting;
    struct jobs done;
    int done_count; /* also read without the lock */
    int event_fd;
    int max_threads;
    int threads;
    int idle_threads;
    bool owner_helps;
    bool ending;
    pthread_t ids[];
};

static void jobs_init(struct jobs *jobs)
{
    jobs->first = NULL;
    jobs->last = &jobs->first;
}

static void jobs_add(struct jobs *jobs, struct job *job)
{
    job->next = NULL;
    *jobs->last = job;
    jobs->last = &job->next;
}

static struct job *jobs_take(struct jobs *jobs)
{
    struct job *job = jobs->first;

    if (job) {
        jobs->first = job->next;
        if (!jobs->first)
            jobs->last = &jobs->first;
    }
    return job;
}

static int64_t carry_out(const struct async_op *op)
{
    off_t in_at = (off_t)op->offset, out_at = (off_t)op->out_offset;

    switch (op->kind) {
    case ASYNC_READ:
    case ASYNC_CACHED_READ:
        return kernel_preadv2(op->fd, op->iov, op->iov_count, op->offset, op->flags);
    case ASYNC_WRITE:
        return kernel_pwritev2(op->fd, op->iov, op->iov_count, op->offset, op->flags);
    case ASYNC_FSYNC:
        return fsync(op->fd);
    case ASYNC_FDATASYNC:
        return fdatasync(op->fd);
    case ASYNC_FALLOCATE:
        return fallocate(op->fd, op->flags, op->offset, op->len);
    case ASYNC_COPY_RANGE:
        return copy_file_range(op->fd, &in_at, op->out_fd, &out_at, (size_t)op->len, 0);
    case ASYNC_SYNCFS:
        return syncfs(op->fd);
    default:
        errno = EINVAL;
        return -1;
    }
}

/* Adds a result. The descriptor stays readable until pool_reap has taken the last. Call it with the lock held. */
static void add_result(struct pool *pool, struct job *job, int32_t result)
{
    const uint64_t one = 1;
    const bool first = !pool->done.first;

    job->result = result;
    jobs_add(&pool->done, job);
    __atomic_add_fetch(&pool->done_count, 1, __ATOMIC_RELEASE);
    /* The write cannot block or fail: the counter is far from its limit. */
    if (first && write(pool->event_fd, &one, sizeof(one)) < 0)
        abort();
}

/* Carries out an operation, without the lock that is held before and after. */
static void carry_out_unlocked(struct pool *pool, struct job *job)
{
    int64_t result;

    pthread_mutex_unlock(&pool->lock);
    do
        result = carry_out(&job->op);
    while (result < 0 && errno == EINTR && job->op.kind == ASYNC_CACHED_READ);
    if (result < 0)
        result = -errno;
    pthread_mutex_lock(&pool->lock);
    add_result(pool, job, (int32_t)result);
}

static void *helper(void *arg)
{
    struct pool *pool = arg;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct job *job = jobs_take(&pool->waiting);

        if (!job) {
            if (pool->ending)
                break;
            pool->idle_threads++;
            pthread_cond_wait(&pool->work, &pool->lock);
            pool->idle_threads--;
            continue;
        }
        carry_out_unlocked(pool, job);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Starts a helper with all signals blocked, since they belong to Node's main thread. Call it with the lock held. */
static int start_thread(struct pool *pool)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&pool->ids[pool->threads], &attributes, helper, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error == 0)
        pool->threads++;
    return error;
}

struct pool *pool_create(int max_threads, bool owner_helps)
{
    struct pool *pool = calloc(1, sizeof(*pool) + (size_t)max_threads * sizeof(pthread_t));

    if (!pool)
        return NULL;
    pool->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pool->event_fd < 0) {
        free(pool);
        return NULL;
    }
    pool->max_threads = max_threads;
    pool->owner_helps = owner_helps;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    jobs_init(&pool->waiting);
    jobs_init(&pool->done);
    return pool;
}

static void jobs_free(struct jobs *jobs)
{
    for (struct job *job = jobs_take(jobs); job; job = jobs_take(jobs))
        free(job);
}

void pool_destroy(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    jobs_free(&pool->waiting);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (int n = 0; n < pool->threads; n++)
        pthread_join(pool->ids[n], NULL);
    jobs_free(&pool->done);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    close(pool->event_fd);
    free(pool);
}

int pool_fd(const struct pool *pool)
{
    return pool->event_fd;
}

int pool_queue(struct pool *pool, const struct async_op *op)
{
    const size_t iov_bytes = (size_t)op->iov_count * sizeof(struct iovec);
    struct job *job = malloc(sizeof(*job) + iov_bytes);
    int error = 0;

    if (!job)
        return -ENOMEM;
    job->op = *op;
    if (iov_bytes > 0)
        memcpy(job->iov, op->iov, iov_bytes);
    job->op.iov = job->iov;
    pthread_mutex_lock(&pool->lock);
    if (pool->idle_threads == 0 && pool->threads < pool->max_threads)
        error = start_thread(pool);
    if (pool->threads == 0 && !pool->owner_helps) {
        pthread_mutex_unlock(&pool->lock);
        free(job);
        return -error;
    }
    jobs_add(&pool->waiting, job);
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

bool pool_help(struct pool *pool)
{
    struct job *job;

    pthread_mutex_lock(&pool->lock);
    job = jobs_take(&pool->waiting);
    if (job)
        carry_out_unlocked(pool, job);
    pthread_mutex_unlock(&pool->lock);
    return job != NULL;
}

bool pool_ready(const struct pool *pool)
{
    return __atomic_load_n(&pool->done_count, __ATOMIC_ACQUIRE) > 0;
}

int pool_reap(struct pool *pool, struct async_result *out, int max)
{
    uint64_t count;
    int taken = 0;

    if (!pool_ready(pool))
        return 0;
    pthread_mutex_lock(&pool->lock);
    while (taken < max && pool->done.first) {
        struct job *job = jobs_take(&pool->done);

        out[taken].token = job->op.token;
        out[taken++].result = job->result;
        free(job);
    }
    __atomic_sub_fetch(&pool->done_count, taken, __ATOMIC_RELEASE);
    /* Remaining results keep the descriptor readable. */
    if (!pool->done.first && read(pool->event_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        taken = taken > 0 ? taken : -errno;
    pthread_mutex_unlock(&pool->lock);
    return taken;
}

void pool_cancel(struct pool *pool, enum async_kind kind)
{
    struct jobs kept;

    pthread_mutex_lock(&pool->lock);
    jobs_init(&kept);
    for (struct job *job = jobs_take(&pool->waiting); job; job = jobs_take(&pool->waiting)) {
        if (kind != ASYNC_KINDS && job->op.kind != kind) {
            jobs_add(&kept, job);
            continue;
        }
        add_result(pool, job, -ECANCELED);
    }
    pool->waiting.first = kept.first;
    pool->waiting.last = kept.first ? kept.last : &pool->waiting.first;
    pthread_mutex_unlock(&pool->lock);
}
