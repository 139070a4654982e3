#pragma once

#include "operations.h"

/* Operations on names, xattrs and directories. Each takes the rest of its line, and returns a value or a negative errno. */
long do_rename(const char *line, struct outcome *outcome);
long do_set_xattr(const char *line, struct outcome *outcome);
long do_get_xattr(const char *line, struct outcome *outcome);
long do_list_xattrs(const char *line, struct outcome *outcome);
long do_remove_xattr(const char *line, struct outcome *outcome);
long do_list_twice(const char *line, struct outcome *outcome);
long do_cut(const char *line, struct outcome *outcome);
long do_unlink(const char *line, struct outcome *outcome);
long do_tmpfile(const char *line, struct outcome *outcome);
long do_mkdir(const char *line, struct outcome *outcome);
long do_list_dropped(const char *line, struct outcome *outcome);
long do_entries(const char *line, struct outcome *outcome);
