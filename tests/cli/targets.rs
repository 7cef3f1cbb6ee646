//! What a word of the command line names, and what bytes hold.

use crate::process::Finish;
use crate::{
    guests,
    sandbox::{Run, Sandbox},
};
use std::{
    fs::{self, File},
    io::Write,
    process::{Command, Stdio},
};

/// Runs the binary with bytes in its standard input, which is a pipe.
fn piped(sandbox: &Sandbox, args: &[&str], bytes: &[u8]) -> Run {
    let mut command = sandbox.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    Run::from(child.finish())
}

#[test]
fn a_module_comes_from_standard_input() {
    let sandbox = Sandbox::new();
    let text = guests::ECHO_ARGS.as_bytes();
    let binary = wat::parse_str(guests::ECHO_ARGS).unwrap();
    for bytes in [text, &binary] {
        piped(&sandbox, &["run", "-", "x"], bytes).succeeded("stdin\0x\0");
        piped(&sandbox, &["run", "/dev/stdin", "x"], bytes).succeeded("stdin\0x\0");
        let run = piped(&sandbox, &["compile", "-"], bytes);
        assert!(run.code == 0 && run.stdout.contains("compiled"), "{run:?}");
        let run = piped(&sandbox, &["snapshot", "create", "--name", "f", "-"], bytes);
        assert_eq!(run.code, 0, "{run:?}");
        sandbox.run(&["run", "f", "y"]).succeeded("f\0y\0");
    }
    piped(&sandbox, &["run", "-"], b"#!/bin/sh").failed(1, &["stdin", "not a WebAssembly module"]);
}

#[test]
fn a_module_comes_from_a_named_pipe_once() {
    let sandbox = Sandbox::new();
    let pipe = sandbox.path().join("pipe.wasm");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for word in ["x", "y"] {
        let child = sandbox.command(&["run", "pipe.wasm", word]).stdout(Stdio::piped()).spawn();
        let child = child.unwrap();
        // The second time another module comes out of it.
        let module = guests::ECHO_ARGS.replace("_start", if word == "x" { "_start" } else { "f" });
        File::options().write(true).open(&pipe).unwrap().write_all(module.as_bytes()).unwrap();
        let run = Run::from(child.finish());
        if word == "x" {
            run.succeeded("pipe.wasm\0x\0");
        } else {
            assert!(!run.stdout.contains("pipe.wasm"), "{run:?}");
        }
    }
}

#[test]
fn text_and_binary_are_told_apart_by_their_bytes() {
    let sandbox = Sandbox::new();
    let binary = wat::parse_str(guests::HELLO).unwrap();
    for name in ["a.wasm", "a.wat", "A.WAT", "./a", "a.txt"] {
        sandbox.file(name, &binary);
        sandbox.run(&["run", name]).succeeded("hello\n");
        sandbox.file(name, format!(";; a comment\n {}", guests::HELLO));
        sandbox.run(&["run", name]).succeeded("hello\n");
    }
    let run = sandbox.run(&["snapshot", "create", "-o", "s.snap", "a.wasm"]);
    assert_eq!(run.code, 0, "{run:?}");
    fs::copy(sandbox.path().join("s.snap"), sandbox.path().join("s.wasm")).unwrap();
    sandbox.run(&["run", "s.wasm"]).succeeded("hello\n");
    sandbox.run(&["compile", "s.wasm"]).failed(1, &["s.wasm", "it is a snapshot"]);
    sandbox.file("no.wasm", "neither");
    sandbox.run(&["run", "no.wasm"]).failed(1, &["no.wasm", "not a WebAssembly module"]);
    let snapshot = fs::read(sandbox.path().join("s.snap")).unwrap();
    piped(&sandbox, &["run", "/dev/stdin"], &snapshot)
        .failed(1, &["a snapshot", "file of its own"]);
}

#[test]
fn a_stored_function_wins_over_a_file_in_the_working_directory() {
    let sandbox = Sandbox::new();
    let who = |n: u32| format!("(module (func (export \"who\") (result i32) i32.const {n}))");
    sandbox.file("a.wat", who(1));
    sandbox.file("f", who(2));
    let who = |target: &str| sandbox.run(&["run", "--invoke", "who", target]);
    who("f").succeeded("2\n");
    let run = sandbox.run(&["snapshot", "create", "--name", "f", "a.wat"]);
    assert_eq!(run.code, 0, "{run:?}");
    who("f").succeeded("1\n").says(&["warning", "`f`", "./f"]);
    assert_eq!(who("./f").succeeded("2\n").stderr, "");
    fs::remove_file(sandbox.path().join("f")).unwrap();
    assert_eq!(who("f").succeeded("1\n").stderr, "");
    // A directory is nothing to run.
    fs::create_dir(sandbox.path().join("f")).unwrap();
    assert_eq!(who("f").succeeded("1\n").stderr, "");
}

#[test]
fn a_file_in_place_of_a_command_is_run() {
    let sandbox = Sandbox::new();
    sandbox.file("args.wat", guests::ECHO_ARGS);
    sandbox.run(&["args.wat", "--help"]).succeeded("args.wat\0--help\0");
    sandbox.run(&["./args.wat"]).succeeded("args.wat\0");
    let help = sandbox.run(&["help"]);
    assert!(help.code == 0 && help.stdout.contains("Usage: executor"), "{help:?}");
    let help = sandbox.run(&["help", "run"]);
    assert!(help.code == 0 && help.stdout.contains("--invoke"), "{help:?}");
}

#[test]
fn what_is_misspelt_is_met_with_what_may_be_meant() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let create = ["snapshot", "create", "--name", "resize", "library.wat"];
    assert_eq!(sandbox.run(&create).code, 0);
    sandbox.run(&["run", "--ivoke", "x"]).failed(2, &["`--invoke`?", "executor run --help"]);
    sandbox.run(&["snapshot", "vrify"]).failed(2, &["`verify`?", "executor snapshot --help"]);
    sandbox.run(&["rum", "x"]).failed(2, &["`run`?", "executor --help"]);
    sandbox.run(&["run", "rezise"]).failed(1, &["did you mean `resize`?"]);
    sandbox.run(&["run", "--invoke", "cuonter", "resize"]).failed(1, &["did you mean `counter`?"]);
    let run = sandbox.run(&["run", "quux"]);
    assert!(run.code == 1 && !run.stderr.contains("did you mean"), "{run:?}");
}

#[test]
fn no_output_is_an_input() {
    let sandbox = Sandbox::new();
    let module = wat::parse_str(guests::HELLO).unwrap();
    sandbox.file("in.wasm", &module);
    sandbox.file("other.wasm", &module);
    fs::hard_link(sandbox.path().join("in.wasm"), sandbox.path().join("linked")).unwrap();
    for output in ["in.wasm", "./in.wasm", "linked"] {
        sandbox
            .run(&["snapshot", "create", "-o", output, "in.wasm"])
            .failed(2, &[output, "in.wasm"]);
        sandbox.run(&["run", "--report", output, "in.wasm"]).failed(2, &[output, "in.wasm"]);
    }
    let preload = ["--preload", "x=other.wasm", "in.wasm"];
    let line = [&["snapshot", "create", "-o", "other.wasm"], &preload[..]].concat();
    sandbox.run(&line).failed(2, &["other.wasm", "--preload"]);
    let line = [&["run", "--report", "other.wasm"], &preload[..]].concat();
    sandbox.run(&line).failed(2, &["other.wasm", "--preload"]);
    for file in ["in.wasm", "other.wasm"] {
        assert_eq!(fs::read(sandbox.path().join(file)).unwrap(), module);
    }
}

#[test]
fn a_report_is_opened_before_the_guest_runs() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    sandbox.run(&["run", "--report", "absent/r.json", "hello.wat"]).failed(1, &["absent/r.json"]);
    // A shorter report leaves nothing of what was there.
    sandbox.file("r.json", "x".repeat(1 << 16));
    sandbox.run(&["run", "--report", "r.json", "hello.wat"]).succeeded("hello\n");
    let report = fs::read(sandbox.path().join("r.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["exit"]["code"], 0);
    // The guest's exit code stays where the report cannot be written in the end.
    let run = sandbox.run(&["run", "--report", "/dev/full", "hello.wat"]);
    run.succeeded("hello\n").says(&["warning", "/dev/full"]);
}

/// Opens the file `x` again and again until that fails, and exits with the error number.
const OPENS_UNTIL_IT_CANNOT: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 512) "x")
  (func (export "_start") (local $errno i32)
    (loop $more
      (br_if $more (i32.eqz (local.tee $errno
        (call $open (i32.const 3) (i32.const 1) (i32.const 512) (i32.const 1) (i32.const 0)
          (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16))))))
    (call $exit (local.get $errno))))"#;

#[test]
fn a_report_is_written_where_descriptors_ran_out() {
    let sandbox = Sandbox::new();
    sandbox.file("opens.wat", OPENS_UNTIL_IT_CANNOT);
    sandbox.file("x", "A");
    let line = "ulimit -n 40; exec \"$0\" run --no-store --dir .::/ --report r.json opens.wat";
    let mut shell = Command::new("sh");
    shell.args(["-c", line, crate::sandbox::EXECUTOR]).current_dir(sandbox.path());
    let run = Run::from(shell.finish());
    // WASI's error number for too many open files.
    assert_eq!(run.code, 33, "{run:?}");
    let report = fs::read(sandbox.path().join("r.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["exit"]["code"], 33);
}
