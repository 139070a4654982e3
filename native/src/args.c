#include "args.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static bool refuse(napi_env env, const char *what)
{
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", what);
    return false;
}

bool args_get(napi_env env, napi_callback_info info, napi_value *argv, size_t count)
{
    size_t given = count;

    if (napi_get_cb_info(env, info, &given, argv, NULL, NULL) != napi_ok)
        return refuse(env, "arguments could not be read");
    if (given < count)
        return refuse(env, "too few arguments");
    return true;
}

static bool arg_integer(napi_env env, napi_value value, double min, double max, double *out)
{
    if (napi_get_value_double(env, value, out) != napi_ok)
        return refuse(env, "expected a number");
    /* A number in range fits an int64_t; comparing with that costs less than trunc(). */
    if (!(*out >= min && *out <= max) || *out != (double)(int64_t)*out) {
        napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "integer out of range");
        return false;
    }
    return true;
}

bool arg_i32(napi_env env, napi_value value, int32_t *out)
{
    double number;

    if (!arg_integer(env, value, INT32_MIN, INT32_MAX, &number))
        return false;
    *out = (int32_t)number;
    return true;
}

bool arg_u32(napi_env env, napi_value value, uint32_t *out)
{
    double number;

    if (!arg_integer(env, value, 0, UINT32_MAX, &number))
        return false;
    *out = (uint32_t)number;
    return true;
}

bool arg_i64(napi_env env, napi_value value, int64_t *out)
{
    double number;

    if (!arg_integer(env, value, -MAX_SAFE_INTEGER, MAX_SAFE_INTEGER, &number))
        return false;
    *out = (int64_t)number;
    return true;
}

bool arg_u53(napi_env env, napi_value value, uint64_t *out)
{
    double number;

    if (!arg_integer(env, value, 0, MAX_SAFE_INTEGER, &number))
        return false;
    *out = (uint64_t)number;
    return true;
}

bool arg_fd(napi_env env, napi_value value, int *out)
{
    if (!arg_i32(env, value, out))
        return false;
    if (*out < 0 && *out != AT_FDCWD) {
        napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "not a file descriptor");
        return false;
    }
    return true;
}

bool arg_bytes(napi_env env, napi_value value, uint8_t **data, size_t *len_bytes)
{
    bool is_view = false;
    void *bytes;

    /* Any view counts as a buffer. This call costs a third of napi_get_typedarray_info, which tries each type. */
    if (napi_is_buffer(env, value, &is_view) != napi_ok || !is_view)
        return refuse(env, "expected a typed array");
    if (napi_get_buffer_info(env, value, &bytes, len_bytes) != napi_ok)
        return refuse(env, "expected a typed array");
    *data = bytes;
    return true;
}

bool arg_bytes_from(napi_env env, napi_value array, napi_value at, size_t min_bytes, uint8_t **data, size_t *len_bytes)
{
    uint32_t skip;

    if (!arg_bytes(env, array, data, len_bytes) || !arg_u32(env, at, &skip))
        return false;
    if (skip > *len_bytes || *len_bytes - skip < min_bytes) {
        napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "the array is too short");
        return false;
    }
    *data += skip;
    *len_bytes -= skip;
    return true;
}

bool arg_cstring(napi_env env, napi_value array, napi_value at, const char **out)
{
    uint8_t *data;
    size_t len_bytes;

    if (!arg_bytes_from(env, array, at, 1, &data, &len_bytes))
        return false;
    if (!memchr(data, 0, len_bytes)) {
        napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "the string does not end inside its array");
        return false;
    }
    *out = (const char *)data;
    return true;
}

bool arg_string(napi_env env, napi_value value, char *out, size_t size)
{
    size_t len_bytes;

    if (napi_get_value_string_utf8(env, value, NULL, 0, &len_bytes) != napi_ok)
        return refuse(env, "expected a string");
    if (len_bytes >= size) {
        napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "the string is too long");
        return false;
    }
    return napi_get_value_string_utf8(env, value, out, size, &len_bytes) == napi_ok;
}

napi_value ret_int(napi_env env, int64_t result)
{
    napi_value value = NULL;

    /* An int32 becomes a small integer without an allocation; a larger number becomes a double. */
    if (result >= INT32_MIN && result <= INT32_MAX)
        napi_create_int32(env, (int32_t)result, &value);
    else
        napi_create_double(env, (double)result, &value);
    return value;
}

napi_value ret_errno(napi_env env, int64_t result)
{
    return ret_int(env, result == -1 ? -errno : result);
}
