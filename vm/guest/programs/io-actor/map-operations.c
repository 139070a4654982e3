/*
 * Mappings of files.
 *
 *   map MAP FILE LENGTH shared|private r|rw
 *   unmap MAP
 *   poke MAP LENGTH OFFSET BYTE
 *   peek MAP LENGTH OFFSET            as read
 *   msync MAP                         MS_SYNC
 *   protect MAP                       mprotect: to be read and written
 *   pull FILE MAP LENGTH              reads from the start of the file into the start of the mapping
 */
#define _GNU_SOURCE
#include "map-operations.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "table.h"

long do_map(const char *line, struct outcome *outcome)
{
    struct named map = { 0 }, file;
    char name[NAME_BYTES], sharing[16], protection[4];
    (void)outcome;
    if (sscanf(line, "%31s %31s %zu %15s %3s", map.name, name, &map.len, sharing, protection) != 5)
        return -EINVAL;
    if (find(name, &file) < 0)
        return -ENOENT;
    int prot = strcmp(protection, "rw") == 0 ? PROT_READ | PROT_WRITE : PROT_READ;
    map.bytes = mmap(NULL, map.len, prot, strcmp(sharing, "shared") == 0 ? MAP_SHARED : MAP_PRIVATE, file.fd, 0);
    return map.bytes == MAP_FAILED ? -errno : keep(&map);
}

long do_unmap(const char *line, struct outcome *outcome)
{
    struct named map;
    int place = find(line, &map);
    (void)outcome;
    if (place < 0)
        return -ENOENT;
    forget(place);
    return result(munmap(map.bytes, map.len));
}

/* MAP LENGTH OFFSET BYTE, within the mapping. */
static long find_part(const char *line, struct named *map, size_t *len, size_t *offset, int *byte)
{
    char name[NAME_BYTES];
    if (sscanf(line, "%31s %zu %zu %d", name, len, offset, byte) < 3)
        return -EINVAL;
    if (find(name, map) < 0)
        return -ENOENT;
    return *offset <= map->len && *len <= map->len - *offset ? 0 : -ERANGE;
}

long do_poke(const char *line, struct outcome *outcome)
{
    struct named map;
    size_t len, offset;
    int byte = 0;
    long error = find_part(line, &map, &len, &offset, &byte);
    (void)outcome;
    if (error == 0)
        memset(map.bytes + offset, byte, len);
    return error;
}

long do_peek(const char *line, struct outcome *outcome)
{
    struct named map;
    size_t len, offset;
    int byte = 0;
    long error = find_part(line, &map, &len, &offset, &byte);
    if (error == 0)
        describe_runs((unsigned char *)map.bytes + offset, len, outcome->text, sizeof outcome->text);
    return error;
}

long do_pull(const char *line, struct outcome *outcome)
{
    char from[NAME_BYTES], to[NAME_BYTES];
    struct named file, map;
    size_t len;
    (void)outcome;
    if (sscanf(line, "%31s %31s %zu", from, to, &len) != 3)
        return -EINVAL;
    if (find(from, &file) < 0 || find(to, &map) < 0)
        return -ENOENT;
    return len <= map.len ? result(pread(file.fd, map.bytes, len, 0)) : -ERANGE;
}

long do_msync(const char *line, struct outcome *outcome)
{
    struct named map;
    (void)outcome;
    return find(line, &map) < 0 ? -ENOENT : result(msync(map.bytes, map.len, MS_SYNC));
}

long do_protect(const char *line, struct outcome *outcome)
{
    struct named map;
    (void)outcome;
    return find(line, &map) < 0 ? -ENOENT : result(mprotect(map.bytes, map.len, PROT_READ | PROT_WRITE));
}
