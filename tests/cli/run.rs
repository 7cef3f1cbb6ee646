//! `executor run` of modules: output, exit codes, traps, limits, preloads.

use crate::process::{self, Finish};
use crate::{guests, sandbox::Sandbox};
use std::time::{Duration, Instant};

#[test]
fn the_second_run_of_a_command_restores_without_compiling() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    sandbox.report(&["hello.wat"]).succeeded("hello\n").did("compiled", "instantiated");
    let second = sandbox.report(&["hello.wat"]);
    second.succeeded("hello\n").did("code-cache", "restored");
    assert!(second.report["phases"]["call"].is_number(), "{second:?}");
    assert!(second.report["phases"]["compile"].is_null(), "{second:?}");
}

#[test]
fn without_a_store_every_run_compiles_and_nothing_is_kept() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    for _ in 0..2 {
        let run = sandbox.report(&["--no-store", "hello.wat"]);
        run.succeeded("hello\n").did("compiled", "instantiated");
    }
    assert!(!sandbox.store().exists());
}

#[test]
fn the_report_goes_to_standard_output_when_asked() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let run = sandbox.run(&["run", "--report", "-", "--invoke", "add", "library.wat", "1", "2"]);
    let (result, json) = run.stdout.split_once('\n').unwrap();
    let report: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!((result, &report["exit"]["code"]), ("3", &0.into()), "{run:?}");
}

#[test]
fn the_guests_exit_code_is_passed_through() {
    let sandbox = Sandbox::new();
    sandbox.file("count.wat", guests::COUNT_ARGS);
    for _ in 0..2 {
        assert_eq!(sandbox.run(&["run", "count.wat", "a", "--b", "c"]).code, 4);
        assert_eq!(sandbox.run(&["run", "count.wat"]).code, 1);
    }
}

#[test]
fn arguments_reach_the_guest_as_they_were_given() {
    let sandbox = Sandbox::new();
    sandbox.file("echo.wat", guests::ECHO_ARGS);
    sandbox.run(&["run", "echo.wat", "-v", "b c", ""]).succeeded("echo.wat\0-v\0b c\0\0");
    sandbox.run(&["run", "--argv0", "other", "echo.wat", "x"]).succeeded("other\0x\0");
}

#[test]
fn results_are_printed_one_to_a_line() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let invoke = |args: &[&str]| sandbox.run(&[&["run", "--invoke"], args].concat());
    invoke(&["add", "library.wat", "-5", "0x10"]).succeeded("11\n");
    invoke(&["add", "library.wat", "2147483647", "1"]).succeeded("-2147483648\n");
    invoke(&["mixed", "library.wat", "-1", "1.5", "inf"]).succeeded("inf\n1.5\n-1\n");
    invoke(&["bump", "library.wat"]).succeeded("");
}

#[test]
fn a_trap_prints_the_backtrace_with_function_names_and_exits_134() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    // The second run traps in a restored instance.
    for _ in 0..2 {
        let run = sandbox.report(&["--invoke", "crash", "library.wat"]);
        assert_eq!((run.code, run.stdout.as_str()), (134, ""), "{run:?}");
        run.says(&["wasm trap: unreachable", "library!boom"]);
        assert_eq!(run.report["exit"]["trap"], "unreachable");
    }
}

#[test]
fn an_exception_that_nothing_catches_prints_its_tag_and_exits_134() {
    let sandbox = Sandbox::new();
    let wat = r#"(module $lib (tag $t (export "failure") (param i32))
        (func $boom (param i32) (throw $t (local.get 0)))
        (func (export "throw") (param i32) (call $boom (local.get 0))))"#;
    sandbox.file("throw.wat", wat);
    for _ in 0..2 {
        let run = sandbox.report(&["--invoke", "throw", "throw.wat", "7"]);
        assert_eq!((run.code, run.stdout.as_str()), (134, ""), "{run:?}");
        run.says(&["executor: error: uncaught exception t(7)\n", "lib!boom"]);
    }
    sandbox.file("start.wat", "(module (tag $t) (func $s (throw $t)) (start $s))");
    let create = sandbox.run(&["snapshot", "create", "--name", "s", "start.wat"]);
    create.failed(134, &["uncaught exception t()\n    0: "]);
}

#[test]
fn deep_recursion_is_a_trap() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    for size in ["64KiB", "8MiB"] {
        let run = sandbox.run(&["run", "--max-stack", size, "--invoke", "recurse", "library.wat"]);
        assert_eq!(run.code, 134, "{run:?}");
        run.says(&["call stack exhausted", "recurse"]);
    }
}

#[test]
fn an_infinite_loop_is_stopped_by_the_timeout() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    for _ in 0..2 {
        let begun = Instant::now();
        let run = sandbox.run(&["run", "--timeout", "200ms", "--invoke", "spin", "library.wat"]);
        assert_eq!(run.code, 134, "{run:?}");
        run.says(&["interrupted", "the timeout of 200ms passed"]);
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(200) && took < Duration::from_secs(60), "{took:?}");
    }
}

#[test]
fn a_guest_that_waits_in_the_host_is_stopped_by_the_timeout_too() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "wait.wat",
        r#"(module
          (import "wasi_snapshot_preview1" "fd_read"
            (func $read (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "_start")
            (i32.store (i32.const 4) (i32.const 1))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
    );
    let mut command = sandbox.command(&["run", "--timeout", "100ms", "wait.wat"]);
    command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Held open and never written to, so that the guest waits.
    let stdin = child.stdin.take();
    let run = crate::sandbox::Run::from(child.finish());
    drop(stdin);
    assert_eq!(run.code, 134, "{run:?}");
    run.says(&["the timeout of 100ms passed"]);
}

#[test]
fn an_interrupt_from_the_terminal_stops_the_guest() {
    use std::os::unix::process::ExitStatusExt;
    let sandbox = Sandbox::new();
    // Tells when it runs, so that the signal meets the guest and not the compiler.
    sandbox.file(
        "loop.wat",
        guests::HELLO.replace("(i32.const 8)))", "(i32.const 8))) (loop (br 0))"),
    );
    let mut command = process::interruptible(&sandbox.command(&["run", "loop.wat"]));
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    assert_eq!(process::wait(&mut child).signal(), Some(2));
}

#[test]
fn a_memory_grows_to_the_limit_and_no_further() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let grow = |limit: &str, pages: &str| {
        sandbox.run(&["run", "--max-memory", limit, "--invoke", "grow", "library.wat", pages])
    };
    // It has a page already, and a table, which takes of the limit too.
    grow("1MiB", "14").succeeded("1\n");
    grow("1MiB", "15").succeeded("-1\n");
}

#[test]
fn a_preloaded_module_shares_its_memory() {
    let sandbox = Sandbox::new();
    sandbox.file("shared.wat", guests::SHARED);
    sandbox.file("sharer.wat", guests::SHARER);
    for outcome in ["instantiated", "restored"] {
        let run = sandbox.report(&[
            "--preload",
            "shared=shared.wat",
            "--init",
            "init",
            "--invoke",
            "next_and_look",
            "sharer.wat",
        ]);
        run.succeeded("3\n3\n");
        assert_eq!(run.report["instance"]["outcome"], outcome, "{run:?}");
        assert_eq!(run.report["code"]["modules"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn verbose_runs_say_what_happened() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    sandbox.run(&["run", "-v", "hello.wat"]).succeeded("hello\n").says(&["compiled", "snapshot"]);
    sandbox.run(&["run", "-v", "hello.wat"]).succeeded("hello\n").says(&["restored"]);
}
