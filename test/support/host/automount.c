/*
 * Mounts an autofs at a directory, and a tmpfs with a file `inside` over it as soon as somebody walks into it, as automount(8)
 * and systemd do. Writes a line when it waits, and one for each mount. Ends when the autofs is unmounted.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/auto_fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct autofs_v5_packet packet;
    char options[128], path[4096];
    int pipes[2], directory;

    if (argc != 2 || setpgid(0, 0) < 0 || pipe2(pipes, O_CLOEXEC | O_DIRECT) < 0)
        return 2;
    snprintf(options, sizeof(options), "fd=%d,pgrp=%d,minproto=5,maxproto=5,direct", pipes[1], getpgrp());
    if (mount("test", argv[1], "autofs", 0, options) < 0)
        return 3;
    directory = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    close(pipes[1]);
    puts("waits");
    fflush(stdout);
    while (read(pipes[0], &packet, sizeof(packet)) > 0) {
        snprintf(path, sizeof(path), "%s/inside", argv[1]);
        if (mount("none", argv[1], "tmpfs", 0, NULL) < 0)
            return 4;
        close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
        ioctl(directory, AUTOFS_IOC_READY, packet.wait_queue_token);
        puts("mounted");
        fflush(stdout);
    }
    return 0;
}
