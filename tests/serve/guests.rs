//! Guests, in WebAssembly text.

/// A command of some imports of WASI and a body, with `$print` (address, length) and memory from 4096 on for itself.
fn command(body: &str) -> String {
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 4)
  (global $zero (mut i32) (i32.const 0))
  (func $put (param $fd i32) (param $at i32) (param $len i32)
    (loop $more
      (i32.store (i32.const 16) (local.get $at))
      (i32.store (i32.const 20) (local.get $len))
      (if (call $write (local.get $fd) (i32.const 16) (i32.const 1) (i32.const 24))
        (then (call $exit (i32.const 74))))
      (local.set $at (i32.add (local.get $at) (i32.load (i32.const 24))))
      (local.set $len (i32.sub (local.get $len) (i32.load (i32.const 24))))
      (br_if $more (local.get $len))))
  (func $print (param $at i32) (param $len i32)
    (call $put (i32.const 1) (local.get $at) (local.get $len)))
  (func $get (param $at i32) (param $len i32) (result i32)
    (i32.store (i32.const 16) (local.get $at))
    (i32.store (i32.const 20) (local.get $len))
    (if (call $read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24))
      (then (call $exit (i32.const 73))))
    (i32.load (i32.const 24)))
  (func $sleep (param $ns i64)
    (memory.fill (i32.const 32) (i32.const 0) (i32.const 48))
    (i32.store (i32.const 48) (i32.const 1))
    (i64.store (i32.const 56) (local.get $ns))
    (drop (call $poll (i32.const 32) (i32.const 128) (i32.const 1) (i32.const 24))))
{body})"#
    )
}

/// Text in memory from `at` on, and its length.
fn data(at: u32, text: &str) -> String {
    let bytes: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    format!(r#"(data (i32.const {at}) "{bytes}")"#)
}

/// Prints a text.
pub fn prints(text: &str) -> String {
    command(&format!(
        r#"{} (func (export "_start") (call $print (i32.const 4096) (i32.const {})))"#,
        data(4096, text),
        text.len()
    ))
}

/// Prints a text as a page.
pub fn page(text: &str) -> String {
    prints(&format!("Content-Type: text/plain\n\n{text}"))
}

/// A page with its environment, a line for each variable.
pub fn environment() -> String {
    let head = "Content-Type: text/plain\n\n";
    command(&format!(
        r#"{} (func (export "_start") (local $i i32)
    (call $print (i32.const 4096) (i32.const {}))
    (drop (call $sizes (i32.const 64) (i32.const 68)))
    (drop (call $environ (i32.const 8192) (i32.const 65536)))
    (loop $next
      (if (i32.lt_u (local.get $i) (i32.load (i32.const 68)))
        (then
          (if (i32.eqz (i32.load8_u (i32.add (i32.const 65536) (local.get $i))))
            (then (i32.store8 (i32.add (i32.const 65536) (local.get $i)) (i32.const 10))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (call $print (i32.const 65536) (i32.load (i32.const 68))))"#,
        data(4096, head),
        head.len()
    ))
}

/// Copies standard input to standard output, after `head`.
pub fn cat(head: &str) -> String {
    let print = match head.len() {
        0 => String::new(),
        len => format!("(call $print (i32.const 4096) (i32.const {len}))"),
    };
    command(&format!(
        r#"{} (func (export "_start") (local $len i32)
    {print}
    (loop $more
      (local.set $len (call $get (i32.const 8192) (i32.const 65536)))
      (if (local.get $len)
        (then (call $print (i32.const 8192) (local.get $len)) (br $more)))))"#,
        data(4096, head)
    ))
}

/// Reads all of standard input and prints its length in decimal, after a head.
pub fn counts() -> String {
    let head = "Content-Type: text/plain\n\n";
    command(&format!(
        r#"{} (func (export "_start") (local $len i32) (local $sum i32) (local $at i32)
    (loop $more
      (local.set $len (call $get (i32.const 8192) (i32.const 65536)))
      (local.set $sum (i32.add (local.get $sum) (local.get $len)))
      (br_if $more (local.get $len)))
    (call $print (i32.const 4096) (i32.const {}))
    (local.set $at (i32.const 256))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.rem_u (local.get $sum) (i32.const 10))))
      (local.set $sum (i32.div_u (local.get $sum) (i32.const 10)))
      (br_if $digit (local.get $sum)))
    (call $print (local.get $at) (i32.sub (i32.const 256) (local.get $at))))"#,
        data(4096, head),
        head.len()
    ))
}

/// Prints a text, waits, and prints another.
pub fn pauses(first: &str, milliseconds: u64, then: &str) -> String {
    command(&format!(
        r#"{} {} (func (export "_start")
    (call $print (i32.const 4096) (i32.const {}))
    (call $sleep (i64.const {}))
    (call $print (i32.const 8192) (i32.const {})))"#,
        data(4096, first),
        data(8192, then),
        first.len(),
        milliseconds * 1_000_000,
        then.len()
    ))
}

/// Prints a text and computes for ever.
pub fn spins(first: &str) -> String {
    command(&format!(
        r#"{} (func (export "_start")
    (call $print (i32.const 4096) (i32.const {}))
    (loop $ever (br $ever)))"#,
        data(4096, first),
        first.len()
    ))
}

/// Prints a text, writes to standard error, and traps.
pub fn traps(first: &str) -> String {
    let print = match first.len() {
        0 => String::new(),
        len => format!("(call $print (i32.const 4096) (i32.const {len}))"),
    };
    command(&format!(
        r#"{} {} (func (export "_start")
    {print}
    (call $put (i32.const 2) (i32.const 8192) (i32.const 18))
    (call $inner))
  (func $inner unreachable)"#,
        data(4096, first),
        data(8192, "about to \u{1b}[31mtrap"),
    ))
}

/// Exits with a code, after printing a text.
pub fn exits(code: u32, text: &str) -> String {
    command(&format!(
        r#"{} (func (export "_start")
    (call $print (i32.const 4096) (i32.const {}))
    (call $exit (i32.const {code})))"#,
        data(4096, text),
        text.len()
    ))
}

/// Prints so many mebibytes after a head.
pub fn floods(mebibytes: u32) -> String {
    let head = "Content-Type: text/plain\n\n";
    command(&format!(
        r#"{} (func (export "_start") (local $i i32)
    (call $print (i32.const 4096) (i32.const {}))
    (memory.fill (i32.const 65536) (i32.const 120) (i32.const 65536))
    (loop $more
      (call $print (i32.const 65536) (i32.const 65536))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $i) (i32.const {})))))"#,
        data(4096, head),
        head.len(),
        mebibytes * 16
    ))
}

/// Changes a byte of each of some pages of 4 KiB, and then is a page.
pub fn writes(pages: &[u32]) -> String {
    let head = "Content-Type: text/plain\n\nwritten";
    let store = |page| format!("(i32.store8 (i32.const {}) (i32.const 1))", page * 4096 + 2048);
    let stores: String = pages.iter().map(store).collect();
    command(&format!(
        r#"{} (func (export "_start") {stores} (call $print (i32.const 4096) (i32.const {})))"#,
        data(4096, head),
        head.len()
    ))
}

/// Says `fresh` in its first call and `used` in later ones of the same instance, of its memory and of a global; and
/// leaves all of its input behind.
pub fn leaves_traces() -> String {
    command(&format!(
        r#"{} {} (func (export "_start") (local $len i32)
    (if (i32.or (i32.load (i32.const 300)) (global.get $zero))
      (then (call $print (i32.const 4196) (i32.const 30)))
      (else (call $print (i32.const 4096) (i32.const 31))))
    ;; What an earlier call has left.
    (call $print (i32.const 8192) (i32.const 64))
    (i32.store (i32.const 300) (i32.const 1))
    (global.set $zero (i32.const 1))
    (drop (call $get (i32.const 8192) (i32.const 64)))
    (call $print (i32.const 8192) (i32.const 64)))"#,
        data(4096, "Content-Type: text/plain\n\nfresh"),
        data(4196, "Content-Type: text/plain\n\nused"),
    ))
}

/// Exports that return their argument: `packed`, `pair`, `in_memory`; `outside`, whose result is outside its memory;
/// and `odd`, of another type.
pub const EXPORTS: &str = r#"(module
  (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 1024))
  (func (export "malloc") (param $len i32) (result i32) (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next (i32.add (local.get $at) (local.get $len)))
    (loop $grow
      (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
        (then
          (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (return (i32.const 0))))
          (br $grow))))
    (local.get $at))
  (func (export "packed") (param i32 i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32))
      (i64.extend_i32_u (local.get 1))))
  (func (export "pair") (param i32 i32) (result i32 i32) (local.get 0) (local.get 1))
  (func (export "in_memory") (param i32 i32 i32)
    (i32.store (local.get 0) (local.get 1))
    (i32.store offset=4 (local.get 0) (local.get 2)))
  (func (export "outside") (param i32 i32) (result i32 i32) (i32.const -8) (i32.const 16))
  (func (export "odd") (param i32) (result i32) (local.get 0)))"#;
