/* Commands that run for the host, each with its pipes, its time limit and its end. */
#ifndef JOBS_H
#define JOBS_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#define MAX_JOBS 64
#define MAX_JOB_FDS (3 * MAX_JOBS)

struct job;

/* Returns NULL if no such command runs. */
struct job *find_job(long id);

void start_job(long id, long timeout_ms, bool has_stdin, const char *command);
void add_input(struct job *job, const char *bytes, size_t len);
void end_input(struct job *job);
void signal_job(struct job *job, int number);

/* Fills in what to wait for; returns for how long, -1 for ever. */
nfds_t watch_jobs(struct pollfd *fds);
int next_deadline_ms(void);

/* Call this after the wait: notes ended jobs, passes on input and output, reports finished jobs and forgets them. */
void reap_children(void);
void advance_jobs(void);

#endif
