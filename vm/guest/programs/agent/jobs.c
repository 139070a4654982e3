#define _GNU_SOURCE
#include "jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "line.h"

#define PIPE_BYTES 65536
/* A killed process that still exists after this time hangs inside the kernel. */
#define KILL_GRACE_MS 3000

struct job {
    long id;
    pid_t pid; /* also its process group; 0 = the slot is free */
    int in, out, err; /* our ends of the pipes, -1 when closed */
    uint8_t *input; /* standard input that the pipe has not taken yet */
    size_t input_bytes;
    bool input_ends;
    int64_t start_ns, end_ns;
    int64_t deadline_ns; /* 0 = none */
    bool timed_out, exited;
    int wait_status;
};

static struct job jobs[MAX_JOBS];

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

struct job *find_job(long id)
{
    for (struct job *j = jobs; j < jobs + MAX_JOBS; j++)
        if (j->pid != 0 && j->id == id)
            return j;
    return NULL;
}

static struct job *free_job(void)
{
    for (struct job *j = jobs; j < jobs + MAX_JOBS; j++)
        if (j->pid == 0)
            return j;
    return NULL;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void become_shell(const char *command, int in, int out, int err)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setpgid(0, 0);
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

void start_job(long id, long timeout_ms, bool has_stdin, const char *command)
{
    struct job *j = free_job();
    int in[2] = { -1, -1 }, out[2], err[2];
    if (j == NULL) {
        send_text("{\"id\":%ld,\"error\":\"too many commands at once\"}\n", id);
        return;
    }
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 || (has_stdin && pipe2(in, O_CLOEXEC) < 0))
        die("pipe");
    if (!has_stdin)
        in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);

    int64_t start = now_ns();
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0)
        become_shell(command, in[0], out[1], err[1]);
    setpgid(pid, pid); /* here too, so that a signal for the group cannot come too early */
    close(in[0]);
    close(out[1]);
    close(err[1]);
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    fcntl(err[0], F_SETFL, O_NONBLOCK);
    if (has_stdin)
        fcntl(in[1], F_SETFL, O_NONBLOCK);
    *j = (struct job){
        .id = id,
        .pid = pid,
        .in = in[1],
        .out = out[0],
        .err = err[0],
        .start_ns = start,
        .deadline_ns = timeout_ms > 0 ? start + timeout_ms * 1000000 : 0,
    };
}

static void pass_output(struct job *j, int *fd, const char *stream)
{
    uint8_t piece[PIECE_BYTES];
    if (*fd < 0)
        return;
    ssize_t n = read(*fd, piece, sizeof piece);
    if (n == 0)
        close_fd(fd);
    if (n <= 0)
        return;
    send_text("{\"id\":%ld,\"%s\":\"", j->id, stream);
    send_base64(piece, (size_t)n);
    send_text("\"}\n");
}

static void pass_input(struct job *j)
{
    if (j->in < 0)
        return;
    if (j->input_bytes > 0) {
        ssize_t n = write(j->in, j->input, j->input_bytes);
        if (n < 0 && errno != EAGAIN) {
            close_fd(&j->in);
            return;
        }
        if (n > 0) {
            j->input_bytes -= (size_t)n;
            memmove(j->input, j->input + n, j->input_bytes);
        }
    }
    if (j->input_bytes == 0 && j->input_ends)
        close_fd(&j->in);
}

void add_input(struct job *j, const char *bytes, size_t len)
{
    j->input = realloc(j->input, j->input_bytes + len + 1);
    if (j->input == NULL)
        die("memory for standard input");
    memcpy(j->input + j->input_bytes, bytes, len);
    j->input_bytes += len;
    pass_input(j);
}

void end_input(struct job *j)
{
    j->input_ends = true;
    pass_input(j);
}

void signal_job(struct job *j, int number)
{
    kill(-j->pid, number);
}

/* Sends the kernel stack of a process that no signal ends. */
static void send_stack(pid_t pid)
{
    char path[64];
    uint8_t stack[4096];
    snprintf(path, sizeof path, "/proc/%d/stack", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, stack, sizeof stack);
    close_fd(&fd);
    send_text(",\"stack\":\"");
    send_base64(stack, n > 0 ? (size_t)n : 0);
    send_text("\"");
}

static void end_job(struct job *j)
{
    /* Drains the pipes' contents and no more: a process left running may write for ever. */
    for (int piece = 0; piece < PIPE_BYTES / PIECE_BYTES + 1; piece++) {
        pass_output(j, &j->out, "stdout");
        pass_output(j, &j->err, "stderr");
    }
    int64_t end_ns = j->exited ? j->end_ns : now_ns();
    bool by_signal = j->exited && WIFSIGNALED(j->wait_status);
    send_text("{\"id\":%ld,\"status\":%d,\"signal\":%d,\"ms\":%.3f,\"timedOut\":%s", j->id,
              j->exited && !by_signal ? WEXITSTATUS(j->wait_status) : -1, by_signal ? WTERMSIG(j->wait_status) : 0,
              (double)(end_ns - j->start_ns) / 1e6, j->timed_out ? "true" : "false");
    if (!j->exited)
        send_stack(j->pid);
    send_text("}\n");
    close_fd(&j->in);
    close_fd(&j->out);
    close_fd(&j->err);
    free(j->input);
    *j = (struct job){ 0 };
}

/* Kills a job past its deadline, and gives it up if it outlives even that. */
static void check_deadline(struct job *j)
{
    if (j->deadline_ns == 0 || now_ns() < j->deadline_ns)
        return;
    if (j->timed_out) {
        end_job(j);
        return;
    }
    j->timed_out = true;
    j->deadline_ns = now_ns() + KILL_GRACE_MS * INT64_C(1000000);
    signal_job(j, SIGKILL);
}

void reap_children(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (struct job *j = jobs; j < jobs + MAX_JOBS; j++)
            if (j->pid == pid) {
                j->exited = true;
                j->wait_status = status;
                j->end_ns = now_ns();
            }
}

nfds_t watch_jobs(struct pollfd *fds)
{
    nfds_t n = 0;
    for (struct job *j = jobs; j < jobs + MAX_JOBS; j++) {
        if (j->pid == 0)
            continue;
        fds[n++] = (struct pollfd){ .fd = j->out, .events = POLLIN };
        fds[n++] = (struct pollfd){ .fd = j->err, .events = POLLIN };
        fds[n++] = (struct pollfd){ .fd = j->input_bytes > 0 ? j->in : -1, .events = POLLOUT };
    }
    return n;
}

int next_deadline_ms(void)
{
    int64_t next_ns = 0;
    for (struct job *j = jobs; j < jobs + MAX_JOBS; j++)
        if (j->pid != 0 && j->deadline_ns != 0 && (next_ns == 0 || j->deadline_ns < next_ns))
            next_ns = j->deadline_ns;
    if (next_ns == 0)
        return -1;
    int64_t left_ns = next_ns - now_ns();
    return left_ns < 0 ? 0 : (int)(left_ns / 1000000) + 1;
}

void advance_jobs(void)
{
    for (struct job *j = jobs; j < jobs + MAX_JOBS; j++) {
        if (j->pid == 0)
            continue;
        pass_input(j);
        pass_output(j, &j->out, "stdout");
        pass_output(j, &j->err, "stderr");
        if (j->exited)
            end_job(j);
        else
            check_deadline(j);
    }
}
