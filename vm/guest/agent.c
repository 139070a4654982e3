/*
 * Runs commands for the host, which speaks over a virtio-serial port, or over a serial port where the kernel has
 * no driver for that. One line each way is one message.
 *
 * From the host (every line is acknowledged, and the host sends the next one only then, because a
 * serial port drops what nobody reads in time):
 *   run ID TIMEOUT_MS HAS_STDIN BASE64      start /bin/sh -c COMMAND
 *   stdin ID BASE64                         more of its standard input
 *   eof ID                                  the end of its standard input
 *   kill ID SIGNAL                          signal its process group
 *   reboot                                  sync, then reset the machine
 *   poweroff                                sync, then switch it off
 * To the host, JSON:
 *   {"hello":"KERNEL RELEASE"}              once, at the start
 *   {"ack":1}
 *   {"id":N,"stdout":"BASE64"}              a piece of output, as it comes; "stderr" alike
 *   {"id":N,"status":S,"signal":G,"ms":T,"timedOut":B,"stack":"BASE64"}   the end; "stack" only if it cannot be killed
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base64.h"

#define VIRTIO_DRIVER "/sys/bus/virtio/drivers/virtio_console"
#define VIRTIO_PORT "/dev/vport0p1"
#define SERIAL_PORT "/dev/ttyS1"
#define PORT_TRIES 200
#define PORT_PAUSE_US 10000
#define MAX_JOBS 64
#define LINE_BYTES 65536
#define PIECE_BYTES 12288
#define PIPE_BYTES 65536
/* A killed process that is still there after this long hangs inside the kernel. */
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
static int line_fd; /* to the host */

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- messages to the host ---- */

static void send_bytes(const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(line_fd, bytes, len);
        if (n < 0 && errno != EINTR)
            die("write to the host");
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
}

__attribute__((format(printf, 1, 2))) static void send_text(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    send_bytes(text, (size_t)len);
}

static void send_base64(const uint8_t *bytes, size_t len)
{
    static char text[BASE64_BYTES(PIECE_BYTES)];
    send_bytes(text, base64_encode(text, bytes, len));
}

/* ---- jobs ---- */

static struct job *find_job(long id)
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

static void start_job(long id, long timeout_ms, bool has_stdin, const char *command)
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

static void add_input(struct job *j, const char *bytes, size_t len)
{
    j->input = realloc(j->input, j->input_bytes + len + 1);
    if (j->input == NULL)
        die("memory for standard input");
    memcpy(j->input + j->input_bytes, bytes, len);
    j->input_bytes += len;
    pass_input(j);
}

/* Where in the kernel a process hangs that no signal ends. */
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
    /* What the pipes hold, and no more: something it left running may write for ever. */
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

/* A job past its deadline is killed; one that outlives even that is given up. */
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
    kill(-j->pid, SIGKILL);
}

static void reap_children(int signals)
{
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof info) > 0)
        ;
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

/* ---- messages from the host ---- */

/* In a child, so that a file system that hangs in sync() stops nobody but itself. */
static void end_machine(int how)
{
    if (fork() != 0)
        return;
    sync();
    reboot(how);
    _exit(1);
}

static void obey(char *line)
{
    char verb[16] = "";
    long id = 0, number = 0, has_stdin = 0;
    int fields = sscanf(line, "%15s %ld %ld %ld", verb, &id, &number, &has_stdin);
    char *data = strrchr(line, ' ');
    data = data == NULL ? line : data + 1;
    struct job *j = fields >= 2 ? find_job(id) : NULL;

    if (strcmp(verb, "run") == 0) {
        data[base64_decode(data)] = '\0';
        start_job(id, number, has_stdin != 0, data);
    } else if (strcmp(verb, "reboot") == 0) {
        end_machine(RB_AUTOBOOT);
    } else if (strcmp(verb, "poweroff") == 0) {
        end_machine(RB_POWER_OFF);
    } else if (j == NULL) {
        return; /* the job ended while this was on its way */
    } else if (strcmp(verb, "stdin") == 0) {
        size_t len = base64_decode(data);
        add_input(j, data, len);
    } else if (strcmp(verb, "eof") == 0) {
        j->input_ends = true;
        pass_input(j);
    } else if (strcmp(verb, "kill") == 0) {
        kill(-j->pid, (int)number);
    }
}

static void read_host(void)
{
    static char line[LINE_BYTES];
    static size_t len;
    ssize_t n = read(line_fd, line + len, sizeof line - len);
    if (n < 0 && errno != EINTR)
        die("read from the host");
    if (n == 0)
        usleep(PORT_PAUSE_US); /* a virtio-serial port whose other end is not there yet */
    if (n > 0)
        len += (size_t)n;
    char *end;
    while ((end = memchr(line, '\n', len)) != NULL) {
        *end = '\0';
        obey(line);
        send_text("{\"ack\":1}\n");
        len -= (size_t)(end + 1 - line);
        memmove(line, end + 1, len);
    }
    if (len == sizeof line) {
        errno = EMSGSIZE;
        die("line from the host");
    }
}

/* ---- the loop ---- */

static void make_raw(int fd)
{
    struct termios mode;
    if (tcgetattr(fd, &mode) < 0)
        return; /* a virtio-serial port, which passes bytes as they are */
    cfmakeraw(&mode);
    mode.c_cflag |= CLOCAL | CREAD;
    cfsetspeed(&mode, B115200);
    tcsetattr(fd, TCSANOW, &mode);
}

/* The port shows up a moment after its driver. */
static int open_line(void)
{
    int tries = access(VIRTIO_DRIVER, F_OK) == 0 ? PORT_TRIES : 1;
    for (int fd; tries > 0; tries--) {
        if ((fd = open(VIRTIO_PORT, O_RDWR | O_CLOEXEC)) >= 0)
            return fd;
        usleep(PORT_PAUSE_US);
    }
    return open(SERIAL_PORT, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static int watch_children(void)
{
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int poll_timeout_ms(void)
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

int main(void)
{
    struct pollfd fds[2 + 3 * MAX_JOBS];
    struct utsname host;
    line_fd = open_line();
    if (line_fd < 0)
        die("line to the host");
    make_raw(line_fd);
    int signals = watch_children();
    uname(&host);
    send_text("\n{\"hello\":\"%s\"}\n", host.release);

    for (;;) {
        nfds_t n = 0;
        fds[n++] = (struct pollfd){ .fd = line_fd, .events = POLLIN };
        fds[n++] = (struct pollfd){ .fd = signals, .events = POLLIN };
        for (struct job *j = jobs; j < jobs + MAX_JOBS; j++) {
            if (j->pid == 0)
                continue;
            fds[n++] = (struct pollfd){ .fd = j->out, .events = POLLIN };
            fds[n++] = (struct pollfd){ .fd = j->err, .events = POLLIN };
            fds[n++] = (struct pollfd){ .fd = j->input_bytes > 0 ? j->in : -1, .events = POLLOUT };
        }
        if (poll(fds, n, poll_timeout_ms()) < 0 && errno != EINTR)
            die("poll");

        if (fds[0].revents != 0)
            read_host();
        if (fds[1].revents != 0)
            reap_children(signals);
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
}
