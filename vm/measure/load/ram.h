/* The guest's memory: one region that the device also maps, handed out in pages as scattered as in a long-running
 * guest. */
#ifndef RAM_H
#define RAM_H

#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096U

/* Makes the memory, all of it present. Ends the program if the host has too little. */
void ram_create(uint64_t size_bytes);

/* The descriptor, the size and the guest's address 0 of it. */
int ram_fd(void);
uint64_t ram_size_bytes(void);
uint8_t *ram_base(void);

/* Returns contiguous zeroed bytes from the low end, beginning at a page. */
void *ram_take(size_t len_bytes);

/* One page from anywhere in the upper part. */
void *ram_take_page(void);

/* The guest-physical address of a place in it. */
uint64_t ram_gpa(const void *at);

#endif
