#pragma once

#include <stddef.h>

#define NAME_BYTES 32
/* For sscanf. */
#define NAME_FORMAT "%31s"

/* A file or a mapping. */
struct named {
    char name[NAME_BYTES];
    int fd;
    char *bytes;
    size_t len;
};

/* Finds a file or a mapping and copies it. Returns its place, or a negative number. */
int find(const char *name, struct named *copy);

/* The descriptor of an open file, or -ENOENT. */
int fd_of(const char *name);

/* Keeps a file or a mapping under its name. Returns 0 or a negative errno. */
int keep(const struct named *entry);

void forget(int place);
