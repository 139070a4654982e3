#ifndef USER_NAMESPACE_H
#define USER_NAMESPACE_H

#include "plan.h"

/* Call it before the program is forked, as early as possible. */
void enter_user_namespace(const struct plan *plan);
void become_root_inside(const struct plan *plan);

#endif
