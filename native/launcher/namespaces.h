#ifndef NAMESPACES_H
#define NAMESPACES_H

#include "plan.h"

/* Call these in order: before the program is forked, in its first moments, and when it has loaded everything. */
void enter_namespaces(const struct plan *plan);
/* Returns a descriptor of a new mount of the directory, with nothing above it. */
int clone_share(const struct mount_request *request);
void mount_new_root(const struct plan *plan);
/* Returns a descriptor of /proc/self/fd, from which there is no way up. */
int open_own_descriptors(const struct plan *plan);
/* Both return 0 or -errno. */
int seal_into_new_root(void);
int seal_by_chroot(const struct plan *plan);

#endif
