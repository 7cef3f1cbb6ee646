//! What a run calls where nothing is said, and what its exit code is.

use crate::{guests, sandbox::Sandbox};

#[test]
fn the_function_without_a_name_is_called_where_there_is_no_start() {
    let sandbox = Sandbox::new();
    sandbox.file("traps.wat", r#"(module (func (export "") unreachable))"#);
    sandbox.run(&["run", "traps.wat"]).failed(134, &["unreachable", "<module>!<function 0>"]);
    sandbox.file("both.wat", r#"(module (func (export "") unreachable) (func (export "_start")))"#);
    sandbox.run(&["run", "both.wat"]).succeeded("");
    // Also of a snapshot.
    let create = sandbox.run(&["snapshot", "create", "--name", "t", "traps.wat"]);
    assert_eq!(create.code, 0, "{create:?}");
    sandbox.run(&["run", "t"]).failed(134, &["unreachable"]);
}

#[test]
fn a_run_that_calls_nothing_says_so() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let words = ["nothing to call", "--invoke", "it exports the functions _initialize, add"];
    // The first makes an automatic snapshot, the second restores it.
    for _ in 0..2 {
        sandbox.run(&["run", "library.wat"]).failed(1, &words);
    }
    let create = sandbox.run(&["snapshot", "create", "--name", "lib", "library.wat"]);
    assert_eq!(create.code, 0, "{create:?}");
    sandbox.run(&["run", "lib"]).failed(1, &words);
    sandbox.run(&["run", "--at", "stdin", "library.wat"]).failed(1, &words);
    sandbox.file("empty.wat", "(module)");
    sandbox.run(&["run", "empty.wat"]).failed(1, &["nothing to call", "it exports no functions"]);
}

#[test]
fn initialisation_that_was_asked_for_is_something() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    sandbox.file("starts.wat", "(module (func $f) (start $f))");
    for _ in 0..2 {
        sandbox.run(&["run", "--init", "bump", "library.wat"]).succeeded("");
        sandbox.run(&["run", "starts.wat"]).succeeded("");
    }
}

#[test]
fn a_command_is_not_initialised_by_its_own_program() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    let words = ["--init _start", "--at"];
    sandbox
        .run(&["snapshot", "create", "--name", "h", "--init", "_start", "hello.wat"])
        .failed(1, &words);
    sandbox.run(&["run", "--init", "_start", "hello.wat"]).failed(1, &words);
    assert_eq!(sandbox.run(&["snapshot", "create", "--name", "h", "hello.wat"]).code, 0);
    sandbox.run(&["snapshot", "create", "--name", "g", "--init", "_start", "h"]).failed(1, &words);
}

#[test]
fn an_exit_code_is_no_success_by_accident() {
    let sandbox = Sandbox::new();
    let exit = |code: i64| {
        let wat = format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {code}))))"#
        );
        sandbox.file("exit.wat", wat);
        sandbox.run(&["run", "exit.wat"]).code
    };
    assert_eq!([0, 7, 255, 256, 257, 512].map(exit), [0, 7, 255, 1, 1, 1]);
    assert_eq!(exit(-1), 255);
}
