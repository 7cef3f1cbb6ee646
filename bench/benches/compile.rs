//! Decoding and compiling, from the module's bytes to code that can be called, on all cores.
#![allow(missing_docs, reason = "made by criterion's macros")]

use criterion::{Criterion, criterion_group, criterion_main};
use executor_bench::{Guest, Prepared};
use std::time::Duration;

fn compile(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile");
    group.sample_size(10).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(3));
    for guest in Guest::all() {
        let prepared = Prepared::new(guest);
        group.bench_function(prepared.guest.name, |b| {
            b.iter_with_large_drop(|| prepared.compile());
        });
    }
    group.finish();
}

criterion_group!(benches, compile);
criterion_main!(benches);
