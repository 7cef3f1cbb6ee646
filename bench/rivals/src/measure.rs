//! How long things take: the median of many runs, each timed alone, or of many stretches of runs.

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};
use wasmtime::Result;

const WARM_UP: usize = 3;
const LEAST: usize = 5;
const MOST: usize = 2001;
/// What one median may take, as long as [`LEAST`] allows.
const BUDGET: Duration = Duration::from_millis(1500);

/// The median time of `run`. What it makes is dropped after the clock has stopped.
pub fn median<T>(mut run: impl FnMut() -> Result<T>) -> Result<Duration> {
    let mut timed = || -> Result<Duration> {
        let begin = Instant::now();
        let made = run()?;
        let time = begin.elapsed();
        drop(made);
        Ok(time)
    };
    let begin = Instant::now();
    for _ in 0..WARM_UP {
        timed()?;
        if begin.elapsed() > BUDGET {
            break;
        }
    }
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < LEAST || times.len() < MOST && begin.elapsed() < BUDGET {
        times.push(timed()?);
    }
    let middle = times.len() / 2;
    Ok(*times.select_nth_unstable(middle).1)
}

/// How often a throughput is measured.
const STRETCHES: usize = 15;
/// How long each time.
const STRETCH: Duration = Duration::from_millis(80);
/// How many runs are made between two looks at the clock.
const BATCH: u32 = 32;

/// The time that a run takes when `threads` threads do nothing else, each its own: what one thread needs for a run, the
/// end of what it makes included. The median of several stretches of time.
pub fn throughput<T>(threads: usize, run: impl Fn() -> Result<T> + Sync) -> Result<Duration> {
    let stretch = || -> Result<Duration> {
        let begin = Barrier::new(threads);
        thread::scope(|scope| {
            let thread = || {
                for _ in 0..WARM_UP {
                    drop(run()?);
                }
                begin.wait();
                let start = Instant::now();
                let mut runs = 0;
                loop {
                    // Slow runs are not made by the batch.
                    let slow = runs > 0 && start.elapsed() / runs * BATCH > STRETCH / 8;
                    let batch = if runs == 0 || slow { 1 } else { BATCH };
                    for _ in 0..batch {
                        drop(run()?);
                    }
                    runs += batch;
                    let elapsed = start.elapsed();
                    if elapsed >= STRETCH {
                        return Ok(elapsed / runs);
                    }
                }
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(thread)).collect();
            let mut slowest = Duration::ZERO;
            for thread in threads {
                slowest = slowest.max(thread.join().expect("no panic")?);
            }
            Ok(slowest)
        })
    };
    let mut times = (0..STRETCHES).map(|_| stretch()).collect::<Result<Vec<_>>>()?;
    let middle = times.len() / 2;
    Ok(*times.select_nth_unstable(middle).1)
}
