/* Copies a tree, with its links and times: copy FROM TO. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void fail(const char *what, const char *path) {
    fprintf(stderr, "copy: %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

static void copy_file(const char *from, const char *to) {
    static char buffer[5000];
    int in = open(from, O_RDONLY);
    if (in < 0)
        fail("open", from);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (out < 0)
        fail("create", to);
    for (ssize_t got; (got = read(in, buffer, sizeof buffer)) != 0;) {
        if (got < 0)
            fail("read", from);
        for (ssize_t done = 0, put; done < got; done += put)
            if ((put = write(out, buffer + done, got - done)) <= 0)
                fail("write", to);
    }
    struct stat stat;
    if (fstat(in, &stat))
        fail("stat", from);
    struct timespec times[2] = {stat.st_atim, stat.st_mtim};
    if (futimens(out, times))
        fail("times", to);
    if (close(in) || close(out))
        fail("close", to);
}

static void copy(const char *from, const char *to) {
    struct stat stat;
    if (lstat(from, &stat))
        fail("stat", from);
    if (S_ISLNK(stat.st_mode)) {
        char target[1024];
        ssize_t length = readlink(from, target, sizeof target - 1);
        if (length < 0)
            fail("readlink", from);
        target[length] = 0;
        if (symlink(target, to))
            fail("symlink", to);
    } else if (S_ISDIR(stat.st_mode)) {
        if (mkdir(to, 0777))
            fail("mkdir", to);
        DIR *dir = opendir(from);
        if (!dir)
            fail("opendir", from);
        for (struct dirent *entry; (entry = readdir(dir));) {
            if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
                continue;
            char *a, *b;
            asprintf(&a, "%s/%s", from, entry->d_name);
            asprintf(&b, "%s/%s", to, entry->d_name);
            copy(a, b);
            free(a);
            free(b);
        }
        closedir(dir);
    } else {
        copy_file(from, to);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fputs("copy: FROM TO\n", stderr);
        return 2;
    }
    copy(argv[1], argv[2]);
    return 0;
}
