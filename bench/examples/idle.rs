//! What instances that wait cost: restores many of one function in this process, calls none, and prints the private
//! bytes and the mappings of each.
//!
//!     cargo run --release -p executor-bench --example idle [COUNT]            QuickJS (or what stands for it)
//!     cargo run --release -p executor-bench --example idle COUNT STORE NAME   a function of a store

use executor::Runtime;
use executor_bench::{Guest, Prepared};
use std::{env, error::Error, fs};

/// The bytes in memory that are this process's alone, and its mappings.
fn now() -> Result<(u64, u64), Box<dyn Error>> {
    let mut bytes = 0;
    for line in fs::read_to_string("/proc/self/smaps_rollup")?.lines() {
        let private = ["Private_Clean:", "Private_Dirty:"].iter();
        if let Some(rest) = private.filter_map(|name| line.strip_prefix(name)).next() {
            bytes += rest.trim().trim_end_matches(" kB").parse::<u64>()? * 1024;
        }
    }
    Ok((bytes, fs::read_to_string("/proc/self/maps")?.lines().count() as u64))
}

/// Counts what `count` more of what `make` makes cost.
fn count<T>(
    count: u64,
    mut make: impl FnMut() -> Result<T, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    // What all share is there before the first is counted.
    let _first = [make()?, make()?];
    let before = now()?;
    let mut kept = Vec::with_capacity(count as usize);
    for _ in 0..count {
        kept.push(make()?);
    }
    let after = now()?;
    let each = |before: u64, after: u64| (after - before) as f64 / count as f64;
    println!(
        "{count} instances: {:.1} KiB of private memory and {:.2} mappings each",
        each(before.0, after.0) / 1024.0,
        each(before.1, after.1)
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let number = |text: &String| text.parse::<u64>();
    match &args[..] {
        [n, store, name] => {
            // What CPython asks its embedder for; nobody answers.
            let runtime = Runtime::builder().store(store).host_func(
                "host",
                "call",
                |_: &mut executor::Caller<'_>, _: i32, _: i32, _: i32, _: i32| Ok(-1_i32),
            );
            let function = runtime.build()?.function(name)?;
            count(number(n)?, || Ok(function.instantiate()?))
        }
        _ => {
            let [_, mid, _] = Guest::all();
            println!("{}", mid.what);
            let prepared = Prepared::new(mid);
            let n = args.first().map_or(Ok(10_000), number)?;
            count(n, || Ok(prepared.acquire()))
        }
    }
}
