//! `snapshot export` and `import`.

use crate::{
    guests,
    process::Finish,
    sandbox::{Run, Sandbox},
};
use std::fs;

/// Runs the binary with another store.
fn elsewhere(sandbox: &Sandbox, line: &[&str]) -> Run {
    let mut command = sandbox.command(line);
    Run::from(command.env("EXECUTOR_STORE", sandbox.path().join("elsewhere")).finish())
}

#[test]
fn a_function_is_carried_to_another_store() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let create = ["snapshot", "create", "--name", "f", "--init", "bump", "library.wat"];
    assert_eq!(sandbox.run(&create).code, 0);
    let exported = sandbox.run(&["snapshot", "export", "f", "-o", "f.tar.zst"]);
    assert_eq!(exported.code, 0, "{exported:?}");
    let id = exported.stdout.split_whitespace().next().unwrap();
    let imported = elsewhere(&sandbox, &["snapshot", "import", "f.tar.zst"]);
    imported.succeeded(&format!("f {id}\n"));
    elsewhere(&sandbox, &["run", "--invoke", "counter", "f"]).succeeded("101\n");
    elsewhere(&sandbox, &["snapshot", "verify"]).succeeded("f: ok\n");
    elsewhere(&sandbox, &["snapshot", "import", "--name", "g", "f.tar.zst"])
        .succeeded(&format!("g {id}\n"));
    // A snapshot file too, which is in no store.
    assert_eq!(sandbox.run(&["snapshot", "create", "-o", "s.snap", "library.wat"]).code, 0);
    assert_eq!(sandbox.run(&["snapshot", "export", "s.snap", "-o", "s.tar.zst"]).code, 0);
    elsewhere(&sandbox, &["snapshot", "import", "s.tar.zst"]).failed(1, &["s.tar.zst", "--name"]);
    let imported = elsewhere(&sandbox, &["snapshot", "import", "--name", "s", "s.tar.zst"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    elsewhere(&sandbox, &["run", "--invoke", "counter", "s"]).succeeded("100\n");
}

#[test]
fn what_is_no_archive_is_refused_and_what_is_read_is_not_overwritten() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    assert_eq!(sandbox.run(&["snapshot", "create", "-o", "s.snap", "library.wat"]).code, 0);
    let snapshot = fs::read(sandbox.path().join("s.snap")).unwrap();
    let import = |file: &str| sandbox.run(&["snapshot", "import", "--name", "f", file]);
    import("s.snap").failed(1, &["s.snap", "not an archive of a function"]);
    import("nothing.tar.zst").failed(1, &["nothing.tar.zst"]);
    sandbox
        .run(&["snapshot", "export", "s.snap", "-o", "s.snap"])
        .failed(2, &["would overwrite s.snap"]);
    sandbox.run(&["snapshot", "export", "library.wat", "-o", "x"]).failed(1, &["is a module"]);
    sandbox.run(&["snapshot", "export", "f", "-o", "x"]).failed(1, &["f"]);
    assert!(fs::read(sandbox.path().join("s.snap")).unwrap() == snapshot);
    assert!(!sandbox.path().join("x").exists());
    sandbox.run(&["snapshot", "list"]).succeeded("");
    let small = ["snapshot", "import", "--name", "f", "--max-size", "1KiB", "s.tar.zst"];
    let module_in_store = ["snapshot", "create", "--name", "g", "library.wat"];
    assert_eq!(sandbox.run(&module_in_store).code, 0);
    assert_eq!(sandbox.run(&["snapshot", "export", "s.snap", "-o", "s.tar.zst"]).code, 0);
    sandbox.run(&small).failed(1, &["more than 1024 bytes", "--max-size"]);
}

/// What a run of `counter` of a function in the other store says of its code, and how many code files are there then.
fn code_of_a_run(sandbox: &Sandbox, name: &str) -> (String, usize) {
    let run = elsewhere(sandbox, &["run", "--report", "-", "--invoke", "counter", name]);
    let (result, json) = run.stdout.split_once('\n').unwrap();
    assert_eq!((run.code, result), (0, "101"), "{run:?}");
    let report: serde_json::Value = serde_json::from_str(json).unwrap();
    let outcome = report["code"]["outcome"].as_str().unwrap().to_owned();
    (outcome, code_files(sandbox))
}

fn code_files(sandbox: &Sandbox) -> usize {
    let dir = fs::read_dir(sandbox.path().join("elsewhere/code")).into_iter().flatten();
    dir.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "elf")).count()
}

#[test]
fn machine_code_is_taken_in_only_from_whom_the_user_trusts() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    sandbox.ok(&["snapshot", "create", "--name", "f", "--init", "bump", "library.wat"]);
    sandbox.ok(&["snapshot", "export", "--code", "f", "-o", "f.tar.zst"]);
    sandbox.ok(&["snapshot", "export", "f", "-o", "plain.tar.zst"]);

    let import = ["snapshot", "import", "--trust-code", "f.tar.zst"];
    let imported = elsewhere(&sandbox, &import);
    assert!(imported.code == 0 && imported.stderr.is_empty(), "{imported:?}");
    assert_eq!(code_of_a_run(&sandbox, "f"), ("code-cache".to_owned(), 1));
    elsewhere(&sandbox, &["snapshot", "verify", "f"]).succeeded("f: ok\n");
    let checked = elsewhere(&sandbox, &["store", "check"]);
    assert!(checked.stdout.ends_with("all as they should be\n"), "{checked:?}");

    // Nothing of the code comes in unless that is said, and it is told.
    fs::remove_dir_all(sandbox.path().join("elsewhere")).unwrap();
    let imported = elsewhere(&sandbox, &["snapshot", "import", "f.tar.zst"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    let told = imported.stderr.lines().filter(|line| line.contains("--trust-code")).count();
    assert!(told == 1 && imported.stderr.lines().count() == 1, "{imported:?}");
    // To trust what has none changes nothing.
    fs::remove_dir_all(sandbox.path().join("elsewhere")).unwrap();
    let imported = elsewhere(&sandbox, &["snapshot", "import", "--trust-code", "plain.tar.zst"]);
    assert!(imported.code == 0 && !imported.stderr.contains("code file"), "{imported:?}");
}

/// A suspended call needs the code that goes on with it, too.
const CHECKPOINT: &str = r#"(module
  (import "executor" "checkpoint" (func $checkpoint (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (drop (call $checkpoint))))"#;

#[test]
fn the_code_that_goes_on_with_a_call_is_carried_too() {
    let sandbox = Sandbox::new();
    sandbox.file("c.wat", CHECKPOINT);
    sandbox.ok(&["snapshot", "create", "--name", "f", "--at", "checkpoint", "c.wat"]);
    sandbox.ok(&["snapshot", "export", "--code", "f", "-o", "f.tar.zst"]);
    let imported = elsewhere(&sandbox, &["snapshot", "import", "--trust-code", "f.tar.zst"]);
    assert!(imported.code == 0 && imported.stderr.is_empty(), "{imported:?}");
    assert_eq!(code_files(&sandbox), 2);
    elsewhere(&sandbox, &["run", "f"]).succeeded("");
    assert_eq!(code_files(&sandbox), 2);
}
