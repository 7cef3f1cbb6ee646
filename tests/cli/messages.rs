//! What people read when something goes wrong, and where it is written.

use crate::process;
use crate::{
    guests,
    sandbox::{Run, Sandbox},
};
use std::{
    fs::OpenOptions,
    io::Read,
    process::{ExitStatus, Stdio},
};

const TRAPS: &str = r#"(module (func (export "_start") unreachable))"#;

/// How a command line ends whose standard error can take nothing: a full device, and a pipe that
/// nobody reads.
fn without_stderr(sandbox: &Sandbox, line: &[&str]) -> [(Option<i32>, String); 2] {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    [Stdio::from(full), Stdio::from(closed)].map(|stderr| {
        let mut command = sandbox.command(line);
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        (ExitStatus::code(&process::wait(&mut child)), said)
    })
}

#[test]
fn a_diagnostic_that_cannot_be_written_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    sandbox.file("traps.wat", TRAPS);
    sandbox.file("notastore", "");
    let hello = sandbox.run(&["run", "--no-store", "hello.wat"]).stdout;
    // A warning that the store cannot be used; then the guest.
    for ended in without_stderr(&sandbox, &["run", "--store", "notastore", "hello.wat"]) {
        assert_eq!(ended, (Some(0), hello.clone()));
    }
    for (code, line) in [
        (0, &["run", "--verbose", "hello.wat"][..]),
        (1, &["run", "missing.wasm"]),
        (2, &["run", "--nonsense"]),
        (2, &["snapshot"]),
        (134, &["run", "traps.wat"]),
        (134, &["snapshot", "create", "--at", "stdin", "-o", "s.snap", "traps.wat"]),
    ] {
        for (ended, _) in without_stderr(&sandbox, line) {
            assert_eq!(ended, Some(code), "{line:?}");
        }
    }
}

/// The lines of a backtrace, without the numbers and offsets.
fn backtrace(run: &Run) -> Vec<&str> {
    run.stderr.lines().skip(1).filter_map(|line| Some(line.split_once(" - ")?.1)).collect()
}

#[test]
fn a_trap_keeps_its_lines_wherever_it_happens() {
    let sandbox = Sandbox::new();
    sandbox.file("t.wat", "(module $m (func $f unreachable) (func $g (call $f)) (start $g))");
    sandbox.file("loops.wat", "(module $m (func $f (loop (br 0))) (start $f))");
    sandbox.file("draws.wat", guests::observes_random());
    let create =
        |line: &[&str]| sandbox.run(&[&["snapshot", "create", "--name", "t"], line].concat());
    for run in [sandbox.run(&["run", "t.wat"]), create(&["t.wat"])] {
        run.failed(134, &["wasm trap: unreachable\n"]);
        assert_eq!(backtrace(&run), ["m!f", "m!g"], "{run:?}");
    }
    let timeout = ["--timeout", "50ms", "loops.wat"];
    for run in [sandbox.run(&[&["run"], &timeout[..]].concat()), create(&timeout)] {
        run.failed(134, &["the timeout of 50ms passed: ", "wasm trap: interrupted\n"]);
        assert_eq!(backtrace(&run), ["m!f"], "{run:?}");
    }
    let denied = create(&["--entropy=deny", "draws.wat"]);
    assert!(denied.code == 1 && backtrace(&denied).len() > 1, "{denied:?}");
}

#[test]
fn an_uncaught_exception_prints_its_tag_and_typed_payload() {
    let sandbox = Sandbox::new();
    let says = |wat: &str, what: &str| {
        sandbox.file("e.wat", wat);
        sandbox
            .run(&["run", "e.wat"])
            .failed(134, &[&format!("uncaught exception {what}\n    0: ")]);
    };
    says(
        r#"(module (tag $oops (param i32 f64 f32 i64 externref funcref))
            (func $f (export "_start") (throw $oops (i32.const 1) (f64.const 3.5) (f32.const 0.1)
              (i64.const -1) (ref.null extern) (ref.func $f))))"#,
        "oops(1, 3.5, 0.1, -1, <null externref>, <funcref>)",
    );
    says(r#"(module (tag (export "e")) (func (export "_start") (throw 0)))"#, "e()");
    says(
        r#"(module (tag) (tag (param i32)) (func (export "_start") (throw 1 (i32.const 2))))"#,
        "<tag 1>(2)",
    );
}

#[test]
fn functions_of_rust_and_cpp_are_named_as_in_their_source() {
    let sandbox = Sandbox::new();
    let wat = r#"(module $m (func $_ZN5space3fooEibc unreachable)
        (func $_ZN4core9panicking5panic17h0123456789abcdefE (call $_ZN5space3fooEibc))
        (func (export "_start") (call $_ZN4core9panicking5panic17h0123456789abcdefE)))"#;
    sandbox.file("names.wat", wat);
    let run = sandbox.run(&["run", "names.wat"]);
    let names = ["m!space::foo(int, bool, char)", "m!core::panicking::panic", "m!_start"];
    assert_eq!(backtrace(&run), names, "{run:?}");
}

#[test]
fn a_snapshot_that_is_too_long_is_not_called_incomplete() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let create = sandbox.run(&["snapshot", "create", "-o", "s.snap", "library.wat"]);
    assert_eq!(create.code, 0, "{create:?}");
    let bytes = std::fs::read(sandbox.path().join("s.snap")).unwrap();
    sandbox.file("s.snap", [&bytes[..], b"x"].concat());
    let run = sandbox.run(&["run", "--invoke", "counter", "s.snap"]);
    run.failed(1, &["s.snap", "something was added"]);
    sandbox.file("s.snap", &bytes[..bytes.len() - 1]);
    sandbox.run(&["run", "--invoke", "counter", "s.snap"]).failed(1, &["s.snap", "incomplete"]);
}

#[test]
fn what_the_initialisation_saw_is_one_warning_and_says_nothing_of_streams() {
    let sandbox = Sandbox::new();
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fdstat (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_filestat_get" (func $filestat (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_initialize")
          (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 0)))
          (drop (call $fdstat (i32.const 1) (i32.const 0)))
          (drop (call $filestat (i32.const 1) (i32.const 0)))))"#;
    sandbox.file("m.wat", wat);
    let create = sandbox.run(&["snapshot", "create", "--name", "m", "m.wat"]);
    assert_eq!(create.code, 0, "{create:?}");
    create.says(&["a clock was read, the status of a file was looked at"]);
    assert!(create.stderr.lines().count() == 1 && !create.stderr.contains("stream"), "{create:?}");
}

#[test]
fn a_guest_that_read_default_arguments_is_not_warned_of() {
    let sandbox = Sandbox::new();
    sandbox.file("args.wat", guests::observes_args());
    let create = sandbox.run(&["snapshot", "create", "--name", "other", "args.wat"]);
    assert_eq!(create.code, 0, "{create:?}");
    let run = sandbox.run(&["run", "--invoke", "got", "other"]);
    assert_eq!((run.code, &*run.stderr), (0, ""), "{run:?}");
}

#[test]
fn a_report_says_what_prevents_an_automatic_snapshot() {
    let sandbox = Sandbox::new();
    sandbox.file("m.wat", guests::observes_clock());
    for _ in 0..2 {
        let run = sandbox.report(&["-v", "--invoke", "got", "m.wat"]);
        let why = run.report["instance"]["why"].as_str().unwrap().to_owned();
        assert!(why.contains("cannot be taken: a clock was read"), "{why}");
        run.took_snapshot(false, &["a clock was read"])
            .says(&["took no snapshot: a clock was read"]);
    }
}
