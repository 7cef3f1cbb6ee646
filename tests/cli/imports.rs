//! Modules that cannot be linked, or are of a kind that does not run here: what is said of them, and
//! that it is said before anything is compiled.

use crate::sandbox::Sandbox;

#[test]
fn every_missing_import_is_named_before_anything_is_compiled() {
    let sandbox = Sandbox::new();
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
        (import "a" "f" (func)) (import "b" "g" (global i32)) (import "a" "h" (memory 1))
        (func (export "_start")))"#;
    sandbox.file("m.wat", wat);
    let words = &["unknown imports: `a` `f`, `h`; `b` `g` are not defined"][..];
    sandbox.report(&["m.wat"]).failed(1, words).did("none", "none");
    sandbox.run(&["snapshot", "create", "--name", "m", "m.wat"]).failed(1, words);
    assert!(sandbox.stored("code", "o").is_empty());
    // `compile` links nothing.
    assert_eq!(sandbox.run(&["compile", "m.wat"]).code, 0);
    // With the code in the cache too.
    sandbox.report(&["m.wat"]).failed(1, words);
}

#[test]
fn what_a_preloaded_module_exports_is_not_missing() {
    let sandbox = Sandbox::new();
    sandbox.file("lib.wat", r#"(module (func (export "f") (result i32) (i32.const 7)))"#);
    let wat = r#"(module (import "lib" "f" (func $f (result i32))) (import "b" "g" (func))
        (func (export "go") (result i32) (call $f)))"#;
    sandbox.file("m.wat", wat);
    let run =
        |file: &str| sandbox.run(&["run", "--preload", "lib=lib.wat", "--invoke", "go", file]);
    run("m.wat").failed(1, &["unknown import: `b` `g`"]);
    sandbox.file("n.wat", wat.replace(r#"(import "b" "g" (func))"#, ""));
    run("n.wat").succeeded("7\n");
}

#[test]
fn a_type_that_does_not_match_is_said_with_the_one_expected() {
    let sandbox = Sandbox::new();
    let wasi = r#"(import "wasi_snapshot_preview1" "fd_close""#;
    for (import, words) in [
        (
            format!("{wasi} (func (param i64)))"),
            &["expected (i64) -> ()", "found (i32) -> (i32)"][..],
        ),
        (format!("{wasi} (memory 1))"), &["expected a memory, found a func"]),
    ] {
        sandbox.file("m.wat", format!("(module {import})"));
        sandbox.report(&["m.wat"]).failed(1, words).did("none", "none");
    }
    sandbox.file("lib.wat", r#"(module (tag (export "t") (param i32)))"#);
    sandbox.file("m.wat", r#"(module (import "lib" "t" (tag (param f64))))"#);
    sandbox
        .run(&["run", "--preload", "lib=lib.wat", "m.wat"])
        .failed(1, &["expected a tag of (f64), found a tag of (i32)"]);
}

#[test]
fn modules_of_other_hosts_are_recognised() {
    let sandbox = Sandbox::new();
    sandbox.file("component.wat", "(component)");
    sandbox.file("component.wasm", b"\0asm\x0d\0\x01\0");
    for file in ["component.wat", "component.wasm"] {
        sandbox.run(&["run", file]).failed(1, &[file, "is a component", "wasm32-wasip1"]);
        sandbox.run(&["compile", file]).failed(1, &[file, "is a component"]);
    }
    for (module, name, word) in [
        ("wasi:cli/environment@0.2.0", "get-arguments", "WASI 0.2"),
        ("wasi", "thread-spawn", "threads"),
        ("wbg", "f", "wasm-bindgen"),
        ("gojs", "runtime.wasmExit", "GOOS=wasip1"),
        ("env", "emscripten_memcpy_js", "Emscripten"),
    ] {
        sandbox.file("m.wat", format!(r#"(module (import "{module}" "{name}" (func)))"#));
        sandbox.run(&["run", "m.wat"]).failed(1, &["unknown import", name, word]);
    }
}

#[test]
fn a_module_of_wasi_preview_0_runs() {
    let sandbox = Sandbox::new();
    let wat = r#"(module (import "wasi_unstable" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 0) "\10\00\00\00\03\00\00\00")
        (data (i32.const 16) "old")
        (func (export "_start")
          (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
    sandbox.file("m.wat", wat);
    sandbox.run(&["run", "m.wat"]).succeeded("old");
}
