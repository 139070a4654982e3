/* Permissions and mode changes. User 1000 has group 1000, and where stated also group 2000. */
#define _GNU_SOURCE
#include "posix-semantics.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Special bits of a file of user 1000 and of group `gid` after user 1000, of group 2000 if `member`, did something. */
static void after(const char *what, mode_t mode, gid_t gid, bool member, int change)
{
    int fd;

    make_file("p/bits", mode, 1000, gid);
    become(1000, 1000, member ? 2000 : 0);
    fd = open("p/bits", O_RDWR);
    switch (change) {
    case 0:
        say(what, write(fd, "x", 1));
        break;
    case 1:
        say(what, ftruncate(fd, 1));
        break;
    case 2:
        say(what, chown("p/bits", (uid_t)-1, 1000));
        break;
    case 3:
        say(what, chmod("p/bits", mode));
        break;
    case 4:
        say(what, fallocate(fd, 0, 0, 100));
        break;
    case 5:
        close(open("p/bits", O_WRONLY | O_TRUNC));
        break;
    case 6:
        become_root();
        say(what, chown("p/bits", 0, 0));
        break;
    case 7:
        become_root();
        say(what, write(fd, "x", 1));
        break;
    }
    close(fd);
    become_root();
    say_mode(what, "p/bits");
    unlink("p/bits");
}

static void special_bits(void)
{
    static const char *const names[] = { "write",         "truncate", "chgrp",         "chmod",
                                         "fallocate",     "O_TRUNC",  "chown by root", "write by root" };

    for (int change = 0; change < 8; change++) {
        after(names[change], 06777, 1000, false, change);
        after(names[change], 06777, 2000, false, change);
        after(names[change], 06777, 2000, true, change);
        after(names[change], 06666, 1000, false, change);
    }
}

static void inheritance(void)
{
    make_directory("p/shared", 02777, 0, 2000);
    become(1000, 1000, 0);
    TRY(mkdir("p/shared/directory", 0755));
    TRY(mknod("p/shared/file", S_IFREG | 02775, 0));
    become(1000, 1000, 2000);
    TRY(mknod("p/shared/member", S_IFREG | 02775, 0));
    TRY(close(open("p/shared/opened", O_CREAT | O_RDWR, 04777)));
    become_root();
    say_mode("directory", "p/shared/directory");
    say_mode("file", "p/shared/file");
    say_mode("member", "p/shared/member");
    say_mode("opened", "p/shared/opened");
    umask(0);
    TRY(mkdir("p/all", 07777));
    TRY(close(open("p/created", O_CREAT | O_RDWR, 07777)));
    umask(077);
    TRY(mkdir("p/mine", 0777));
    umask(022);
    say_mode("mkdir 07777", "p/all");
    say_mode("create 07777", "p/created");
    say_mode("umask 077", "p/mine");
}

static void sticky(void)
{
    make_directory("p/sticky", 01777, 0, 0);
    make_file("p/sticky/root", 0666, 0, 0);
    make_file("p/sticky/own", 0666, 1000, 1000);
    make_directory("p/sticky/directory", 0777, 0, 0);
    become(1000, 1000, 0);
    TRY(unlink("p/sticky/root"));
    TRY(rename("p/sticky/root", "p/sticky/x"));
    TRY(rename("p/sticky/own", "p/sticky/root"));
    TRY(rmdir("p/sticky/directory"));
    TRY(rename("p/sticky/directory", "p/sticky/x"));
    TRY(unlink("p/sticky/own"));
    become_root();
}

static void access_rights(void)
{
    make_directory("p/closed", 0700, 0, 0);
    make_directory("p/team", 0770, 0, 2000);
    make_file("p/closed/file", 0666, 0, 0);
    make_file("p/private", 0600, 0, 0);
    make_file("p/group", 0640, 0, 2000);
    become(1000, 1000, 0);
    TRY(open("p/closed/file", O_RDONLY));
    TRY(open("p/private", O_RDONLY));
    TRY(mkdir("p/closed/x", 0755));
    TRY(mkdir("p/team/x", 0755));
    TRY(chmod("p/private", 0666));
    TRY(chown("p/private", 1000, 1000));
    TRY(truncate("p/private", 0));
    TRY(link("p/private", "p/x"));
    become(1000, 1000, 2000);
    TRY(close(open("p/group", O_RDONLY)));
    TRY(open("p/group", O_WRONLY));
    TRY(mkdir("p/team/directory", 0755));
    TRY(close(open("p/team/file", O_CREAT | O_RDWR, 0644)));
    TRY(symlink("target", "p/team/link"));
    TRY(mkfifo("p/team/fifo", 0644));
    TRY(rename("p/team/file", "p/team/renamed"));
    TRY(unlink("p/team/fifo"));
    become_root();
    say_mode("made by a member", "p/team/directory");
    say_mode("made by a member", "p/team/renamed");
    say_mode("made by a member", "p/team/link");
    TRY(access("p/private", X_OK));
}

void check_permissions(void)
{
    make_directory("p", 0777, 0, 0);
    special_bits();
    inheritance();
    sticky();
    access_rights();
}
