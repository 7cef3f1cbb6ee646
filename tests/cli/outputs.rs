//! Where a snapshot cannot be written: what is no regular file, and what is too large.

use crate::process::Finish;
use crate::{guests, sandbox::Sandbox};
use std::{fs, path::Path, process::Command};

#[test]
fn what_is_no_regular_file_is_refused_before_anything_is_done() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    sandbox.file("old.snap", "old");
    std::os::unix::fs::symlink("old.snap", sandbox.path().join("link.snap")).unwrap();
    std::os::unix::fs::symlink("/dev/null", sandbox.path().join("null.snap")).unwrap();
    fs::create_dir(sandbox.path().join("dir.snap")).unwrap();
    let mkfifo = Command::new("mkfifo").arg(sandbox.path().join("pipe.snap")).status().unwrap();
    assert!(mkfifo.success());
    for (output, word) in [
        ("link.snap", "a symbolic link"),
        ("null.snap", "a symbolic link"),
        ("dir.snap", "a directory"),
        ("pipe.snap", "a pipe"),
        ("absent/x.snap", "No such file"),
    ] {
        let kind = |path: &Path| fs::symlink_metadata(path).ok().map(|m| m.file_type());
        let path = sandbox.path().join(output);
        let before = kind(&path);
        let run = sandbox.run(&["snapshot", "create", "-o", output, "hello.wat"]);
        run.failed(1, &[output, word]);
        assert_eq!(kind(&path), before, "{output}");
        assert!(sandbox.stored("code", "elf").is_empty(), "{output}: it was compiled");
    }
    assert_eq!(fs::read(sandbox.path().join("old.snap")).unwrap(), b"old");
    let run = sandbox.run(&["snapshot", "create", "-o", "old.snap", "hello.wat"]);
    assert_eq!(run.code, 0, "a regular file is replaced: {run:?}");
}

#[test]
fn a_file_that_would_be_too_large_is_an_error_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    let create = sandbox.command(&["snapshot", "create", "--name", "f", "library.wat"]);
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -f 2; exec \"$0\" \"$@\""]).arg(create.get_program());
    limited.args(create.get_args()).current_dir(sandbox.path());
    let output = limited.env("EXECUTOR_STORE", sandbox.store()).finish();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{:?}: {stderr}", output.status);
    let errors: Vec<&str> = stderr.lines().filter(|line| line.contains("error:")).collect();
    assert!(errors.len() == 1 && errors[0].contains("File too large"), "{stderr}");
    for directory in ["auto", "code", "functions", "index", "modules", "snapshots"] {
        let Ok(entries) = fs::read_dir(sandbox.store().join(directory)) else { continue };
        for entry in entries.map(|entry| entry.unwrap().file_name()) {
            assert_eq!(entry, "compiling", "{directory}");
        }
    }
}
