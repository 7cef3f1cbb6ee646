//! Fresh instances: without and with their initialisation. Dropping them is not measured.
#![allow(missing_docs, reason = "made by criterion's macros")]

use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use executor_bench::{Guest, Prepared};
use executor_runtime::Store;
use std::time::{Duration, Instant};

/// Measures `make` one at a time: stores reserve gigabytes of addresses each, so they cannot be
/// kept until the end of a batch.
fn measure(b: &mut Bencher<'_>, make: impl Fn() -> Store) {
    b.iter_custom(|iterations| {
        let mut total = Duration::ZERO;
        for _ in 0..iterations {
            let start = Instant::now();
            let store = make();
            total += start.elapsed();
            drop(store);
        }
        total
    });
}

fn instantiate(c: &mut Criterion) {
    let guests = Guest::all().map(Prepared::new);
    let mut group = c.benchmark_group("instantiate");
    group.sample_size(20).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    for prepared in &guests {
        group.bench_function(prepared.guest.name, |b| measure(b, || prepared.instantiate()));
    }
    group.finish();

    let mut group = c.benchmark_group("instantiate + init");
    group.sample_size(20).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    for prepared in &guests {
        group.bench_function(prepared.guest.name, |b| {
            measure(b, || {
                let mut store = prepared.instantiate();
                prepared.initialise(&mut store);
                store
            });
        });
    }
    group.finish();
}

fn kept(c: &mut Criterion) {
    let guests = Guest::all().map(Prepared::new);
    let mut group = c.benchmark_group("instantiate in a kept slot + release");
    group.sample_size(20).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    for prepared in &guests {
        group.bench_function(prepared.guest.name, |b| b.iter(|| drop(prepared.acquire_fresh())));
    }
    group.finish();
}

criterion_group!(benches, instantiate, kept);
criterion_main!(benches);
