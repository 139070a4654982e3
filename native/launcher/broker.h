#ifndef BROKER_H
#define BROKER_H

#include "plan.h"

/*
 * Starts the broker. Sets the plan's broker_fd and handover_fd. The broker ends, and removes the files of all sockets,
 * when the last copy of broker_fd is closed.
 */
void start_broker(struct plan *plan);
void ask_for_reload(const struct plan *plan);
/* Returns when the broker has removed the files; does nothing without a broker. */
void end_broker(const struct plan *plan);

#endif
