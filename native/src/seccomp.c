/* Gives up system calls: looks up their numbers on this machine, and installs a filter for every thread. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "args.h"
#include "module.h"

#define CALL(name) { #name, SYS_##name },

/* Every system call of this architecture; the makefile takes them from sys/syscall.h. */
static const struct {
    const char *name;
    int64_t number;
} calls[] = {
#include "system-calls.h"
};

#define MAX_NAME_BYTES 64

/* systemCallNumber(name): its number on this architecture; -ENOSYS if it lacks the call. */
static napi_value system_call_number(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    char name[MAX_NAME_BYTES];

    if (!args_get(env, info, argv, 1) || !arg_string(env, argv[0], name, sizeof(name)))
        return NULL;
    for (size_t n = 0; n < COUNT_OF(calls); n++)
        if (strcmp(calls[n].name, name) == 0)
            return ret_int(env, calls[n].number);
    return ret_int(env, -ENOSYS);
}

/*
 * seccompInstall(program): 0; `program` (Uint8Array) is an array of struct sock_filter and applies to every thread
 * from now on. -ESRCH: some thread has a filter of its own.
 */
static napi_value seccomp_install(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    uint8_t *bytes;
    size_t len_bytes;
    struct sock_fprog program;
    long result;

    if (!args_get(env, info, argv, 1) || !arg_bytes(env, argv[0], &bytes, &len_bytes))
        return NULL;
    if (len_bytes == 0 || len_bytes % sizeof(struct sock_filter) != 0 ||
        len_bytes / sizeof(struct sock_filter) > BPF_MAXINSNS)
        return ret_int(env, -EINVAL);
    program.len = (unsigned short)(len_bytes / sizeof(struct sock_filter));
    program.filter = (struct sock_filter *)bytes;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return ret_errno(env, -1);
    /*
     * Keeps speculation on: no foreign code runs here that could exploit it. Linux before 5.16 would otherwise switch
     * it off for every thread with a filter, which costs far more than the filter.
     */
    result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                     SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program);
    return result > 0 ? ret_int(env, -ESRCH) : ret_errno(env, result);
}

bool register_seccomp(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("seccompInstall", seccomp_install),
        METHOD("systemCallNumber", system_call_number),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
