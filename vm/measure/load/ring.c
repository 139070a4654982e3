#include "ring.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fail.h"
#include "ram.h"

void ring_create(struct ring *ring, unsigned index, unsigned size, int call_fd)
{
    *ring = (struct ring){
        .index = index,
        .size = size,
        .free_count = size,
        .call_fd = call_fd,
        .next_unique = (uint64_t)index << 40,
    };
    ring->desc = ram_take(size * sizeof(*ring->desc));
    ring->avail = ram_take(sizeof(*ring->avail) + (size + 1) * sizeof(uint16_t));
    ring->used = ram_take(sizeof(*ring->used) + size * sizeof(*ring->used->ring) + sizeof(uint16_t));
    ring->kick_fd = eventfd(0, EFD_CLOEXEC);
    ring->owner = calloc(size, sizeof(*ring->owner));
    if (ring->kick_fd < 0 || !ring->owner)
        fail_errno("ring");
    for (unsigned n = 0; n < size; n++)
        ring->desc[n].next = (uint16_t)(n + 1);
}

/* virtio 1.3, 2.7.6 and 2.7.8: used_event stands behind the available ring, avail_event behind the used ring. */
static volatile uint16_t *used_event(struct ring *ring)
{
    return &ring->avail->ring[ring->size];
}

static volatile uint16_t *avail_event(struct ring *ring)
{
    return (volatile uint16_t *)&ring->used->ring[ring->size];
}

void ring_add(struct ring *ring, const struct vring_desc *table, unsigned count, void *owner)
{
    const uint16_t head = ring->free_head;
    struct vring_desc *desc = &ring->desc[head];

    if (ring->free_count == 0)
        fail("queue %u is full", ring->index);
    ring->free_count--;
    ring->free_head = desc->next;
    ring->owner[head] = owner;
    if (count == 1) {
        desc->addr = table->addr;
        desc->len = table->len;
        desc->flags = table->flags;
    } else {
        desc->addr = ram_gpa(table);
        desc->len = (uint32_t)(count * sizeof(*table));
        desc->flags = VRING_DESC_F_INDIRECT;
    }
    ring->avail->ring[ring->next_avail % ring->size] = head;
    __atomic_store_n(&ring->avail->idx, ++ring->next_avail, __ATOMIC_RELEASE);
}

void ring_kick(struct ring *ring)
{
    const uint64_t one = 1;
    uint16_t event;

    /* The device must see the new index before we read its wish for a kick. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    event = *avail_event(ring);
    if (vring_need_event(event, ring->next_avail, ring->kicked_avail)) {
        if (write(ring->kick_fd, &one, sizeof(one)) < 0)
            fail_errno("kick");
        ring->kicks++;
    }
    ring->kicked_avail = ring->next_avail;
}

void *ring_take(struct ring *ring, uint32_t *used_bytes)
{
    struct vring_used_elem *element;
    uint16_t head;

    if (__atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE) == ring->next_used)
        return NULL;
    element = &ring->used->ring[ring->next_used++ % ring->size];
    head = (uint16_t)element->id;
    if (element->id >= ring->size || !ring->owner[head])
        fail("queue %u: the device gave back %u, which it did not have", ring->index, element->id);
    *used_bytes = element->len;
    ring->desc[head].next = ring->free_head;
    ring->free_head = head;
    ring->free_count++;
    void *owner = ring->owner[head];
    ring->owner[head] = NULL;
    return owner;
}

bool ring_arm(struct ring *ring)
{
    *used_event(ring) = ring->next_used;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE) == ring->next_used;
}
