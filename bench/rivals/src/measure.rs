//! How long things take: the median of many runs, each timed alone.

use std::time::{Duration, Instant};
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
