// Calls of the host: the clock, and a small write to a descriptor. No kernel; `bench/rivals` asks for
// these by their own names.
#include <fcntl.h>
#include <stdint.h>
#include <wasi/api.h>

__attribute__((export_name("open_null"))) int open_null(void) { return open("/dev/null", O_WRONLY); }

__attribute__((export_name("clock"))) uint64_t clock_calls(uint32_t calls) {
    uint64_t before = 0, now = 0, failures = 0;
    while (calls--) {
        failures += __wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &now) != 0 || now < before;
        before = now;
    }
    return failures;
}

__attribute__((export_name("write"))) uint64_t write_calls(uint32_t calls, uint32_t fd) {
    static const char line[] = "a line of words\n";
    __wasi_ciovec_t buffer = {(const uint8_t *)line, sizeof line - 1};
    uint64_t failures = 0;
    while (calls--) {
        __wasi_size_t written = 0;
        failures += __wasi_fd_write((__wasi_fd_t)fd, &buffer, 1, &written) != 0 || written != sizeof line - 1;
    }
    return failures;
}
