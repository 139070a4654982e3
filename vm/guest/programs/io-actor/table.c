/* The files and mappings of the process, by the names that the host has given them. */
#define _GNU_SOURCE
#include "table.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define NAMES 64

static struct named table[NAMES];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;

/* Finds a file and copies it, so nothing is locked while an operation waits. An empty name finds a free place. */
int find(const char *name, struct named *copy)
{
    int found = -1;
    pthread_mutex_lock(&table_lock);
    for (int n = 0; n < NAMES && found < 0; n++)
        if (strcmp(table[n].name, name) == 0)
            found = n;
    if (found >= 0)
        *copy = table[found];
    pthread_mutex_unlock(&table_lock);
    return found;
}

int fd_of(const char *name)
{
    struct named file;
    return find(name, &file) < 0 ? -ENOENT : file.fd;
}

int keep(const struct named *entry)
{
    struct named unused;
    if (find(entry->name, &unused) >= 0)
        return -EEXIST;
    int place = find("", &unused);
    if (place < 0)
        return -ENFILE;
    pthread_mutex_lock(&table_lock);
    table[place] = *entry;
    pthread_mutex_unlock(&table_lock);
    return 0;
}

void forget(int place)
{
    pthread_mutex_lock(&table_lock);
    memset(&table[place], 0, sizeof table[place]);
    pthread_mutex_unlock(&table_lock);
}
