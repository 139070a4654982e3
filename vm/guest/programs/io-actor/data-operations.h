#pragma once

#include "operations.h"

/* Reads and writes. Each takes the rest of its line, and returns a value or a negative errno. */
long do_append(const char *line, struct outcome *outcome);
long do_dsync(const char *line, struct outcome *outcome);
long do_write(const char *line, struct outcome *outcome);
long do_aio(const char *line, struct outcome *outcome);
long do_aioread(const char *line, struct outcome *outcome);
long do_aiomany(const char *line, struct outcome *outcome);
long do_uring(const char *line, struct outcome *outcome);
long do_read(const char *line, struct outcome *outcome);
long do_fill(const char *line, struct outcome *outcome);
long do_check(const char *line, struct outcome *outcome);
long do_poll(const char *line, struct outcome *outcome);
long do_vector(const char *line, struct outcome *outcome);
long do_splice(const char *line, struct outcome *outcome);
