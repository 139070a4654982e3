/*
 * Marshalling between JavaScript and C: reads arguments with their types and ranges checked, and makes results.
 *
 * Every reader returns false with a TypeError or RangeError pending when the caller, our own TypeScript, passed
 * something that no correct program passes. What a guest can cause is never reported this way: it is an -errno.
 */
#ifndef ARGS_H
#define ARGS_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fills argv with exactly `count` arguments. */
bool args_get(napi_env env, napi_callback_info info, napi_value *argv, size_t count);

bool arg_i32(napi_env env, napi_value value, int32_t *out);
bool arg_u32(napi_env env, napi_value value, uint32_t *out);
/* An integer that a Number holds exactly: -(2^53 - 1) to 2^53 - 1. */
bool arg_i64(napi_env env, napi_value value, int64_t *out);
/* The same, not negative. */
bool arg_u53(napi_env env, napi_value value, uint64_t *out);
/* A file descriptor: not negative, or AT_FDCWD. */
bool arg_fd(napi_env env, napi_value value, int *out);

/* The bytes of any typed array; valid until JavaScript runs again. */
bool arg_bytes(napi_env env, napi_value value, uint8_t **data, size_t *len_bytes);
/* The same, refused unless it holds at least `min_bytes` from `at`; `data` points at `at`, `len_bytes` is the rest. */
bool arg_bytes_from(napi_env env, napi_value array, napi_value at, size_t min_bytes, uint8_t **data, size_t *len_bytes);
/* A NUL-terminated string that starts at byte `at` of a Uint8Array and ends inside it. */
bool arg_cstring(napi_env env, napi_value array, napi_value at, const char **out);
/* A JavaScript string, copied into `out` with its NUL; refused when it is longer than `size` - 1 bytes. */
bool arg_string(napi_env env, napi_value value, char *out, size_t size);

/* `result` as it is, or -errno when it is -1. */
napi_value ret_errno(napi_env env, int64_t result);
napi_value ret_int(napi_env env, int64_t result);

#define METHOD(name, fn) { (name), NULL, (fn), NULL, NULL, NULL, napi_enumerable, NULL }
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
