//! Snapshots inside a call: where they are taken, what goes on from them, and what is said when there
//! is none to take.

use crate::process::Finish;
use crate::{
    guests,
    sandbox::{Run, Sandbox},
};
use std::{fs, io::Write, process::Stdio};

/// A command that prints `before`, opens `/d/here` if it can, reads standard input piece by piece,
/// printing each, and exits with the number of pieces. `read` returns how many bytes it read.
const READER: &str = r#"(module $reader
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_get"
    (func $stat (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "before\n/d/here/d/here")
  (global $pieces (mut i32) (i32.const 0))
  (func $print (param $at i32) (param $len i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $len))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $piece (result i32)
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 4))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.load (i32.const 8)))
  (func (export "_start") (local $n i32)
    (call $print (i32.const 16) (i32.const 7))
    (drop (call $stat (i32.const 3) (i32.const 0) (i32.const 26) (i32.const 4) (i32.const 256)))
    (loop $more
      (local.set $n (call $piece))
      (if (local.get $n) (then
        (call $print (i32.const 1024) (local.get $n))
        (global.set $pieces (i32.add (global.get $pieces) (i32.const 1)))
        (br $more))))
    (call $exit (global.get $pieces)))
  (func (export "read") (param $add i64) (result i64)
    (i64.add (local.get $add) (i64.extend_i32_u (call $piece))))
  (func (export "crash") (drop (call $piece)) unreachable)
  (func (export "spin") (drop (call $piece)) (loop (br 0)))
  (func (export "quiet")))"#;

/// Returns what the checkpoint returned, plus 10 for each call of it before.
const CHECKPOINT: &str = r#"(module
  (import "executor" "checkpoint" (func $checkpoint (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $sum i32)
    (local.set $sum (i32.add (call $checkpoint) (i32.const 10)))
    (local.set $sum (i32.add (local.get $sum) (i32.add (call $checkpoint) (i32.const 10))))
    (call $exit (local.get $sum))))"#;

fn reader() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("reader.wat", READER);
    fs::create_dir(sandbox.path().join("d")).unwrap();
    sandbox
}

fn create(sandbox: &Sandbox, args: &[&str]) -> Run {
    sandbox.run(&[&["snapshot", "create", "--name", "r"], args].concat())
}

/// Runs the binary with this standard input.
fn with_input(sandbox: &Sandbox, args: &[&str], input: &str) -> Run {
    let mut command = sandbox.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that ends without reading it has closed the pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.finish().into()
}

#[test]
fn a_program_goes_on_where_it_first_reads_its_input() {
    let sandbox = reader();
    let run = create(&sandbox, &["--at", "stdin", "--dir", "d::/d", "reader.wat"]);
    assert_eq!(run.code, 0, "{run:?}");
    // What it printed before is printed once, by the run that made the snapshot.
    assert!(run.stdout.starts_with("before\n") && run.stdout.lines().count() == 2, "{run:?}");
    for (input, code) in [("abcdefgh+", 3), ("", 0), ("x", 1)] {
        let run = with_input(&sandbox, &["run", "--report", "report.json", "r"], input);
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (code, input, ""));
        let report = fs::read_to_string(sandbox.path().join("report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["code"]["outcome"], "code-cache", "{report}");
        assert_eq!(report["instance"]["outcome"], "restored", "{report}");
    }
    let inspected = sandbox.run(&["snapshot", "inspect", "r"]).stdout;
    assert!(inspected.contains("kind         call, before stdin"), "{inspected}");
    assert!(inspected.contains("wasi_snapshot_preview1.fd_read"), "{inspected}");
    assert!(inspected.contains("_start"), "{inspected}");
    let listed = sandbox.run(&["snapshot", "list"]).stdout;
    assert!(listed.contains("call"), "{listed}");
    sandbox.run(&["snapshot", "verify", "r"]).succeeded("r: ok\n");
}

#[test]
fn a_point_is_a_path_or_a_call_of_an_import() {
    let sandbox = reader();
    for (at, printed) in [
        ("path:/d/here", true),
        ("path:d/./x/../here", true),
        ("import:wasi_snapshot_preview1.path_filestat_get", true),
        ("import:wasi_snapshot_preview1.fd_write", false),
        ("import:*.*:2", true),
    ] {
        let run = create(&sandbox, &["--at", at, "--dir", "d::/d", "reader.wat"]);
        assert_eq!((run.code, run.stdout.starts_with("before\n")), (0, printed), "{at}: {run:?}");
        let run = with_input(&sandbox, &["run", "r"], "abcde");
        let expected = if printed { "abcde" } else { "before\nabcde" };
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (2, expected, ""), "{at}");
    }
}

#[test]
fn an_export_goes_on_and_its_results_are_printed() {
    let sandbox = reader();
    let run = create(&sandbox, &["--at", "stdin", "--invoke", "read", "reader.wat", "40"]);
    assert_eq!(run.code, 0, "{run:?}");
    with_input(&sandbox, &["run", "r"], "ab").succeeded("42\n");
    with_input(&sandbox, &["run", "--invoke", "read", "r"], "").failed(2, &["inside a call"]);
}

#[test]
fn traps_and_deadlines_end_a_restored_call_with_its_frames() {
    let sandbox = reader();
    create(&sandbox, &["--at", "stdin", "--invoke", "crash", "reader.wat"]);
    let run = with_input(&sandbox, &["run", "r"], "");
    assert_eq!((run.code, run.stdout.as_str()), (134, ""));
    run.says(&["wasm trap: unreachable", "reader!crash"]);
    create(&sandbox, &["--at", "stdin", "--invoke", "spin", "reader.wat"]);
    let run = with_input(&sandbox, &["run", "--timeout", "50ms", "r"], "");
    assert_eq!(run.code, 134, "{run:?}");
    run.says(&["timeout of 50ms", "reader!spin"]);
}

#[test]
fn a_program_that_does_not_get_to_its_point_leaves_nothing() {
    let sandbox = reader();
    let nothing = ["--at", "path:/d/elsewhere", "reader.wat"];
    create(&sandbox, &nothing).says(&["reach path:/d/elsewhere", "exiting with code 0"]);
    assert_eq!(create(&sandbox, &nothing).code, 1);
    let quiet = ["--at", "stdin", "--invoke", "quiet", "reader.wat"];
    create(&sandbox, &quiet).failed(1, &["returned before it reached stdin"]);
    sandbox.file("spin.wat", "(module (func (export \"_start\") (loop (br 0))))");
    let spin = ["--at", "stdin", "--timeout", "50ms", "spin.wat"];
    create(&sandbox, &spin).failed(134, &["timeout of 50ms"]);
    sandbox.file("trap.wat", "(module (func (export \"_start\") unreachable))");
    create(&sandbox, &["--at", "stdin", "trap.wat"]).failed(134, &["unreachable"]);
    sandbox.file("library.wat", guests::LIBRARY);
    create(&sandbox, &["--at", "stdin", "library.wat"]).failed(1, &["--invoke"]);
    assert!(sandbox.stored("snapshots", "snap").is_empty());
    assert!(sandbox.run(&["snapshot", "list"]).stdout.is_empty());
    for at in ["stdout", "path:", "import:fd_read", "import:a.b:0"] {
        create(&sandbox, &["--at", at, "reader.wat"]).failed(2, &["--at", "path:GUEST_PATH"]);
    }
}

#[test]
fn a_guest_says_itself_where_the_point_is() {
    let sandbox = Sandbox::new();
    sandbox.file("c.wat", CHECKPOINT);
    assert_eq!(sandbox.run(&["run", "--no-store", "c.wat"]).code, 20);
    let run = create(&sandbox, &["c.wat"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(sandbox.run(&["run", "r"]).code, 22);
    // A reactor that imports it has no call of its own to be stopped in, and text is no import.
    sandbox.file("reactor.wat", CHECKPOINT.replace("_start", "main"));
    assert_eq!(create(&sandbox, &["reactor.wat"]).code, 0);
    let text = r#"(module (memory 1) (data (i32.const 0) "\08executor\0acheckpoint")
        (func (export "_start")))"#;
    sandbox.file("text.wat", text);
    assert_eq!(create(&sandbox, &["text.wat"]).code, 0);
    assert_eq!(create(&sandbox, &["c.wat"]).code, 0);
    // The second checkpoint of the call is a later point.
    let run = sandbox.run(&["snapshot", "create", "--name", "later", "--at", "checkpoint", "r"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(sandbox.run(&["run", "later"]).code, 22);
}

#[test]
fn a_snapshot_inside_a_call_is_the_base_of_another() {
    let sandbox = reader();
    create(&sandbox, &["--at", "stdin", "reader.wat"]);
    let mut later = sandbox.command(&[
        "snapshot",
        "create",
        "--name",
        "later",
        "--at",
        "import:wasi_snapshot_preview1.fd_read:2",
        "r",
    ]);
    fs::write(sandbox.path().join("input"), "abcdefgh").unwrap();
    later.stdin(fs::File::open(sandbox.path().join("input")).unwrap());
    let run = Run::from(later.finish());
    // Counted from where it goes on: the read that it was before is not a point again.
    assert_eq!((run.code, &run.stdout[..8]), (0, "abcdefgh"), "{run:?}");
    let run = with_input(&sandbox, &["run", "later"], "second");
    assert_eq!((run.code, run.stdout.as_str()), (4, "second"), "{run:?}");
    // The base is as it was.
    assert_eq!(with_input(&sandbox, &["run", "r"], "abcd").code, 1);
    let run = sandbox.run(&["snapshot", "create", "--name", "n", "r"]);
    run.failed(2, &["inside a call", "--at"]);
}

#[test]
fn the_function_has_the_arguments_and_directories_that_it_was_made_with() {
    let sandbox = Sandbox::new();
    let echo = guests::ECHO_ARGS.replace(
        "(drop (call $fd_write",
        "(drop (call $yield)) (drop (call $sizes (i32.const 0) (i32.const 4)))
         (drop (call $get (i32.const 64) (i32.const 1024))) (drop (call $fd_write",
    );
    let echo = echo.replace(
        "(memory (export",
        "(import \"wasi_snapshot_preview1\" \"sched_yield\" (func $yield (result i32)))
         (memory (export",
    );
    sandbox.file("echo.wat", echo);
    let at = ["--at", "import:wasi_snapshot_preview1.sched_yield"];
    let run = create(&sandbox, &[&at[..], &["echo.wat", "one", "--two"]].concat());
    assert_eq!(run.code, 0, "{run:?}");
    let run = sandbox.run(&["run", "r"]);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("echo.wat\0one\0--two\0", ""));
    let run = sandbox.run(&["run", "r", "three"]);
    assert!(run.stdout.starts_with("r\0three\0"), "{run:?}");
    assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
    run.says(&["warning", "read the arguments", "three"]);

    let sandbox = reader();
    fs::write(sandbox.path().join("d/here"), "").unwrap();
    create(&sandbox, &["--at", "import:*.*:3", "--dir", "d::/d", "reader.wat"]);
    assert_eq!(with_input(&sandbox, &["run", "r"], "x").code, 1);
    fs::rename(sandbox.path().join("d"), sandbox.path().join("e")).unwrap();
    with_input(&sandbox, &["run", "r"], "x").failed(1, &["/d", "cannot open directory"]);
    assert_eq!(with_input(&sandbox, &["run", "--dir", "e::/d", "r"], "x").code, 1);
}

#[test]
fn a_run_keeps_its_state_at_the_point_for_runs_of_the_same_world() {
    let sandbox = Sandbox::new();
    // It reads its arguments, and nothing else before the point.
    let guest = guests::COUNT_ARGS.replace(
        "(call $exit",
        "(drop (call $read (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 8))) (call $exit",
    );
    let guest = guest.replace(
        "(memory (export",
        "(import \"wasi_snapshot_preview1\" \"fd_read\"
           (func $read (param i32 i32 i32 i32) (result i32)))
         (memory (export",
    );
    sandbox.file("count.wat", &guest);
    let run = |args: &[&str]| sandbox.report(&[&["--at", "stdin", "count.wat"], args].concat());
    let first = run(&["a"]);
    assert_eq!(first.code, 2);
    first.did("compiled", "instantiated").took_snapshot(true, &["the arguments were read"]);
    run(&["a"]).did("code-cache", "restored");
    assert_eq!(run(&["a"]).code, 2);
    let other = run(&["a", "b"]);
    assert_eq!(other.code, 3);
    // The code is there already, but for what the call goes on with.
    other.did("code-cache", "instantiated").took_snapshot(true, &[]);
    // Without the point nothing of this is used.
    let plain = sandbox.report(&["count.wat", "a"]);
    assert_eq!(plain.code, 2);
    plain.did("code-cache", "instantiated");
}

#[test]
fn a_run_that_observed_more_keeps_nothing_and_says_so() {
    let sandbox = reader();
    let run = sandbox.report(&["--at", "stdin", "reader.wat"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "before\n"), "{run:?}");
    run.took_snapshot(false, &["written"]);
    run.says(&["took no snapshot", "--snapshot always"]);
    let always = ["--at", "stdin", "--snapshot", "always", "reader.wat"];
    sandbox.report(&always).took_snapshot(true, &[]);
    let run = sandbox.report(&always);
    assert_eq!(run.stdout, "", "{run:?}");
    run.did("code-cache", "restored");
    let none = sandbox.report(&["--at", "path:/x", "reader.wat"]);
    none.took_snapshot(false, &["before it reached the point path:/x"]);
    sandbox.run(&["run", "--at", "stdin", "hello"]).failed(2, &["initialised already"]);
}

#[test]
fn a_snapshot_goes_on_without_its_code_and_without_the_store() {
    let sandbox = reader();
    let run = create(&sandbox, &["--at", "stdin", "-o", "r.snap", "reader.wat"]);
    assert_eq!(run.code, 0, "{run:?}");
    for code in sandbox.stored("code", "elf") {
        fs::remove_file(code).unwrap();
    }
    assert_eq!(with_input(&sandbox, &["run", "r"], "abcde").code, 2);
    for code in sandbox.stored("code", "elf") {
        fs::remove_file(code).unwrap();
    }
    // Code of another level does as well.
    assert_eq!(with_input(&sandbox, &["run", "-O", "0", "r"], "abcde").code, 2);
    // The file goes on wherever the module is known.
    assert_eq!(with_input(&sandbox, &["run", "r.snap"], "abc").code, 1);
    assert_eq!(with_input(&sandbox, &["run", "r.snap"], "").stderr, "");
}
