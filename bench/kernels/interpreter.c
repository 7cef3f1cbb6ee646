// An interpreter of a register machine: each operator is a function called through a table. Runs a
// sieve of Eratosthenes written for that machine. What is measured is `call_indirect`.
#include "kernel.h"

#define LIMIT 4000

struct machine;
struct instruction {
    void (*run)(struct machine *, const struct instruction *);
    int32_t a, b, c;
};

struct machine {
    const struct instruction *next;
    const struct instruction *program;
    int32_t registers[8];
    uint8_t memory[LIMIT];
    int running;
};

#define OPERATOR(name) static void name(struct machine *m, const struct instruction *i)
OPERATOR(set) { m->registers[i->a] = i->b; }
OPERATOR(move) { m->registers[i->a] = m->registers[i->b]; }
OPERATOR(add) { m->registers[i->a] = m->registers[i->b] + m->registers[i->c]; }
OPERATOR(increment) { m->registers[i->a] += i->b; }
OPERATOR(load) { m->registers[i->a] = m->memory[m->registers[i->b]]; }
OPERATOR(store) { m->memory[m->registers[i->a]] = (uint8_t)m->registers[i->b]; }
OPERATOR(jump_less) {
    if (m->registers[i->a] < m->registers[i->b]) m->next = m->program + i->c;
}
OPERATOR(jump_set) {
    if (m->registers[i->a]) m->next = m->program + i->c;
}
OPERATOR(halt) {
    (void)i;
    m->running = 0;
}

// 0: candidate, 1: multiple, 2: limit, 3: scratch, 4: one, 5: how many
static const struct instruction sieve[] = {
    {set, 0, 2, 0},       // 0
    {set, 2, LIMIT, 0},   // 1
    {set, 4, 1, 0},       // 2
    {load, 3, 0, 0},      // 3: the next candidate
    {jump_set, 3, 0, 10}, // 4
    {increment, 5, 1, 0}, // 5
    {move, 1, 0, 0},      // 6
    {store, 1, 4, 0},     // 7: the next multiple
    {add, 1, 1, 0},       // 8
    {jump_less, 1, 2, 7}, // 9
    {increment, 0, 1, 0}, // 10
    {jump_less, 0, 2, 3}, // 11
    {halt, 0, 0, 0},      // 12
};

static struct machine machine;

uint64_t run(uint32_t rounds) {
    uint64_t sum = 0;
    while (rounds--) {
        memset(&machine, 0, sizeof machine);
        machine.program = machine.next = sieve;
        machine.running = 1;
        while (machine.running) {
            const struct instruction *now = machine.next++;
            now->run(&machine, now);
        }
        for (int i = 0; i < 8; i++) sum = mix(sum, (uint64_t)machine.registers[i]);
    }
    return sum;
}
