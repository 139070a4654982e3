/* The most that the program, and anything it starts, may do. */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "privileges.h"
#include "refuse.h"

#define LAST_CAPABILITY 63

static void drop_bounding_set(const struct plan *plan, uint64_t kept)
{
    for (int n = 0; n <= LAST_CAPABILITY; n++) {
        if ((kept >> n & 1) == 1)
            continue;
        /* EINVAL: this kernel has no such capability. */
        if (prctl(PR_CAPBSET_DROP, n) == 0 || errno == EINVAL)
            continue;
        /* A root without CAP_SETPCAP may serve without a sandbox: no program that it executes gets more
         * capabilities. */
        if (errno == EPERM && plan->none)
            return;
        refuse("drop capabilities");
    }
}

static void set_capabilities(uint64_t kept)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2];

    must(syscall(SYS_capget, &header, data), "read capabilities");
    for (int n = 0; n < 2; n++) {
        const uint32_t mask = (uint32_t)(kept >> (32 * n));

        data[n].permitted &= mask;
        data[n].effective = data[n].permitted;
        data[n].inheritable = 0;
    }
    must(syscall(SYS_capset, &header, data), "set capabilities");
}

void drop_privileges(const struct plan *plan)
{
    if (geteuid() == 0) {
        /* EPERM: this root lacks CAP_SETGID. Its groups stay, but it can give them to nobody. */
        if (setgroups(0, NULL) < 0 && errno != EPERM)
            refuse("drop supplementary groups");
        drop_bounding_set(plan, plan->capabilities);
    }
    set_capabilities(geteuid() == 0 ? plan->capabilities : 0);
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "renounce new privileges");
}

#define BIT(capability) (UINT64_C(1) << (capability))

/* Needed to end a program that runs as another user. */
#define FOR_ENDING BIT(CAP_KILL)
/* Needed to give the program its new root. */
#define FOR_SEALING (BIT(CAP_SYS_ADMIN) | BIT(CAP_SYS_CHROOT))

void keep_privileges_for_sealing(const struct plan *plan)
{
    if (geteuid() == 0)
        drop_bounding_set(plan, 0);
    set_capabilities(FOR_ENDING | FOR_SEALING);
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "renounce new privileges");
}

void keep_privileges_for_ending(void)
{
    set_capabilities(FOR_ENDING);
}
