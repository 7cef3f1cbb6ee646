// How many ways there are to place eight queens on a board: small functions that call each other.
#include "kernel.h"

#define N 8

static int rows[N];

__attribute__((noinline)) static int safe(int row, int column) {
    for (int i = 0; i < row; i++) {
        int other = rows[i], apart = row - i;
        if (other == column || other == column - apart || other == column + apart) return 0;
    }
    return 1;
}

__attribute__((noinline)) static uint32_t place(int row) {
    if (row == N) return 1;
    uint32_t ways = 0;
    for (int column = 0; column < N; column++) {
        if (safe(row, column)) {
            rows[row] = column;
            ways += place(row + 1);
        }
    }
    return ways;
}

uint64_t run(uint32_t rounds) {
    uint64_t sum = 0;
    while (rounds--) sum = mix(sum, place(0));
    return sum;
}
