/* Commands that run for the host, each with its pipes, its time limit and its end. */
#ifndef JOBS_H
#define JOBS_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#define MAX_JOBS 64
#define MAX_JOB_FDS (3 * MAX_JOBS)

struct job;

/* NULL when no such command runs. */
struct job *find_job(long id);

void start_job(long id, long timeout_ms, bool has_stdin, const char *command);
void add_input(struct job *job, const char *bytes, size_t len);
void end_input(struct job *job);
void signal_job(struct job *job, int number);

/* What to wait for, and for how long: -1 is for ever. */
nfds_t watch_jobs(struct pollfd *fds);
int next_deadline_ms(void);

/* After the wait: notes who ended, passes input and output on, and reports and forgets what is over. */
void reap_children(void);
void advance_jobs(void);

#endif
