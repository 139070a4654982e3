#ifndef ASYNC_H
#define ASYNC_H

#include <stdbool.h>

/* Returns true if the calling thread's engine has results; false without an engine. */
bool async_ready(void);

#endif
