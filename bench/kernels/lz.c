// Compresses 128 KiB of text-like bytes with a small LZ77 of its own and decompresses them again:
// loads and stores of bytes, and copies whose length is only known then.
#include "kernel.h"

#define LENGTH (128u << 10)
#define LONGEST 130

static uint8_t plain[LENGTH], packed[LENGTH + LENGTH / 64 + 16], back[LENGTH];
static uint32_t heads[1 << 13];

static uint32_t key(const uint8_t *p) {
    return ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16) * 2654435761u >> 19;
}

// A byte below 128 is followed by as many literals and one more; from 128 on it is the length of a
// match less 125, and the distance follows in two bytes.
static uint8_t *literals(uint8_t *to, const uint8_t *from, const uint8_t *end) {
    while (from < end) {
        uint32_t n = (uint32_t)(end - from) < 128 ? (uint32_t)(end - from) : 128;
        *to++ = (uint8_t)(n - 1);
        memcpy(to, from, n);
        to += n, from += n;
    }
    return to;
}

static uint32_t pack(void) {
    uint8_t *to = packed;
    uint32_t at = 0, pending = 0;
    memset(heads, 0, sizeof heads);
    while (at + 3 < LENGTH) {
        uint32_t *head = &heads[key(plain + at)], from = *head, n = 0;
        *head = at;
        if (from < at && at - from < 65536) {
            uint32_t most = LENGTH - at < LONGEST ? LENGTH - at : LONGEST;
            while (n < most && plain[from + n] == plain[at + n]) n++;
        }
        if (n < 4) {
            at++;
            continue;
        }
        to = literals(to, plain + pending, plain + at);
        *to++ = (uint8_t)(n + 125);
        *to++ = (uint8_t)(at - from);
        *to++ = (uint8_t)((at - from) >> 8);
        at += n;
        pending = at;
    }
    return (uint32_t)(literals(to, plain + pending, plain + LENGTH) - packed);
}

static uint32_t unpack(uint32_t length) {
    const uint8_t *from = packed, *end = packed + length;
    uint8_t *to = back;
    while (from < end) {
        uint32_t n = *from++;
        if (n < 128) {
            memcpy(to, from, n + 1);
            to += n + 1, from += n + 1;
            continue;
        }
        const uint8_t *match = to - (from[0] | from[1] << 8);
        from += 2;
        for (n -= 125; n; n--) *to++ = *match++;
    }
    return (uint32_t)(to - back);
}

uint64_t run(uint32_t rounds) {
    uint64_t seed = 9, sum = 0;
    for (uint32_t i = 0; i < LENGTH;) {
        // Either something new, or something from before once more.
        uint32_t n = 3 + next(&seed) % 24, again = next(&seed) % 4 && i > 4096, from = next(&seed) % 4096;
        for (; n && i < LENGTH; n--, i++) plain[i] = again ? plain[i - from - 1] : (uint8_t)('a' + next(&seed) % 20);
    }
    while (rounds--) {
        uint32_t length = pack();
        memset(back, 0, sizeof back);
        if (unpack(length) != LENGTH || memcmp(plain, back, LENGTH) != 0) abort();
        sum = mix(sum, length);
        plain[rounds % LENGTH] ^= 1;
    }
    return sum;
}
