//! How long a call of the host takes: the clock, and small writes to `/dev/null`.
//!
//! Invariant: every call of the guest succeeded; it counts those that did not.

use crate::{Guest, Result, Times, in_turns, module, ours::Ours, theirs::Theirs};
use rustix::stdio::{dup2_stdout, stdout};
use std::fs::OpenOptions;

/// How many calls are timed together.
const CALLS: i32 = 20_000;
/// The guest's number of its standard output.
const STDOUT: i32 = 1;

/// Compares the calls and prints a table.
pub fn compare() -> Result<()> {
    let wasm = module("host_calls")?;
    let mut guests: [Box<dyn Guest>; 2] =
        [Box::new(Ours::new(&wasm, false)?), Box::new(Theirs::new(&wasm, false)?)];
    let file = guests[0].call("open_null", &[])?;
    if file <= i64::from(STDOUT) || guests[1].call("open_null", &[])? != file {
        return Err("the guests cannot open /dev/null alike".to_owned());
    }
    let mut row = |export, params: &[i32]| match guests[0].call(export, params)? {
        0 => in_turns(&mut guests, export, params),
        failed => Err(format!("{failed} calls of {export} failed")),
    };
    let clock = row("clock", &[CALLS])?;
    let to_file = row("write", &[CALLS, file as i32])?;
    let to_stdout = to_null(|| row("write", &[CALLS, STDOUT]))?;
    println!("\n| host call | executor | Wasmtime | ratio |");
    println!("|---|--:|--:|--:|");
    for (what, times) in [
        ("`clock_time_get`", clock),
        ("`fd_write`, 16 bytes to a file that is `/dev/null`", to_file),
        ("`fd_write`, 16 bytes to standard output that is `/dev/null`", to_stdout),
    ] {
        let [ours, theirs] = times.each_ref().map(Times::least);
        let nanos = |time| time * 1e9 / f64::from(CALLS);
        println!(
            "| {what} | {:.0} ns | {:.0} ns | {:.2} |",
            nanos(ours),
            nanos(theirs),
            ours / theirs
        );
    }
    Ok(())
}

/// Runs with the process's standard output leading nowhere.
fn to_null<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    let text = |e: &dyn std::fmt::Display| format!("standard output: {e}");
    let null = OpenOptions::new().write(true).open("/dev/null").map_err(|e| text(&e))?;
    let before = rustix::io::dup(stdout()).map_err(|e| text(&e))?;
    dup2_stdout(&null).map_err(|e| text(&e))?;
    let result = run();
    dup2_stdout(&before).map_err(|e| text(&e))?;
    result
}
