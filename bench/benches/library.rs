//! What an embedder pays for a call: an instance of a function, a call of an export, and the instance's
//! end, all through the library. The benchmark `restore` has the same without the library.
#![allow(missing_docs, reason = "made by criterion's macros")]

use criterion::{Criterion, criterion_group, criterion_main};
use executor::{Runtime, Stdout};
use executor_bench::{Answer, Guest};
use std::time::Duration;

fn library(c: &mut Criterion) {
    let runtime = Runtime::in_memory().expect("a runtime");
    let mut group = c.benchmark_group("instance + call + drop, by the library");
    group.sample_size(50).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    for guest in Guest::all() {
        let creation = runtime.create(guest.name, guest.wasm.clone());
        let creation = guest.inits.iter().fold(creation, |creation, export| creation.init(*export));
        let function = creation.build().expect("a function");
        let params = guest.call.values();
        let call = || {
            let builder = function.instance().stdout(Stdout::Capture);
            let mut instance = builder.start().expect("an instance");
            let results = instance.call(guest.call.export, &params).expect("a call that returns");
            (results, instance.take_stdout())
        };
        let (results, output) = call();
        match guest.call.answer {
            Answer::Output(expected) => assert_eq!(output, expected.as_bytes()),
            Answer::Number(_) | Answer::Address => assert_eq!(results.len(), 1),
        }
        group.bench_function(guest.name, |b| b.iter(call));
    }
    group.finish();
}

criterion_group!(benches, library);
criterion_main!(benches);
