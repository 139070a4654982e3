#ifndef ASYNC_H
#define ASYNC_H

#include <stdbool.h>

/* Returns true if an engine of the calling thread has results. Costs one load while no call is under way. */
bool async_ready(void);

#endif
