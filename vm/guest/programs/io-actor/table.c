/* The files and mappings of the process, by the names that the host has given them. */
#define _GNU_SOURCE
#include "table.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define NAMES 64

static struct named table[NAMES];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;

/* Returns where a name is, or -1. An empty name is that of a free place. The caller holds the lock. */
static int place_of(const char *name)
{
    for (int n = 0; n < NAMES; n++)
        if (strcmp(table[n].name, name) == 0)
            return n;
    return -1;
}

/* Copies what it finds, so nothing is locked while an operation waits. */
int find(const char *name, struct named *copy)
{
    pthread_mutex_lock(&table_lock);
    int found = place_of(name);
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

/* Two threads may keep something at once: each gets a place of its own. */
int keep(const struct named *entry)
{
    pthread_mutex_lock(&table_lock);
    int place = place_of("");
    int result = place_of(entry->name) >= 0 ? -EEXIST : place < 0 ? -ENFILE : 0;
    if (result == 0)
        table[place] = *entry;
    pthread_mutex_unlock(&table_lock);
    return result;
}

void forget(int place)
{
    pthread_mutex_lock(&table_lock);
    memset(&table[place], 0, sizeof table[place]);
    pthread_mutex_unlock(&table_lock);
}
