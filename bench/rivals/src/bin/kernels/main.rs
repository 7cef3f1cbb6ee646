//! Compares the machine code of both engines: compute kernels (bench/kernels) with interruption off
//! and on, and calls of the host.
//!
//! Invariant: both engines run the same bytes and must give the same answer before anything is
//! timed; what is compared is timed in turns, so that what else the machine does meets all alike.

mod host_calls;
mod ours;
mod theirs;

use executor_bench::input;
use ours::Ours;
use rustix::time::{ClockId, clock_gettime};
use std::{env, fs, process::ExitCode, time::Duration};
use theirs::Theirs;

/// What can go wrong, in words.
type Result<T> = std::result::Result<T, String>;

const KERNELS: [&str; 9] =
    ["sha256", "json", "matmul", "mandelbrot", "interpreter", "sort", "hashmap", "lz", "queens"];

/// How long one timed call of a kernel takes, about.
const CALL: Duration = Duration::from_millis(40);
/// How many times each is timed.
const REPEATS: usize = 21;

/// An instance in one of the engines.
trait Guest {
    /// Calls an export that takes `i32`s; a result that is an `i32` is sign-extended.
    fn call(&mut self, export: &str, params: &[i32]) -> Result<i64>;

    /// How much processor time a call takes: unlike the time on the wall, next to the same however
    /// busy the machine is.
    fn time(&mut self, export: &str, params: &[i32]) -> Result<Duration> {
        let begin = processor_time();
        self.call(export, params)?;
        Ok(processor_time().saturating_sub(begin))
    }
}

/// What this thread has used of the processor so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// The times of one thing in one engine.
#[derive(Debug, Default, Clone)]
struct Times(Vec<Duration>);

impl Times {
    fn least(&self) -> f64 {
        self.0.iter().min().map_or(f64::NAN, Duration::as_secs_f64)
    }

    fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
    }
}

/// The module of a kernel.
fn module(name: &str) -> Result<Vec<u8>> {
    let path = input(&format!("kernels/{name}.wasm")).ok_or_else(|| {
        format!("{name}.wasm is not there: run bench/fetch, then bench/kernels/build")
    })?;
    fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
}

/// How many rounds of a kernel take [`CALL`].
fn calibrate(guest: &mut dyn Guest) -> Result<i32> {
    let mut rounds = 1;
    while guest.time("run", &[rounds])? < CALL / 2 && rounds < 1 << 24 {
        rounds *= 2;
    }
    Ok(rounds)
}

/// Times each of the guests in turn, again and again, once all have given the same answer.
fn in_turns<const N: usize>(
    guests: &mut [Box<dyn Guest>; N],
    export: &str,
    params: &[i32],
) -> Result<[Times; N]> {
    let answers: Vec<i64> =
        guests.iter_mut().map(|guest| guest.call(export, params)).collect::<Result<_>>()?;
    if answers.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(format!("{export}: the engines answer {answers:x?}"));
    }
    let mut times = [const { Times(Vec::new()) }; N];
    for repeat in 0..REPEATS {
        for i in 0..N {
            // None is always first.
            let i = (i + repeat) % N;
            times[i].0.push(guests[i].time(export, params)?);
        }
    }
    Ok(times)
}

/// The geometric mean.
fn mean(ratios: &[f64]) -> f64 {
    (ratios.iter().map(|r| r.ln()).sum::<f64>() / ratios.len() as f64).exp()
}

fn kernels(names: &[&str]) -> Result<()> {
    println!("| kernel | off: executor | Wasmtime | ratio | on: executor | Wasmtime | ratio |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    // By the least times and by the medians, off and on.
    let mut ratios = [const { Vec::new() }; 4];
    for name in names {
        let wasm = module(name)?;
        let mut guests: [Box<dyn Guest>; 4] = [
            Box::new(Ours::new(&wasm, false)?),
            Box::new(Theirs::new(&wasm, false)?),
            Box::new(Ours::new(&wasm, true)?),
            Box::new(Theirs::new(&wasm, true)?),
        ];
        let rounds = calibrate(&mut *guests[1])?;
        let times = in_turns(&mut guests, "run", &[rounds])?;
        let least = times.each_ref().map(Times::least);
        let median = times.each_ref().map(Times::median);
        let row = [
            least[0] / least[1],
            least[2] / least[3],
            median[0] / median[1],
            median[2] / median[3],
        ];
        ratios.iter_mut().zip(row).for_each(|(all, ratio)| all.push(ratio));
        let round = least.map(|time| format!("{:.1} us", time * 1e6 / f64::from(rounds)));
        println!(
            "| {name} | {} | {} | {:.2} | {} | {} | {:.2} |",
            round[0], round[1], row[0], round[2], round[3], row[1]
        );
    }
    let [off, on, median_off, median_on] = ratios.map(|all| mean(&all));
    println!("| geometric mean | | | {off:.3} | | | {on:.3} |");
    println!(
        "\nProcessor time, the least of {REPEATS} times, for one round; ratio: how many times as long we take."
    );
    println!("Geometric means by the medians: {median_off:.3} off, {median_on:.3} on.");
    Ok(())
}

fn main() -> ExitCode {
    let names: Vec<String> = env::args().skip(1).collect();
    let chosen = |name: &&str| names.is_empty() || names.iter().any(|n| n == name);
    let all: Vec<&str> = KERNELS.into_iter().filter(chosen).collect();
    let kernels = if all.is_empty() { Ok(()) } else { kernels(&all) };
    let done = kernels.and_then(|()| match chosen(&"host_calls") {
        true => host_calls::compare(),
        false => Ok(()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
