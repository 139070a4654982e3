#ifndef SUPERVISOR_H
#define SUPERVISOR_H

#include "plan.h"

/* Waits for the program, and seals it when it asks for that on `seal_fd`. Returns the exit status. */
int supervise(const struct plan *plan, int child, int seal_fd);

#endif
