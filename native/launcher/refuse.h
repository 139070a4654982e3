/* Ends a launch that fails. */
#ifndef REFUSE_H
#define REFUSE_H

#include "plan.h"

#define EXIT_REFUSED 2

/* Call this before anything else. Later refusals describe `plan`, and this process removes its files. */
void refuse_for(const struct plan *plan);
/* Ends the process with status 2 and "virtiofsd-ts: --sandbox KIND: cannot WHAT: REASON" for the errno. */
_Noreturn void refuse(const char *what);
/* refuse(what) when result is negative. */
void must(long result, const char *what);
/* Prints one line, or nothing if the log's reader pauses: this process has to end. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

#endif
