/* Lists what lies below each directory it is given, sorted by name: kind, size, links' targets.
   With -t, the times of last modification too. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int times, failed;

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void complain(const char *path) {
    printf("%s: %s\n", path, strerror(errno));
    failed = 1;
}

static void show(const char *path, const struct stat *stat) {
    if (S_ISDIR(stat->st_mode)) {
        printf("dir  %s", path);
    } else if (S_ISLNK(stat->st_mode)) {
        char target[256];
        ssize_t length = readlink(path, target, sizeof target);
        printf("link %s -> %.*s", path, (int)(length < 0 ? 0 : length), target);
    } else {
        printf("file %s %lld links %u", path, (long long)stat->st_size, (unsigned)stat->st_nlink);
    }
    if (times && S_ISREG(stat->st_mode))
        printf(" %lld.%09ld", (long long)stat->st_mtim.tv_sec, stat->st_mtim.tv_nsec);
    putchar('\n');
}

static void walk(const char *path) {
    DIR *dir = opendir(path);
    if (!dir) {
        complain(path);
        return;
    }
    char **names = NULL;
    size_t count = 0;
    for (struct dirent *entry; (errno = 0, entry = readdir(dir));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        names = realloc(names, ++count * sizeof *names);
        names[count - 1] = strdup(entry->d_name);
    }
    if (errno)
        complain(path);
    closedir(dir);
    qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++) {
        char *child;
        struct stat stat;
        asprintf(&child, "%s/%s", path, names[i]);
        if (lstat(child, &stat)) {
            complain(child);
        } else {
            show(child, &stat);
            if (S_ISDIR(stat.st_mode))
                walk(child);
        }
        free(child);
        free(names[i]);
    }
    free(names);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-t"))
            times = 1;
        else
            walk(argv[i]);
    }
    return failed;
}
