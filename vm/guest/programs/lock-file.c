/* lock-file flock|fcntl FILE COMMAND...: runs COMMAND while holding a lock on FILE. Status 1 if the lock is taken. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELD_BY_ANOTHER 1
#define FAILED 2

static int take_lock(const char *kind, int fd)
{
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    return strcmp(kind, "flock") == 0 ? flock(fd, LOCK_EX | LOCK_NB) : fcntl(fd, F_SETLK, &whole);
}

int main(int argc, char **argv)
{
    int fd, status;
    pid_t child;

    if (argc < 4)
        return FAILED;
    fd = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        perror(argv[2]);
        return FAILED;
    }
    if (take_lock(argv[1], fd) < 0) {
        if (errno == EWOULDBLOCK || errno == EACCES)
            return HELD_BY_ANOTHER;
        perror(argv[1]);
        return FAILED;
    }
    /* The parent has the lock: one of fcntl(2) is not inherited. */
    child = fork();
    if (child == 0) {
        execvp(argv[3], argv + 3);
        _exit(FAILED);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return FAILED;
    return WEXITSTATUS(status);
}
