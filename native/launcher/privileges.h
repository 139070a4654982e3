#ifndef PRIVILEGES_H
#define PRIVILEGES_H

#include "plan.h"

void drop_privileges(const struct plan *plan);
/* Of the supervisor: it is the way to every file of the host when it keeps more than it needs. */
void keep_privileges_for_sealing(const struct plan *plan);
void keep_privileges_for_ending(void);

#endif
