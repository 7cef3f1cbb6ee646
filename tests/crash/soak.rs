//! Eight processes at a time create, run, remove, list, verify and sweep the same few functions, and some of them are
//! killed: nothing fails but for what another one removed, and at the end the store is whole and clean.

use crate::{
    fixture::{contents, is_temporary, module},
    process::{self, Finish},
    sandbox::{Run, Sandbox},
};
use executor_snapshot::{Catalogue, catalogue::Swept};
use std::{
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

/// How many processes there are at a time.
const PROCESSES: u64 = 8;
/// The functions, and the modules that they are made of.
const FUNCTIONS: [&str; 3] = ["one", "two", "three"];
const MODULES: [(&str, &str); 3] = [("a.wasm", "7\n"), ("b.wasm", "9\n"), ("c.wasm", "11\n")];

/// How long it goes on: `EXECUTOR_SOAK` seconds, or ten.
fn length() -> Duration {
    let seconds = std::env::var("EXECUTOR_SOAK").ok().map(|text| text.parse().unwrap());
    Duration::from_secs(seconds.unwrap_or(10))
}

/// Numbers that look random (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut n = self.0;
        n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((n ^ n >> 31) % end) as usize
    }
}

/// A command, and what may be the matter with it if it fails.
fn command(numbers: &mut Numbers) -> (Vec<String>, &'static [&'static str]) {
    const NONE: &[&str] = &[];
    const UNKNOWN: &[&str] = &["there is no function", "neither a file nor a stored function"];
    let function = FUNCTIONS[numbers.below(3)];
    let module = module(MODULES[numbers.below(3)].0);
    let (line, allowed) = match numbers.below(12) {
        0..=2 => (vec!["snapshot", "create", "--name", function, "--init", "init", &module], NONE),
        3 | 4 => (vec!["run", "--invoke", "get", function], UNKNOWN),
        5 => (vec!["run", "--init", "init", "--invoke", "get", &module], NONE),
        6 => (vec!["compile", &module], NONE),
        7 => (vec!["snapshot", "list"], NONE),
        8 => (vec!["snapshot", "verify"], NONE),
        9 => (vec!["snapshot", "rm", "--auto"], NONE),
        10 => (vec!["snapshot", "verify", function], UNKNOWN),
        _ => (vec!["snapshot", "rm", function], UNKNOWN),
    };
    (line.into_iter().map(str::to_owned).collect(), allowed)
}

/// How a command ended wrongly, if it did.
fn wrong(line: &[String], run: &Run, allowed: &[&str]) -> Option<String> {
    let one_error = run.stderr.lines().count() == 1 && run.stderr.starts_with("executor: error: ");
    let excused = || one_error && allowed.iter().any(|reason| run.stderr.contains(reason));
    let right = match run.code {
        0 if line[0] == "run" => MODULES.iter().any(|(_, answer)| *answer == run.stdout),
        0 => true,
        1 => excused(),
        _ => false,
    };
    // Nothing here is damaged or missing, so nothing is to be warned of.
    let quiet = run.code != 0 || run.stderr.is_empty();
    (!right || !quiet).then(|| format!("{line:?}: {run:?}"))
}

/// Runs commands, one after another, until it is time or one ends wrongly.
fn work(sandbox: &Sandbox, seed: u64, end: Instant, count: &AtomicU64) -> Result<(), String> {
    let mut numbers = Numbers(seed);
    while Instant::now() < end {
        let (line, allowed) = command(&mut numbers);
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        let mut command = sandbox.command(&words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        count.fetch_add(1, Relaxed);
        if numbers.below(6) == 0 {
            thread::sleep(Duration::from_micros(numbers.below(20_000) as u64));
            // It may have ended.
            let _ = child.kill();
            process::wait(&mut child);
            continue;
        }
        if let Some(wrong) = wrong(&line, &Run::from(child.finish()), allowed) {
            return Err(wrong);
        }
    }
    Ok(())
}

#[test]
fn many_processes_use_and_leave_one_store() {
    let sandbox = Sandbox::new();
    let (end, count) = (Instant::now() + length(), AtomicU64::new(0));
    let seed = std::env::var("EXECUTOR_SEED").map_or(1, |text| text.parse().unwrap());
    let wrong: Vec<String> = thread::scope(|scope| {
        let worker = |n| {
            let (sandbox, count) = (&sandbox, &count);
            scope.spawn(move || work(sandbox, seed * 1000 + n, end, count))
        };
        let workers: Vec<_> = (0..PROCESSES).map(worker).collect();
        workers.into_iter().filter_map(|worker| worker.join().unwrap().err()).collect()
    });
    println!("seed {seed}: {} commands", count.into_inner());
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
    // Whatever was held when a process was killed is free.
    for function in FUNCTIONS {
        let create =
            ["snapshot", "create", "--name", function, "--init", "init", &module("a.wasm")];
        assert_eq!(sandbox.run(&create).code, 0);
        sandbox.run(&["run", "--invoke", "get", function]).succeeded("7\n");
    }
    assert_eq!(sandbox.run(&["snapshot", "verify"]).code, 0);
    let catalogue = Catalogue::open(sandbox.store()).unwrap();
    for entry in catalogue.list_auto().unwrap() {
        entry.info.unwrap();
    }
    catalogue.sweep().unwrap();
    let left = contents(&sandbox);
    assert!(!left.keys().any(|path| is_temporary(path)), "{:?}", left.keys());
    assert_eq!(catalogue.sweep().unwrap(), Swept::default());
    for function in FUNCTIONS {
        assert_eq!(sandbox.run(&["snapshot", "rm", function]).code, 0);
    }
    assert_eq!(sandbox.run(&["snapshot", "rm", "--auto"]).code, 0);
    let left: Vec<_> = contents(&sandbox).into_keys().collect();
    let orphan =
        left.iter().find(|path| path.starts_with("snapshots") || path.starts_with("modules"));
    assert_eq!(orphan, None, "{left:?}");
}

#[test]
fn of_those_that_are_not_killed_one_at_most_compiles() {
    const ROUNDS: u64 = 12;
    let mut numbers = Numbers(7);
    let (mut ended, mut compiled) = (0, 0);
    for round in 0..ROUNDS {
        let sandbox = Sandbox::new();
        let file = module(MODULES[numbers.below(3)].0);
        let start = |n: u64| {
            let report = format!("{n}.json");
            let run = ["run", "--snapshot", "never", "--report", &report, "--invoke", "get", &file];
            sandbox.command(&run).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let mut children: Vec<_> = (0..PROCESSES).map(start).collect();
        // Half of them in most rounds, at any moment of their work.
        for child in children.iter_mut().step_by(2).filter(|_| round % 4 > 0) {
            thread::sleep(Duration::from_micros(numbers.below(20_000) as u64));
            // It may have ended.
            let _ = child.kill();
        }
        let mut here = 0;
        for (n, child) in children.into_iter().enumerate() {
            let run = Run::from(child.finish());
            if run.code == -1 {
                continue;
            }
            assert_eq!((run.code, &*run.stdout, &*run.stderr), (0, "0\n", ""), "{run:?}");
            let report = std::fs::read(sandbox.path().join(format!("{n}.json"))).unwrap();
            let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
            here += u64::from(report["code"]["outcome"] == "compiled");
            ended += 1;
        }
        assert!(here <= 1, "round {round}: {here} compiled");
        // Where none was killed one does.
        assert!(here == 1 || round % 4 > 0, "round {round}");
        compiled += here;
    }
    println!("{ended} ended, {compiled} of them compiled");
}
