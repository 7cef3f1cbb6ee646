//! A program that embeds the executor: it makes a function of a module once, and then calls it as often
//! as it likes, each time in an instance that begins where initialisation ended.
//!
//! ```sh
//! cargo run --package executor --example embed
//! ```

use executor::{Caller, DirAccess, Error, HostError, Runtime, Stdin, Stdout};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

/// A table of squares that takes a while to make, and a function that looks a number up in it and tells
/// the host. As a command, it copies its input to its output.
const MODULE: &str = r#"(module
    (import "host" "told" (func $told (param i32)))
    (import "wasi_snapshot_preview1" "fd_read"
        (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "make_table") (local $n i32)
      (loop $next
        (i32.store (i32.mul (local.get $n) (i32.const 4)) (i32.mul (local.get $n) (local.get $n)))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $n) (i32.const 1000)))))
    (func (export "square") (param $n i32) (result i32)
      (call $told (local.get $n))
      (i32.load (i32.mul (local.get $n) (i32.const 4))))
    (func (export "echo")
      (i32.store (i32.const 8192) (i32.const 8200))
      (i32.store (i32.const 8196) (i32.const 64))
      (drop (call $read (i32.const 0) (i32.const 8192) (i32.const 1) (i32.const 8196)))
      (drop (call $write (i32.const 1) (i32.const 8192) (i32.const 1) (i32.const 8188)))))"#;

fn main() -> Result<(), Error> {
    // What the guest may call of the host: a closure of numbers.
    let told = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&told);
    let runtime = Runtime::builder()
        .host_func("host", "told", move |_: &mut Caller<'_>, _number: u32| {
            count.fetch_add(1, Relaxed);
            Ok::<_, HostError>(())
        })
        .build()?;

    // Compiled and initialised once; the state is kept. `Runtime::open(directory)` keeps it for later
    // processes too, which then say `runtime.function("squares")`.
    let squares = runtime.create("squares", MODULE).init("make_table").build()?;
    for (name, ty) in squares.exports()? {
        println!("{name}: {ty}");
    }

    // Each instance has the table from the beginning, and nothing of the others.
    let mut instance = squares.instantiate()?;
    let square = instance.typed::<u32, u32>("square")?;
    for n in [3, 12] {
        println!("{n} * {n} = {}", square.call(&mut instance, n)?);
    }

    // A guest sees of the world what it is given.
    let mut echo = squares
        .instance()
        .dir(".", "/", DirAccess::ReadOnly)
        .stdin(Stdin::Bytes(b"hello\n".to_vec()))
        .stdout(Stdout::Capture)
        .start()?;
    echo.call("echo", &[])?;
    print!("{}", String::from_utf8_lossy(&echo.take_stdout()));
    println!("the guest told the host {} times", told.load(Relaxed));
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_runs() {
        super::main().unwrap();
    }
}
