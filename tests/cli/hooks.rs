//! Exports that a guest has for the moments before a snapshot and after a restore.

use crate::{guests, sandbox::Sandbox};

fn create(sandbox: &Sandbox, file: &str) {
    let run = sandbox.run(&["snapshot", "create", "--name", "f", "--init", "init", file]);
    assert_eq!(run.code, 0, "{run:?}");
}

#[test]
fn hooks_run_once_each_at_their_moments() {
    let sandbox = Sandbox::new();
    sandbox.file("hooks.wat", guests::hooks("", ""));
    create(&sandbox, "hooks.wat");
    // Digits are appended: 1 by `init`, 2 before the snapshot, 3 after the restore.
    for _ in 0..2 {
        sandbox.run(&["run", "--invoke", "digits", "f"]).succeeded("123\n");
    }
    // The run that takes an automatic snapshot answers as those that use it.
    for outcome in ["instantiated", "restored"] {
        let run = sandbox.report(&["--init", "init", "--invoke", "digits", "hooks.wat"]);
        run.succeeded("123\n").did("code-cache", outcome);
    }
    // Without a snapshot there is nothing to get ready for.
    for never in [&["--snapshot", "never"][..], &["--no-store"]] {
        let run = [&["run"], never, &["--init", "init", "--invoke", "digits", "hooks.wat"]];
        sandbox.run(&run.concat()).succeeded("1\n");
    }
}

#[test]
fn hooks_of_linked_modules_run_too_dependents_first_before_a_snapshot_and_last_after() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::hooks("", ""));
    sandbox.file(
        "main.wat",
        r#"(module
          (import "library" "append" (func $append (param i32)))
          (import "library" "digits" (func $digits (result i32)))
          (func (export "init") (call $append (i32.const 7)))
          (func (export "executor_before_snapshot") (call $append (i32.const 8)))
          (func (export "executor_after_restore") (call $append (i32.const 9)))
          (func (export "digits") (result i32) (call $digits)))"#,
    );
    let preload = ["--preload", "library=library.wat", "--init", "init"];
    let line = [&["snapshot", "create", "--name", "m"], &preload[..], &["main.wat"]].concat();
    assert_eq!(sandbox.run(&line).code, 0);
    sandbox.run(&["run", "--invoke", "digits", "m"]).succeeded("78239\n");
}

#[test]
fn a_failing_hook_before_the_snapshot_fails_its_creation() {
    let sandbox = Sandbox::new();
    sandbox.file("trap.wat", guests::hooks("unreachable", ""));
    sandbox.file("exit.wat", guests::hooks("(call $exit (i32.const 0))", ""));
    for (file, code, word) in
        [("trap.wat", 134, "unreachable"), ("exit.wat", 1, "exit with code 0")]
    {
        let run = sandbox.run(&["snapshot", "create", "--name", "f", "-o", "f.snap", file]);
        run.failed(code, &["executor_before_snapshot", word]);
        sandbox.run(&["run", "--invoke", "digits", file]).failed(code, &["before_snapshot", word]);
        assert!(!sandbox.path().join("f.snap").exists());
        assert!(sandbox.stored("snapshots", "snap").is_empty());
    }
    sandbox.run(&["run", "--snapshot", "never", "--invoke", "digits", "trap.wat"]).succeeded("0\n");
}

#[test]
fn a_failing_hook_after_the_restore_fails_the_call() {
    let sandbox = Sandbox::new();
    for (name, body, code, word) in [
        ("trap", "unreachable", 134, "unreachable"),
        ("exit", "(call $exit (i32.const 0))", 1, "exit with code 0"),
    ] {
        let file = sandbox.path().join("hooks.wat");
        std::fs::write(&file, guests::hooks("", body)).unwrap();
        let run = sandbox.run(&["snapshot", "create", "--name", name, "hooks.wat"]);
        assert_eq!(run.code, 0, "{run:?}");
        let run = sandbox.run(&["run", "--invoke", "digits", name]);
        run.failed(code, &["executor_after_restore", word]);
        // Nor is the guest instantiated again instead.
        for _ in 0..2 {
            let run = sandbox.run(&["run", "--invoke", "digits", "hooks.wat"]);
            run.failed(code, &["executor_after_restore", word]);
        }
    }
}

#[test]
fn a_hook_that_takes_too_long_is_stopped_by_the_timeout() {
    let sandbox = Sandbox::new();
    sandbox.file("hooks.wat", guests::hooks("", "(loop (br 0))"));
    assert_eq!(sandbox.run(&["snapshot", "create", "--name", "f", "hooks.wat"]).code, 0);
    let run = sandbox.run(&["run", "--timeout", "100ms", "--invoke", "digits", "f"]);
    run.failed(134, &["the timeout of 100ms passed", "executor_after_restore"]);
}

#[test]
fn exports_with_the_name_of_a_hook_that_are_none_are_refused() {
    let sandbox = Sandbox::new();
    for (hook, export, word) in [
        ("executor_before_snapshot", "(func (export NAME) (param i32))", "(i32) -> ()"),
        (
            "executor_after_restore",
            "(func (export NAME) (result i32) (i32.const 0))",
            "() -> (i32)",
        ),
        ("executor_after_restore", "(memory (export NAME) 1)", "is a memory"),
    ] {
        let export = export.replace("NAME", &format!("\"{hook}\""));
        let file = sandbox.path().join("wrong.wat");
        std::fs::write(&file, format!("(module {export})")).unwrap();
        let run = sandbox.run(&["snapshot", "create", "--name", "f", "wrong.wat"]);
        run.failed(1, &[hook, word]);
    }
}
