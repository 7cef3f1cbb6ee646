//! Several processes that use one store at a time, and what those that were killed leave in it.

use crate::process::{self, Finish};
use crate::{guests, sandbox::Sandbox};
use std::{
    fs::{self, File},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

/// Waits for something that another process does.
#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn start(sandbox: &Sandbox, args: &[&str]) -> Child {
    let mut command = sandbox.command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn one_of_many_first_runs_compiles_and_the_others_find_its_code() {
    let sandbox = Sandbox::new();
    sandbox.file("large.wat", guests::sized(2000, 1));
    let run = |n: u32| {
        let report = format!("report{n}.json");
        let args = ["run", "--snapshot", "never", "--report", &report, "--invoke", "get"];
        start(&sandbox, &[&args[..], &["large.wat"]].concat())
    };
    let children: Vec<Child> = (0..4).map(run).collect();
    let mut compiled = 0;
    for (n, child) in children.into_iter().enumerate() {
        let output = child.finish();
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"-1\n"[..]), "{output:?}");
        let report = fs::read(sandbox.path().join(format!("report{n}.json"))).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        match report["code"]["outcome"].as_str() {
            Some("compiled") => compiled += 1,
            outcome => assert_eq!(outcome, Some("code-cache")),
        }
    }
    assert_eq!(compiled, 1);
}

#[test]
fn a_compiler_that_is_killed_keeps_nobody_waiting() {
    let sandbox = Sandbox::new();
    sandbox.file("large.wat", guests::sized(3000, 1));
    let mut first = start(&sandbox, &["compile", "large.wat"]);
    until("the first compiles", || sandbox.store().join("code/compiling").exists());
    first.kill().unwrap();
    process::wait(&mut first);
    sandbox.run(&["run", "--invoke", "get", "large.wat"]).succeeded("-1\n");
}

#[test]
fn a_store_whose_locks_cannot_be_had_does_not_stop_a_run() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    sandbox.run(&["run", "hello.wat"]).succeeded("hello\n");
    fs::remove_file(sandbox.stored("code", "elf").pop().unwrap()).unwrap();
    // Also the superuser cannot open a directory as a lock.
    for lock in ["lock", "code/compiling"] {
        let path = sandbox.store().join(lock);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
    }
    sandbox.run(&["run", "hello.wat"]).succeeded("hello\n").says(&["warning", "store/lock"]);
}

#[test]
fn what_crashes_left_is_swept_from_every_directory() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    assert_eq!(sandbox.run(&["snapshot", "create", "--name", "f", "library.wat"]).code, 0);
    sandbox.run(&["run", "--invoke", "counter", "library.wat"]).succeeded("100\n");
    let mut left = Vec::new();
    for directory in ["auto", "code", "functions", "index", "modules", "snapshots"] {
        let directory = sandbox.store().join(directory);
        if !directory.exists() {
            fs::create_dir(&directory).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            fs::set_permissions(&directory, mode).unwrap();
        }
        for name in [".0123456789abcdef.tmp", "name.elf.99999.0.tmp"] {
            left.push(directory.join(name));
            fs::write(left.last().unwrap(), "half").unwrap();
        }
    }
    assert_eq!(sandbox.run(&["snapshot", "rm", "f"]).code, 0);
    for path in left {
        assert!(!path.exists(), "{}", path.display());
    }
    sandbox.report(&["--invoke", "counter", "library.wat"]).did("code-cache", "restored");
}

#[test]
fn a_sweep_waits_for_those_who_write() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    for name in ["f", "g"] {
        assert_eq!(sandbox.run(&["snapshot", "create", "--name", name, "hello.wat"]).code, 0);
    }
    // A writer as another process is one.
    let lock = File::open(sandbox.store().join("lock")).unwrap();
    lock.lock_shared().unwrap();
    let writing = sandbox.store().join("code/.0123456789abcdef.tmp");
    fs::write(&writing, "half").unwrap();
    let mut remover = start(&sandbox, &["snapshot", "rm", "g"]);
    until("the remover waits for the lock", || waits_for_lock(remover.id()));
    assert!(writing.exists() && remover.try_wait().unwrap().is_none());
    let written = writing.with_file_name("written");
    fs::rename(&writing, &written).unwrap();
    drop(lock);
    assert_eq!(process::wait(&mut remover).code(), Some(0));
    assert!(written.exists());
    sandbox.run(&["run", "f"]).succeeded("hello\n");
}

/// Whether a process waits for a lock on an open file.
fn waits_for_lock(process: u32) -> bool {
    let (process, locks) = (process.to_string(), fs::read_to_string("/proc/locks").unwrap());
    let waits = |line: &str| line.contains("-> ") && line.split(' ').any(|word| word == process);
    locks.lines().any(waits)
}

#[test]
fn code_goes_with_its_module_unless_a_file_has_that() {
    let sandbox = Sandbox::new();
    sandbox.file("library.wat", guests::LIBRARY);
    sandbox.file("hello.wat", guests::HELLO);
    assert_eq!(sandbox.run(&["compile", "hello.wat"]).code, 0);
    for name in ["f", "g"] {
        let run = sandbox.run(&["snapshot", "create", "--name", name, "library.wat"]);
        assert_eq!(run.code, 0, "{run:?}");
    }
    assert_eq!(sandbox.stored("code", "elf").len(), 2);
    assert_eq!(sandbox.run(&["snapshot", "rm", "f"]).code, 0);
    assert_eq!(sandbox.stored("code", "elf").len(), 2, "another function has the module");
    assert_eq!(sandbox.run(&["snapshot", "rm", "g"]).code, 0);
    assert_eq!(sandbox.stored("code", "elf").len(), 1, "what `compile` left stays");
    sandbox.report(&["hello.wat"]).did("code-cache", "instantiated");
}

#[test]
fn list_and_verify_pass_over_functions_that_go_meanwhile() {
    let sandbox = Sandbox::new();
    sandbox.file("hello.wat", guests::HELLO);
    let create = |name| sandbox.run(&["snapshot", "create", "--name", name, "hello.wat"]);
    assert_eq!(create("stays").code, 0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(create("goes").code, 0);
                assert_eq!(sandbox.run(&["snapshot", "rm", "goes"]).code, 0);
            }
        });
        let ended: Vec<_> = (0..40)
            .flat_map(|_| ["list", "verify"])
            .map(|what| sandbox.run(&["snapshot", what]))
            .collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for run in ended {
            assert!(run.code == 0 && run.stdout.contains("stays"), "{run:?}");
        }
    });
}
