//! The store: where it is, and what happens when it is damaged, read-only or someone else's.

use crate::{guests, sandbox::Sandbox};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_option_is_stronger_than_the_environment() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    sandbox.run(&["run", "--store", "other", "hello.wat"]).succeeded("hello\n");
    assert!(sandbox.path().join("other").is_dir() && !sandbox.store().exists());
}

#[test]
fn the_default_store_is_under_the_xdg_data_directory() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    let mut command = sandbox.command(&["run", "hello.wat"]);
    let data = sandbox.path().join("data");
    assert!(
        command
            .env_remove("EXECUTOR_STORE")
            .env("XDG_DATA_HOME", &data)
            .status()
            .unwrap()
            .success()
    );
    assert!(data.join("executor").is_dir());
}

#[test]
fn a_store_that_others_may_write_to_is_not_used() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    fs::create_dir(sandbox.store()).unwrap();
    chmod(&sandbox.store(), 0o777);
    let run = sandbox.report(&["hello.wat"]);
    run.succeeded("hello\n").did("compiled", "instantiated").says(&["warning", "store"]);
    assert_eq!(fs::read_dir(sandbox.store()).unwrap().count(), 0);
    sandbox.run(&["run", "name"]).failed(1, &["store"]);
}

#[test]
fn a_store_that_cannot_be_written_does_not_stop_a_run() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    // A file in place of the directory: writing fails even for the superuser, whom modes do not stop.
    fs::write(sandbox.store(), "not a directory").unwrap();
    let run = sandbox.run(&["run", "hello.wat"]);
    run.succeeded("hello\n").says(&["warning", "store"]);
    let run = sandbox.run(&["snapshot", "create", "--name", "hello", "hello.wat"]);
    assert!(run.code == 1 && run.stdout.is_empty(), "{run:?}");
    run.says(&["executor: error: ", "store"]);
    assert_eq!(fs::read(sandbox.store()).unwrap(), b"not a directory");
}

#[test]
fn damaged_code_files_are_replaced_or_refused_and_never_run() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let run = || sandbox.report(&["--invoke", "counter", "library.wat"]);
    run().succeeded("100\n").did("compiled", "instantiated");
    let code = sandbox.stored("code", "elf").pop().unwrap();
    let whole = fs::read(&code).unwrap();
    for bad in [&b"garbage"[..], &whole[..whole.len() / 2], b""] {
        fs::write(&code, bad).unwrap();
        let run = run();
        run.succeeded("100\n").did("compiled", "restored");
        assert_eq!(fs::read(&code).unwrap(), whole, "the code file was not written again");
    }
}

#[test]
fn a_damaged_automatic_snapshot_is_taken_again() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let run = || sandbox.report(&["--invoke", "counter", "library.wat"]);
    run().succeeded("100\n").took_snapshot(true, &[]);
    let snapshot = sandbox.stored("snapshots", "snap").pop().unwrap();
    fs::remove_file(&snapshot).unwrap();
    fs::write(&snapshot, "garbage").unwrap();
    chmod(&snapshot, 0o600);
    run().succeeded("100\n").did("code-cache", "instantiated").took_snapshot(true, &[]);
    run().succeeded("100\n").did("code-cache", "restored");
}

#[test]
fn damaged_automatic_entries_are_passed_over() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let run = || sandbox.report(&["--invoke", "counter", "library.wat"]);
    run().succeeded("100\n");
    for entry in fs::read_dir(sandbox.store().join("auto")).unwrap() {
        fs::write(entry.unwrap().path(), "garbage").unwrap();
    }
    run().succeeded("100\n").did("code-cache", "instantiated");
    run().succeeded("100\n").did("code-cache", "restored");
}

#[test]
fn compile_fills_the_cache_that_run_uses() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    assert_eq!(sandbox.run(&["compile", "hello.wat"]).code, 0);
    sandbox.report(&["hello.wat"]).succeeded("hello\n").did("code-cache", "instantiated");
    let again = sandbox.run(&["compile", "hello.wat"]);
    assert!(again.code == 0 && again.stdout.contains("already"), "{again:?}");
}

#[test]
fn scripts_are_counted_and_failures_fail() {
    let sandbox = Sandbox::new();
    let script = "(module (func (export \"f\") (result i32) (i32.const 1)))\n";
    sandbox.file("good.wast", format!("{script}(assert_return (invoke \"f\") (i32.const 1))"));
    sandbox.file("bad.wast", format!("{script}(assert_return (invoke \"f\") (i32.const 2))"));
    let good = sandbox.run(&["wast", "good.wast"]);
    assert!(good.code == 0 && good.stdout.lines().last().unwrap().contains("0 failed"), "{good:?}");
    let both = sandbox.run(&["wast", "--features", "all", "good.wast", "bad.wast"]);
    assert!(both.code == 1 && both.stdout.lines().last().unwrap().contains("1 failed"), "{both:?}");
}
