//! Compares the executor with Wasmtime on the modules of the benchmarks, and prints one table.
//!
//! Invariant: both sides run the same bytes with the same initialisation and the same call, in one
//! run of this program; a time is printed only for what answered rightly before it was measured,
//! and what cannot be compared is printed with the reason.

mod command;
mod host;
mod measure;
mod rival;
mod table;

use command::WasmtimeCommand;
use executor_bench::{Executable, Guest, Prepared, finish};
use measure::median;
use rival::{Allocation, Rival};
use std::process::Command;
use table::{Row, Table, Time};

fn main() -> wasmtime::Result<()> {
    let guests = Guest::all();
    let executable = Executable::with(&guests);
    let command = WasmtimeCommand::find();
    let floor = median(|| Ok(finish(&mut Command::new("true"))))?;
    println!("A process that does nothing, from spawn to exit: {}\n", Time(floor));
    let mut table = Table::default();
    for guest in guests {
        let prepared = Prepared::new(guest);
        println!(
            "{}: {}; {} bytes of wasm, {} bytes of snapshot",
            prepared.guest.name,
            prepared.guest.what,
            prepared.guest.wasm.len(),
            prepared.snapshot_len
        );
        in_process(&prepared, command.as_ref(), &mut table)?;
        whole_process(&prepared.guest, executable.as_ref(), command.as_ref(), &mut table)?;
    }
    print!("\n{table}");
    Ok(())
}

/// The rows of one guest that need no other process.
fn in_process(
    prepared: &Prepared,
    command: Result<&WasmtimeCommand, &String>,
    table: &mut Table,
) -> wasmtime::Result<()> {
    let guest = &prepared.guest;
    let mut row = |what, ours, theirs, how| {
        table.push(Row { guest: guest.name, what, ours: Ok(ours), theirs, how });
    };
    let fresh = Rival::new(guest, &guest.wasm, Allocation::OnDemand)?;
    let pooled = Rival::new(guest, &guest.wasm, Allocation::Pooling)?;
    fresh.check(guest.inits)?;
    pooled.check(guest.inits)?;

    let ours = median(|| Ok(prepared.compile()))?;
    let theirs = median(|| fresh.compile(&guest.wasm))?;
    row("compile", ours, Ok(theirs), "`Module::new`");

    let ours = median(|| Ok(prepared.instantiate()))?;
    let theirs = median(|| fresh.instantiate())?;
    row("instantiate", ours, Ok(theirs), "the same, on demand");

    let ours = median(|| {
        let mut store = prepared.instantiate();
        prepared.initialise(&mut store);
        Ok(store)
    })?;
    let theirs = median(|| fresh.ready(guest.inits))?;
    row("instantiate + init", ours, Ok(theirs), "the same, on demand");

    let restore = median(|| Ok(prepared.restore()))?;
    let theirs = median(|| pooled.ready(guest.inits))?;
    row("restore", restore, Ok(theirs), "instantiate + init, pooling + CoW");
    let theirs = median(|| pooled.instantiate())?;
    row("restore", restore, Ok(theirs), "instantiate without init, pooling + CoW");

    let whole = median(|| Ok(prepared.call(&mut prepared.restore())))?;
    prepared.clear_output();
    let theirs = median(|| pooled.served(guest.inits).map(drop))?;
    let how = "instantiate + init + call + drop, pooling + CoW";
    row("restore + call + drop", whole, Ok(theirs), how);

    let theirs = match command.map_err(Clone::clone).and_then(|c| c.wizer(guest)) {
        Ok(wasm) => {
            let rival = Rival::new(guest, &wasm, Allocation::Pooling)?;
            rival.check(&[])?;
            Ok(median(|| rival.served(&[]).map(drop))?)
        }
        Err(reason) => Err(reason),
    };
    let how = "Wizer before; instantiate + call + drop, pooling + CoW";
    row("restore + call + drop", whole, theirs, how);
    Ok(())
}

/// A process of its own for each call.
fn whole_process(
    guest: &Guest,
    executable: Result<&Executable, &String>,
    command: Result<&WasmtimeCommand, &String>,
    table: &mut Table,
) -> wasmtime::Result<()> {
    let measure = |mut run: Command| median(|| Ok(finish(&mut run)));
    let ours = match executable {
        Ok(executable) => Ok(measure(executable.run(guest))?),
        Err(reason) => Err(reason.clone()),
    };
    let (theirs, how) = match command.map_err(Clone::clone).and_then(|c| c.prepare(guest)) {
        Ok((run, how)) => (Ok(measure(run)?), how),
        Err(reason) => (Err(reason), "`wasmtime run` of a precompiled file"),
    };
    table.push(Row { guest: guest.name, what: "whole process", ours, theirs, how });
    Ok(())
}
