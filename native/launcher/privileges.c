/* What the program may do at most, for itself and whatever it would start. */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launcher.h"

#define LAST_CAPABILITY 63

static void drop_bounding_set(const struct plan *plan)
{
    for (int n = 0; n <= LAST_CAPABILITY; n++) {
        if ((plan->capabilities >> n & 1) == 1)
            continue;
        /* EINVAL: this kernel has no such capability. */
        if (prctl(PR_CAPBSET_DROP, n) == 0 || errno == EINVAL)
            continue;
        /* A root without CAP_SETPCAP may serve when it asks for no sandbox: nothing that it executes gets more, either. */
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
        /* EPERM: this root has no CAP_SETGID. Its groups stay, and it can give them to nobody. */
        if (setgroups(0, NULL) < 0 && errno != EPERM)
            refuse("drop supplementary groups");
        drop_bounding_set(plan);
    }
    set_capabilities(geteuid() == 0 ? plan->capabilities : 0);
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "renounce new privileges");
}
