/* The vhost-user front-end: takes QEMU's part towards the device. */
#ifndef FRONT_END_H
#define FRONT_END_H

#include "ring.h"

/* Connects, negotiates features, and shares the memory. */
void front_end_connect(const char *socket_path, unsigned queue_count);

/* Starts a queue. */
void front_end_start(const struct ring *ring);

/* Stops a queue. On return the device no longer touches any request of it. */
void front_end_stop(const struct ring *ring);

#endif
