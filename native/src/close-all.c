/* Closes many descriptors. A guest that leaves can leave a million behind, and others wait for its thread. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "module.h"

/* So many are closed at once, which takes less than a millisecond. */
#define CLOSED_AT_ONCE 512
#define THREAD_STACK_BYTES (128 * 1024)

struct batch {
    size_t count;
    int fds[];
};

static void *close_batch(void *arg)
{
    struct batch *batch = arg;

    for (size_t n = 0; n < batch->count; n++)
        close(batch->fds[n]);
    free(batch);
    return NULL;
}

/* Starts a thread with all signals blocked, since they belong to Node's main thread. Returns 0 or an errno. */
static int close_elsewhere(struct batch *batch)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_t thread;
    int error;

    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread, &attributes, close_batch, batch);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

/* closeAll(fds: Int32Array): 0 */
static napi_value close_all(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    struct batch *batch;
    size_t len_bytes;
    uint8_t *bytes;

    if (!args_get(env, info, argv, 1) || !arg_bytes(env, argv[0], &bytes, &len_bytes))
        return NULL;
    batch = malloc(sizeof(*batch) + len_bytes);
    if (!batch) {
        for (size_t at = 0; at + sizeof(int) <= len_bytes; at += sizeof(int)) {
            int fd;

            memcpy(&fd, bytes + at, sizeof(fd));
            close(fd);
        }
        return ret_int(env, 0);
    }
    batch->count = len_bytes / sizeof(int);
    /* In bounds: the allocation has room for all bytes of the array. An empty one may have no address. */
    if (batch->count > 0)
        memcpy(batch->fds, bytes, batch->count * sizeof(int));
    if (batch->count <= CLOSED_AT_ONCE || close_elsewhere(batch) != 0)
        close_batch(batch);
    return ret_int(env, 0);
}

bool register_close_all(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("closeAll", close_all),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
