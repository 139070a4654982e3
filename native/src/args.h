/*
 * Marshalling between JavaScript and C: reads arguments, checks their types and ranges, and makes results.
 *
 * A reader returns false with a TypeError or RangeError pending if the caller, our own TypeScript, passed a value
 * that no correct program passes. Faults that a guest can cause are never reported this way: they return -errno.
 */
#ifndef ARGS_H
#define ARGS_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The highest integer below which a Number holds all of them. */
#define MAX_SAFE_INTEGER 9007199254740991.0

/* Fills argv with exactly `count` arguments. */
bool args_get(napi_env env, napi_callback_info info, napi_value *argv, size_t count);

bool arg_i32(napi_env env, napi_value value, int32_t *out);
bool arg_u32(napi_env env, napi_value value, uint32_t *out);
/* An integer that a Number holds exactly: -(2^53 - 1) to 2^53 - 1. */
bool arg_i64(napi_env env, napi_value value, int64_t *out);
/* Reads an integer from 0 to 2^53 - 1. */
bool arg_u53(napi_env env, napi_value value, uint64_t *out);
/* Reads a file descriptor: not negative, or AT_FDCWD. */
bool arg_fd(napi_env env, napi_value value, int *out);

/* The bytes of any typed array; valid until JavaScript runs again. */
bool arg_bytes(napi_env env, napi_value value, uint8_t **data, size_t *len_bytes);
/* Like arg_bytes, but requires at least `min_bytes` from `at`. `data` points at `at`; `len_bytes` counts from
 * there. */
bool arg_bytes_from(napi_env env, napi_value array, napi_value at, size_t min_bytes, uint8_t **data, size_t *len_bytes);
/* A NUL-terminated string that starts at byte `at` of a Uint8Array and ends inside it. */
bool arg_cstring(napi_env env, napi_value array, napi_value at, const char **out);
/* Copies a JavaScript string with its NUL into `out`; refuses one longer than `size` - 1 bytes. */
bool arg_string(napi_env env, napi_value value, char *out, size_t size);

/* Returns `result`, or -errno if it is -1. */
napi_value ret_errno(napi_env env, int64_t result);
napi_value ret_int(napi_env env, int64_t result);

#define METHOD(name, fn) { (name), NULL, (fn), NULL, NULL, NULL, napi_enumerable, NULL }
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
