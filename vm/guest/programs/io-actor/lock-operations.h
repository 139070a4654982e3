#pragma once

#include "operations.h"

/* Locks of open files. Each takes the rest of its line, and returns a value or a negative errno. */
long do_lock(const char *line, struct outcome *outcome);
long do_wait_lock(const char *line, struct outcome *outcome);
long do_test_lock(const char *line, struct outcome *outcome);
long do_flock(const char *line, struct outcome *outcome);
