/* A reactor with state of every kind on the host's side: a configuration that is half read, a log that
   is appended to, randomness, time, environment. Its hooks draw the secret anew. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXPORT(name) __attribute__((export_name(#name))) name

static FILE *config, *journal;
static char line[64];
static unsigned long long secret, draws;
static struct timespec begun;
static int snapshots;

static void draw(void) {
    getentropy(&secret, sizeof secret);
    draws++;
}

void EXPORT(setup)(void) {
    config = fopen("/d/config", "r");
    journal = fopen("/d/journal", "a");
    if (!config || !journal || !fgets(line, sizeof line, config))
        abort();
    fputs("setup\n", journal);
    fflush(journal);
    clock_gettime(CLOCK_MONOTONIC, &begun);
    draw();
}

void EXPORT(executor_before_snapshot)(void) {
    snapshots++;
    /* What is buffered would be written by every restore. */
    fflush(journal);
}

void EXPORT(executor_after_restore)(void) { draw(); }

void EXPORT(serve)(void) {
    char next[64] = "";
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!fgets(next, sizeof next, config))
        strcpy(next, "no more\n");
    const char *name = getenv("NAME");
    int later = now.tv_sec > begun.tv_sec ||
                (now.tv_sec == begun.tv_sec && now.tv_nsec >= begun.tv_nsec);
    printf("%s%s%d %llu %d %s\n", line, next, snapshots, draws, later, name ? name : "nobody");
    printf("%016llx\n", secret);
    fflush(stdout);
    fprintf(journal, "served %s\n", name ? name : "nobody");
    fflush(journal);
}
