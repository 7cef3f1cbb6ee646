// Sorts 20,000 numbers: by a quicksort of its own, and by the C library with a comparison function.
#include "kernel.h"

#define COUNT 20000

static uint32_t numbers[COUNT], again[COUNT];

static void quicksort(uint32_t *low, uint32_t *high) {
    while (high - low > 16) {
        uint32_t pivot = low[(high - low) / 2], *i = low, *j = high - 1;
        for (;;) {
            while (*i < pivot) i++;
            while (*j > pivot) j--;
            if (i >= j) break;
            uint32_t swapped = *i;
            *i++ = *j;
            *j-- = swapped;
        }
        // The smaller part by recursion, the larger by the loop.
        uint32_t *middle = j + 1;
        if (middle - low < high - middle) {
            quicksort(low, middle);
            low = middle;
        } else {
            quicksort(middle, high);
            high = middle;
        }
    }
    for (uint32_t *i = low + 1; i < high; i++) {
        uint32_t moved = *i, *j = i;
        for (; j > low && j[-1] > moved; j--) *j = j[-1];
        *j = moved;
    }
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

uint64_t run(uint32_t rounds) {
    uint64_t seed = 11, sum = 0;
    while (rounds--) {
        for (int i = 0; i < COUNT; i++) numbers[i] = again[i] = next(&seed);
        quicksort(numbers, numbers + COUNT);
        qsort(again, COUNT, sizeof *again, compare);
        if (memcmp(numbers, again, sizeof numbers) != 0) abort();
        for (int i = 0; i < COUNT; i += 97) sum = mix(sum, numbers[i]);
    }
    return sum;
}
