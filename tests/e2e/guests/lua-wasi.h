/* What Lua's library takes from C and wasi-libc does not have. */
#include <stdio.h>
#include <stdlib.h>
#define L_tmpnam 32
#define tmpnam(name) NULL
#define tmpfile() NULL
#define system(line) (-1)
