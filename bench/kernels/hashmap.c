// Counts words in a hash map with strings as keys, allocated one by one and freed: loads that depend
// on each other, short copies and comparisons, the allocator of the C library.
#include "kernel.h"

#define WORDS 12000
#define SLOTS 4096

struct entry {
    struct entry *next;
    uint32_t hash, count, length;
    char word[];
};

static struct entry *slots[SLOTS];

static uint32_t hash(const char *word, uint32_t length) {
    uint32_t h = 2166136261u;
    for (uint32_t i = 0; i < length; i++) h = (h ^ (uint8_t)word[i]) * 16777619u;
    return h;
}

static void count(const char *word, uint32_t length) {
    uint32_t h = hash(word, length);
    struct entry **slot = &slots[h % SLOTS];
    for (struct entry *e = *slot; e; e = e->next) {
        if (e->hash == h && e->length == length && memcmp(e->word, word, length) == 0) {
            e->count++;
            return;
        }
    }
    struct entry *e = malloc(sizeof *e + length);
    if (!e) abort();
    *e = (struct entry){.next = *slot, .hash = h, .count = 1, .length = length};
    memcpy(e->word, word, length);
    *slot = e;
}

uint64_t run(uint32_t rounds) {
    uint64_t seed = 5, sum = 0;
    while (rounds--) {
        for (int i = 0; i < WORDS; i++) {
            char word[24];
            uint32_t n = next(&seed) % 5000, length = 0;
            n = n * n / 5000; // some are frequent
            for (; n; n /= 7) word[length++] = (char)('a' + n % 7), word[length++] = 'e';
            word[length++] = 's';
            count(word, length);
        }
        for (int i = 0; i < SLOTS; i++) {
            while (slots[i]) {
                struct entry *e = slots[i];
                sum = mix(sum, e->hash + e->count);
                slots[i] = e->next;
                free(e);
            }
        }
    }
    return sum;
}
