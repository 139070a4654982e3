/* Making, linking, renaming and removing names, and every error that has an order of its own. */
#define _GNU_SOURCE
#include "posix-semantics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void make(const char *name)
{
    char what[320];

    snprintf(what, sizeof(what), "mkdir %.24s", name);
    say(what, mkdir(name, 0755));
    snprintf(what, sizeof(what), "mkfifo %.24s", name);
    say(what, mkfifo(name, 0644));
    snprintf(what, sizeof(what), "mknod %.24s", name);
    say(what, mknod(name, S_IFREG | 0644, 0));
    snprintf(what, sizeof(what), "symlink %.24s", name);
    say(what, symlink("target", name));
    snprintf(what, sizeof(what), "link %.24s", name);
    say(what, link("n/file", name));
    snprintf(what, sizeof(what), "rename %.24s", name);
    say(what, rename("n/file", name));
    snprintf(what, sizeof(what), "open O_CREAT O_EXCL %.24s", name);
    say(what, open(name, O_CREAT | O_EXCL | O_RDWR, 0644) < 0 ? -1 : 0);
}

static void errors(void)
{
    char longest[256], too_long[257];

    memset(longest, 'n', 255);
    longest[255] = '\0';
    memset(too_long, 'n', 256);
    too_long[256] = '\0';
    make("n/file/x");
    make("n/nowhere/x");
    make("n/loop/x");
    make(too_long);
    make("");
    make("n/full");
    TRY(mkdir(longest, 0755));
    TRY(rmdir(longest));
    TRY(rmdir("n/full"));
    TRY(rmdir("n/file"));
    TRY(rmdir("n/full/."));
    TRY(rmdir("n/full/inner/.."));
    TRY(rmdir("n/nowhere"));
    TRY(unlink("n/full"));
    TRY(unlink("n/nowhere"));
    TRY(unlink("n/file/x"));
    TRY(link("n/full", "n/linked"));
    TRY(link("n/nowhere", "n/linked"));
    TRY(open("n/loop", O_RDONLY));
    TRY(open("n/full", O_WRONLY));
    TRY(open("n/file", O_RDONLY | O_DIRECTORY));
    TRY(open("n/link", O_RDONLY | O_NOFOLLOW));
    TRY(open("n/link", O_CREAT | O_EXCL | O_RDWR, 0644));
    TRY(truncate("n/full", 0));
    TRY(truncate("n/file", -1));
    TRY(chmod("n/nowhere", 0644));
    TRY(chown("n/file/x", 0, 0));
}

static void renames(void)
{
    TRY(rename("n/full", "n/full/inner/moved"));
    TRY(rename("n/full", "n/file"));
    TRY(rename("n/file", "n/full"));
    TRY(rename("n/empty", "n/full"));
    TRY(rename("n/full", "n/empty"));
    say_mode("renamed over an empty directory", "n/empty/inner");
    TRY(rename("n/empty", "n/full"));
    TRY(rename("n/file", "n/file"));
    TRY(link("n/file", "n/same"));
    TRY(rename("n/file", "n/same"));
    say_mode("two names of one file stay", "n/same");
    TRY(rename("n/link", "n/moved"));
    say_mode("a link moved is a link", "n/moved");
    TRY(renameat2(AT_FDCWD, "n/file", AT_FDCWD, "n/moved", RENAME_NOREPLACE));
    TRY(renameat2(AT_FDCWD, "n/file", AT_FDCWD, "n/moved", RENAME_EXCHANGE));
    say_mode("exchanged", "n/moved");
    TRY(renameat2(AT_FDCWD, "n/file", AT_FDCWD, "n/moved", RENAME_EXCHANGE));
    TRY(renameat2(AT_FDCWD, "n/file", AT_FDCWD, "n/nowhere", RENAME_EXCHANGE));
    TRY(renameat2(AT_FDCWD, "n/file", AT_FDCWD, "n/x", RENAME_EXCHANGE | RENAME_NOREPLACE));
    TRY(renameat2(AT_FDCWD, "n/file", AT_FDCWD, "n/x", 0x80));
}

static void kinds(void)
{
    char target[16];

    TRY(mkfifo("n/fifo", 0640));
    TRY(mknod("n/socket", S_IFSOCK | 0600, 0));
    TRY(mknod("n/null", S_IFCHR | 0666, makedev(1, 3)));
    TRY(mknod("n/disk", S_IFBLK | 0660, makedev(8, 0x12345)));
    say_mode("fifo", "n/fifo");
    say_mode("socket", "n/socket");
    say_mode("device", "n/null");
    TRY(open("n/socket", O_RDWR) < 0 ? -1 : 0);
    TRY(open("n/fifo", O_WRONLY | O_NONBLOCK) < 0 ? -1 : 0);
    TRY(linkat(AT_FDCWD, "n/moved", AT_FDCWD, "n/link2", 0));
    say_mode("a link to a link", "n/link2");
    TRY(readlink("n/link2", target, sizeof(target)));
    TRY(readlink("n/file", target, sizeof(target)));
    TRY(link("n/fifo", "n/fifo2"));
    TRY(unlink("n/fifo2"));
    say_mode("fifo", "n/fifo");
}

void check_names(void)
{
    make_directory("n", 0755, 0, 0);
    make_directory("n/full", 0755, 0, 0);
    make_directory("n/full/inner", 0755, 0, 0);
    make_directory("n/empty", 0755, 0, 0);
    make_file("n/file", 0644, 0, 0);
    TRY(symlink("loop", "n/loop"));
    TRY(symlink("file", "n/link"));
    errors();
    renames();
    kinds();
}
