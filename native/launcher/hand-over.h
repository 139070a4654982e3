#ifndef HAND_OVER_H
#define HAND_OVER_H

#include "plan.h"

/*
 * launcher hand-over readonly|writable PATH: sends a descriptor of a new mount of the directory over descriptor 3.
 * Returns the exit status.
 */
int hand_over_mount(struct plan *plan, int argc, char **argv);

#endif
