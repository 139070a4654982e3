#pragma once

/* Carries out an operation in a thread of its own. */
void start_thread(const char *line);

/* Waits until at least `ended` of the started operations have ended and all others sleep in the kernel; prints that. */
void settle(int ended);

/* Waits until all have ended, prints their outcomes, and forgets them. */
void join_threads(void);
