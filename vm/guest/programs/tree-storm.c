/*
 * tree-storm DIR FILES: creates, stats, lists and unlinks FILES empty files in a new folder below DIR, and prints
 * "PHASE RATE" for each: files, or entries, a second. The guest's caches are dropped before each phase, so that every
 * phase asks the device.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LISTINGS 4

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void drop_caches(void)
{
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "3", 1) != 1)
        die("drop_caches");
    close(fd);
}

static const char *name_of(int n)
{
    static char name[32];
    snprintf(name, sizeof name, "file-%d", n);
    return name;
}

static int create_files(int dir, int files)
{
    for (int n = 0; n < files; n++) {
        int fd = openat(dir, name_of(n), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
        if (fd < 0)
            die("create");
        close(fd);
    }
    return files;
}

static int stat_files(int dir, int files)
{
    struct stat st;
    for (int n = 0; n < files; n++)
        if (fstatat(dir, name_of(n), &st, 0) < 0)
            die("stat");
    return files;
}

static int list_files(int dir, int files)
{
    int entries = 0;
    for (int listing = 0; listing < LISTINGS; listing++) {
        DIR *list = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (list == NULL)
            die("opendir");
        while (readdir(list) != NULL)
            entries++;
        closedir(list);
        if (entries != (listing + 1) * (files + 2)) {
            fprintf(stderr, "readdir: %d entries after %d listings of %d files\n", entries, listing + 1, files);
            exit(1);
        }
    }
    return entries;
}

static int unlink_files(int dir, int files)
{
    for (int n = 0; n < files; n++)
        if (unlinkat(dir, name_of(n), 0) < 0)
            die("unlink");
    return files;
}

static void time_phase(const char *phase, int (*work)(int, int), int dir, int files)
{
    drop_caches();
    double start_s = now_s();
    int done = work(dir, files);
    printf("%s %.2f\n", phase, done / (now_s() - start_s));
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    char *path = NULL;
    int files = atoi(argv[2]);
    if (asprintf(&path, "%s/storm-XXXXXX", argv[1]) < 0 || mkdtemp(path) == NULL)
        die(argv[1]);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        die(path);
    time_phase("create", create_files, dir, files);
    time_phase("stat", stat_files, dir, files);
    time_phase("readdir", list_files, dir, files);
    time_phase("unlink", unlink_files, dir, files);
    close(dir);
    if (rmdir(path) < 0)
        die(path);
    return 0;
}
