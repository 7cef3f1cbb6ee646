//! A damaged store is found out, and creating the same again mends it.

use crate::{guests, sandbox::Sandbox};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

fn create(sandbox: &Sandbox, name: &str, init: &str) {
    let run = sandbox.run(&["snapshot", "create", "--name", name, "--init", init, "library.wat"]);
    assert_eq!(run.code, 0, "{run:?}");
}

/// A sandbox with the function `f`.
fn with_function() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    create(&sandbox, "f", "bump");
    sandbox
}

/// Changes one byte of a file; its length stays.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() - 1;
    bytes[at] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

fn only(mut paths: Vec<std::path::PathBuf>) -> std::path::PathBuf {
    assert_eq!(paths.len(), 1, "{paths:?}");
    paths.remove(0)
}

#[test]
fn a_damaged_snapshot_is_mended_by_creating_it_again() {
    let sandbox = with_function();
    damage(&only(sandbox.stored("snapshots", "snap")));
    assert_eq!(sandbox.run(&["snapshot", "verify"]).code, 1);
    create(&sandbox, "f", "bump");
    sandbox.run(&["snapshot", "verify"]).succeeded("f: ok\n");
    sandbox.run(&["run", "--invoke", "counter", "f"]).succeeded("101\n");
}

#[test]
fn a_damaged_or_missing_module_is_found_and_mended_by_creating_the_function_again() {
    for lose in [damage as fn(&Path), |path| fs::remove_file(path).unwrap()] {
        let sandbox = with_function();
        let module = only(sandbox.stored("modules", "wasm"));
        lose(&module);
        let all = sandbox.run(&["snapshot", "verify"]);
        assert_eq!(all.code, 1, "{all:?}");
        let name = module.file_name().unwrap().to_str().unwrap();
        for word in [name, "create the function again"] {
            assert!(all.stdout.contains(word), "{all:?}");
        }
        sandbox.run(&["snapshot", "verify", "f"]).failed(1, &[name, "create the function again"]);
        create(&sandbox, "f", "bump");
        sandbox.run(&["snapshot", "verify"]).succeeded("f: ok\n");
        fs::remove_file(only(sandbox.stored("code", "elf"))).unwrap();
        sandbox.run(&["run", "--invoke", "counter", "f"]).succeeded("101\n");
    }
}

#[test]
fn a_run_that_needs_a_damaged_module_says_what_to_do() {
    let sandbox = with_function();
    damage(&only(sandbox.stored("modules", "wasm")));
    fs::remove_file(only(sandbox.stored("code", "elf"))).unwrap();
    let run = sandbox.run(&["run", "--invoke", "counter", "f"]);
    run.failed(1, &["modules/", "damaged", "create the function again"]);
}

#[test]
fn a_snapshot_under_the_name_of_another_is_not_used() {
    let sandbox = with_function();
    create(&sandbox, "g", "fill");
    let snapshots = sandbox.stored("snapshots", "snap");
    let [one, two] = &snapshots[..] else { panic!("{snapshots:?}") };
    let aside = sandbox.path().join("aside");
    fs::rename(one, &aside).unwrap();
    fs::rename(two, one).unwrap();
    fs::rename(&aside, two).unwrap();
    let verify = sandbox.run(&["snapshot", "verify"]);
    assert_eq!((verify.code, verify.stdout.matches("not used").count()), (1, 2), "{verify:?}");
    for name in ["f", "g"] {
        let run = sandbox.run(&["run", "--invoke", "counter", name]);
        run.failed(1, &["snapshots/", "not the snapshot that its name says"]);
    }
}

#[test]
fn an_automatic_snapshot_under_the_name_of_another_is_passed_over() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let run = |init| sandbox.report(&["--init", init, "--invoke", "counter", "library.wat"]);
    run("bump").succeeded("101\n");
    run("fill").succeeded("100\n");
    let snapshots = sandbox.stored("snapshots", "snap");
    fs::copy(&snapshots[0], &snapshots[1]).unwrap();
    run("bump").succeeded("101\n");
    run("fill").succeeded("100\n");
    for init in ["bump", "fill"] {
        run(init).did("code-cache", "restored");
    }
}

#[test]
fn a_directory_that_others_may_write_to_is_refused_by_name_and_nothing_in_it_is_used() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    create(&sandbox, "f", "bump");
    let run = || sandbox.report(&["--init", "bump", "--invoke", "counter", "library.wat"]);
    run().succeeded("101\n").took_snapshot(true, &[]);
    let chmod = |directory: &str, mode| {
        let mode = Permissions::from_mode(mode);
        fs::set_permissions(sandbox.store().join(directory), mode).unwrap();
    };
    // What a run of a file can do without.
    for (directory, code, instance) in [
        ("auto", "code-cache", "instantiated"),
        ("code", "compiled", "restored"),
        ("snapshots", "code-cache", "instantiated"),
    ] {
        chmod(directory, 0o777);
        let run = run();
        run.succeeded("101\n").says(&["warning", &format!("store/{directory}"), "chmod go-w"]);
        run.did(code, instance);
        chmod(directory, 0o700);
    }
    run().succeeded("101\n").did("code-cache", "restored");
    // What a function cannot do without.
    for directory in ["functions", "snapshots"] {
        chmod(directory, 0o777);
        let run = sandbox.run(&["run", "--invoke", "counter", "f"]);
        run.failed(1, &[&format!("store/{directory}"), "chmod go-w"]);
        chmod(directory, 0o700);
    }
    chmod("code", 0o777);
    let run = sandbox.report(&["--invoke", "counter", "f"]);
    run.succeeded("101\n").did("compiled", "restored").says(&["store/code", "chmod go-w"]);
}

#[test]
fn an_entry_of_another_user_is_refused_by_name() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let run = || sandbox.report(&["--invoke", "counter", "library.wat"]);
    run().succeeded("100\n");
    let entry = only(
        fs::read_dir(sandbox.store().join("auto")).unwrap().map(|e| e.unwrap().path()).collect(),
    );
    if let Err(error) = std::os::unix::fs::chown(&entry, Some(12345), None) {
        println!("skipped: this user cannot give files away: {error}");
        return;
    }
    let name = entry.file_name().unwrap().to_str().unwrap();
    let run = run();
    run.succeeded("100\n").did("code-cache", "instantiated");
    run.says(&["warning", name, "owned by another user: 12345", "chown"]);
}

#[test]
fn an_index_that_others_may_write_to_is_not_believed() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let index = sandbox.store().join("index");
    fs::create_dir_all(&index).unwrap();
    for directory in [sandbox.store(), index.clone()] {
        fs::set_permissions(directory, Permissions::from_mode(0o700)).unwrap();
    }
    fs::set_permissions(&index, Permissions::from_mode(0o777)).unwrap();
    fs::write(sandbox.path().join("m.wasm"), wat::parse_str(guests::LIBRARY).unwrap()).unwrap();
    let run = sandbox.run(&["run", "--invoke", "counter", "m.wasm"]);
    run.succeeded("100\n").says(&["warning", "store/index", "chmod go-w"]);
}

#[test]
fn what_is_no_file_is_refused_by_name_and_not_waited_for() {
    let sandbox = with_function();
    let mkfifo = |path: &Path| {
        fs::remove_file(path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    let code = only(sandbox.stored("code", "elf"));
    mkfifo(&code);
    let run = sandbox.run(&["run", "--invoke", "counter", "f"]);
    run.succeeded("101\n").says(&["warning", "code/", "a pipe, not a regular file"]);
    let snapshot = only(sandbox.stored("snapshots", "snap"));
    mkfifo(&snapshot);
    let run = sandbox.run(&["run", "--invoke", "counter", "f"]);
    run.failed(1, &["snapshots/", "a pipe, not a regular file"]);
    assert_eq!(sandbox.run(&["snapshot", "list"]).code, 1);
    create(&sandbox, "f", "bump");
    sandbox.run(&["run", "--invoke", "counter", "f"]).succeeded("101\n");
}

#[test]
fn a_function_that_leads_out_of_the_store_is_not_followed() {
    let sandbox = with_function();
    let inside = only(sandbox.stored("snapshots", "snap"));
    fs::copy(&inside, sandbox.path().join("outside.snap")).unwrap();
    let link = sandbox.store().join("functions/f");
    for target in ["../../outside.snap", inside.to_str().unwrap()] {
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(target, &link).unwrap();
        let run = sandbox.run(&["run", "--invoke", "counter", "f"]);
        run.failed(1, &["functions/f", "does not lead to a snapshot of the store"]);
    }
}

/// As `cp -rL` and images of containers make it.
#[test]
fn a_store_that_was_copied_without_links_works() {
    let sandbox = with_function();
    sandbox.file("hello.wat", guests::HELLO);
    assert_eq!(sandbox.run(&["snapshot", "create", "--name", "g", "hello.wat"]).code, 0);
    let link = sandbox.store().join("functions/f");
    let bytes = fs::read(&link).unwrap();
    fs::remove_file(&link).unwrap();
    fs::write(&link, bytes).unwrap();
    fs::set_permissions(&link, Permissions::from_mode(0o644)).unwrap();

    sandbox.run(&["snapshot", "verify"]).succeeded("f: ok\ng: ok\n");
    assert!(sandbox.run(&["snapshot", "list"]).stdout.contains("\nf "));
    // Its module stays when another function goes.
    assert_eq!(sandbox.run(&["snapshot", "rm", "g"]).code, 0);
    fs::remove_dir_all(sandbox.store().join("code")).unwrap();
    sandbox.run(&["run", "--invoke", "counter", "f"]).succeeded("101\n");
    assert_eq!(sandbox.run(&["snapshot", "rm", "f"]).code, 0);
    assert!(sandbox.stored("modules", "wasm").is_empty());
    sandbox.run(&["run", "f"]).failed(1, &["f"]);
}
