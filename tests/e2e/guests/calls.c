/* Calls functions of WASI as they are, where wasi-libc would stand in between, and says what they
   answer: flags, rights, listings, renumbering, positions, times, polling. Left out is what engines
   may answer differently: above all, which error a descriptor of the wrong kind is, and some paths that
   end in a slash (executor/wasi/tests compares those with the host). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

#define DIRECTORY __WASI_OFLAGS_DIRECTORY
#define CREAT __WASI_OFLAGS_CREAT
#define TRUNC __WASI_OFLAGS_TRUNC
#define EXCL __WASI_OFLAGS_EXCL
#define ASK(call) printf("%s: %d\n", #call, (int)(call))

#define READ __WASI_RIGHTS_FD_READ
#define READDIR __WASI_RIGHTS_FD_READDIR
#define WRITE __WASI_RIGHTS_FD_WRITE
#define RW (READ | WRITE | __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL | ATTRIBUTES | SYNC)
#define ATTRIBUTES                                                                                 \
    (__WASI_RIGHTS_FD_FILESTAT_GET | __WASI_RIGHTS_FD_FILESTAT_SET_SIZE |                          \
     __WASI_RIGHTS_FD_FILESTAT_SET_TIMES | __WASI_RIGHTS_FD_FDSTAT_SET_FLAGS |                     \
     __WASI_RIGHTS_FD_ADVISE | __WASI_RIGHTS_POLL_FD_READWRITE)
#define SYNC (__WASI_RIGHTS_FD_SYNC | __WASI_RIGHTS_FD_DATASYNC)
/* All the rights that there are. */
#define ALL ((__wasi_rights_t)0x1fffffff)

#define ATIM __WASI_FSTFLAGS_ATIM
#define MTIM __WASI_FSTFLAGS_MTIM
#define ATIM_NOW __WASI_FSTFLAGS_ATIM_NOW
#define MTIM_NOW __WASI_FSTFLAGS_MTIM_NOW

static const __wasi_fd_t root = 3;
static __wasi_size_t n;
static __wasi_filesize_t at;
static uint8_t buffer[4096];

static int opened(const char *path, int oflags, __wasi_rights_t rights, int fdflags,
                  __wasi_fd_t *fd) {
    return __wasi_path_open(root, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, path, oflags, rights, ALL,
                            fdflags, fd);
}

static int wr(__wasi_fd_t fd, const char *text) {
    __wasi_ciovec_t piece = {(const uint8_t *)text, strlen(text)};
    return __wasi_fd_write(fd, &piece, 1, &n);
}

static int rd(__wasi_fd_t fd, __wasi_size_t length) {
    __wasi_iovec_t piece = {buffer, length};
    return __wasi_fd_read(fd, &piece, 1, &n);
}

static int prd(__wasi_fd_t fd, __wasi_size_t length, __wasi_filesize_t offset) {
    __wasi_iovec_t piece = {buffer, length};
    return __wasi_fd_pread(fd, &piece, 1, offset, &n);
}

static int pwr(__wasi_fd_t fd, const char *text, __wasi_filesize_t offset) {
    __wasi_ciovec_t piece = {(const uint8_t *)text, strlen(text)};
    return __wasi_fd_pwrite(fd, &piece, 1, offset, &n);
}

static void prestat(void) {
    puts("# prestat");
    __wasi_prestat_t p;
    for (int fd = 0; fd < 6; fd++) {
        int e = __wasi_fd_prestat_get(fd, &p);
        printf("%d: %d\n", fd, e);
    }
    ASK(__wasi_fd_prestat_get(root, &p));
    printf("%d %d\n", p.tag, (int)p.u.dir.pr_name_len);
    ASK(__wasi_fd_prestat_dir_name(root, buffer, p.u.dir.pr_name_len));
    ASK(__wasi_fd_prestat_dir_name(root, buffer, 1));
    ASK(__wasi_fd_prestat_dir_name(root, buffer, 0));
    ASK(__wasi_fd_prestat_dir_name(root, buffer, 100));
}

static void show_rights(const __wasi_fdstat_t *s) {
    printf("flags %d read %d write %d\n", s->fs_flags, !!(s->fs_rights_base & READ),
           !!(s->fs_rights_base & WRITE));
}

static void fdstat(void) {
    puts("# fdstat");
    __wasi_fdstat_t s;
    __wasi_fd_t fd, dir;
    ASK(__wasi_fd_fdstat_get(99, &s));
    ASK(__wasi_fd_fdstat_get(root, &s));
    printf("type %d flags %d\n", s.fs_filetype, s.fs_flags);
    ASK(opened("f", CREAT, RW, 0, &fd));
    ASK(__wasi_fd_fdstat_get(fd, &s));
    printf("type %d flags %d\n", s.fs_filetype, s.fs_flags);
    ASK(__wasi_fd_fdstat_set_flags(fd, __WASI_FDFLAGS_APPEND));
    ASK(__wasi_fd_fdstat_get(fd, &s));
    printf("flags %d\n", s.fs_flags);
    ASK(__wasi_fd_fdstat_set_flags(fd, __WASI_FDFLAGS_NONBLOCK));
    ASK(__wasi_fd_fdstat_get(fd, &s));
    printf("flags %d\n", s.fs_flags);
    ASK(__wasi_fd_fdstat_set_flags(root, 0));
    ASK(__wasi_fd_fdstat_set_flags(99, 0));
    ASK(__wasi_fd_close(fd));
    ASK(opened("f", 0, __WASI_RIGHTS_FD_READ, __WASI_FDFLAGS_APPEND, &fd));
    ASK(__wasi_fd_fdstat_get(fd, &s));
    show_rights(&s);
    ASK(wr(fd, "x"));
    ASK(__wasi_fd_close(fd));
    ASK(opened("f", 0, __WASI_RIGHTS_FD_WRITE, 0, &fd));
    ASK(__wasi_fd_fdstat_get(fd, &s));
    show_rights(&s);
    ASK(rd(fd, 1));
    ASK(__wasi_fd_close(fd));
    ASK(opened("f", 0, 0, 0, &fd));
    ASK(wr(fd, "x"));
    ASK(__wasi_fd_close(fd));
    ASK(opened("f", DIRECTORY, 0, 0, &fd));
    ASK(opened(".", DIRECTORY, READDIR, 0, &dir));
    ASK(opened(".", DIRECTORY | CREAT, READDIR, 0, &fd));
    ASK(opened("newdir", DIRECTORY | CREAT, READDIR, 0, &fd));
    ASK(opened("f", TRUNC, __WASI_RIGHTS_FD_READ, 0, &fd));
    ASK(opened("f", TRUNC | DIRECTORY, RW, 0, &fd));
    ASK(opened("f", CREAT | EXCL, RW, 0, &fd));
    ASK(opened("f", EXCL, RW, 0, &fd));
    ASK(__wasi_fd_close(fd));
    ASK(opened("", 0, RW, 0, &fd));
    ASK(opened("/f", 0, RW, 0, &fd));
    ASK(opened("..", 0, RW, 0, &fd));
    ASK(__wasi_fd_close(dir));
}

static void listing(void) {
    puts("# listing");
    __wasi_fd_t dir, fd;
    ASK(__wasi_path_create_directory(root, "ls"));
    ASK(opened("ls", DIRECTORY, READDIR, 0, &dir));
    for (int i = 0; i < 20; i++) {
        char name[16];
        sprintf(name, "ls/n%02d", i);
        if (opened(name, CREAT, RW, 0, &fd) || __wasi_fd_close(fd))
            puts("failed");
    }
    for (int size = 0; size < 60; size += 7) {
        ASK(__wasi_fd_readdir(dir, buffer, size, 0, &n));
        printf("%d of %d\n", (int)n, size);
    }
    /* All of it, a little at a time: how many entries there are, and whether each is seen once. */
    for (int size = 24 + 3; size < 200; size += 31) {
        uint64_t cookie = 0;
        int seen[20] = {0}, dots = 0, calls = 0;
        for (;;) {
            if (__wasi_fd_readdir(dir, buffer, size, cookie, &n) || calls++ > 1000) {
                puts("failed");
                break;
            }
            __wasi_size_t done = 0;
            int whole = 0;
            while (done + sizeof(__wasi_dirent_t) <= n) {
                __wasi_dirent_t d;
                memcpy(&d, buffer + done, sizeof d);
                if (done + sizeof d + d.d_namlen > n)
                    break;
                const char *name = (const char *)buffer + done + sizeof d;
                if (name[0] == '.')
                    dots++;
                else
                    seen[atoi(name + 1)]++;
                cookie = d.d_next;
                done += sizeof d + d.d_namlen;
                whole++;
            }
            if (n < (unsigned)size || !whole)
                break;
        }
        int once = 0;
        for (int i = 0; i < 20; i++)
            once += seen[i] == 1;
        printf("%d: %d once, %d dots\n", size, once, dots);
    }
    ASK(__wasi_fd_readdir(dir, buffer, 4096, 1000, &n));
    printf("%d\n", (int)n);
    ASK(opened("f", 0, RW, 0, &fd));
    ASK(__wasi_fd_readdir(99, buffer, 4096, 0, &n));
    ASK(__wasi_fd_close(fd));
    ASK(__wasi_fd_close(dir));
}

static void renumbering(void) {
    puts("# renumbering");
    __wasi_fd_t a, b;
    ASK(opened("a", CREAT, RW, 0, &a));
    ASK(opened("b", CREAT, RW, 0, &b));
    ASK(wr(a, "in a"));
    ASK(__wasi_fd_renumber(a, b));
    ASK(__wasi_fd_tell(a, &at));
    ASK(__wasi_fd_tell(b, &at));
    printf("%d\n", (int)at);
    ASK(__wasi_fd_renumber(b, b));
    ASK(__wasi_fd_tell(b, &at));
    ASK(__wasi_fd_renumber(99, b));
    ASK(__wasi_fd_close(b));
    ASK(__wasi_fd_close(b));
}

static void positions(void) {
    puts("# positions");
    __wasi_fd_t fd;
    ASK(opened("p", CREAT | TRUNC, RW, 0, &fd));
    ASK(wr(fd, "0123456789"));
    ASK(__wasi_fd_seek(fd, -3, __WASI_WHENCE_END, &at));
    printf("%d\n", (int)at);
    ASK(__wasi_fd_seek(fd, 1ll << 40, __WASI_WHENCE_SET, &at));
    ASK(rd(fd, 1));
    printf("%d\n", (int)n);
    ASK(__wasi_fd_seek(fd, -1, __WASI_WHENCE_SET, &at));
    ASK(__wasi_fd_seek(1, 0, __WASI_WHENCE_CUR, &at));
    ASK(__wasi_fd_seek(root, 0, __WASI_WHENCE_CUR, &at));
    ASK(prd(fd, 4, 8));
    printf("%d\n", (int)n);
    ASK(prd(fd, 4, 100));
    printf("%d\n", (int)n);
    ASK(pwr(fd, "z", 20));
    ASK(prd(fd, 4, 17));
    printf("%d\n", (int)n);
    ASK(pwr(1, "z", 0));
    ASK(prd(0, 1, 0));
    ASK(__wasi_fd_filestat_set_size(fd, 3));
    ASK(prd(fd, 10, 0));
    printf("%d\n", (int)n);
    ASK(__wasi_fd_filestat_set_size(root, 3));
    ASK(__wasi_fd_advise(fd, 0, 0, __WASI_ADVICE_SEQUENTIAL));
    ASK(__wasi_fd_advise(root, 0, 0, __WASI_ADVICE_NORMAL));
    ASK(__wasi_fd_sync(fd));
    ASK(__wasi_fd_datasync(fd));
    ASK(__wasi_fd_close(fd));
    ASK(__wasi_fd_sync(fd));
    ASK(wr(0, "x"));
    ASK(rd(1, 1));
    ASK(rd(root, 1));
    ASK(wr(root, "x"));
    ASK(rd(99, 1));
}

static void times(void) {
    puts("# times");
    __wasi_filestat_t s;
    __wasi_fd_t fd;
    ASK(opened("t", CREAT, RW, 0, &fd));
    ASK(__wasi_fd_filestat_set_times(fd, 1234567890123456789, 987654321098765432, ATIM | MTIM));
    ASK(__wasi_fd_filestat_get(fd, &s));
    printf("%llu %llu %d\n", s.atim, s.mtim, s.filetype);
    ASK(__wasi_fd_filestat_set_times(fd, 5, 6, MTIM));
    ASK(__wasi_fd_filestat_get(fd, &s));
    printf("%llu %llu\n", s.atim, s.mtim);
    ASK(__wasi_fd_filestat_set_times(fd, 5, 6, 0));
    ASK(__wasi_fd_filestat_set_times(fd, 5, 6, MTIM | MTIM_NOW));
    ASK(__wasi_fd_filestat_set_times(fd, 5, 6, ATIM | ATIM_NOW));
    ASK(__wasi_path_filestat_set_times(root, 0, "t", 7, 8, ATIM | MTIM));
    ASK(__wasi_path_filestat_get(root, 0, "t", &s));
    printf("%llu %llu\n", s.atim, s.mtim);
    ASK(__wasi_path_filestat_get(root, 0, "", &s));
    ASK(__wasi_path_filestat_get(root, 0, ".", &s));
    printf("%d\n", s.filetype);
    ASK(__wasi_path_filestat_get(99, 0, "t", &s));
    ASK(__wasi_fd_filestat_get(root, &s));
    printf("%d\n", s.filetype);
    ASK(__wasi_fd_close(fd));
}

static void links(void) {
    puts("# links");
    ASK(__wasi_path_symlink("t", root, "sym"));
    ASK(__wasi_path_symlink("/etc", root, "absolute"));
    ASK(__wasi_path_symlink("t", root, "none/"));
    ASK(__wasi_path_readlink(root, "sym", buffer, 10, &n));
    printf("%d\n", (int)n);
    ASK(__wasi_path_readlink(root, "sym", buffer, 0, &n));
    printf("%d\n", (int)n);
    ASK(__wasi_path_readlink(root, "t", buffer, 10, &n));
    ASK(__wasi_path_link(root, 0, "t", root, "hard"));
    ASK(__wasi_path_link(root, 0, "sym", root, "hard_of_link"));
    ASK(__wasi_path_link(root, 0, "t", root, "hard3/"));
    ASK(__wasi_path_link(root, 0, "ls", root, "hard_dir"));
    ASK(__wasi_path_link(root, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, "sym", root, "hard4"));
    ASK(__wasi_path_rename(root, "hard", root, "ls"));
    ASK(__wasi_path_rename(root, "ls", root, "hard"));
    ASK(__wasi_path_rename(root, "none", root, "x"));
    ASK(__wasi_path_rename(root, "hard", root, "../x"));
    ASK(__wasi_path_rename(root, "hard", 99, "x"));
    ASK(__wasi_path_rename(root, "hard", root, "renamed"));
    ASK(__wasi_path_unlink_file(root, "ls"));
    ASK(__wasi_path_unlink_file(root, "ls/"));
    ASK(__wasi_path_unlink_file(root, "t/"));
    ASK(__wasi_path_remove_directory(root, "t"));
    ASK(__wasi_path_remove_directory(root, "sym"));
    ASK(__wasi_path_remove_directory(root, "ls"));
    ASK(__wasi_path_create_directory(root, "t"));
    ASK(__wasi_path_create_directory(root, "t/"));
    ASK(__wasi_path_create_directory(root, "absolute/x"));
    ASK(__wasi_path_unlink_file(root, "sym"));
    ASK(__wasi_path_unlink_file(root, "absolute"));
}

static void show_event(const __wasi_event_t *event) {
    printf("%d: %llu %d %d\n", (int)n, event->userdata, event->error, event->type);
}

static void polling(void) {
    puts("# polling");
    __wasi_subscription_t subs[3] = {0};
    __wasi_event_t events[3];
    ASK(__wasi_poll_oneoff(subs, events, 0, &n));
    subs[0].userdata = 11;
    subs[0].u.tag = __WASI_EVENTTYPE_CLOCK;
    subs[0].u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
    subs[0].u.u.clock.timeout = 5000000;
    ASK(__wasi_poll_oneoff(subs, events, 1, &n));
    show_event(events);
    subs[1] = subs[0];
    subs[1].userdata = 22;
    subs[1].u.u.clock.timeout = 60000000000;
    ASK(__wasi_poll_oneoff(subs, events, 2, &n));
    show_event(events);
    /* A file is ready at once. */
    __wasi_fd_t fd;
    ASK(opened("p", 0, RW, 0, &fd));
    subs[0].userdata = 33;
    subs[0].u.tag = __WASI_EVENTTYPE_FD_WRITE;
    subs[0].u.u.fd_write.file_descriptor = fd;
    ASK(__wasi_poll_oneoff(subs, events, 2, &n));
    show_event(events);
    subs[0].u.tag = __WASI_EVENTTYPE_FD_READ;
    subs[0].u.u.fd_read.file_descriptor = fd;
    ASK(__wasi_poll_oneoff(subs, events, 2, &n));
    show_event(events);
    ASK(__wasi_fd_close(fd));
    subs[0].u.u.fd_read.file_descriptor = 0;
    ASK(__wasi_poll_oneoff(subs, events, 1, &n));
    show_event(events);
    subs[0].u.tag = __WASI_EVENTTYPE_CLOCK;
    subs[0].u.u.clock.id = __WASI_CLOCKID_REALTIME;
    subs[0].u.u.clock.timeout = 1;
    subs[0].u.u.clock.flags = __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME;
    ASK(__wasi_poll_oneoff(subs, events, 1, &n));
    show_event(events);
}

static void clocks(void) {
    puts("# clocks");
    __wasi_timestamp_t time;
    for (int id = 0; id < 2; id++) {
        ASK(__wasi_clock_time_get(id, 1, &time));
        ASK(__wasi_clock_res_get(id, &time));
    }
    ASK(__wasi_sched_yield());
    ASK(__wasi_random_get(buffer, 16));
    ASK(__wasi_random_get(buffer, 0));
    ASK(__wasi_sock_shutdown(root, __WASI_SDFLAGS_RD));
    ASK(__wasi_sock_shutdown(99, __WASI_SDFLAGS_RD));
    __wasi_fd_t fd;
    ASK(__wasi_sock_accept(root, 0, &fd));
    ASK(__wasi_sock_accept(99, 0, &fd));
}

int main(void) {
    prestat();
    fdstat();
    listing();
    renumbering();
    positions();
    times();
    links();
    polling();
    clocks();
    ASK(__wasi_fd_close(root));
    ASK(__wasi_fd_close(root));
    return 0;
}
