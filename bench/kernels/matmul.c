// Multiplies two matrices of doubles, 192 by 192, the plain way: a row by a column at a time.
#include "kernel.h"

#define N 192

static double a[N][N], b[N][N], c[N][N];

uint64_t run(uint32_t rounds) {
    uint64_t seed = 3, sum = 0;
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            a[i][j] = next(&seed) % 1000 / 8.0;
            b[i][j] = next(&seed) % 1000 / 16.0;
        }
    }
    while (rounds--) {
        for (int i = 0; i < N; i++) {
            for (int j = 0; j < N; j++) {
                double total = 0;
                for (int k = 0; k < N; k++) total += a[i][k] * b[k][j];
                c[i][j] = total;
            }
        }
        for (int i = 0; i < N; i++) {
            uint64_t bits;
            memcpy(&bits, &c[i][(i * 7) % N], sizeof bits);
            sum = mix(sum, bits);
        }
        a[rounds % N][0] += 1;
    }
    return sum;
}
