#ifndef USER_NAMESPACE_H
#define USER_NAMESPACE_H

#include "plan.h"

/* Before the program is forked, and in its first moments. */
void enter_user_namespace(const struct plan *plan);
void become_root_inside(const struct plan *plan);

#endif
