/*
 * PID 1 of the guest: mounts what every program expects, loads the kernel modules that the image brings,
 * brings up processors that the kernel left down, starts the agent, and from then on reaps orphans and obeys poweroff and reboot.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define AGENT "/sbin/agent"
#define MODULE_LIST "/etc/modules"
#define OPEN_FILES 65536

static void complain(const char *what, const char *which)
{
    fprintf(stderr, "init: %s %s: %s\n", what, which, strerror(errno));
}

static void mount_one(const char *type, const char *target, const char *options)
{
    mkdir(target, 0755);
    if (mount(type, target, type, MS_NOSUID, options) < 0 && errno != EBUSY)
        complain("mount", target);
}

/* The kernel opens no console for PID 1 if the image has no /dev/console. */
static void open_console(void)
{
    int fd = open("/dev/console", O_RDWR);
    if (fd < 0)
        return;
    for (int target = 0; target <= 2; target++)
        dup2(fd, target);
    if (fd > 2)
        close(fd);
}

/* The list names one module file per line, each after its dependencies. */
static void load_modules(void)
{
    char path[512];
    FILE *list = fopen(MODULE_LIST, "re");
    if (list == NULL)
        return;
    while (fgets(path, sizeof path, list) != NULL) {
        path[strcspn(path, "\n")] = '\0';
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
            complain("load module", path);
        if (fd >= 0)
            close(fd);
    }
    fclose(list);
}

/* A processor that is already up stays up; the first may lack the file. */
static void bring_up_processors(void)
{
    glob_t found;
    if (glob("/sys/devices/system/cpu/cpu[0-9]*/online", 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        int fd = open(found.gl_pathv[i], O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "1", 1) < 0)
            complain("bring up", found.gl_pathv[i]);
        if (fd >= 0)
            close(fd);
    }
    globfree(&found);
}

static void raise_limits(void)
{
    struct rlimit files = { OPEN_FILES, OPEN_FILES };
    if (setrlimit(RLIMIT_NOFILE, &files) < 0)
        complain("setrlimit", "nofile");
}

static pid_t start_agent(const sigset_t *blocked)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    sigprocmask(SIG_UNBLOCK, blocked, NULL);
    execl(AGENT, "agent", (char *)NULL);
    complain("start", AGENT);
    _exit(127);
}

static void end_machine(int how)
{
    sync();
    reboot(how);
    complain("reboot", "");
}

static void reap(pid_t agent)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != agent)
            continue;
        fprintf(stderr, "init: the agent ended with status 0x%x\n", status);
        end_machine(RB_POWER_OFF);
    }
}

int main(void)
{
    mount_one("devtmpfs", "/dev", NULL);
    open_console();
    mount_one("proc", "/proc", NULL);
    mount_one("sysfs", "/sys", NULL);
    mount_one("devpts", "/dev/pts", "mode=0620");
    mount_one("tmpfs", "/dev/shm", NULL);
    mount_one("tmpfs", "/tmp", "mode=1777");
    mount_one("tmpfs", "/run", NULL);
    symlink("/proc/self/fd", "/dev/fd");
    sethostname("guest", 5);
    umask(022);
    load_modules();
    bring_up_processors();
    raise_limits();
    setenv("PATH", "/usr/bin:/bin:/usr/sbin:/sbin", 1);
    setenv("HOME", "/root", 1);

    /* The signals by which busybox's poweroff, halt and reboot ask PID 1. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGUSR2);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);

    pid_t agent = start_agent(&signals);
    for (;;) {
        int signal = sigwaitinfo(&signals, NULL);
        if (signal == SIGCHLD)
            reap(agent);
        else if (signal == SIGTERM)
            end_machine(RB_AUTOBOOT);
        else if (signal == SIGUSR1 || signal == SIGUSR2)
            end_machine(RB_POWER_OFF);
    }
}
