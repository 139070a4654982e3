/*
 * Asynchronous system calls: a thread starts them and takes their results later. Each thread has one engine: an
 * io_uring if the kernel allows it, helper threads for the rest, and others that copy cached data.
 */
#include "async.h"

#include <errno.h>
#include <limits.h>

#include "args.h"
#include "guest-cursor.h"
#include "module.h"
#include "pool.h"
#include "uring.h"

#define MAX_RESULTS 256
#define MAX_THREADS 64

/* The calling thread's engine. Node runs an environment on one thread for its whole life. */
static _Thread_local struct {
    struct uring *ring;
    struct pool *pool;
    struct pool *copiers; /* NULL: no thread may copy beside this one */
} engine;

bool async_ready(void)
{
    return (engine.ring && uring_ready(engine.ring)) || (engine.pool && pool_ready(engine.pool)) ||
           (engine.copiers && pool_ready(engine.copiers));
}

static void engine_destroy(void *arg)
{
    if (engine.ring)
        uring_destroy(engine.ring);
    if (engine.pool)
        pool_destroy(engine.pool);
    if (engine.copiers)
        pool_destroy(engine.copiers);
    engine.ring = NULL;
    engine.pool = NULL;
    engine.copiers = NULL;
}

/*
 * asyncCreate(useUring, maxThreads, maxCopiers): 1 with an io_uring, 0 with helper threads alone, -EBUSY if this thread has an
 * engine already. The engine ends with the thread.
 */
static napi_value async_create(napi_env env, napi_callback_info info)
{
    napi_value argv[3];
    int32_t use_uring, max_threads, max_copiers;

    if (!args_get(env, info, argv, 3) || !arg_i32(env, argv[0], &use_uring) || !arg_i32(env, argv[1], &max_threads) ||
        !arg_i32(env, argv[2], &max_copiers))
        return NULL;
    if (engine.pool)
        return ret_int(env, -EBUSY);
    if (max_threads < 1 || max_threads > MAX_THREADS || max_copiers < 0 || max_copiers > MAX_THREADS)
        return ret_int(env, -EINVAL);
    engine.pool = pool_create(max_threads, false);
    if (!engine.pool)
        return ret_errno(env, -1);
    if (max_copiers > 0)
        engine.copiers = pool_create(max_copiers, true);
    napi_add_env_cleanup_hook(env, engine_destroy, NULL);
    if (use_uring)
        engine.ring = uring_create();
    return ret_int(env, engine.ring != NULL);
}

/* asyncReserve(count): the number of rings made for engines of threads to come; no further ones are made */
static napi_value async_reserve(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    int32_t count;

    if (!args_get(env, info, argv, 1) || !arg_i32(env, argv[0], &count))
        return NULL;
    return ret_int(env, uring_reserve(count));
}

/* asyncUringFd(), asyncPoolFd(), asyncCopierFd(): descriptors that are readable while results wait; -ENOENT without */
static napi_value async_uring_fd(napi_env env, napi_callback_info info)
{
    return ret_int(env, engine.ring ? uring_fd(engine.ring) : -ENOENT);
}

static napi_value async_pool_fd(napi_env env, napi_callback_info info)
{
    return ret_int(env, engine.pool ? pool_fd(engine.pool) : -ENOENT);
}

static napi_value async_copier_fd(napi_env env, napi_callback_info info)
{
    return ret_int(env, engine.copiers ? pool_fd(engine.copiers) : -ENOENT);
}

static int queue(const struct async_op *op)
{
    int result;

    if (!engine.pool)
        return -EINVAL;
    if (op->kind == ASYNC_CACHED_READ && engine.copiers)
        return pool_queue(engine.copiers, op);
    if (!engine.ring || !uring_can(op->kind))
        return pool_queue(engine.pool, op);
    result = uring_queue(engine.ring, op);
    if (result != -EAGAIN)
        return result;
    result = uring_submit(engine.ring);
    if (result < 0)
        return result;
    result = uring_queue(engine.ring, op);
    /* The kernel takes no more for now, so helper threads take the operation. */
    return result == -EAGAIN ? pool_queue(engine.pool, op) : result;
}

/*
 * asyncTransfer(kind, token, memory, segments, firstSegment, endSegment, skipBytes, lenBytes, fd, offsetBytes,
 * flags): 0. The result may be short, for example at IOV_MAX pieces.
 */
static napi_value async_transfer(napi_env env, napi_callback_info info)
{
    napi_value argv[2 + CURSOR_ARGS + 3];
    struct iovec iov[IOV_MAX];
    struct async_op op = { .iov = iov };
    struct cursor cursor;
    uint64_t offset, total_bytes;
    uint32_t kind;

    if (!args_get(env, info, argv, COUNT_OF(argv)) || !arg_u32(env, argv[0], &kind) ||
        !arg_u32(env, argv[1], &op.token) || !arg_cursor(env, argv + 2, &cursor) ||
        !arg_fd(env, argv[2 + CURSOR_ARGS], &op.fd) || !arg_u53(env, argv[3 + CURSOR_ARGS], &offset) ||
        !arg_i32(env, argv[4 + CURSOR_ARGS], &op.flags))
        return NULL;
    if (kind != ASYNC_READ && kind != ASYNC_WRITE && kind != ASYNC_CACHED_READ)
        return ret_int(env, -EINVAL);
    op.kind = (enum async_kind)kind;
    op.offset = (int64_t)offset;
    op.iov_count = cursor_fill(&cursor, iov, &total_bytes);
    return ret_int(env, op.iov_count < 0 ? op.iov_count : queue(&op));
}

/* asyncFile(kind, token, fd, flags, offsetBytes, lenBytes): 0; kind is one of fsync, fdatasync, fallocate, syncfs */
static napi_value async_file(napi_env env, napi_callback_info info)
{
    napi_value argv[6];
    struct async_op op = { 0 };
    uint32_t kind;

    if (!args_get(env, info, argv, 6) || !arg_u32(env, argv[0], &kind) || !arg_u32(env, argv[1], &op.token) ||
        !arg_fd(env, argv[2], &op.fd) || !arg_i32(env, argv[3], &op.flags) || !arg_i64(env, argv[4], &op.offset) ||
        !arg_i64(env, argv[5], &op.len))
        return NULL;
    if (kind < ASYNC_FSYNC || kind > ASYNC_SYNCFS || kind == ASYNC_COPY_RANGE)
        return ret_int(env, -EINVAL);
    op.kind = (enum async_kind)kind;
    return ret_int(env, queue(&op));
}

/* asyncCopyRange(token, inFd, inOffsetBytes, outFd, outOffsetBytes, lenBytes): 0 */
static napi_value async_copy_range(napi_env env, napi_callback_info info)
{
    struct async_op op = { .kind = ASYNC_COPY_RANGE };
    napi_value argv[6];

    if (!args_get(env, info, argv, 6) || !arg_u32(env, argv[0], &op.token) || !arg_fd(env, argv[1], &op.fd) ||
        !arg_i64(env, argv[2], &op.offset) || !arg_fd(env, argv[3], &op.out_fd) ||
        !arg_i64(env, argv[4], &op.out_offset) || !arg_i64(env, argv[5], &op.len))
        return NULL;
    return ret_int(env, queue(&op));
}

/* asyncSubmit(): submits the queued operations; returns how many the kernel did not take */
static napi_value async_submit(napi_env env, napi_callback_info info)
{
    return ret_int(env, engine.ring ? uring_submit(engine.ring) : 0);
}

/*
 * asyncCancel(kind): 0. Operations of one kind, or all with 255, end with -ECANCELED if they have not begun, and with
 * -EINTR if they have. For io_uring it cancels all operations or none.
 */
static napi_value async_cancel(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    uint32_t kind;

    if (!args_get(env, info, argv, 1) || !arg_u32(env, argv[0], &kind))
        return NULL;
    if (engine.pool)
        pool_cancel(engine.pool, kind < ASYNC_KINDS ? (enum async_kind)kind : ASYNC_KINDS);
    if (engine.copiers)
        pool_cancel(engine.copiers, kind < ASYNC_KINDS ? (enum async_kind)kind : ASYNC_KINDS);
    if (engine.ring && kind >= ASYNC_KINDS)
        uring_cancel(engine.ring);
    return ret_int(env, 0);
}

static int reap_pool(struct pool *pool, struct async_result *out, int room)
{
    const int taken = pool && room > 0 ? pool_reap(pool, out, room) : 0;

    return taken > 0 ? taken : 0;
}

/* asyncHelp(): 1; carries out a read of cached data that no thread has begun. 0: there is none. */
static napi_value async_help(napi_env env, napi_callback_info info)
{
    return ret_int(env, engine.copiers && pool_help(engine.copiers));
}

/* asyncReap(out: Int32Array): the number of pairs [token, result] in out */
static napi_value async_reap(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    size_t len_bytes;
    uint8_t *bytes;
    int room, taken = 0;

    if (!args_get(env, info, argv, 1) || !arg_bytes(env, argv[0], &bytes, &len_bytes))
        return NULL;
    if ((uintptr_t)bytes % sizeof(int32_t) != 0)
        return ret_int(env, -EINVAL);
    room = len_bytes / sizeof(struct async_result) < MAX_RESULTS ? (int)(len_bytes / sizeof(struct async_result))
                                                                 : MAX_RESULTS;
    /* In bounds: at most `room` results, each a pair of words of the array. */
    if (engine.ring)
        taken = uring_reap(engine.ring, (struct async_result *)(void *)bytes, room);
    taken += reap_pool(engine.pool, (struct async_result *)(void *)bytes + taken, room - taken);
    taken += reap_pool(engine.copiers, (struct async_result *)(void *)bytes + taken, room - taken);
    return ret_int(env, taken);
}

bool register_async(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("asyncCreate", async_create),
        METHOD("asyncReserve", async_reserve),
        METHOD("asyncUringFd", async_uring_fd),
        METHOD("asyncPoolFd", async_pool_fd),
        METHOD("asyncCopierFd", async_copier_fd),
        METHOD("asyncTransfer", async_transfer),
        METHOD("asyncFile", async_file),
        METHOD("asyncCopyRange", async_copy_range),
        METHOD("asyncSubmit", async_submit),
        METHOD("asyncHelp", async_help),
        METHOD("asyncReap", async_reap),
        METHOD("asyncCancel", async_cancel),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
