//! Going on inside a call in a process that lives on: restore, run to the end, release.
//!
//! The function is one that `executor snapshot create --at stdin` made: EXECUTOR_STORE is the store,
//! EXECUTOR_FUNCTION its name, and EXECUTOR_SCRIPT a file with what it reads. Without these there is
//! nothing to measure, and the benchmark says so.
#![allow(missing_docs, reason = "made by criterion's macros")]

use criterion::{Criterion, criterion_group, criterion_main};
use executor_bench::Suspended;
use std::{env, fs, path::PathBuf, time::Duration};

fn suspended(c: &mut Criterion) {
    let variable = |name| env::var_os(name).map(PathBuf::from);
    let (Some(store), Some(name), Some(script)) = (
        variable("EXECUTOR_STORE"),
        env::var("EXECUTOR_FUNCTION").ok(),
        variable("EXECUTOR_SCRIPT"),
    ) else {
        println!("suspended: skipped (EXECUTOR_STORE, EXECUTOR_FUNCTION and EXECUTOR_SCRIPT)");
        return;
    };
    let script = fs::read(script).expect("a script");
    let function = Suspended::open(&store, &name);
    let output = function.run(&script);
    println!("{name} answers {:?}", String::from_utf8_lossy(&output));
    println!("{} page faults a run", function.faults(&script));
    let mut group = c.benchmark_group("suspended");
    group.sample_size(50).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(3));
    group.bench_function("restore", |b| b.iter(|| function.restore(&script)));
    group.bench_function("restore + run + drop", |b| b.iter(|| function.run(&script)));
    group.finish();
}

criterion_group!(benches, suspended);
criterion_main!(benches);
