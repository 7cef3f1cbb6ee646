//! What goes wrong is one clear line and exit 1 or 2.

use crate::{guests, sandbox::Sandbox};
use std::fs::File;

#[test]
fn files_that_are_no_modules_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.run(&["run", "missing.wasm"]).failed(1, &["missing.wasm", "No such file"]);
    sandbox.file("text.wasm", "hello");
    sandbox.run(&["run", "text.wasm"]).failed(1, &["text.wasm"]);
    sandbox.file("bad.wat", "(module\n  (func (result i32)))\n  (func");
    sandbox.run(&["run", "bad.wat"]).failed(1, &["bad.wat"]);
    sandbox.file("invalid.wat", "(module (func (result i32) (i64.const 1)))");
    sandbox.run(&["run", "invalid.wat"]).failed(1, &["invalid.wat", "type mismatch"]);
    sandbox.file("data", "neither");
    sandbox.run(&["run", "data"]).failed(1, &["data", "neither"]);
}

#[test]
fn a_module_that_is_too_long_is_refused_before_it_is_read() {
    let sandbox = Sandbox::new();
    sandbox.file("long.wasm", "\0asm\u{1}\0\0\0");
    let file = File::options().write(true).open(sandbox.path().join("long.wasm")).unwrap();
    // A hole, of more bytes than any machine has room for.
    file.set_len(1 << 40).unwrap();
    for line in [&["run", "long.wasm"][..], &["compile", "long.wasm"]] {
        sandbox.run(line).failed(1, &["long.wasm", "more than 1073741824 bytes"]);
    }
}

#[test]
fn an_unknown_function_is_named() {
    let sandbox = Sandbox::new();
    sandbox.run(&["run", "nobody"]).failed(1, &["nobody", "snapshot create"]);
    sandbox.run(&["run", "--no-store", "nobody"]).failed(2, &["nobody", "--no-store"]);
}

#[test]
fn a_missing_export_is_named() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    sandbox.run(&["run", "--invoke", "nothing", "library.wat"]).failed(1, &["`nothing`"]);
    sandbox.run(&["run", "--invoke", "memory", "library.wat"]).failed(1, &["`memory`", "memory"]);
    sandbox.run(&["run", "--init", "nothing", "library.wat"]).failed(1, &["`nothing`"]);
    sandbox.run(&["run", "--init", "peek", "library.wat"]).failed(1, &["`peek`", "(i32)"]);
}

#[test]
fn a_missing_import_is_named() {
    let sandbox = Sandbox::new();
    sandbox.file("sharer.wat", guests::SHARER);
    sandbox.run(&["run", "sharer.wat"]).failed(1, &["shared", "memory"]);
}

#[test]
fn wrong_arguments_are_usage_errors() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let invoke =
        |args: &[&str]| sandbox.run(&[&["run", "--invoke", "add", "library.wat"], args].concat());
    invoke(&["1"]).failed(2, &["`add` takes 2 arguments, not 1", "(i32, i32) -> (i32)"]);
    invoke(&["1", "x"]).failed(2, &["argument 2 of `add`", "i32", "`x`"]);
    invoke(&["1", "4294967296"]).failed(2, &["4294967296"]);
}

#[test]
fn a_wrong_command_line_is_one_line() {
    let sandbox = Sandbox::new();
    let nothing = sandbox.run(&[]);
    assert!(nothing.code == 2 && nothing.stderr.contains("Usage: executor"), "{nothing:?}");
    sandbox.run(&["run"]).failed(2, &["required"]);
    sandbox.run(&["run", "--nonsense", "x"]).failed(2, &["--nonsense"]);
    sandbox.run(&["run", "--timeout", "soon", "x.wasm"]).failed(2, &["soon", "5s"]);
    sandbox.run(&["run", "--store", "a", "--no-store", "x.wasm"]).failed(2, &["--no-store"]);
    sandbox.run(&["snapshot", "create", "x.wat"]).failed(2, &["--name", "-o"]);
}

#[test]
fn a_directory_that_cannot_be_opened_is_named() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    sandbox.run(&["run", "--dir", "absent", "hello.wat"]).failed(1, &["absent"]);
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let run = sandbox.run(&["run", "--report", "absent/r.json", "library.wat"]);
    run.failed(1, &["absent/r.json"]);
}
