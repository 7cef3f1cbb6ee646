//! What a call of a WASI function costs in each engine, by their commands.
//!
//! Invariant: both run the same module with the same streams; of each time the time of the same
//! module without the calls is taken off, so that neither start nor compilation counts.

use executor_bench::input;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How many calls a run makes.
const CALLS: u32 = 2_000_000;
const RUNS: usize = 7;

/// Functions with the arguments that each call gives: their types and values.
const FUNCTIONS: [(&str, &str, &str); 3] = [
    // Nothing but the call.
    ("args_sizes_get", "i32 i32", "(i32.const 64) (i32.const 68)"),
    ("clock_time_get", "i32 i64 i32", "(i32.const 1) (i64.const 0) (i32.const 64)"),
    // Ten bytes to standard output, which is /dev/null.
    ("fd_write", "i32 i32 i32 i32", "(i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)"),
];

/// A command that calls a function `calls` times.
fn module(dir: &Path, (name, params, args): (&str, &str, &str), calls: u32) -> PathBuf {
    let path = dir.join(format!("{name}-{calls}.wat"));
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "{name}" (func $call (param {params}) (result i32)))
            (memory (export "memory") 1)
            (func (export "_start") (local $i i32)
                (i32.store (i32.const 0) (i32.const 128))
                (i32.store (i32.const 4) (i32.const 10))
                (block $end (loop $next
                    (br_if $end (i32.ge_u (local.get $i) (i32.const {calls})))
                    (if (call $call {args}) (then unreachable))
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br $next)))))"#
    );
    fs::write(&path, text).expect("a module in a temporary directory");
    path
}

fn time(engine: &[&Path], module: &Path) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let mut command = Command::new(engine[0]);
            command.args(&engine[1..]).arg(module).stdin(Stdio::null()).stdout(Stdio::null());
            let begin = Instant::now();
            let status = command.status().expect("the engine");
            assert!(status.success(), "{command:?}: {status}");
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[RUNS / 2]
}

fn main() {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/executor");
    let executor = env::var_os("EXECUTOR").map_or(built, PathBuf::from);
    let wasmtime = input("wasmtime").expect("bench/fetch fetches the wasmtime command");
    let run = Path::new("run");
    let ours = [&executor, run, Path::new("--no-store")];
    let theirs = [&wasmtime, run];
    let dir = tempfile::tempdir().expect("a temporary directory");
    println!("| function | executor | Wasmtime | ratio |\n|---|--:|--:|--:|");
    for function in FUNCTIONS {
        let (calls, none) = (module(dir.path(), function, CALLS), module(dir.path(), function, 0));
        let call =
            |engine: &[&Path]| time(engine, &calls).saturating_sub(time(engine, &none)) / CALLS;
        let (ours, theirs) = (call(&ours), call(&theirs));
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        println!("| `{}` | {ours:?} | {theirs:?} | {ratio:.2} |", function.0);
    }
}
