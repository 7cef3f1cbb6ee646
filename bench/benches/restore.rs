//! Restoring from an open snapshot: alone, and with a call and the end of the instance. The three
//! guests differ in size by a factor of thousands; the times of `restore` must not.
#![allow(missing_docs, reason = "made by criterion's macros")]

use criterion::{Criterion, criterion_group, criterion_main};
use executor_bench::{Guest, Prepared};
use std::time::{Duration, Instant};

fn restore(c: &mut Criterion) {
    let guests = Guest::all().map(Prepared::new);
    let mut group = c.benchmark_group("restore");
    group.sample_size(50).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    for prepared in &guests {
        group.bench_function(prepared.guest.name, |b| {
            b.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    let start = Instant::now();
                    let store = prepared.restore();
                    total += start.elapsed();
                    drop(store);
                }
                total
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("restore + call + drop");
    group.sample_size(50).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    for prepared in &guests {
        group.bench_function(prepared.guest.name, |b| {
            b.iter(|| prepared.call(&mut prepared.restore()));
        });
        prepared.clear_output();
    }
    group.finish();

    let mut group = c.benchmark_group("acquire + call + release");
    group.sample_size(50).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    for prepared in &guests {
        group.bench_function(prepared.guest.name, |b| {
            b.iter(|| prepared.call(&mut prepared.acquire()));
        });
        prepared.clear_output();
    }
    group.finish();
}

criterion_group!(benches, restore);
criterion_main!(benches);
