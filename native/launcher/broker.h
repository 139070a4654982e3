#ifndef BROKER_H
#define BROKER_H

#include "plan.h"

/*
 * Starts the broker. Sets the plan's broker_fd and handover_fd. The broker ends, and removes the files of all sockets,
 * when the last copy of broker_fd is closed.
 */
void start_broker(struct plan *plan);

#endif
