/* Asks for everything that can be asked of a path or a descriptor, within the directory that is
   its first argument, and says how each question was answered. Left out is what engines may answer
   differently: how much a vectored call does at once, fd_allocate, which of two errors wins, and what a
   slash behind a link means (executor/wasi/tests compares that with the host). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void tell(const char *what, long long result) {
    if (result < 0)
        printf("%s: %s\n", what, strerror(errno));
    else
        printf("%s: %lld\n", what, result);
}

#define ASK(call) (errno = 0, tell(#call, (long long)(call)))
/* For descriptors, whose numbers are nobody's business. */
#define TRY(call) (errno = 0, tell(#call, (call) < 0 ? -1 : 0))

static int make(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0)
        return -1;
    ssize_t written = write(fd, text, strlen(text));
    close(fd);
    return written < 0 ? -1 : 0;
}

static int opens(const char *path, int flags) {
    int fd = open(path, flags, 0666);
    if (fd >= 0)
        close(fd);
    return fd < 0 ? -1 : 0;
}

static long long size(const char *path) {
    struct stat s;
    return stat(path, &s) ? -1 : (long long)s.st_size;
}

static int kind(const char *path, int follow) {
    struct stat s;
    if (fstatat(AT_FDCWD, path, &s, follow ? 0 : AT_SYMLINK_NOFOLLOW))
        return -1;
    return S_ISDIR(s.st_mode) ? 1 : S_ISLNK(s.st_mode) ? 2 : S_ISREG(s.st_mode) ? 3 : 4;
}

static void creating(void) {
    puts("# creating and opening");
    ASK(make("f", "hello"));
    ASK(opens("f", O_RDONLY));
    ASK(opens("f", O_WRONLY | O_CREAT | O_EXCL));
    ASK(opens("g", O_WRONLY));
    ASK(opens("g", O_WRONLY | O_CREAT | O_EXCL));
    ASK(opens("f", O_RDONLY | O_DIRECTORY));
    ASK(opens("f/", O_RDONLY));
    ASK(opens("f/x", O_RDONLY));
    ASK(opens("f/..", O_RDONLY));
    ASK(opens("none/x", O_WRONLY | O_CREAT));
    ASK(opens("new/", O_WRONLY | O_CREAT));
    ASK(opens("", O_RDONLY));
    ASK(opens(".", O_RDONLY));
    ASK(opens(".", O_WRONLY));
    ASK(opens("./././f", O_RDONLY));
    ASK(opens("..", O_RDONLY));
    ASK(opens("../../../../etc/passwd", O_RDONLY));
    ASK(opens("/etc/passwd", O_RDONLY));
    ASK(mkdir("d", 0777));
    ASK(mkdir("d", 0777));
    ASK(mkdir("d/", 0777));
    ASK(mkdir("e/", 0777));
    ASK(mkdir("f", 0777));
    ASK(mkdir("none/d", 0777));
    ASK(mkdir("d/..", 0777));
    ASK(opens("d", O_RDONLY));
    ASK(opens("d", O_WRONLY));
    ASK(opens("d", O_RDONLY | O_CREAT));
    ASK(opens("d", O_RDONLY | O_DIRECTORY));
    ASK(opens("d/../f", O_RDONLY));
    ASK(opens("d/../../f", O_RDONLY));
    ASK(size("f"));
    ASK(opens("f", O_WRONLY | O_TRUNC));
    ASK(size("f"));
    ASK(opens("f", O_RDONLY | O_CREAT));
}

static void links(void) {
    puts("# links");
    ASK(make("target", "pointed at"));
    ASK(symlink("target", "to_file"));
    ASK(symlink("target", "to_file"));
    ASK(symlink("d", "to_dir"));
    ASK(symlink("nowhere", "dangling"));
    ASK(symlink("loop_b", "loop_a"));
    ASK(symlink("loop_a", "loop_b"));
    ASK(symlink("../..", "out"));
    ASK(symlink("", "empty"));
    ASK(symlink("x", "slash/"));
    ASK(kind("to_file", 0));
    ASK(kind("to_file", 1));
    ASK(kind("to_dir", 1));
    ASK(kind("dangling", 0));
    ASK(kind("dangling", 1));
    ASK(kind("loop_a", 0));
    ASK(kind("loop_a", 1));
    ASK(kind("out", 1));
    ASK(kind("out/x", 1));
    ASK(opens("to_file", O_RDONLY));
    ASK(opens("to_file", O_RDONLY | O_NOFOLLOW));
    ASK(opens("to_file/", O_RDONLY));
    ASK(opens("to_dir", O_RDONLY | O_DIRECTORY));
    ASK(opens("dangling", O_RDONLY));
    ASK(opens("dangling", O_WRONLY | O_CREAT | O_EXCL));
    ASK(opens("loop_a", O_RDONLY));
    ASK(opens("out", O_RDONLY));
    char text[64];
    ASK(readlink("to_file", text, sizeof text));
    ASK(readlink("to_file", text, 3));
    ASK(readlink("f", text, sizeof text));
    ASK(readlink("none", text, sizeof text));
    ASK(readlink("d", text, sizeof text));
    ASK(link("target", "hard"));
    ASK(link("target", "hard"));
    ASK(link("none", "hard2"));
    ASK(link("d", "hard_dir"));
    ASK(link("target", "d/hard"));
    ASK(link("target", "slash/"));
    struct stat s;
    ASK((stat("hard", &s), s.st_nlink));
    ASK(opens("dangling", O_WRONLY | O_CREAT));
    ASK(kind("nowhere", 0));
}

static void renaming(void) {
    puts("# renaming and removing");
    ASK(make("a", "a"));
    ASK(make("b", "bb"));
    ASK(rename("a", "b"));
    ASK(size("b"));
    ASK(rename("a", "b"));
    ASK(rename("b", "b"));
    ASK(mkdir("full", 0777));
    ASK(make("full/x", "x"));
    ASK(mkdir("bare", 0777));
    ASK(rename("b", "bare"));
    ASK(rename("bare", "b"));
    ASK(rename("bare", "full"));
    ASK(rename("full", "bare"));
    ASK(kind("full", 0));
    ASK(size("bare/x"));
    ASK(rename("bare", "bare/inside"));
    ASK(rename("bare/", "again"));
    ASK(rename("again", "bare/"));
    ASK(rename("b", "c/"));
    ASK(rename("b/", "c"));
    ASK(rename("to_file", "moved_link"));
    ASK(kind("moved_link", 0));
    ASK(rename("b", "../escaped"));
    ASK(unlink("none"));
    ASK(unlink("bare"));
    ASK(unlink("b/"));
    ASK(unlink("moved_link"));
    ASK(kind("target", 0));
    ASK(rmdir("bare"));
    ASK(rmdir("b"));
    ASK(rmdir("none"));
    ASK(rmdir("to_dir"));
    ASK(rmdir("."));
    ASK(unlink("bare/x"));
    ASK(rmdir("bare"));
    ASK(unlink("to_dir"));
    ASK(unlink("b"));
}

static void positions(void) {
    puts("# positions");
    ASK(make("p", "0123456789"));
    int fd = open("p", O_RDWR);
    char buffer[16] = {0};
    ASK(read(fd, buffer, 4));
    ASK(lseek(fd, 0, SEEK_CUR));
    ASK(lseek(fd, -2, SEEK_END));
    ASK(read(fd, buffer, 16));
    ASK(read(fd, buffer, 16));
    ASK(lseek(fd, -1, SEEK_SET));
    ASK(lseek(fd, -100, SEEK_CUR));
    ASK(lseek(fd, 20, SEEK_SET));
    ASK(read(fd, buffer, 1));
    ASK(write(fd, "far", 3));
    ASK(size("p"));
    ASK(pread(fd, buffer, 4, 8));
    printf("%02x %02x %02x %02x\n", buffer[0], buffer[1], buffer[2], buffer[3]);
    ASK(pread(fd, buffer, 4, 100));
    ASK(pread(fd, buffer, 4, -1));
    ASK(pwrite(fd, "XY", 2, 1));
    ASK(pwrite(fd, "z", 1, 30));
    ASK(size("p"));
    ASK(lseek(fd, 0, SEEK_CUR));
    ASK(ftruncate(fd, 5));
    ASK(size("p"));
    ASK(ftruncate(fd, 8));
    ASK(pread(fd, buffer, 16, 0));
    printf("%.5s\n", buffer);
    ASK(ftruncate(fd, -1));
    ASK(fsync(fd));
    ASK(fdatasync(fd));
    ASK(close(fd));
    ASK(close(fd));
    ASK(read(fd, buffer, 1));

    fd = open("p", O_WRONLY | O_APPEND);
    ASK(lseek(fd, 0, SEEK_SET));
    ASK(write(fd, "end", 3));
    ASK(size("p"));
    ASK(lseek(fd, 0, SEEK_CUR));
    ASK(fcntl(fd, F_GETFL) & O_APPEND ? 1 : 0);
    ASK(fcntl(fd, F_SETFL, 0));
    ASK(lseek(fd, 0, SEEK_SET));
    ASK(write(fd, "start", 5));
    ASK(size("p"));
    ASK(read(fd, buffer, 1));
    ASK(close(fd));

    fd = open("p", O_RDONLY);
    ASK(write(fd, "x", 1));
    ASK(close(fd));
    ASK(truncate("p", 2));
    ASK(size("p"));
    fd = open("d", O_RDONLY | O_DIRECTORY);
    ASK(write(fd, "x", 1));
    ASK(lseek(fd, 0, SEEK_SET));
    TRY(openat(fd, "inner", O_WRONLY | O_CREAT, 0666));
    ASK(unlinkat(fd, "inner", 0));
    ASK(close(fd));
}

static void times(void) {
    puts("# times");
    struct timespec both[2] = {{1000000000, 123456789}, {1500000000, 987654321}};
    struct stat s;
    ASK(make("t", "t"));
    ASK(utimensat(AT_FDCWD, "t", both, 0));
    ASK(stat("t", &s));
    printf("%lld.%09ld %lld.%09ld\n", (long long)s.st_atim.tv_sec, s.st_atim.tv_nsec,
           (long long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
    both[0].tv_nsec = UTIME_OMIT;
    both[1].tv_nsec = UTIME_NOW;
    ASK(utimensat(AT_FDCWD, "t", both, 0));
    ASK(stat("t", &s));
    printf("%lld %d\n", (long long)s.st_atim.tv_sec, s.st_mtim.tv_sec > 1500000000);
    ASK(symlink("t", "to_t"));
    both[0] = both[1] = (struct timespec){5, 6};
    ASK(utimensat(AT_FDCWD, "to_t", both, AT_SYMLINK_NOFOLLOW));
    ASK((stat("t", &s), s.st_mtim.tv_sec == 5));
    ASK((lstat("to_t", &s), s.st_mtim.tv_sec));
    ASK(utimensat(AT_FDCWD, "none", both, 0));
    ASK(utimensat(AT_FDCWD, "d", both, 0));
    ASK((stat("d", &s), s.st_mtim.tv_nsec));
}

static void streams(void) {
    puts("# streams");
    char buffer[4];
    struct stat s;
    ASK(lseek(1, 0, SEEK_CUR) >= 0);
    ASK(read(99, buffer, 1));
    ASK(write(0, "x", 1));
    ASK(fstat(99, &s));
    ASK(isatty(99));
    ASK(access("t", R_OK));
    ASK(access("none", R_OK));
    DIR *dir = opendir("t");
    ASK(dir ? 0 : -1);
}

int main(int argc, char **argv) {
    if (argc != 2 || chdir(argv[1])) {
        fputs("paths: DIRECTORY\n", stderr);
        return 2;
    }
    creating();
    links();
    renaming();
    positions();
    times();
    streams();
    return 0;
}
