/* The vhost-user front-end: what QEMU would say to the device on behalf of this guest. */
#ifndef FRONT_END_H
#define FRONT_END_H

#include "ring.h"

/* Connects, agrees on features, and shares the memory. */
void front_end_connect(const char *socket_path, unsigned queue_count);

/* Starts a queue. */
void front_end_start(const struct ring *ring);

/* Stops a queue; when it returns the device touches no request of it any more. */
void front_end_stop(const struct ring *ring);

#endif
