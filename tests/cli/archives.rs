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
