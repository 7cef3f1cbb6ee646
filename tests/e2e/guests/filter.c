/* Standard input to standard output, line by line: filter upper | number | reverse | cat.
   Says what kind of stream it reads, and how much, on standard error. `yes` writes until it
   cannot, and says why it stopped. */
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "cat";
    if (!strcmp(mode, "yes")) {
        while (write(1, "y\n", 2) == 2)
            ;
        fprintf(stderr, "stopped: %s\n", strerror(errno));
        return 3;
    }
    if (!strcmp(mode, "cat")) {
        static char buffer[1 << 16];
        for (ssize_t got; (got = read(0, buffer, sizeof buffer)) != 0;)
            if (got < 0 || write(1, buffer, got) != got)
                return 1;
        return 0;
    }
    struct pollfd ready = {.fd = 0, .events = POLLIN};
    if (poll(&ready, 1, -1) != 1)
        return 1;
    char *line = NULL;
    size_t room = 0;
    long lines = 0, bytes = 0;
    for (ssize_t length; (length = getline(&line, &room, stdin)) > 0;) {
        lines++;
        bytes += length;
        if (!strcmp(mode, "upper")) {
            for (ssize_t i = 0; i < length; i++)
                line[i] = (char)toupper((unsigned char)line[i]);
        } else if (!strcmp(mode, "reverse")) {
            ssize_t end = line[length - 1] == '\n' ? length - 1 : length;
            for (ssize_t i = 0, j = end - 1; i < j; i++, j--) {
                char c = line[i];
                line[i] = line[j];
                line[j] = c;
            }
        } else {
            printf("%6ld  ", lines);
        }
        fwrite(line, 1, (size_t)length, stdout);
    }
    fprintf(stderr, "%ld lines, %ld bytes\n", lines, bytes);
    return ferror(stdin) ? 1 : 0;
}
