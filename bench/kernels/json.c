// A JSON parser: writes a document of records, parses it to a tree, and walks the tree. Branches on
// bytes, recursion, many small allocations.
#include "kernel.h"

#define RECORDS 600

static char text[160 * RECORDS];
static char arena[2u << 20];
static size_t text_length, arena_used;

enum kind { NUL, FALSE, TRUE, NUMBER, STRING, ARRAY, OBJECT };

struct node {
    enum kind kind;
    double number;
    const char *string;
    size_t length;
    const char *name;
    size_t name_length;
    struct node *child, *sibling;
};

static void put(const char *s) {
    while (*s) text[text_length++] = *s++;
}

static void put_number(uint32_t n) {
    char digits[12];
    int count = 0;
    do digits[count++] = (char)('0' + n % 10);
    while (n /= 10);
    while (count) text[text_length++] = digits[--count];
}

static void write_document(void) {
    uint64_t seed = 7;
    text_length = 0;
    put("{\"records\": [");
    for (int i = 0; i < RECORDS; i++) {
        put(i ? ",\n  {\"id\": " : "\n  {\"id\": ");
        put_number((uint32_t)i);
        put(", \"name\": \"line\\n ");
        for (uint32_t n = 4 + next(&seed) % 20; n; n--) text[text_length++] = (char)('a' + next(&seed) % 26);
        put("\", \"tags\": [true, null, -");
        put_number(next(&seed) % 100000);
        put("], \"weight\": ");
        put_number(next(&seed) % 1000);
        put(".");
        put_number(next(&seed) % 1000);
        put("e-2, \"inner\": {\"empty\": {}, \"none\": []}}");
    }
    put("\n]}");
}

static void *allocate(size_t size) {
    void *at = arena + arena_used;
    arena_used += (size + 7) & ~(size_t)7;
    if (arena_used > sizeof arena) abort();
    return at;
}

static const char *at, *end;

static void space(void) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) at++;
}

static int accept(char c) {
    space();
    if (at == end || *at != c) return 0;
    at++;
    return 1;
}

static void expect(char c) {
    if (!accept(c)) abort();
}

static void word(const char *w) {
    while (*w) {
        if (at == end || *at++ != *w++) abort();
    }
}

static const char *string(size_t *length) {
    const char *begin = at;
    while (at < end && *at != '"') at += *at == '\\' ? 2 : 1;
    char *to = allocate((size_t)(at - begin)), *out = to;
    for (const char *from = begin; from < at; from++) {
        char c = *from;
        if (c == '\\') {
            switch (c = *++from) {
            case 'n': c = '\n'; break;
            case 't': c = '\t'; break;
            case 'r': c = '\r'; break;
            case 'b': c = '\b'; break;
            case 'f': c = '\f'; break;
            }
        }
        *out++ = c;
    }
    expect('"');
    *length = (size_t)(out - to);
    return to;
}

static double number(void) {
    double value = 0, scale = 1;
    int negative = accept('-'), exponent = 0;
    while (at < end && *at >= '0' && *at <= '9') value = value * 10 + (*at++ - '0');
    if (at < end && *at == '.') {
        at++;
        while (at < end && *at >= '0' && *at <= '9') {
            value = value * 10 + (*at++ - '0');
            scale *= 10;
        }
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        int minus = *++at == '-';
        if (*at == '-' || *at == '+') at++;
        while (at < end && *at >= '0' && *at <= '9') exponent = exponent * 10 + (*at++ - '0');
        while (exponent--) {
            if (minus) scale *= 10;
            else value *= 10;
        }
    }
    value /= scale;
    return negative ? -value : value;
}

static struct node *value(void) {
    struct node *node = allocate(sizeof *node);
    memset(node, 0, sizeof *node);
    struct node **last = &node->child;
    space();
    if (at == end) abort();
    switch (*at) {
    case '{':
        at++;
        node->kind = OBJECT;
        while (!accept('}')) {
            if (node->child) expect(',');
            expect('"');
            size_t length;
            const char *name = string(&length);
            expect(':');
            *last = value();
            (*last)->name = name;
            (*last)->name_length = length;
            last = &(*last)->sibling;
        }
        break;
    case '[':
        at++;
        node->kind = ARRAY;
        while (!accept(']')) {
            if (node->child) expect(',');
            *last = value();
            last = &(*last)->sibling;
        }
        break;
    case '"':
        at++;
        node->kind = STRING;
        node->string = string(&node->length);
        break;
    case 't': word("true"); node->kind = TRUE; break;
    case 'f': word("false"); node->kind = FALSE; break;
    case 'n': word("null"); node->kind = NUL; break;
    default: node->kind = NUMBER; node->number = number();
    }
    return node;
}

static uint64_t walk(const struct node *node, uint64_t sum) {
    for (; node; node = node->sibling) {
        uint64_t bits;
        memcpy(&bits, &node->number, sizeof bits);
        sum = mix(sum, bits + node->kind);
        for (size_t i = 0; i < node->length; i++) sum = sum * 31 + (uint8_t)node->string[i];
        for (size_t i = 0; i < node->name_length; i++) sum = sum * 31 + (uint8_t)node->name[i];
        sum = walk(node->child, sum);
    }
    return sum;
}

uint64_t run(uint32_t rounds) {
    uint64_t sum = 0;
    write_document();
    while (rounds--) {
        arena_used = 0;
        at = text;
        end = text + text_length;
        sum = walk(value(), sum);
    }
    return sum;
}
