#pragma once

#include "operations.h"

/* Mappings. Each takes the rest of its line, and returns a value or a negative errno. */
long do_map(const char *line, struct outcome *outcome);
long do_unmap(const char *line, struct outcome *outcome);
long do_poke(const char *line, struct outcome *outcome);
long do_peek(const char *line, struct outcome *outcome);
long do_pull(const char *line, struct outcome *outcome);
long do_msync(const char *line, struct outcome *outcome);
long do_protect(const char *line, struct outcome *outcome);
