/* Namespaces, and the new root: a small tmpfs that holds the shares and nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "namespaces.h"
#include "refuse.h"
#include "user-namespace.h"

/* Declared in <sys/mount.h>, which cannot be included beside <linux/mount.h>. */
int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);
int umount2(const char *target, int flags);
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif

/*
 * The place to build the new root: a directory that every Linux has and that node does not need. It lies in the proc
 * file system that only this namespace sees.
 */
#define STAGE "/proc/driver"

#define MODE_OF_DIRECTORIES 0755
#define MODE_OF_FILES 0644

void enter_namespaces(const struct plan *plan)
{
    if (plan->user_namespace)
        enter_user_namespace(plan);
    must(unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC), "make namespaces");
    /* Later mounts of the host below a share still appear here; ours never appear on the host. */
    must(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "make mounts private");
}

/* Makes programs, device nodes and set-user-id bits of a share ineffective here. Readonly holds on the host's
 * side. */
static void restrict_mount(int fd, const struct mount_request *request)
{
    struct mount_attr attributes = {
        .attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
    };

    if (request->readonly)
        attributes.attr_set |= MOUNT_ATTR_RDONLY;
    if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof(attributes)) == 0)
        return;
    /* Linux before 5.12 lacks the call. The file operations then enforce this alone; the mount is only a second
     * lock. */
    if (errno != ENOSYS)
        refuse("restrict the mounts of a share");
}

int clone_share(const struct mount_request *request)
{
    const int fd = (int)syscall(SYS_open_tree, AT_FDCWD, request->path,
                                OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

    must(fd, "take the shared directory");
    restrict_mount(fd, request);
    return fd;
}

static char mount_point[sizeof(STAGE) + 1 + NAME_MAX + 1 + NAME_MAX];

/* Makes a directory of that name in the new root; for "directory/file", a file in a directory of its own. */
static void make_mount_point(const char *name)
{
    const int length = snprintf(mount_point, sizeof(mount_point), STAGE "/%s", name);
    char *const slash = strchr(mount_point + sizeof(STAGE), '/');

    if (length < 0 || (size_t)length >= sizeof(mount_point)) {
        errno = ENAMETOOLONG;
        refuse("make a directory in the new root");
    }
    if (slash != NULL)
        *slash = '\0';
    must(mkdir(mount_point, MODE_OF_DIRECTORIES), "make a directory in the new root");
    if (slash == NULL)
        return;
    *slash = '/';
    must(mknod(mount_point, S_IFREG | MODE_OF_FILES, 0), "make a file in the new root");
}

void mount_new_root(const struct plan *plan)
{
    must(mount("proc", "/proc", "proc", MS_NODEV | MS_NOSUID | MS_NOEXEC, NULL), "mount /proc");
    must(mount("tmpfs", STAGE, "tmpfs", MS_NODEV | MS_NOSUID | MS_NOEXEC, "size=64k,mode=755"), "mount a new root");
    for (size_t n = 0; n < plan->mount_count; n++) {
        const struct mount_request *const request = &plan->mounts[n];
        const int fd = clone_share(request);

        make_mount_point(request->name);
        must(syscall(SYS_move_mount, fd, "", AT_FDCWD, mount_point, MOVE_MOUNT_F_EMPTY_PATH),
             "mount the shared directory");
        close(fd);
    }
    must(mount(NULL, STAGE, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOEXEC, NULL),
         "make the new root read-only");
}

/*
 * Opens the directory through which the program opens inodes, as a mount of its own. Above an ordinary descriptor
 * lies the rest of /proc, and root may write to /proc/sys without any capability.
 */
int open_own_descriptors(const struct plan *plan)
{
    const int fd = (int)syscall(SYS_open_tree, AT_FDCWD, "/proc/self/fd", OPEN_TREE_CLONE);

    /* This root may chroot but not mount, as in a container: the container has to protect /proc. */
    if (fd < 0 && errno == EPERM && !plan->namespaces)
        return open("/proc/self/fd", O_PATH | O_DIRECTORY);
    must(fd, "open /proc/self/fd");
    return fd;
}

/*
 * The supervisor calls this. pivot_root moves every process and thread of this mount namespace whose root or working
 * directory is the old root, including the program, which lacks the privilege to do it.
 */
int seal_into_new_root(void)
{
    if (chdir(STAGE) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
        return -errno;
    /* The old root is now mounted on top of the new one. */
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return -errno;
    return 0;
}

/* The supervisor calls this; it shares its root and working directory with the program. */
int seal_by_chroot(const struct plan *plan)
{
    if (chdir(plan->mounts[0].path) < 0 || chroot(".") < 0 || chdir("/") < 0)
        return -errno;
    return 0;
}
