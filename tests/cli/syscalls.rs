//! A warm run makes the same number of system calls whatever the module's size.

use crate::{guests, sandbox::Sandbox};
use std::{collections::BTreeMap, fs, process::Command, time::Duration};

/// How often a warm run of `target` makes each system call; `None` where strace cannot trace.
fn count(sandbox: &Sandbox, target: &str) -> Option<BTreeMap<String, u32>> {
    let executor = sandbox.command(&["run", "--invoke", "get", target]);
    let log = sandbox.path().join("strace.log");
    let mut strace = Command::new("strace");
    strace.arg("-f").arg("-o").arg(&log).arg(executor.get_program()).args(executor.get_args());
    strace.current_dir(sandbox.path()).env("EXECUTOR_STORE", sandbox.store());
    let output = match strace.output() {
        Err(e) => {
            println!("skipped: strace cannot be run: {e}");
            return None;
        }
        Ok(output) => output,
    };
    let log = fs::read_to_string(log).unwrap_or_default();
    if !log.contains("execve(") {
        println!("skipped: strace cannot trace: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"-1\n"[..]), "{output:?}");
    let mut counts = BTreeMap::new();
    for line in log.lines() {
        let call = line.split_once(' ').map_or(line, |(_pid, call)| call).trim_start();
        // Signals and the end of the process are no calls.
        if let Some((name, _)) = call.split_once('(') {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    Some(counts)
}

/// Makes of a module a stored function and a file whose runs restore an automatic snapshot.
fn prepare(sandbox: &Sandbox, name: &str, file: &str, text: &str) {
    fs::write(sandbox.path().join(file), wat::parse_str(text).unwrap()).unwrap();
    let create = sandbox.run(&["snapshot", "create", "--name", name, file]);
    assert_eq!(create.code, 0, "{create:?}");
}

#[test]
fn a_warm_run_makes_as_many_system_calls_for_a_large_module_as_for_a_small_one() {
    let sandbox = Sandbox::new();
    prepare(&sandbox, "small", "small.wasm", &guests::sized(4, 2));
    prepare(&sandbox, "large", "large.wasm", &guests::sized(3000, 400));
    // A file that has just changed is read again, so that no change is missed; older ones are known
    // by their stamps.
    std::thread::sleep(Duration::from_millis(3100));
    for file in ["small.wasm", "large.wasm"] {
        for _ in 0..2 {
            sandbox.run(&["run", "--invoke", "get", file]).succeeded("-1\n");
        }
    }
    for [small, large] in [["small", "large"], ["small.wasm", "large.wasm"]] {
        let Some(few) = count(&sandbox, small) else { return };
        let Some(many) = count(&sandbox, large) else { return };
        assert_eq!(few, many, "the count grows with the module");
        println!("run {small}: {} system calls: {few:?}", few.values().sum::<u32>());
    }
}
