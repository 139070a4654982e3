/*
 * Descriptors that Node's own event loop polls. A device whose answers are promises needs them, since promises
 * complete only while the thread is in that loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "module.h"

/*
 * The part of libuv used here, as declared by its version 1. Every Node exports these functions, but not every set of
 * headers for addons includes uv.h.
 */
typedef struct uv_loop_s uv_loop_t;
typedef struct uv_handle_s uv_handle_t;
enum { UV_POLL = 8, UV_READABLE = 1 };
size_t uv_handle_size(int type);
void *uv_handle_get_data(const uv_handle_t *handle);
void uv_handle_set_data(uv_handle_t *handle, void *data);
void uv_close(uv_handle_t *handle, void (*closed)(uv_handle_t *));
int uv_poll_init(uv_loop_t *loop, uv_handle_t *handle, int fd);
int uv_poll_start(uv_handle_t *handle, int events, void (*ready)(uv_handle_t *, int status, int events));

#define MAX_WATCHERS 65536

/* Closed by pollStop, or when its environment ends; freed after libuv has released the handle. */
struct watcher {
    napi_env env;
    napi_ref callback;
    napi_async_context context;
    napi_async_cleanup_hook_handle cleanup;
    uv_handle_t *handle;
    unsigned slot;
};

/* The calling thread's watchers. Node runs an environment on one thread for its whole life. */
static _Thread_local struct watcher **watchers; /* NULL in places that are free */
static _Thread_local unsigned watcher_places;
static _Thread_local unsigned watcher_count;

/* Returns the number of a free place, or -errno. */
static int free_place(void)
{
    const unsigned before = watcher_places;
    const unsigned grown = before > 0 ? 2 * before : 4;
    struct watcher **all;

    for (unsigned slot = 0; watcher_count < before && slot < before; slot++)
        if (!watchers[slot])
            return (int)slot;
    if (grown > MAX_WATCHERS)
        return -EMFILE;
    all = realloc(watchers, grown * sizeof(*all));
    if (!all)
        return -ENOMEM;
    memset(all + before, 0, (grown - before) * sizeof(*all));
    watchers = all;
    watcher_places = grown;
    return (int)before;
}

static void take_place(struct watcher *watcher, unsigned slot)
{
    watcher->slot = slot;
    watchers[slot] = watcher;
    watcher_count++;
}

static bool is_open(const struct watcher *watcher)
{
    return watcher->slot < watcher_places && watchers[watcher->slot] == watcher;
}

/* The last watcher of the thread frees the table. */
static void give_place_back(unsigned slot)
{
    watchers[slot] = NULL;
    if (--watcher_count > 0)
        return;
    free(watchers);
    watchers = NULL;
    watcher_places = 0;
}

static void on_ready(uv_handle_t *handle, int status, int events)
{
    const struct watcher *watcher = uv_handle_get_data(handle);
    const napi_env env = watcher->env;
    napi_value callback, receiver, error;
    napi_handle_scope scope;

    if (napi_open_handle_scope(env, &scope) != napi_ok)
        return;
    napi_get_reference_value(env, watcher->callback, &callback);
    napi_get_global(env, &receiver);
    /* Also runs the work that the callback made due: process.nextTick and promises. The callback may call
     * pollStop. */
    if (napi_make_callback(env, watcher->context, receiver, callback, 0, NULL, NULL) == napi_pending_exception &&
        napi_get_and_clear_last_exception(env, &error) == napi_ok)
        napi_fatal_exception(env, error);
    napi_close_handle_scope(env, scope);
}

static void on_closed(uv_handle_t *handle)
{
    struct watcher *watcher = uv_handle_get_data(handle);

    napi_remove_async_cleanup_hook(watcher->cleanup);
    free(handle);
    free(watcher);
}

static void watcher_close(struct watcher *watcher)
{
    napi_env env = watcher->env;
    napi_handle_scope scope;

    give_place_back(watcher->slot);
    if (napi_open_handle_scope(env, &scope) == napi_ok) {
        napi_delete_reference(env, watcher->callback);
        napi_async_destroy(env, watcher->context);
        napi_close_handle_scope(env, scope);
    }
    uv_close(watcher->handle, on_closed);
}

/* The environment ends. A watcher that is closing already removes its own hook. */
static void on_cleanup(napi_async_cleanup_hook_handle hook, void *arg)
{
    struct watcher *watcher = arg;

    if (is_open(watcher))
        watcher_close(watcher);
}

static bool keep_callback(struct watcher *watcher, napi_value callback)
{
    napi_env env = watcher->env;
    napi_value name;

    return napi_create_string_utf8(env, "vhost-user", NAPI_AUTO_LENGTH, &name) == napi_ok &&
           napi_create_reference(env, callback, 1, &watcher->callback) == napi_ok &&
           napi_async_init(env, NULL, name, &watcher->context) == napi_ok &&
           napi_add_async_cleanup_hook(env, on_cleanup, watcher, &watcher->cleanup) == napi_ok;
}

static int watcher_start(struct watcher *watcher, unsigned slot, int fd, napi_value callback)
{
    uv_loop_t *loop;
    int result;

    if (napi_get_uv_event_loop(watcher->env, (struct uv_loop_s **)&loop) != napi_ok)
        return -EINVAL;
    /* Returns 0, or a negative errno; a handle that failed here need not be closed. */
    result = uv_poll_init(loop, watcher->handle, fd);
    if (result < 0)
        return result;
    uv_handle_set_data(watcher->handle, watcher);
    if (!keep_callback(watcher, callback))
        abort();
    take_place(watcher, slot);
    result = uv_poll_start(watcher->handle, UV_READABLE, on_ready);
    if (result < 0) {
        watcher_close(watcher);
        return result;
    }
    return 0;
}

/* pollStart(fd, callback): the watcher's number. */
static napi_value poll_start(napi_env env, napi_callback_info info)
{
    struct watcher *watcher;
    napi_valuetype type;
    napi_value argv[2];
    int fd, slot, result;

    if (!args_get(env, info, argv, 2) || !arg_fd(env, argv[0], &fd))
        return NULL;
    if (napi_typeof(env, argv[1], &type) != napi_ok || type != napi_function) {
        napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "not a function");
        return NULL;
    }
    slot = free_place();
    if (slot < 0)
        return ret_int(env, slot);
    watcher = calloc(1, sizeof(*watcher));
    if (!watcher)
        return ret_int(env, -ENOMEM);
    watcher->env = env;
    watcher->handle = calloc(1, uv_handle_size(UV_POLL));
    if (!watcher->handle) {
        free(watcher);
        return ret_int(env, -ENOMEM);
    }
    result = watcher_start(watcher, (unsigned)slot, fd, argv[1]);
    if (result == 0)
        return ret_int(env, slot);
    /* Otherwise on_closed frees it. */
    if (!watcher->cleanup) {
        free(watcher->handle);
        free(watcher);
    }
    return ret_int(env, result);
}

/* pollStop(watcher): 0, or -ENOENT if there is none */
static napi_value poll_stop(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    uint32_t slot;

    if (!args_get(env, info, argv, 1) || !arg_u32(env, argv[0], &slot))
        return NULL;
    if (slot >= watcher_places || !watchers[slot])
        return ret_int(env, -ENOENT);
    watcher_close(watchers[slot]);
    return ret_int(env, 0);
}

bool register_node_loop(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("pollStart", poll_start),
        METHOD("pollStop", poll_stop),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
