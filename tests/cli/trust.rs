//! `--trust-store`: a store that is another user's, or on a file system that is mounted read-only.

use crate::{
    guests,
    sandbox::{Run, Sandbox},
};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

/// A user that nobody is.
const OTHER: u32 = 54_321;

/// A sandbox with the function `f`.
fn with_function() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let create = ["snapshot", "create", "--name", "f", "--init", "bump", "library.wat"];
    assert_eq!(sandbox.run(&create).code, 0);
    sandbox
}

/// Everything in a store, and when it last changed.
fn state(store: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut state = BTreeMap::new();
    let mut open = vec![store.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        state.insert(path, meta.modified().unwrap());
    }
    state
}

/// Gives a store to another user; false, with the reason printed, where this one may not.
fn give_away(store: &Path) -> bool {
    let all: Vec<PathBuf> = state(store).into_keys().filter(|path| !path.is_symlink()).collect();
    let given = all.iter().try_for_each(|path| chown(path, Some(OTHER), None));
    if let Err(error) = &given {
        println!("skipped: files cannot be given to another user: {error}");
    }
    given.is_ok()
}

fn run(sandbox: &Sandbox, options: &[&str], target: &str) -> Run {
    sandbox.report(&[options, &["--invoke", "counter", target]].concat())
}

#[test]
fn the_store_of_another_user_is_used_only_where_that_is_said_and_never_written_to() {
    let sandbox = with_function();
    if !give_away(&sandbox.store()) {
        return;
    }
    let before = state(&sandbox.store());
    run(&sandbox, &[], "library.wat").succeeded("100\n").says(&["warning", "another user"]);
    sandbox.run(&["run", "f"]).failed(1, &["another user"]);
    let trusted = run(&sandbox, &["--trust-store"], "f");
    trusted.succeeded("101\n").did("code-cache", "restored");
    assert_eq!(trusted.stderr, "");
    let mut by_environment = sandbox.command(&["run", "--invoke", "counter", "f"]);
    let output = by_environment.env("EXECUTOR_TRUST_STORE", "1").output().unwrap();
    assert_eq!(output.stdout, b"101\n");
    let mut neither = sandbox.command(&["run", "f"]);
    let output = neither.env("EXECUTOR_TRUST_STORE", "perhaps").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    // What is not there is made, and not kept.
    sandbox.file("hello.wat", guests::HELLO);
    let hello = sandbox.run(&["run", "--trust-store", "hello.wat"]);
    assert_eq!(hello.succeeded("hello\n").stderr, "");
    let create = sandbox.run(&["snapshot", "create", "--trust-store", "--name", "g", "hello.wat"]);
    create.failed(1, &["not written to", "--trust-store"]);
    for command in [&["snapshot", "rm", "f"][..], &["store", "gc"], &["store", "quota", "1GiB"]] {
        let refused = sandbox.run(&[command, &["--trust-store"]].concat());
        refused.failed(1, &["not written to"]);
    }
    assert_eq!(sandbox.run(&["store", "check", "--trust-store"]).code, 0);
    assert_eq!(sandbox.run(&["store", "gc", "--dry-run", "--trust-store"]).code, 0);
    assert_eq!(state(&sandbox.store()), before, "something was written");
}

#[test]
fn trust_is_in_the_store_and_not_in_code_of_another_or_in_what_is_no_file() {
    let sandbox = with_function();
    let code = sandbox.stored("code", "elf").pop().unwrap();
    let whole = fs::read(&code).unwrap();
    let trusted = || run(&sandbox, &["--trust-store"], "f");
    // The header is looked at, and the body is not read: it was vouched for.
    let mut bytes = whole.clone();
    bytes[100] ^= 1;
    fs::write(&code, bytes).unwrap();
    trusted().succeeded("101\n").did("compiled", "restored").says(&["warning", "is damaged"]);
    let mut bytes = whole.clone();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&code, bytes).unwrap();
    trusted().succeeded("101\n").did("code-cache", "restored");
    run(&sandbox, &[], "f").succeeded("101\n").did("compiled", "restored");
    assert!(fs::read(&code).unwrap() == whole, "the code file was not written again");
    fs::rename(sandbox.store().join("key"), sandbox.path().join("key")).unwrap();
    trusted().succeeded("101\n").did("compiled", "restored").says(&["another key"]);
    fs::rename(sandbox.path().join("key"), sandbox.store().join("key")).unwrap();
    let snapshot = sandbox.stored("snapshots", "snap").pop().unwrap();
    fs::rename(&snapshot, sandbox.path().join("moved")).unwrap();
    symlink(sandbox.path().join("moved"), &snapshot).unwrap();
    sandbox.run(&["run", "--trust-store", "f"]).failed(1, &["symbolic link"]);
    fs::remove_file(&snapshot).unwrap();
    assert!(Command::new("mkfifo").arg(&snapshot).status().unwrap().success());
    sandbox.run(&["run", "--trust-store", "f"]).failed(1, &["a pipe"]);
}

/// A bind mount, undone when dropped.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_store_that_is_mounted_read_only_is_used_with_trust_and_without() {
    let sandbox = with_function();
    let store = sandbox.store();
    let mount = |words: &[&str]| Command::new("mount").args(words).arg(&store).output();
    let path = store.to_str().unwrap();
    let done = mount(&["--bind", path]);
    if !done.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped: nothing can be mounted: {done:?}");
        return;
    }
    let _mount = Mount(store.clone());
    assert!(mount(&["-o", "remount,ro,bind"]).unwrap().status.success());
    assert!(fs::write(store.join("x"), "").is_err());
    for options in [&[][..], &["--trust-store"]] {
        for _ in 0..2 {
            let run = run(&sandbox, options, "f");
            run.succeeded("101\n").did("code-cache", "restored");
            assert_eq!(run.stderr, "");
        }
    }
    assert!(sandbox.stored("code", "checked").is_empty());
    assert!(fs::metadata(store.join("key")).unwrap().mode() & 0o777 == 0o600);
}
