/* Deliberate faults, only in the build with sanitizers, to test that each ends the process. */
#include <stdlib.h>

#include "args.h"
#include "module.h"

/* sanitizerTrap(kind): 0 reads memory that has been freed, 1 overflows an int */
static napi_value sanitizer_trap(napi_env env, napi_callback_info info)
{
    volatile int32_t number = INT32_MAX;
    napi_value argv[1];
    int32_t kind;

    if (!args_get(env, info, argv, 1) || !arg_i32(env, argv[0], &kind))
        return NULL;
    if (kind == 0) {
        char *volatile block = malloc(16);

        free(block);
        number = *block;
    } else {
        number = number + kind;
    }
    return ret_int(env, number);
}

bool register_sanitizer_trap(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = { METHOD("sanitizerTrap", sanitizer_trap) };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
