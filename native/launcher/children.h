/* What keeper and supervisor do for the process that they wait for. */
#ifndef CHILDREN_H
#define CHILDREN_H

#include <stddef.h>

/* Makes a descriptor that these signals can be read from. They are blocked already. */
int make_signal_fd(const int *signals, size_t count);
/* The exit status that stands for how a process has ended: `ended` is from waitpid(2). */
int status_of(int ended);
/* The same, and says so if a signal has ended it. */
int told_status_of(int ended);

#endif
