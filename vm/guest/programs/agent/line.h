/* The line to the host: bytes both ways, and text that is sent whole. */
#ifndef LINE_H
#define LINE_H

#include <stddef.h>
#include <stdint.h>

/* The most that send_base64 takes at once. */
#define PIECE_BYTES 12288

/* Opens the line: a virtio-serial port, or a serial port if the kernel lacks that driver. Returns its descriptor. */
int open_line(void);

void send_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
void send_base64(const uint8_t *bytes, size_t len);

/* Ends the agent, and with it the guest, after an impossible error. */
void die(const char *what) __attribute__((noreturn));

#endif
