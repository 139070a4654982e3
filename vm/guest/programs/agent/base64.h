/* Base64 (RFC 4648, with padding) for what crosses the serial line. */
#ifndef BASE64_H
#define BASE64_H

#include <stddef.h>
#include <stdint.h>

#define BASE64_BYTES(n) (((n) + 2) / 3 * 4)

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* `to` holds BASE64_BYTES(len) bytes; no NUL is added. Returns how many were written. */
static inline size_t base64_encode(char *to, const uint8_t *from, size_t len)
{
    char *start = to;
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t word = (uint32_t)from[i] << 16;
        if (left > 1)
            word |= (uint32_t)from[i + 1] << 8;
        if (left > 2)
            word |= from[i + 2];
        *to++ = base64_digits[word >> 18];
        *to++ = base64_digits[word >> 12 & 63];
        *to++ = left > 1 ? base64_digits[word >> 6 & 63] : '=';
        *to++ = left > 2 ? base64_digits[word & 63] : '=';
    }
    return (size_t)(to - start);
}

static inline int base64_value(char digit)
{
    if (digit >= 'A' && digit <= 'Z')
        return digit - 'A';
    if (digit >= 'a' && digit <= 'z')
        return digit - 'a' + 26;
    if (digit >= '0' && digit <= '9')
        return digit - '0' + 52;
    return digit == '+' ? 62 : digit == '/' ? 63 : -1;
}

/* Decodes in place up to the first byte that is no digit. Returns how many bytes there are. */
static inline size_t base64_decode(char *text)
{
    uint8_t *to = (uint8_t *)text;
    size_t len = 0;
    uint32_t word = 0;
    int bits = 0;
    for (const char *from = text; base64_value(*from) >= 0; from++) {
        word = word << 6 | (uint32_t)base64_value(*from);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            to[len++] = (uint8_t)(word >> bits);
        }
    }
    return len;
}

#endif
