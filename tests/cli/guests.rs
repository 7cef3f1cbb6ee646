//! The guests, as text.

/// Prints `hello` to standard output; a command.
pub const HELLO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\06\00\00\00")
  (data (i32.const 16) "hello\n")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// Exits with the number of its arguments, `argv[0]` included; a command.
pub const COUNT_ARGS: &str = r#"(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (call $exit (i32.load (i32.const 0)))))"#;

/// Writes its arguments to standard output, each ended by a zero byte; a command.
pub const ECHO_ARGS: &str = r#"(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $get (i32.const 64) (i32.const 1024)))
    (i32.store (i32.const 8) (i32.const 1024))
    (i32.store (i32.const 12) (i32.load (i32.const 4)))
    (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))))"#;

/// Functions that trap, loop, recurse and grow; `init` functions; numbers.
pub const LIBRARY: &str = r#"(module $library
  (memory (export "memory") 1)
  (table 4 funcref)
  (elem (i32.const 1) $answer)
  (global $counter (mut i32) (i32.const 0))
  (type $get (func (result i32)))
  (func $answer (result i32) (i32.const 42))
  (func $boom unreachable)
  (func $recurse (result i32) (i32.add (i32.const 1) (call $recurse)))
  (func (export "_initialize") (global.set $counter (i32.const 100)))
  (func (export "bump") (global.set $counter (i32.add (global.get $counter) (i32.const 1))))
  (func (export "fill")
    (memory.fill (i32.const 1000) (i32.const 7) (i32.const 100))
    (table.set (i32.const 2) (ref.func $answer))
    (drop (memory.grow (i32.const 2))))
  (func (export "counter") (result i32) (global.get $counter))
  (func (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "pages") (result i32) (memory.size))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "slot") (param i32) (result i32) (call_indirect (type $get) (local.get 0)))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "mixed") (param i64 f32 f64) (result f64 f32 i64)
    (local.get 2) (local.get 1) (local.get 0))
  (func (export "crash") (call $boom))
  (func (export "recurse") (result i32) (call $recurse))
  (func (export "spin") (loop (br 0))))"#;

/// Owns a memory and counts in it; a module to preload.
pub const SHARED: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "next") (result i32)
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
    (i32.load (i32.const 0))))"#;

/// Imports the memory and the function of [`SHARED`].
pub const SHARER: &str = r#"(module
  (import "shared" "memory" (memory 1))
  (import "shared" "next" (func $next (result i32)))
  (func (export "init") (drop (call $next)) (drop (call $next)))
  (func (export "look") (result i32) (i32.load (i32.const 0)))
  (func (export "next_and_look") (result i32 i32) (call $next) (i32.load (i32.const 0))))"#;

/// A reactor whose `_initialize` calls one WASI function, and whose `got` returns what came of it.
pub fn observer(import: &str, call: &str) -> String {
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" {import})
  (memory (export "memory") 1)
  (data (i32.const 512) "\20\02\00\00\02\00\00\00")
  (data (i32.const 544) "x\0a")
  (func (export "_initialize") (drop {call}))
  (func (export "got") (result i32) (i32.load (i32.const 0))))"#
    )
}

/// Observes how many arguments there are.
pub fn observes_args() -> String {
    observer(
        r#""args_sizes_get" (func $f (param i32 i32) (result i32))"#,
        "(call $f (i32.const 0) (i32.const 4))",
    )
}

/// Observes how many environment variables there are.
pub fn observes_env() -> String {
    observer(
        r#""environ_sizes_get" (func $f (param i32 i32) (result i32))"#,
        "(call $f (i32.const 0) (i32.const 4))",
    )
}

/// Reads the clock.
pub fn observes_clock() -> String {
    observer(
        r#""clock_time_get" (func $f (param i32 i64 i32) (result i32))"#,
        "(call $f (i32.const 0) (i64.const 1) (i32.const 0))",
    )
}

/// Draws random bytes.
pub fn observes_random() -> String {
    observer(
        r#""random_get" (func $f (param i32 i32) (result i32))"#,
        "(call $f (i32.const 0) (i32.const 4))",
    )
}

/// Writes to standard output.
pub fn writes_output() -> String {
    observer(
        r#""fd_write" (func $f (param i32 i32 i32 i32) (result i32))"#,
        "(call $f (i32.const 1) (i32.const 512) (i32.const 1) (i32.const 0))",
    )
}

/// Reads the first four bytes of the file `x` in the first directory, and closes it again.
pub const READS_FILE: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 512) "x")
  (func (export "_initialize")
    (drop (call $open (i32.const 3) (i32.const 1) (i32.const 512) (i32.const 1) (i32.const 0)
      (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
    (i32.store (i32.const 24) (i32.const 0))
    (i32.store (i32.const 28) (i32.const 4))
    (drop (call $read (i32.load (i32.const 16)) (i32.const 24) (i32.const 1) (i32.const 32)))
    (drop (call $close (i32.load (i32.const 16)))))
  (func (export "got") (result i32) (i32.load8_u (i32.const 0))))"#;

/// A module with `functions` functions, a table of them all, and `pages` pages of memory, each
/// with something in it after `_initialize`.
pub fn sized(functions: u32, pages: u32) -> String {
    use std::fmt::Write;
    let mut text = format!(
        "(module (memory (export \"memory\") {pages}) (table {functions} funcref)\n\
         (func (export \"_initialize\") (local i32) (loop (i64.store (local.get 0) (i64.const -1))\n\
         (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 4096)))\n\
         (i32.mul (memory.size) (i32.const 65536))))))\n\
         (func (export \"get\") (result i32) (i32.load (i32.const 4096)))\n"
    );
    let mut elements = String::from("(elem (i32.const 0) func");
    for i in 0..functions {
        writeln!(
            text,
            "(func $f{i} (param i32) (result i32) (i32.add (local.get 0) (i32.const {i})))"
        )
        .unwrap();
        write!(elements, " $f{i}").unwrap();
    }
    text + &elements + "))"
}

/// Writes its environment to standard output, each variable ended by a zero byte; a command.
pub fn echo_env() -> String {
    ECHO_ARGS.replace("args_sizes_get", "environ_sizes_get").replace("args_get", "environ_get")
}

/// `errno` opens the file `x` of the first directory for writing, and returns the error number.
pub const OPENS_TO_WRITE: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 512) "x")
  (func (export "errno") (result i32)
    (call $open (i32.const 3) (i32.const 1) (i32.const 512) (i32.const 1) (i32.const 0)
      (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16))))"#;

/// Opens the file `x` of the first directory and reads one byte of it when it is initialised;
/// `next` reads one more and returns it, or the error number as a negative number.
pub const KEEPS_FILE_OPEN: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 512) "x")
  (func $next (export "next") (result i32) (local $errno i32)
    (i32.store (i32.const 24) (i32.const 0))
    (i32.store (i32.const 28) (i32.const 1))
    (local.set $errno (call $read (i32.load (i32.const 16)) (i32.const 24) (i32.const 1)
      (i32.const 32)))
    (if (result i32) (local.get $errno)
      (then (i32.sub (i32.const 0) (local.get $errno)))
      (else (i32.load8_u (i32.const 0)))))
  (func (export "_initialize")
    (drop (call $open (i32.const 3) (i32.const 1) (i32.const 512) (i32.const 1) (i32.const 0)
      (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
    (drop (call $next))))"#;

/// Draws random bytes twice when it is initialised, and writes 7 over the second draw.
pub const DRAWS: &str = r#"(module $draws
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $seed (drop (call $random (i32.const 64) (i32.const 16))))
  (func (export "_initialize")
    (call $seed)
    (drop (call $random (i32.const 128) (i32.const 4)))
    (i32.store (i32.const 128) (i32.const 7)))
  (func (export "seed") (result i64) (i64.load (i32.const 64)))
  (func (export "overwritten") (result i32) (i32.load (i32.const 128)))
  (func (export "fresh") (result i64)
    (drop (call $random (i32.const 256) (i32.const 8)))
    (i64.load (i32.const 256))))"#;

/// Appends decimal digits to a number: 1 by `init`, 2 and 3 by the hooks, which then do as given.
pub fn hooks(before: &str, after: &str) -> String {
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (global $digits (mut i32) (i32.const 0))
  (func $append (export "append") (param i32)
    (global.set $digits
      (i32.add (i32.mul (global.get $digits) (i32.const 10)) (local.get 0))))
  (func (export "init") (call $append (i32.const 1)))
  (func (export "executor_before_snapshot") (call $append (i32.const 2)) {before})
  (func (export "executor_after_restore") (call $append (i32.const 3)) {after})
  (func (export "digits") (result i32) (global.get $digits)))"#
    )
}

/// Accepts one connection from its first socket, and sends back what it receives first; a command
/// that exits with the error number, if any.
pub const SERVES: &str = r#"(module
  (import "wasi_snapshot_preview1" "sock_accept"
    (func $accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv"
    (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send"
    (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\40\00\00\00\40\00\00\00")
  (func $check (param i32) (if (local.get 0) (then (call $exit (local.get 0)))))
  (func (export "_start")
    (call $check (call $accept (i32.const 3) (i32.const 0) (i32.const 16)))
    (call $check (call $recv (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 0)
      (i32.const 20) (i32.const 24)))
    (i32.store (i32.const 4) (i32.load (i32.const 20)))
    (call $check (call $send (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 0)
      (i32.const 20)))))"#;

/// Copies standard input to standard output, a few bytes at a time; a command.
pub const CAT: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $again
      (i32.store (i32.const 0) (i32.const 64))
      (i32.store (i32.const 4) (i32.const 5))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
      (if (i32.load (i32.const 4)) (then
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (br $again))))))"#;

/// `both` writes to standard output and standard error in turn, and returns 0.
pub const WRITES_BOTH: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\04\00\00\00\14\00\00\00\04\00\00\00out\0aerr\0a")
  (func $out (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32))))
  (func $err (drop (call $write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 32))))
  (func (export "both") (result i32) (call $out) (call $err) (call $out) (call $err) (i32.const 0)))"#;

/// Writes to standard output until that fails, and exits with the error number; a command.
pub const WRITES_UNTIL_IT_CANNOT: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\02\00\00\00\00\00\00\00\00\00\00\00y\0a")
  (func (export "_start") (local i32)
    (loop $again
      (br_if $again (i32.eqz (local.tee 0
        (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))))
    (call $exit (local.get 0))))"#;
