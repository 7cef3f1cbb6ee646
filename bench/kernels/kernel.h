// What every kernel exports, and the numbers it feeds itself.
//
// `run` does its work `rounds` times and returns a checksum of all that it computed, so that two
// engines can be compared and nothing can be left out as unused. Each call is the same as the first.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

__attribute__((export_name("run"))) uint64_t run(uint32_t rounds);

// The same sequence everywhere.
static inline uint32_t next(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

// A sum that depends on the order of its terms.
static inline uint64_t mix(uint64_t sum, uint64_t term) {
    sum = (sum ^ term) * 0x9e3779b97f4a7c15u;
    return sum ^ sum >> 29;
}
