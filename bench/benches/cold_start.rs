//! Whole processes: `executor run NAME` of a stored function, from the spawn to the exit, and a
//! process that does nothing, as the floor.
#![allow(missing_docs, reason = "made by criterion's macros")]

use criterion::{Criterion, criterion_group, criterion_main};
use executor_bench::{Executable, Guest, finish};
use std::{process::Command, time::Duration};

fn cold_start(c: &mut Criterion) {
    let guests = Guest::all();
    let executable = match Executable::with(&guests) {
        Ok(executable) => executable,
        Err(reason) => return println!("whole process: skipped: {reason}"),
    };
    let mut group = c.benchmark_group("whole process");
    group.sample_size(50).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    group.bench_function("nothing", |b| b.iter(|| finish(&mut Command::new("true"))));
    for guest in &guests {
        group.bench_function(guest.name, |b| b.iter(|| finish(&mut executable.run(guest))));
    }
    group.finish();
}

criterion_group!(benches, cold_start);
criterion_main!(benches);
