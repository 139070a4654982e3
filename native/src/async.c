/*
 * Asynchronous system calls: a thread starts them and takes their results later. Each engine belongs to one thread, which may
 * have several: an io_uring if the kernel allows it, helper threads for the rest, and others that copy cached data.
 */
#include "async.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "args.h"
#include "guest-cursor.h"
#include "module.h"
#include "pool.h"
#include "uring.h"

#define MAX_RESULTS 256
#define MAX_THREADS 64
/* A token is the number of its engine, then that of the call. */
#define CALL_BITS 20
#define MAX_ENGINES (1U << (32 - CALL_BITS))

struct engine {
    struct uring *ring;
    struct pool *pool;
    struct pool *copiers; /* NULL: no thread may copy beside this one */
    unsigned under_way; /* operations without a result that was taken */
};

/* The calling thread's engines, by number. Node runs an environment on one thread for its whole life. */
static _Thread_local struct {
    struct engine **all; /* NULL in places that are free */
    unsigned count; /* of places */
    unsigned under_way; /* in all engines together */
    bool has_hook;
} engines;

static bool engine_ready(const struct engine *engine)
{
    return (engine->ring && uring_ready(engine->ring)) || pool_ready(engine->pool) ||
           (engine->copiers && pool_ready(engine->copiers));
}

bool async_ready(void)
{
    if (engines.under_way == 0)
        return false;
    for (unsigned id = 0; id < engines.count; id++)
        if (engines.all[id] && engines.all[id]->under_way > 0 && engine_ready(engines.all[id]))
            return true;
    return false;
}

static void engine_destroy(struct engine *engine)
{
    engines.under_way -= engine->under_way;
    if (engine->ring)
        uring_destroy(engine->ring);
    pool_destroy(engine->pool);
    if (engine->copiers)
        pool_destroy(engine->copiers);
    free(engine);
}

static void destroy_all(void *arg)
{
    for (unsigned id = 0; id < engines.count; id++)
        if (engines.all[id])
            engine_destroy(engines.all[id]);
    free(engines.all);
    engines.all = NULL;
    engines.count = 0;
    engines.has_hook = false;
}

/* Returns the number of a free place, or -errno. */
static int free_place(void)
{
    struct engine **all;

    for (unsigned id = 0; id < engines.count; id++)
        if (!engines.all[id])
            return (int)id;
    if (engines.count == MAX_ENGINES)
        return -EMFILE;
    all = realloc(engines.all, (engines.count + 1) * sizeof(*all));
    if (!all)
        return -ENOMEM;
    all[engines.count] = NULL;
    engines.all = all;
    return (int)engines.count++;
}

/* Reads the number of an engine of this thread. Returns NULL with an exception pending if there is none. */
static struct engine *arg_engine(napi_env env, napi_value value)
{
    uint32_t id;

    if (!arg_u32(env, value, &id))
        return NULL;
    if (id < engines.count && engines.all[id])
        return engines.all[id];
    napi_throw_range_error(env, NULL, "this thread has no such engine");
    return NULL;
}

/* The same for a function whose one argument it is. */
static struct engine *only_engine(napi_env env, napi_callback_info info)
{
    napi_value argv[1];

    return args_get(env, info, argv, 1) ? arg_engine(env, argv[0]) : NULL;
}

/* asyncCreate(useUring, maxThreads, maxCopiers): the number of an engine of this thread; it ends with the thread at the latest */
static napi_value async_create(napi_env env, napi_callback_info info)
{
    napi_value argv[3];
    int32_t use_uring, max_threads, max_copiers;
    struct engine *engine;
    int id;

    if (!args_get(env, info, argv, 3) || !arg_i32(env, argv[0], &use_uring) || !arg_i32(env, argv[1], &max_threads) ||
        !arg_i32(env, argv[2], &max_copiers))
        return NULL;
    if (max_threads < 1 || max_threads > MAX_THREADS || max_copiers < 0 || max_copiers > MAX_THREADS)
        return ret_int(env, -EINVAL);
    id = free_place();
    if (id < 0)
        return ret_int(env, id);
    engine = calloc(1, sizeof(*engine));
    if (!engine)
        return ret_int(env, -ENOMEM);
    engine->pool = pool_create(max_threads, false);
    if (!engine->pool) {
        const int error = errno;

        free(engine);
        return ret_int(env, -error);
    }
    if (max_copiers > 0)
        engine->copiers = pool_create(max_copiers, true);
    if (use_uring)
        engine->ring = uring_create();
    if (!engines.has_hook) {
        napi_add_env_cleanup_hook(env, destroy_all, NULL);
        engines.has_hook = true;
    }
    engines.all[id] = engine;
    return ret_int(env, id);
}

/* asyncDestroy(engine): 0; waits for the operations under way, and drops those that no thread has begun */
static napi_value async_destroy(napi_env env, napi_callback_info info)
{
    struct engine *engine = only_engine(env, info);

    if (!engine)
        return NULL;
    for (unsigned id = 0; id < engines.count; id++)
        if (engines.all[id] == engine)
            engines.all[id] = NULL;
    engine_destroy(engine);
    return ret_int(env, 0);
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

/* asyncUringFd(engine), asyncPoolFd(engine), asyncCopierFd(engine): descriptors that are readable while results wait; -ENOENT
 * without */
static napi_value async_uring_fd(napi_env env, napi_callback_info info)
{
    const struct engine *engine = only_engine(env, info);

    if (!engine)
        return NULL;
    return ret_int(env, engine->ring ? uring_fd(engine->ring) : -ENOENT);
}

static napi_value async_pool_fd(napi_env env, napi_callback_info info)
{
    const struct engine *engine = only_engine(env, info);

    if (!engine)
        return NULL;
    return ret_int(env, pool_fd(engine->pool));
}

static napi_value async_copier_fd(napi_env env, napi_callback_info info)
{
    const struct engine *engine = only_engine(env, info);

    if (!engine)
        return NULL;
    return ret_int(env, engine->copiers ? pool_fd(engine->copiers) : -ENOENT);
}

static int queue_at(const struct engine *engine, const struct async_op *op)
{
    int result;

    if (op->kind == ASYNC_CACHED_READ && engine->copiers)
        return pool_queue(engine->copiers, op);
    if (!engine->ring || !uring_can(op->kind))
        return pool_queue(engine->pool, op);
    result = uring_queue(engine->ring, op);
    if (result != -EAGAIN)
        return result;
    result = uring_submit(engine->ring);
    if (result < 0)
        return result;
    result = uring_queue(engine->ring, op);
    /* The kernel takes no more for now, so helper threads take the operation. */
    return result == -EAGAIN ? pool_queue(engine->pool, op) : result;
}

/* Queues an operation at the engine that its token names. Returns 0 or -errno. */
static int queue(const struct async_op *op)
{
    const uint32_t id = op->token >> CALL_BITS;
    struct engine *const engine = id < engines.count ? engines.all[id] : NULL;
    const int result = engine ? queue_at(engine, op) : -EINVAL;

    if (result == 0) {
        engine->under_way++;
        engines.under_way++;
    }
    return result;
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

/* asyncSubmit(engine): submits the queued operations; returns how many the kernel did not take */
static napi_value async_submit(napi_env env, napi_callback_info info)
{
    const struct engine *engine = only_engine(env, info);

    if (!engine)
        return NULL;
    return ret_int(env, engine->ring ? uring_submit(engine->ring) : 0);
}

/*
 * asyncCancel(engine, kind): 0. Operations of one kind, or all with 255, end with -ECANCELED if they have not begun, and with
 * -EINTR if they have. For io_uring it cancels all operations or none.
 */
static napi_value async_cancel(napi_env env, napi_callback_info info)
{
    const struct engine *engine;
    napi_value argv[2];
    uint32_t kind;

    if (!args_get(env, info, argv, 2) || !(engine = arg_engine(env, argv[0])) || !arg_u32(env, argv[1], &kind))
        return NULL;
    pool_cancel(engine->pool, kind < ASYNC_KINDS ? (enum async_kind)kind : ASYNC_KINDS);
    if (engine->copiers)
        pool_cancel(engine->copiers, kind < ASYNC_KINDS ? (enum async_kind)kind : ASYNC_KINDS);
    if (engine->ring && kind >= ASYNC_KINDS)
        uring_cancel(engine->ring);
    return ret_int(env, 0);
}

static int reap_pool(struct pool *pool, struct async_result *out, int room)
{
    const int taken = pool && room > 0 ? pool_reap(pool, out, room) : 0;

    return taken > 0 ? taken : 0;
}

/* asyncHelp(engine): 1; carries out a read of cached data that no thread has begun. 0: there is none. */
static napi_value async_help(napi_env env, napi_callback_info info)
{
    const struct engine *engine = only_engine(env, info);

    if (!engine)
        return NULL;
    return ret_int(env, engine->copiers && pool_help(engine->copiers));
}

/* asyncReap(engine, out: Int32Array): the number of pairs [token, result] in out */
static napi_value async_reap(napi_env env, napi_callback_info info)
{
    struct engine *engine;
    napi_value argv[2];
    size_t len_bytes;
    uint8_t *bytes;
    int room, taken = 0;

    if (!args_get(env, info, argv, 2) || !(engine = arg_engine(env, argv[0])) ||
        !arg_bytes(env, argv[1], &bytes, &len_bytes))
        return NULL;
    if ((uintptr_t)bytes % sizeof(int32_t) != 0)
        return ret_int(env, -EINVAL);
    room = len_bytes / sizeof(struct async_result) < MAX_RESULTS ? (int)(len_bytes / sizeof(struct async_result))
                                                                 : MAX_RESULTS;
    /* In bounds: at most `room` results, each a pair of words of the array. */
    if (engine->ring)
        taken = uring_reap(engine->ring, (struct async_result *)(void *)bytes, room);
    taken += reap_pool(engine->pool, (struct async_result *)(void *)bytes + taken, room - taken);
    taken += reap_pool(engine->copiers, (struct async_result *)(void *)bytes + taken, room - taken);
    engine->under_way -= (unsigned)taken;
    engines.under_way -= (unsigned)taken;
    return ret_int(env, taken);
}

bool register_async(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("asyncCreate", async_create),
        METHOD("asyncDestroy", async_destroy),
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
