//! Files that are cut and signals that are sent while a guest runs; limits that it meets.

use crate::process::Finish;
use crate::sandbox::Sandbox;
use serde_json::Value;
use std::{
    fs::File,
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
};

/// Writes a byte, waits for one, and then does what is asked of it.
const GUEST: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 16)
  (func (export "init") (memory.fill (i32.const 0) (i32.const 65) (i32.const 1000000)))
  (func $wait
    (i32.store (i32.const 0) (i32.const 128)) (i32.store (i32.const 4) (i32.const 1))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 64))))
  (func (export "load") (result i32) (call $wait) (i32.load (i32.const 800000)))
  (func (export "path") (result i32)
    (call $wait) (call $unlink (i32.const 3) (i32.const 800000) (i32.const 10)))
  (func (export "kernel writes") (result i32)
    (call $wait) (call $random (i32.const 800000) (i32.const 64)))
  (func (export "kernel reads") (result i32) (call $wait)
    (i32.store (i32.const 0) (i32.const 800000)) (i32.store (i32.const 4) (i32.const 10))
    (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))
  (func (export "array") (result i32)
    (call $wait) (call $write (i32.const 1) (i32.const 800000) (i32.const 1) (i32.const 64)))
  (func (export "spin") (call $wait) (loop (br 0))))"#;

fn start(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It is in the call now.
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    child
}

#[test]
fn a_snapshot_that_is_cut_while_it_runs_is_a_trap_for_whoever_meets_the_page() {
    let sandbox = Sandbox::new();
    sandbox.file("guest.wat", GUEST);
    let exports = ["load", "path", "kernel writes", "kernel reads", "array"];
    let layers = [&["-o", "guest.snap"][..], &["--base", "guest.snap", "-o", "over.snap"]];
    for (export, layered) in exports.iter().flat_map(|export| [(export, false), (export, true)]) {
        // With a second layer the pages stay those of the first.
        for layer in &layers[..=usize::from(layered)] {
            let create = [&["snapshot", "create", "--init", "init"], *layer, &["guest.wat"]];
            assert_eq!(sandbox.run(&create.concat()).code, 0);
        }
        let target = if layered { "over.snap" } else { "guest.snap" };
        let run = ["run", "--dir", ".::/", "--invoke", export, target];
        let mut child = start(sandbox.command(&run));
        let file = File::options().write(true).open(sandbox.path().join("guest.snap")).unwrap();
        file.set_len(256 << 10).unwrap();
        child.stdin.take().unwrap().write_all(b"x").unwrap();
        let end = child.finish();
        let message = String::from_utf8(end.stderr).unwrap();
        assert_eq!(end.status.code(), Some(134), "{export}: {message}");
        assert!(message.contains("wasm trap: a page of the snapshot"), "{export}: {message}");
        assert!(end.stdout.is_empty(), "{export}: nothing goes out");
    }
}

#[test]
fn code_that_is_cut_while_it_runs_is_a_trap() {
    let sandbox = Sandbox::new();
    sandbox.file("guest.wat", GUEST);
    let mut child = start(sandbox.command(&["run", "--invoke", "load", "guest.wat"]));
    let code = sandbox.stored("code", "elf");
    File::options().write(true).open(&code[0]).unwrap().set_len(4096).unwrap();
    // It may have come to the hole, and ended, on its way to the read.
    let _ = child.stdin.take().unwrap().write_all(b"x");
    let end = child.finish();
    let message = String::from_utf8(end.stderr).unwrap();
    assert_eq!(end.status.code(), Some(134), "{message}");
    assert!(message.contains("wasm trap: a page of the snapshot or the code"), "{message}");
}

#[test]
fn a_signal_that_is_sent_does_what_it_does_to_any_process() {
    let sandbox = Sandbox::new();
    sandbox.file("guest.wat", GUEST);
    for (name, number) in [("SEGV", 11), ("BUS", 7), ("FPE", 8), ("ILL", 4)] {
        for spinning in [false, true] {
            let run = ["run", "--no-store", "--timeout", "60s", "--invoke", "spin", "guest.wat"];
            let mut child = start(sandbox.command(&run));
            if spinning {
                child.stdin.take().unwrap().write_all(b"x").unwrap();
            }
            let kill = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
            assert!(kill.unwrap().success());
            let end = child.finish();
            assert_eq!(end.status.signal(), Some(number), "{name}: {end:?}");
        }
    }
}

#[test]
fn what_exceeds_the_limit_on_memory_names_the_option() {
    let sandbox = Sandbox::new();
    sandbox.file("two.wat", r#"(module (memory 2) (func (export "f")))"#);
    let expected = "memory 0 has 131072 bytes, more than --max-memory allows (65536)";
    let args = ["--max-memory", "64KiB", "--invoke", "f"];
    sandbox.run(&[&["run"], &args[..], &["two.wat"]].concat()).failed(1, &[expected]);
    sandbox.run(&["snapshot", "create", "--name", "two", "two.wat"]);
    let run = sandbox.run(&[&["run"], &args[..], &["two"]].concat());
    run.failed(1, &[expected]);
    assert!(!run.stderr.contains("does not fit"), "{run:?}");
}

#[test]
fn a_function_too_large_to_compile_is_named() {
    let sandbox = Sandbox::new();
    let locals = "i32 ".repeat(300);
    let branches: String = (0..300)
        .map(|i| format!("(br_if 0 (local.tee {i} (i32.add (local.get {i}) (i32.const 1))))"))
        .collect();
    let wat = format!("(module (func $much (local {locals}) (loop {branches})))");
    sandbox.file("much.wat", wat);
    sandbox.run(&["compile", "--max-compile-memory", "4MiB", "much.wat"]).failed(
        1,
        &["function 0 (much) needs more memory to be compiled than the limit of 4194304 bytes"],
    );
    assert_eq!(sandbox.run(&["compile", "much.wat"]).code, 0);
}

#[test]
fn a_module_that_takes_too_long_to_compile_is_refused_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    sandbox.file("m.wat", r#"(module (func (export "_start")))"#);
    let limit = ["--max-compile-time", "1us", "m.wat"];
    for command in [&["run"][..], &["compile"], &["snapshot", "create", "--name", "m"]] {
        sandbox
            .run(&[command, &limit].concat())
            .failed(1, &["m.wat: ", "takes longer than the limit of 1µs (--max-compile-time)"]);
        let du = sandbox.ok(&["store", "du", "--json"]);
        let usage: Value = serde_json::from_str(&du.stdout).unwrap();
        // The locks.
        assert_eq!(usage["total"], usage["own"], "{command:?}: {usage}");
        assert_eq!(usage["total"]["bytes"], 0, "{command:?}: {usage}");
    }
    sandbox.run(&["snapshot", "list"]).succeeded("");
    sandbox.ok(&["run", "--max-compile-time", "1h", "m.wat"]);
}
