//! `snapshot create --base` and `snapshot flatten`.

use crate::sandbox::Sandbox;
use std::{fs, path::Path};

/// A module with a memory of 1 MiB that its start fills. `fill` writes to one page, `first` reads it and `last` the last page.
const GUEST: &str = r#"(module $guest
  (memory (export "memory") 16)
  (func $start
    (memory.fill (i32.const 0) (i32.const 1) (i32.const 1048576)))
  (start $start)
  (func (export "fill") (memory.fill (i32.const 0) (i32.const 2) (i32.const 4096)))
  (func (export "more") (memory.fill (i32.const 4096) (i32.const 3) (i32.const 4096)))
  (func (export "first") (result i32) (i32.load8_u (i32.const 0)))
  (func (export "second") (result i32) (i32.load8_u (i32.const 4096)))
  (func (export "last") (result i32) (i32.load8_u (i32.const 1048575))))"#;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("guest.wat", GUEST);
    create(&sandbox, &["--name", "base", "guest.wat"]);
    sandbox
}

/// Makes a snapshot and returns its identity.
fn create(sandbox: &Sandbox, args: &[&str]) -> String {
    let run = sandbox.run(&[&["snapshot", "create"], args].concat());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    run.stdout.split_whitespace().next().unwrap().to_owned()
}

#[track_caller]
fn gives(sandbox: &Sandbox, target: &str, export: &str, value: u32) {
    let run = sandbox.run(&["run", "--invoke", export, target]);
    run.succeeded(&format!("{value}\n"));
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn a_function_over_another_stores_what_differs_and_outlives_it() {
    let sandbox = sandbox();
    let args = ["--base", "base", "--name", "f", "--init", "fill", "guest.wat"];
    let id = create(&sandbox, &args);
    let file = sandbox.store().join(format!("snapshots/{id}.snap"));
    assert!(len(&file) < 20_000, "{}", len(&file));
    for _ in 0..2 {
        gives(&sandbox, "f", "first", 2);
        gives(&sandbox, "f", "second", 1);
        gives(&sandbox, "f", "last", 1);
        sandbox.run(&["snapshot", "verify", "f"]).succeeded("f: ok\n");
        sandbox.run(&["run", "--verify", "--invoke", "last", "f"]).succeeded("1\n");
        let _ = sandbox.run(&["snapshot", "rm", "base"]);
    }
    let shown = sandbox.run(&["snapshot", "inspect", "f"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    // With the last that needs it the base goes too.
    let removed = sandbox.run(&["snapshot", "rm", "f"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    assert!(sandbox.stored("snapshots", "snap").is_empty());
}

#[test]
fn what_goes_on_from_a_function_can_be_laid_over_it() {
    let sandbox = sandbox();
    create(&sandbox, &["--base", "base", "--name", "f", "--init", "fill", "base"]);
    create(&sandbox, &["--base", "f", "--name", "g", "--init", "more", "f"]);
    for (export, value) in [("first", 2), ("second", 3), ("last", 1)] {
        gives(&sandbox, "g", export, value);
    }
    // Flat again it is what it would have been.
    let flat =
        create(&sandbox, &["--name", "flat", "--init", "fill", "--init", "more", "guest.wat"]);
    let run = sandbox.run(&["snapshot", "diff", "g", "flat"]);
    assert!(!run.stdout.contains("memory 0"), "{run:?}");
    sandbox.run(&["snapshot", "flatten", "g"]).says(&[]);
    sandbox.run(&["snapshot", "rm", "base", "f"]).says(&[]);
    for (export, value) in [("first", 2), ("second", 3), ("last", 1)] {
        gives(&sandbox, "g", export, value);
    }
    create(
        &sandbox,
        &["--base", "g", "--name", "over", "--init", "fill", "--init", "more", "guest.wat"],
    );
    let flattened = sandbox.run(&["snapshot", "flatten", "over", "--name", "again"]);
    assert!(flattened.stdout.starts_with(&flat), "{flattened:?}");
}

#[test]
fn files_find_their_base_beside_them_and_say_what_is_missing() {
    let sandbox = sandbox();
    let base = create(&sandbox, &["-o", "base.snap", "guest.wat"]);
    let args = ["--base", "base.snap", "-o", "f.snap", "--init", "fill", "guest.wat"];
    create(&sandbox, &args);
    let store = sandbox.path().join("elsewhere");
    let elsewhere = |line: &[&str]| {
        let mut command = sandbox.command(line);
        command.env("EXECUTOR_STORE", &store);
        crate::sandbox::Run::from(crate::process::Finish::finish(&mut command))
    };
    elsewhere(&["compile", "guest.wat"]);
    elsewhere(&["snapshot", "create", "--name", "m", "--init", "fill", "guest.wat"]);
    let run = ["run", "--invoke", "last", "./f.snap"];
    elsewhere(&run).succeeded("1\n");
    elsewhere(&["snapshot", "flatten", "f.snap", "-o", "flat.snap"]).says(&[]);
    fs::rename(sandbox.path().join("base.snap"), sandbox.path().join("moved")).unwrap();
    // The store has it as a function.
    sandbox.run(&run).succeeded("1\n");
    let words = ["f.snap", &base, "base.snap", "beside it"];
    for line in [&run[..], &["snapshot", "verify", "f.snap"]] {
        elsewhere(line).failed(1, &words);
    }
    elsewhere(&["run", "--invoke", "first", "./flat.snap"]).succeeded("2\n");
    sandbox.run(&["snapshot", "verify", "f.snap"]).succeeded("f.snap: ok\n");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let sandbox = sandbox();
    create(&sandbox, &["-o", "base.snap", "guest.wat"]);
    let base = fs::read(sandbox.path().join("base.snap")).unwrap();
    let create = |args: &[&str]| sandbox.run(&[&["snapshot", "create"], args].concat());
    create(&["--base", "guest.wat", "--name", "f", "guest.wat"])
        .failed(1, &["guest.wat", "is a module", "snapshot create"]);
    create(&["--base", "nothing", "--name", "f", "guest.wat"]).failed(1, &["nothing"]);
    create(&["--base", "base.snap", "-o", "base.snap", "guest.wat"])
        .failed(2, &["would overwrite", "--base base.snap"]);
    sandbox.run(&["snapshot", "flatten", "base.snap"]).failed(2, &["-o FILE.snap"]);
    sandbox
        .run(&["snapshot", "flatten", "base.snap", "-o", "base.snap"])
        .failed(2, &["would overwrite"]);
    assert!(fs::read(sandbox.path().join("base.snap")).unwrap() == base);
    sandbox.file("other.wat", "(module (memory 1) (data (i32.const 9) \"x\"))");
    let alone = create(&["--base", "base", "--name", "o", "other.wat"]);
    assert_eq!(alone.code, 0);
    alone.says(&["warning", "no page in common"]);
}
