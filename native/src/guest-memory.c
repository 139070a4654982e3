#include "guest-memory.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "args.h"
#include "module.h"

#define MAX_MEMORIES 64

/* An ArrayBuffer over a part of a region; detached before the region is unmapped. */
struct window {
    struct window *next;
    napi_ref buffer;
};

/* One per thread: the addon's instance data. */
struct memories {
    struct guest_memory *slot[MAX_MEMORIES];
};

struct guest_memory *arg_memory(napi_env env, napi_value value)
{
    struct memories *all;
    uint32_t id;

    if (!arg_u32(env, value, &id))
        return NULL;
    if (napi_get_instance_data(env, (void **)&all) != napi_ok || id >= MAX_MEMORIES || !all->slot[id]) {
        napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "no such guest memory");
        return NULL;
    }
    return all->slot[id];
}

uint8_t *memory_translate(struct guest_memory *memory, uint64_t gpa, uint64_t *span_bytes)
{
    unsigned tried = memory->last;

    for (unsigned n = 0; n < memory->region_count; n++) {
        const struct region *region = memory->regions[tried];

        /* gpa - region->gpa wraps to a huge number if gpa lies below the region, so one comparison checks both
         * bounds. */
        if (gpa - region->gpa < region->size_bytes) {
            memory->last = tried;
            *span_bytes = region->size_bytes - (gpa - region->gpa);
            return region->file.bytes + (gpa - region->gpa);
        }
        tried = tried + 1 < memory->region_count ? tried + 1 : 0;
    }
    return NULL;
}

static void window_drop(napi_env env, struct window *window)
{
    napi_value buffer;

    if (napi_get_reference_value(env, window->buffer, &buffer) == napi_ok && buffer)
        napi_detach_arraybuffer(env, buffer);
    napi_delete_reference(env, window->buffer);
    free(window);
}

static void region_drop(napi_env env, struct region *region)
{
    while (region->windows) {
        struct window *window = region->windows;

        region->windows = window->next;
        window_drop(env, window);
    }
    shared_file_unmap(&region->file);
    free(region);
}

static void memory_drop(napi_env env, struct guest_memory *memory)
{
    for (unsigned n = 0; n < memory->region_count; n++)
        region_drop(env, memory->regions[n]);
    free(memory);
}

/* memoryCreate(): memory */
static napi_value memory_create(napi_env env, napi_callback_info info)
{
    struct memories *all;

    if (napi_get_instance_data(env, (void **)&all) != napi_ok)
        return NULL;
    for (unsigned id = 0; id < MAX_MEMORIES; id++) {
        if (all->slot[id])
            continue;
        all->slot[id] = calloc(1, sizeof(struct guest_memory));
        return ret_int(env, all->slot[id] ? (int64_t)id : -ENOMEM);
    }
    return ret_int(env, -EMFILE);
}

/* memoryDestroy(memory): 0 */
static napi_value memory_destroy(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    struct guest_memory *memory;
    struct memories *all;
    uint32_t id;

    if (!args_get(env, info, argv, 1) || !(memory = arg_memory(env, argv[0])) || !arg_u32(env, argv[0], &id))
        return NULL;
    napi_get_instance_data(env, (void **)&all);
    all->slot[id] = NULL;
    memory_drop(env, memory);
    return ret_int(env, 0);
}

static bool overlaps(const struct guest_memory *memory, uint64_t gpa, uint64_t size_bytes)
{
    for (unsigned n = 0; n < memory->region_count; n++) {
        const struct region *region = memory->regions[n];

        if (gpa < region->gpa + region->size_bytes && region->gpa < gpa + size_bytes)
            return true;
    }
    return false;
}

static int64_t region_map(struct region *region, int fd, uint64_t offset_bytes)
{
    struct shared_file *file = &region->file;
    const int64_t result = shared_file_map(file, fd, offset_bytes, region->size_bytes, MAP_NORESERVE);

    if (result < 0)
        return result;
    /* Ring alignment is checked on guest addresses, so our mapping must have the same alignment. */
    if (((uintptr_t)region->file.bytes ^ region->gpa) % 16 != 0) {
        shared_file_unmap(file);
        return -EINVAL;
    }
    /* Keeps guest memory out of core dumps of the device. */
    madvise(file->mapping, file->mapping_bytes, MADV_DONTDUMP);
    return 0;
}

/* memoryAdd(memory, fd, gpa, sizeBytes, fileOffsetBytes): 0 */
static napi_value memory_add(napi_env env, napi_callback_info info)
{
    napi_value argv[5];
    struct guest_memory *memory;
    struct region *region;
    uint64_t gpa, size_bytes, offset_bytes;
    int64_t result;
    int fd;

    if (!args_get(env, info, argv, 5) || !(memory = arg_memory(env, argv[0])) || !arg_fd(env, argv[1], &fd) ||
        !arg_u53(env, argv[2], &gpa) || !arg_u53(env, argv[3], &size_bytes) || !arg_u53(env, argv[4], &offset_bytes))
        return NULL;
    if (size_bytes == 0)
        return ret_int(env, -EINVAL);
    if (overlaps(memory, gpa, size_bytes))
        return ret_int(env, -EEXIST);
    if (memory->region_count == MEMORY_MAX_REGIONS)
        return ret_int(env, -ENOSPC);
    region = calloc(1, sizeof(*region));
    if (!region)
        return ret_int(env, -ENOMEM);
    region->gpa = gpa;
    region->size_bytes = size_bytes;
    result = region_map(region, fd, offset_bytes);
    if (result < 0)
        free(region);
    else
        memory->regions[memory->region_count++] = region;
    return ret_int(env, result);
}

static void forget_watches(struct guest_memory *memory, const struct region *region)
{
    for (unsigned slot = 0; slot < memory->watch_count; slot++) {
        const uint8_t *word = (const uint8_t *)memory->watches[slot];

        if (word && word >= region->file.bytes && word < region->file.bytes + region->size_bytes)
            memory->watches[slot] = NULL;
    }
}

/* memoryRemove(memory, gpa): 0, or -ENOENT if no region starts at `gpa` */
static napi_value memory_remove(napi_env env, napi_callback_info info)
{
    napi_value argv[2];
    struct guest_memory *memory;
    uint64_t gpa;

    if (!args_get(env, info, argv, 2) || !(memory = arg_memory(env, argv[0])) || !arg_u53(env, argv[1], &gpa))
        return NULL;
    for (unsigned n = 0; n < memory->region_count; n++) {
        struct region *region = memory->regions[n];

        if (region->gpa != gpa)
            continue;
        forget_watches(memory, region);
        memory->regions[n] = memory->regions[--memory->region_count];
        memory->last = 0;
        region_drop(env, region);
        return ret_int(env, 0);
    }
    return ret_int(env, -ENOENT);
}

/* memoryWindow(memory, gpa, lenBytes): ArrayBuffer, or -EFAULT if no single region holds the range */
static napi_value memory_window(napi_env env, napi_callback_info info)
{
    napi_value argv[3], buffer;
    struct guest_memory *memory;
    struct window *window;
    uint64_t gpa, len_bytes, span_bytes;
    uint8_t *base;

    if (!args_get(env, info, argv, 3) || !(memory = arg_memory(env, argv[0])) || !arg_u53(env, argv[1], &gpa) ||
        !arg_u53(env, argv[2], &len_bytes))
        return NULL;
    base = memory_translate(memory, gpa, &span_bytes);
    if (!base || len_bytes == 0 || len_bytes > span_bytes)
        return ret_int(env, -EFAULT);
    window = calloc(1, sizeof(*window));
    if (!window)
        return ret_int(env, -ENOMEM);
    /* In bounds: len_bytes <= span_bytes, and the window is detached before its region is unmapped. */
    if (napi_create_external_arraybuffer(env, base, len_bytes, NULL, NULL, &buffer) != napi_ok ||
        napi_create_reference(env, buffer, 1, &window->buffer) != napi_ok) {
        free(window);
        return ret_int(env, -ENOMEM);
    }
    /* memory_translate left the index of the region in `last`. */
    window->next = memory->regions[memory->last]->windows;
    memory->regions[memory->last]->windows = window;
    return buffer;
}

/* memoryCloseWindow(memory, gpa, buffer): detaches one window early; 0, or -ENOENT if the region does not have it */
static napi_value memory_close_window(napi_env env, napi_callback_info info)
{
    napi_value argv[3];
    struct guest_memory *memory;
    uint64_t gpa, span_bytes;

    if (!args_get(env, info, argv, 3) || !(memory = arg_memory(env, argv[0])) || !arg_u53(env, argv[1], &gpa))
        return NULL;
    if (!memory_translate(memory, gpa, &span_bytes))
        return ret_int(env, -ENOENT);
    for (struct window **link = &memory->regions[memory->last]->windows; *link; link = &(*link)->next) {
        struct window *window = *link;
        napi_value buffer;
        bool same = false;

        if (napi_get_reference_value(env, window->buffer, &buffer) == napi_ok && buffer)
            napi_strict_equals(env, buffer, argv[2], &same);
        if (!same)
            continue;
        *link = window->next;
        window_drop(env, window);
        return ret_int(env, 0);
    }
    return ret_int(env, -ENOENT);
}

/* memoryWatch(memory, slot, gpa): sets the 16-bit word that `memorySpin` watches in that slot; gpa -1 clears it */
static napi_value memory_watch(napi_env env, napi_callback_info info)
{
    napi_value argv[3];
    struct guest_memory *memory;
    uint64_t span_bytes;
    uint32_t slot;
    uint8_t *word;
    int64_t gpa;

    if (!args_get(env, info, argv, 3) || !(memory = arg_memory(env, argv[0])) || !arg_u32(env, argv[1], &slot) ||
        !arg_i64(env, argv[2], &gpa))
        return NULL;
    if (slot >= MEMORY_MAX_WATCHES)
        return ret_int(env, -EINVAL);
    if (gpa < 0) {
        memory->watches[slot] = NULL;
        return ret_int(env, 0);
    }
    word = memory_translate(memory, (uint64_t)gpa, &span_bytes);
    if (!word || span_bytes < sizeof(uint16_t) || (uintptr_t)word % sizeof(uint16_t) != 0)
        return ret_int(env, -EFAULT);
    memory->watches[slot] = (const uint16_t *)(const void *)word;
    if (slot >= memory->watch_count)
        memory->watch_count = slot + 1;
    return ret_int(env, 0);
}

/* memoryIsLost(memory): true if the front-end has truncated the file of a region that this thread has touched since */
static napi_value memory_is_lost(napi_env env, napi_callback_info info)
{
    napi_value argv[1], result;
    struct guest_memory *memory;
    bool lost = false;

    if (!args_get(env, info, argv, 1) || !(memory = arg_memory(env, argv[0])))
        return NULL;
    for (unsigned n = 0; n < memory->region_count; n++)
        lost = lost || memory->regions[n]->file.is_lost;
    return napi_get_boolean(env, lost, &result) == napi_ok ? result : NULL;
}

static void memories_finalize(napi_env env, void *data, void *hint)
{
    struct memories *all = data;

    for (unsigned id = 0; id < MAX_MEMORIES; id++)
        if (all->slot[id])
            memory_drop(env, all->slot[id]);
    free(all);
}

bool register_guest_memory(napi_env env, napi_value exports)
{
    const napi_property_descriptor methods[] = {
        METHOD("memoryCreate", memory_create),
        METHOD("memoryDestroy", memory_destroy),
        METHOD("memoryAdd", memory_add),
        METHOD("memoryRemove", memory_remove),
        METHOD("memoryWindow", memory_window),
        METHOD("memoryCloseWindow", memory_close_window),
        METHOD("memoryIsLost", memory_is_lost),
        METHOD("memoryWatch", memory_watch),
    };
    struct memories *all = calloc(1, sizeof(*all));

    if (!all || napi_set_instance_data(env, all, memories_finalize, NULL) != napi_ok) {
        free(all);
        return false;
    }
    return napi_define_properties(env, exports, COUNT_OF(methods), methods) == napi_ok;
}
