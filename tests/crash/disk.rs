//! Disks that are full, files that may not grow and stores that cannot be written: the command says so in one line,
//! and what the store had is whole.

use crate::{
    fixture::{contents, copy, filled, is_temporary, module},
    process::Finish,
    sandbox::{Run, Sandbox},
};
use executor_snapshot::Catalogue;
use std::{fs, process::Command};

/// The command of a sandbox under `sh -c SCRIPT`, in which it is `"$@"`; with mounts of its own where `mounts`.
fn under(script: &str, mounts: bool, sandbox: &Sandbox, args: &[&str]) -> Command {
    let command = sandbox.command(args);
    let mut shell = match mounts {
        true => Command::new("unshare"),
        false => Command::new("sh"),
    };
    if mounts {
        shell.args(["--map-root-user", "--mount", "sh"]);
    }
    shell.args(["-c", script, "sh"]).arg(command.get_program()).args(args);
    shell.current_dir(sandbox.path()).env("EXECUTOR_STORE", sandbox.store());
    shell
}

/// Whether things can be mounted here.
fn can_mount() -> bool {
    let mount = "mount -t tmpfs none /tmp";
    let tried =
        Command::new("unshare").args(["--map-root-user", "--mount", "sh", "-c", mount]).output();
    let reason = match tried {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    println!("skipped: nothing can be mounted: {reason}");
    false
}

/// The commands that write to a store, and what they say when all goes well.
fn writers() -> [Vec<String>; 3] {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let b = module("b.wasm");
    [
        words(&["snapshot", "create", "--name", "new", "--init", "init", &b]),
        words(&["compile", &b]),
        words(&["run", "--init", "init", "--invoke", "get", &b]),
    ]
}

/// The command succeeded, or failed with one line that names a file of the store and the cause.
#[track_caller]
fn one_clear_end(run: &Run, sandbox: &Sandbox, cause: &str) {
    let lines: Vec<&str> = run.stderr.lines().collect();
    let errors = lines.iter().filter(|line| line.starts_with("executor: error: ")).count();
    let warnings = lines.iter().filter(|line| line.starts_with("executor: warning: ")).count();
    assert_eq!(errors + warnings, lines.len(), "{run:?}");
    match run.code {
        0 => assert_eq!(errors, 0, "{run:?}"),
        1 => {
            let store = sandbox.store();
            assert_eq!(errors, 1, "{run:?}");
            run.says(&[cause, store.to_str().unwrap()]);
        }
        _ => panic!("{run:?}"),
    }
}

/// What the store had works, and a sweep leaves nothing temporary.
#[track_caller]
fn is_whole(sandbox: &Sandbox) {
    let catalogue = Catalogue::open(sandbox.store()).unwrap();
    let names: Vec<String> = catalogue.list().unwrap().into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().any(|name| name == "old"), "{names:?}");
    for name in names {
        catalogue.verify_function(&name).unwrap();
    }
    sandbox.run(&["run", "--invoke", "get", "old"]).succeeded("7\n");
    catalogue.sweep().unwrap();
    let left = contents(sandbox);
    assert!(!left.keys().any(|path| is_temporary(path)), "{:?}", left.keys());
}

#[test]
fn a_full_disk_loses_nothing() {
    if !can_mount() {
        return;
    }
    let before = filled();
    let (mut failed, mut succeeded) = (0, 0);
    // From too little for what is there to enough for all: each write in turn is the one that does not fit.
    let taken =
        contents(&before).values().map(|bytes| bytes.len().div_ceil(4096) + 1).sum::<usize>();
    for pages in (taken / 2..taken + 16).step_by(2) {
        for args in writers() {
            let sandbox = copy(&before);
            let script = format!(
                "cp -a store seed && mount -t tmpfs -o size={}k,mode=700 none store && cp -a seed/. store \
                 || exit 77; \"$@\"; code=$?; rm -rf seed/* && cp -a store/. seed && exit $code",
                4 * pages
            );
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let run = Run::from(under(&script, true, &sandbox, &args).finish());
            if run.code == 77 {
                continue;
            }
            one_clear_end(&run, &sandbox, "No space left on device");
            match run.code == 0 && run.stderr.is_empty() {
                true => succeeded += 1,
                false => failed += 1,
            }
            fs::remove_dir_all(sandbox.store()).unwrap();
            fs::rename(sandbox.path().join("seed"), sandbox.store()).unwrap();
            is_whole(&sandbox);
        }
    }
    assert!(failed > 5 && succeeded > 0, "{failed} did not fit, {succeeded} did");
}

#[test]
fn a_limit_on_the_size_of_files_loses_nothing() {
    let before = filled();
    // In blocks of 512 bytes.
    for blocks in [0, 1, 8, 17, 24] {
        for args in writers() {
            let sandbox = copy(&before);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let script = format!("ulimit -f {blocks}; exec \"$@\"");
            let run = Run::from(under(&script, false, &sandbox, &args).finish());
            one_clear_end(&run, &sandbox, "File too large");
            is_whole(&sandbox);
        }
    }
}

#[test]
fn a_store_that_cannot_be_written_is_read() {
    if !can_mount() {
        return;
    }
    let sandbox = filled();
    let script =
        "mount --bind store store && mount -o remount,bind,ro store || exit 77; exec \"$@\"";
    let run = |args: &[&str]| Run::from(under(script, true, &sandbox, args).finish());
    let before = contents(&sandbox);
    run(&["run", "--invoke", "get", "old"]).succeeded("7\n");
    run(&["run", "--invoke", "get", &module("a.wasm")]).succeeded("0\n");
    assert_eq!(run(&["snapshot", "verify"]).code, 0);
    assert_eq!(run(&["snapshot", "list"]).code, 0);
    for args in writers() {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let run = run(&args);
        one_clear_end(&run, &sandbox, "Read-only file system");
        assert_eq!(run.code, i32::from(args[0] != "run"), "{run:?}");
    }
    one_clear_end(&run(&["snapshot", "rm", "old"]), &sandbox, "Read-only file system");
    assert_eq!(before, contents(&sandbox));
}
