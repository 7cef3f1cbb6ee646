//! `--after-restore`: exports that are called after each restore.

use crate::{guests, sandbox::Sandbox};

/// Appends a digit in each export: `1` by `init`, `2` and `3` by the guest's own hooks.
fn module() -> String {
    let wat = guests::hooks("", "");
    let more = r#"(func (export "four") (call $append (i32.const 4)))
        (func (export "five") (call $append (i32.const 5)))
        (func (export "takes") (param i32)) (func (export "traps") unreachable))"#;
    let end = wat.rfind(')').unwrap();
    format!("{}{more}", &wat[..end])
}

#[test]
fn named_exports_are_called_in_order_after_each_restore() {
    let sandbox = Sandbox::new();
    sandbox.file("m.wat", module());
    let named = ["--init", "init", "--after-restore", "five", "--after-restore", "four"];
    let create = |name: &str, options: &[&str], base: &str| {
        let line = [&["snapshot", "create", "--name", name], options, &[base]].concat();
        let run = sandbox.run(&line);
        assert_eq!(run.code, 0, "{run:?}");
    };
    create("f", &named, "m.wat");
    for _ in 0..2 {
        sandbox.run(&["run", "--invoke", "digits", "f"]).succeeded("12354\n");
    }
    let inspected = sandbox.run(&["snapshot", "inspect", "f"]).stdout;
    assert!(inspected.contains("calls five; four"), "{inspected}");
    // What goes on from it has them called too, and its own after them. Making it is a restore.
    create("g", &["--after-restore", "four"], "f");
    sandbox.run(&["run", "--invoke", "digits", "g"]).succeeded("1235423544\n");
    sandbox
        .run(&["run", "--after-restore", "four", "--invoke", "digits", "f"])
        .failed(2, &["--after-restore"]);
}

#[test]
fn the_run_that_takes_an_automatic_snapshot_answers_as_those_that_use_it() {
    let sandbox = Sandbox::new();
    sandbox.file("m.wat", module());
    let run = |options: &[&str]| {
        let line = [options, &["--init", "init", "--invoke", "digits", "m.wat"]].concat();
        let run = sandbox.report(&line);
        (run.stdout.clone(), run.report["instance"]["outcome"].as_str().unwrap().to_owned())
    };
    for outcome in ["instantiated", "restored"] {
        let named = run(&["--after-restore", "four"]);
        assert_eq!(named, ("1234\n".to_owned(), outcome.to_owned()));
        assert_eq!(run(&[]), ("123\n".to_owned(), outcome.to_owned()));
    }
}

#[test]
fn an_export_that_cannot_be_called_after_a_restore_is_refused_before_anything_runs() {
    let sandbox = Sandbox::new();
    sandbox.file("m.wat", module());
    for (export, word) in
        [("nothing", "does not export it"), ("takes", "(i32) -> ()"), ("memory", "memory")]
    {
        let options = ["--init", "traps", "--after-restore", export];
        let create = [&["snapshot", "create", "--name", "f"], &options[..], &["m.wat"]].concat();
        sandbox.run(&create).failed(1, &[&format!("`{export}`"), word]);
        sandbox.run(&[&["run"], &options[..], &["m.wat"]].concat()).failed(1, &[export, word]);
    }
    let create = ["snapshot", "create", "--name", "f", "--after-restore", "traps", "m.wat"];
    assert_eq!(sandbox.run(&create).code, 0);
    sandbox.run(&["run", "--invoke", "digits", "f"]).failed(134, &["`traps`", "unreachable"]);
}
