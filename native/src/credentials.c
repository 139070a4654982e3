/*
 * Credentials, umask and working directory of one thread. The raw system calls act on the calling thread alone;
 * glibc's wrappers would change every thread of the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "args.h"
#include "module.h"

#define KEEP ((unsigned)-1)

/* The state that credentialsEnter changed on this thread and credentialsLeave must restore. */
static _Thread_local struct {
    bool groups;
    bool gid;
    bool uid;
    unsigned old_gid;
    unsigned old_uid;
    int old_group_count;
    gid_t old_groups[NGROUPS_MAX];
    struct __user_cap_data_struct old_capabilities[2];
} entered;

/* A thread that cannot restore its own identity must not serve another request. */
static void must(long result, const char *what)
{
    if (result == 0)
        return;
    perror(what);
    abort();
}

static int capabilities_of_thread(struct __user_cap_data_struct *data)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

    return (int)syscall(SYS_capget, &header, data);
}

static int set_capabilities(const struct __user_cap_data_struct *data)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

    return (int)syscall(SYS_capset, &header, data);
}

static void leave(void)
{
    if (entered.uid) {
        must(syscall(SYS_setresuid, KEEP, entered.old_uid, KEEP), "restoring the user id");
        /* Becoming user 0 makes every permitted capability effective, and becoming another one none. */
        if (entered.old_uid != 0)
            must(set_capabilities(entered.old_capabilities), "restoring the capabilities");
    }
    if (entered.gid)
        must(syscall(SYS_setresgid, KEEP, entered.old_gid, KEEP), "restoring the group id");
    if (entered.groups)
        must(syscall(SYS_setgroups, entered.old_group_count, entered.old_groups), "restoring the groups");
    entered.uid = entered.gid = entered.groups = false;
}

/*
 * The guest has checked its user's permissions. What else the device may do is user 0's alone. Leaving user 0 has cleared the
 * effective capabilities.
 */
static int keep_dac_override(void)
{
    struct __user_cap_data_struct data[2];

    memcpy(data, entered.old_capabilities, sizeof(data));
    data[0].effective = data[0].permitted & 1U << CAP_DAC_OVERRIDE;
    data[1].effective = 0;
    return set_capabilities(data);
}

/* The effective capabilities follow the user id, unless there are none. */
static int enter_user(unsigned uid)
{
    const bool is_other = uid != entered.old_uid;

    if (!is_other && uid == 0)
        return 0;
    if (capabilities_of_thread(entered.old_capabilities) < 0)
        return -1;
    /* Otherwise leaving user 0 for the thread's own user would take every capability for good. */
    if (is_other && uid == 0 && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return -1;
    if (is_other && syscall(SYS_setresuid, KEEP, uid, KEEP) < 0)
        return -1;
    entered.uid = is_other || entered.old_capabilities[0].effective != 0;
    return uid != 0 && entered.uid ? keep_dac_override() : 0;
}

static int64_t enter(unsigned uid, unsigned gid, int64_t group)
{
    entered.old_uid = (unsigned)syscall(SYS_geteuid);
    entered.old_gid = (unsigned)syscall(SYS_getegid);
    if (group >= 0) {
        const gid_t only = (gid_t)group;

        entered.old_group_count = (int)syscall(SYS_getgroups, NGROUPS_MAX, entered.old_groups);
        if (entered.old_group_count < 0 || syscall(SYS_setgroups, 1, &only) < 0)
            return -errno;
        entered.groups = true;
    }
    if (gid != entered.old_gid) {
        if (syscall(SYS_setresgid, KEEP, gid, KEEP) < 0)
            return -errno;
        entered.gid = true;
    }
    if (enter_user(uid) < 0)
        return -errno;
    return 0;
}

/* credentialsEnter(uid, gid, group): 0; group -1: leave the supplementary groups. On an error nothing is changed. */
static napi_value credentials_enter(napi_env env, napi_callback_info info)
{
    napi_value argv[3];
    uint32_t uid, gid;
    int64_t group, result;

    if (!args_get(env, info, argv, 3) || !arg_u32(env, argv[0], &uid) || !arg_u32(env, argv[1], &gid) ||
        !arg_i64(env, argv[2], &group))
        return NULL;
    if (uid == KEEP || gid == KEEP || group > UINT32_MAX - 1)
        return ret_int(env, -EINVAL);
    result = enter(uid, gid, group);
    if (result < 0)
        leave();
    return ret_int(env, result);
}

/* credentialsLeave(): 0; ends the process if the thread cannot restore its own credentials */
static napi_value credentials_leave(napi_env env, napi_callback_info info)
{
    leave();
    return ret_int(env, 0);
}

/* dropGroups(): 0; drops this thread's supplementary groups */
static napi_value drop_groups(napi_env env, napi_callback_info info)
{
    return ret_errno(env, syscall(SYS_setgroups, 0, NULL));
}

/* capabilities(): the effective capabilities 0 to 31 of this thread as a bit mask */
static napi_value capabilities(napi_env env, napi_callback_info info)
{
    struct __user_cap_data_struct data[2] = { 0 };

    if (capabilities_of_thread(data) < 0)
        return ret_errno(env, -1);
    return ret_int(env, data[0].effective);
}

/* detachFs(): 0; gives this thread its own umask and working directory */
static napi_value detach_fs(napi_env env, napi_callback_info info)
{
    return ret_errno(env, unshare(CLONE_FS));
}

/* umask(mode): the previous mask */
static napi_value set_umask(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    uint32_t mode;

    if (!args_get(env, info, argv, 1) || !arg_u32(env, argv[0], &mode))
        return NULL;
    return ret_int(env, umask(mode & 0777));
}

/* exitNow(status): ends the process without waiting for any thread */
static napi_value exit_now(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    int32_t status;

    if (!args_get(env, info, argv, 1) || !arg_i32(env, argv[0], &status))
        return NULL;
    _exit(status);
}

bool register_credentials(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("credentialsEnter", credentials_enter),
        METHOD("credentialsLeave", credentials_leave),
        METHOD("dropGroups", drop_groups),
        METHOD("capabilities", capabilities),
        METHOD("detachFs", detach_fs),
        METHOD("umask", set_umask),
        METHOD("exitNow", exit_now),
    };

    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
