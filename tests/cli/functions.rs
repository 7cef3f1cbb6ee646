//! `executor snapshot`: functions are created, run, listed, inspected, verified and removed.

use crate::{guests, sandbox::Sandbox};
use std::fs;

/// A sandbox with the function `lib`, initialised by `fill` and `bump`.
fn with_function() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let run = sandbox.run(&[
        "snapshot",
        "create",
        "--name",
        "lib",
        "--init",
        "fill",
        "--init",
        "bump",
        "library.wat",
    ]);
    assert_eq!(run.code, 0, "{run:?}");
    sandbox
}

#[test]
fn a_stored_function_answers_from_its_restored_state() {
    let sandbox = with_function();
    // The module's file is not needed any more.
    fs::remove_file(sandbox.path().join("library.wat")).unwrap();
    let invoke = |args: &[&str]| sandbox.report(&[&["--invoke"], args].concat());
    invoke(&["counter", "lib"]).succeeded("101\n").did("code-cache", "restored");
    invoke(&["peek", "lib", "1099"]).succeeded("7\n");
    invoke(&["peek", "lib", "1100"]).succeeded("0\n");
    invoke(&["pages", "lib"]).succeeded("3\n");
    invoke(&["slot", "lib", "1"]).succeeded("42\n");
    invoke(&["slot", "lib", "2"]).succeeded("42\n");
    let empty = invoke(&["slot", "lib", "3"]);
    assert_eq!(empty.code, 134);
    empty.says(&["uninitialized element"]);
}

#[test]
fn a_function_is_compiled_again_from_the_store_when_its_code_is_gone() {
    let sandbox = with_function();
    fs::remove_dir_all(sandbox.store().join("code")).unwrap();
    sandbox.report(&["--invoke", "counter", "lib"]).succeeded("101\n").did("compiled", "restored");
    sandbox
        .report(&["--invoke", "counter", "lib"])
        .succeeded("101\n")
        .did("code-cache", "restored");
}

#[test]
fn a_linked_snapshot_keeps_its_memory_shared() {
    let sandbox = Sandbox::new();
    sandbox.file("shared.wat", guests::SHARED);
    sandbox.file("sharer.wat", guests::SHARER);
    let run = sandbox.run(&[
        "snapshot",
        "create",
        "--name",
        "s",
        "--preload",
        "shared=shared.wat",
        "--init",
        "init",
        "sharer.wat",
    ]);
    assert_eq!(run.code, 0, "{run:?}");
    sandbox.run(&["run", "--invoke", "next_and_look", "s"]).succeeded("3\n3\n");
}

#[test]
fn a_command_is_captured_before_start() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    let run = sandbox.run(&["snapshot", "create", "--name", "hello", "hello.wat"]);
    assert!(run.code == 0 && !run.stdout.contains("hello\n"), "{run:?}");
    sandbox.run(&["run", "hello"]).succeeded("hello\n");
}

#[test]
fn a_snapshot_file_runs_on_its_own_once_the_module_is_compiled() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let run =
        sandbox.run(&["snapshot", "create", "-o", "lib.snap", "--init", "bump", "library.wat"]);
    assert_eq!(run.code, 0, "{run:?}");
    sandbox
        .report(&["--invoke", "counter", "lib.snap"])
        .succeeded("101\n")
        .did("code-cache", "restored");

    // On another machine: nothing in the store.
    fs::remove_dir_all(sandbox.store()).unwrap();
    let run = sandbox.run(&["run", "--invoke", "counter", "lib.snap"]);
    run.failed(1, &["executor compile"]);
    assert_eq!(sandbox.run(&["compile", "library.wat"]).code, 0);
    sandbox.run(&["run", "--invoke", "counter", "lib.snap"]).succeeded("101\n");
}

#[test]
fn functions_are_listed_inspected_verified_and_removed() {
    let sandbox = with_function();
    let list = sandbox.run(&["snapshot", "list"]);
    assert!(list.code == 0 && list.stdout.contains("lib") && list.stdout.contains("reactor"));

    let inspect = sandbox.run(&["snapshot", "inspect", "lib"]);
    assert!(inspect.stdout.contains("fill") && inspect.stdout.contains("bump"), "{inspect:?}");
    let json = sandbox.run(&["snapshot", "inspect", "--json", "lib"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["init"], serde_json::json!(["fill", "bump"]), "{json}");

    assert_eq!(sandbox.run(&["snapshot", "verify"]).code, 0);
    assert_eq!(sandbox.run(&["snapshot", "verify", "lib"]).code, 0);
    assert_eq!(sandbox.run(&["snapshot", "rm", "lib"]).code, 0);
    assert!(sandbox.stored("snapshots", "snap").is_empty());
    sandbox.run(&["run", "lib"]).failed(1, &["lib"]);
    sandbox.run(&["snapshot", "rm", "lib"]).failed(1, &["lib"]);
}

#[test]
fn names_that_are_paths_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    for name in ["../x", ".x", "a b", ""] {
        let run = sandbox.run(&["snapshot", "create", "--name", name, "library.wat"]);
        assert_eq!(run.code, 1, "{name}: {run:?}");
    }
}

#[test]
fn a_damaged_snapshot_is_found_and_never_crashes() {
    let sandbox = with_function();
    let path = sandbox.stored("snapshots", "snap").pop().unwrap();
    let whole = fs::read(&path).unwrap();
    // Snapshots may be kept read-only.
    let write = |bytes: &[u8]| {
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&path, mode).unwrap();
    };
    for at in [0, 8, 40, 4096, whole.len() - 1] {
        let mut bad = whole.clone();
        bad[at] ^= 0x40;
        write(&bad);
        let verify = sandbox.run(&["snapshot", "verify", "lib"]);
        assert_eq!(verify.code, 1, "byte {at}: {verify:?}");
        sandbox.file("copy.snap", &bad);
        sandbox.run(&["run", "--invoke", "counter", "copy.snap"]).failed(1, &["copy.snap"]);
    }
    for len in [0, 100, 4096, whole.len() - 4096] {
        write(&whole[..len]);
        assert_eq!(sandbox.run(&["snapshot", "verify"]).code, 1, "cut to {len}");
        sandbox.run(&["run", "--invoke", "counter", "lib"]).failed(1, &["lib"]);
    }
    write(&whole);
    sandbox.run(&["run", "--invoke", "counter", "lib"]).succeeded("101\n");
}

#[test]
fn state_that_cannot_be_captured_is_refused_by_name_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    sandbox.file("open.wat", guests::KEEPS_FILE_OPEN);
    sandbox.file("x", "ABC");
    let create = ["snapshot", "create", "--name", "o", "--dir", ".::/", "--strict", "open.wat"];
    sandbox.run(&create).failed(1, &["`/x`", "still open"]);
    assert!(sandbox.stored("snapshots", "snap").is_empty());
    assert!(sandbox.stored("functions", "").is_empty());
}

#[test]
fn what_initialisation_observed_is_a_warning_of_an_explicit_snapshot() {
    let sandbox = Sandbox::new();
    sandbox.file("clock.wat", guests::observes_clock());
    let run = sandbox.run(&["snapshot", "create", "--name", "c", "clock.wat"]);
    assert_eq!(run.code, 0, "{run:?}");
    run.says(&["warning", "clock"]);
    let first = sandbox.run(&["run", "--invoke", "got", "c"]);
    assert_eq!(sandbox.run(&["run", "--invoke", "got", "c"]).stdout, first.stdout);
}

#[test]
fn options_that_belong_to_initialisation_are_refused_for_a_stored_function() {
    let sandbox = with_function();
    sandbox.run(&["run", "--init", "bump", "lib"]).failed(2, &["--init"]);
    sandbox.run(&["run", "--preload", "a=library.wat", "lib"]).failed(2, &["--preload"]);
    sandbox.run(&["run", "--strict", "lib"]).failed(2, &["--strict", "snapshot create"]);
    sandbox.run(&["run", "--entropy=deny", "lib"]).failed(2, &["--entropy", "snapshot create"]);
}
