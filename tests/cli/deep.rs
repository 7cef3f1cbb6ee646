//! `executor snapshot verify --deep`: a stored function is made again as its snapshot says, and compared.

use crate::{diff::PAIR, guests, inspect::WAITS, sandbox::Sandbox};
use std::fs;

/// Makes the file `x` in the first directory when it is initialised, and keeps the error number.
const MAKES_FILE: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 512) "x")
  (func (export "_initialize")
    (i32.store (i32.const 0)
      (call $open (i32.const 3) (i32.const 1) (i32.const 512) (i32.const 1) (i32.const 1)
        (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16)))
    (drop (call $close (i32.load (i32.const 16))))))"#;

/// Reads its input when it is initialised.
const EATS: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_initialize")
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

#[test]
fn what_depends_on_its_module_alone_is_made_again_the_same() {
    let sandbox = Sandbox::new();
    sandbox.file("pair.wat", PAIR);
    sandbox.file("waits.wat", WAITS);
    let create = ["snapshot", "create", "--name"];
    let inits = ["p", "--init", "set", "--init", "change", "pair.wat"];
    sandbox.ok(&[&create[..], &inits].concat());
    sandbox.ok(&[&create[..], &["w", "--at", "stdin", "waits.wat"]].concat());
    for name in ["p", "w"] {
        let run = sandbox.run(&["snapshot", "verify", "--deep", name]);
        run.succeeded(&format!("{name}: ok, and made again it is the same\n"));
    }
}

#[test]
fn arguments_and_environment_are_given_again_as_they_were() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "reads.wat",
        r#"(module
          (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "environ_get" (func $env (param i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "_initialize")
            (drop (call $args (i32.const 64) (i32.const 1024)))
            (drop (call $env (i32.const 128) (i32.const 2048)))))"#,
    );
    let options = ["--env", "A=b", "--env", "OUTSIDE", "reads.wat", "x", "y"];
    let create = [&["snapshot", "create", "--name", "f"], &options[..]].concat();
    let with = |args: &[&str], value: Option<&str>| {
        let mut command = sandbox.command(args);
        if let Some(value) = value {
            command.env("OUTSIDE", value);
        }
        crate::sandbox::Run::from(crate::process::Finish::finish(&mut command))
    };
    assert_eq!(with(&create, Some("1")).code, 0);
    let deep = ["snapshot", "verify", "--deep", "f"];
    with(&deep, Some("1")).succeeded("f: ok, and made again it is the same\n");
    with(&deep, None).failed(1, &["cannot be made again", "OUTSIDE"]);
    let other = with(&deep, Some("2"));
    assert_eq!(other.code, 1, "{other:?}");
    let read = "wasi.environment_read[0]: \"OUTSIDE=1\" -> \"OUTSIDE=2\"";
    let read_second = read.replace("[0]", "[1]");
    let text = &other.stdout;
    assert!(text.contains(read) || text.contains(&read_second), "{text}");
    assert!(text.contains("the environment was read"), "{text}");
}

#[test]
fn random_bytes_are_said_to_be_that() {
    let sandbox = Sandbox::new();
    sandbox.file("draws.wat", guests::DRAWS);
    sandbox.ok(&["snapshot", "create", "--name", "f", "draws.wat"]);
    let run = sandbox.run(&["snapshot", "verify", "--deep", "f"]);
    assert_eq!(run.code, 1, "{run:?}");
    let text = &run.stdout;
    assert!(text.contains("f: made again it differs\n"), "{text}");
    assert!(text.contains("of 1 page differ, all where random bytes were drawn"), "{text}");
    assert!(text.contains("random bytes were asked for"), "{text}");
    assert!(!text.contains("wasi"), "what the ledger says is the same: {text}");
    sandbox.ok(&["snapshot", "create", "--name", "g", "--deterministic", "draws.wat"]);
    sandbox.ok(&["snapshot", "verify", "--deep", "g"]);
}

#[test]
fn files_that_changed_show_and_nothing_is_written() {
    let sandbox = Sandbox::new();
    sandbox.file("writes.wat", MAKES_FILE);
    fs::create_dir(sandbox.path().join("data")).unwrap();
    let create = ["snapshot", "create", "--name", "f", "--dir", "data::/data", "writes.wat"];
    sandbox.ok(&create);
    let file = sandbox.path().join("data/x");
    assert!(fs::remove_file(&file).is_ok(), "it was written");
    let run = sandbox.run(&["snapshot", "verify", "--deep", "f"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(!file.exists(), "{run:?}");
    assert!(run.stdout.contains("a file was opened for writing"), "{run:?}");
    fs::remove_dir(sandbox.path().join("data")).unwrap();
    sandbox
        .run(&["snapshot", "verify", "--deep", "f"])
        .failed(1, &["cannot be made again", "data"]);
}

#[test]
fn what_cannot_be_made_again_says_why() {
    let sandbox = Sandbox::new();
    sandbox.file("waits.wat", WAITS);
    let at = ["--at", "import:wasi_snapshot_preview1.fd_read", "waits.wat"];
    sandbox.ok(&[&["snapshot", "create", "--name", "f"], &at[..]].concat());
    sandbox.ok(&["snapshot", "create", "-o", "f.snap", "waits.wat"]);
    let deep = |target: &str| sandbox.run(&["snapshot", "verify", "--deep", target]);
    deep("f.snap").failed(2, &["stored functions"]);
    deep("nobody").failed(1, &["nobody"]);
    sandbox.file("eats.wat", EATS);
    sandbox.ok(&["snapshot", "create", "--name", "eats", "eats.wat"]);
    deep("eats").failed(1, &["cannot be made again", "standard input"]);
}
