// The Mandelbrot set, 192 by 128 points of up to 256 steps: a short loop of double arithmetic.
#include "kernel.h"

uint64_t run(uint32_t rounds) {
    uint64_t sum = 0;
    while (rounds--) {
        for (int row = 0; row < 128; row++) {
            for (int column = 0; column < 192; column++) {
                double x = column / 64.0 - 2.0, y = row / 64.0 - 1.0, re = 0, im = 0;
                int step = 0;
                while (step < 256) {
                    double re2 = re * re, im2 = im * im;
                    if (re2 + im2 > 4.0) break;
                    im = 2 * re * im + y;
                    re = re2 - im2 + x;
                    step++;
                }
                sum = mix(sum, (uint64_t)step);
            }
        }
    }
    return sum;
}
