#ifndef PRIVILEGES_H
#define PRIVILEGES_H

#include "plan.h"

void drop_privileges(const struct plan *plan);
/* For the supervisor: with more privileges than it needs, it would be a way to every file of the host. */
void keep_privileges_for_sealing(const struct plan *plan);
void keep_privileges_for_ending(void);

#endif
