/* The driver's side of a split virtqueue, as Linux uses it: indirect tables, event-idx, one kick and one call descriptor. */
#ifndef RING_H
#define RING_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

struct ring {
    unsigned index;
    unsigned size;
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    int kick_fd; /* ours to signal */
    int call_fd; /* the device's to signal; rings may share one */
    void **owner; /* by head */
    uint16_t free_head;
    unsigned free_count;
    uint16_t next_avail;
    uint16_t kicked_avail; /* next_avail when a kick was last considered */
    uint16_t next_used;
    uint64_t kicks;
    uint64_t next_unique; /* of requests; no other queue has the same numbers */
};

void ring_create(struct ring *ring, unsigned index, unsigned size, int call_fd);

/* Offers a table of `count` descriptors; a single one goes into the ring itself. ring_take returns `owner`. */
void ring_add(struct ring *ring, const struct vring_desc *table, unsigned count, void *owner);

/* Kicks the device for the added requests, if it asked for that. */
void ring_kick(struct ring *ring);

/* Returns the owner of the next completed request, with its used length; NULL if there is none. */
void *ring_take(struct ring *ring, uint32_t *used_bytes);

/* Asks for a signal with the next completed request. Returns false if one came meanwhile: take it, do not sleep. */
bool ring_arm(struct ring *ring);

#endif
