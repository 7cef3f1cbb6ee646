//! Compares the executor with Wasmtime on the modules of the benchmarks, and prints one table; with
//! `--json FILE` also writes it there (see `Table::json`). Other arguments are names of guests: only those are measured.
//!
//! Invariant: both sides run the same bytes with the same initialisation and the same call, in one
//! run of this program; a time is printed only for what answered rightly before it was measured,
//! and what cannot be compared is printed with the reason.

mod command;
mod host;
mod measure;
#[cfg(feature = "python")]
mod python;
mod rival;
mod table;

use command::WasmtimeCommand;
use executor_bench::{Executable, Guest, Prepared, finish};
use measure::{median, throughput};
use rival::{Allocation, Rival};
use std::{ffi::OsString, fs, process::Command};
use table::{Row, Table, Time};
use wasmtime::{bail, ensure, error::Context};

fn main() -> wasmtime::Result<()> {
    let (json, names) = arguments()?;
    let mut guests = Guest::all().to_vec();
    guests.retain(|guest| names.is_empty() || names.iter().any(|name| name == guest.name));
    let known = |name: &String| name == "python" || guests.iter().any(|g| g.name == name);
    ensure!(names.iter().all(known), "no guest is named so: {names:?}");
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
    #[cfg(feature = "python")]
    if names.is_empty() || names.iter().any(|name| name == "python") {
        python::rows(&mut table)?;
    }
    print!("\n{table}");
    if let Some(path) = json {
        fs::write(&path, format!("{:#}\n", table.json()))?;
    }
    Ok(())
}

/// The file to write the table to, and the names of guests.
fn arguments() -> wasmtime::Result<(Option<OsString>, Vec<String>)> {
    let (mut json, mut names) = (None, Vec::new());
    let mut args = std::env::args_os().skip(1);
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--json") => json = Some(args.next().context("--json needs a file")?),
            Some(name) if !name.starts_with('-') => names.push(name.to_owned()),
            _ => bail!("usage: executor-rivals [--json FILE] [GUEST...]"),
        }
    }
    Ok((json, names))
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

    for (threads, what) in
        [(1, "fresh instantiation + release"), (2, "fresh instantiation + release, two threads")]
    {
        let ours = throughput(threads, || Ok(prepared.acquire_fresh()))?;
        let theirs = throughput(threads, || pooled.instantiate())?;
        row(what, ours, Ok(theirs), "instantiate + drop, pooling + CoW + PAGEMAP_SCAN");
    }

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

    // What needs no initialisation is compared as it is.
    let wizer = match command.map_err(Clone::clone) {
        _ if guest.inits.is_empty() => Ok(guest.wasm.clone()),
        command => command.and_then(|c| c.wizer(guest)),
    };
    let (rival, inits, refused) = match wizer {
        Ok(wasm) => (Rival::new(guest, &wasm, Allocation::Pooling)?, &[][..], None),
        Err(reason) => (pooled, guest.inits, Some(reason)),
    };
    rival.check(inits)?;
    let how = match &refused {
        None => "Wizer before; instantiate + call + drop, pooling + CoW + PAGEMAP_SCAN",
        Some(_) => "Wizer refuses: instantiate + init + call + drop, pooling + CoW + PAGEMAP_SCAN",
    };
    let theirs = median(|| rival.served(inits).map(drop))?;
    row("restore + call + drop", whole, Ok(theirs), how);
    for (threads, what) in
        [(1, "acquire + call + release"), (2, "acquire + call + release, two threads")]
    {
        let ours = throughput(threads, || Ok(prepared.call_typed(&mut prepared.acquire())))?;
        prepared.clear_output();
        let theirs = throughput(threads, || rival.served_typed(inits).map(drop))?;
        row(what, ours, Ok(theirs), how);
    }
    if let Some(reason) = refused {
        println!("{}: Wizer: {reason}", guest.name);
    }
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
    if guest.name == "hello" {
        let mut native = Command::new("/bin/echo");
        native.arg("hello");
        let theirs = Ok(measure(native)?);
        let how = "no engine: `/bin/echo hello`, linked dynamically";
        table.push(Row {
            guest: guest.name,
            what: "whole process",
            ours: ours.clone(),
            theirs,
            how,
        });
    }
    table.push(Row { guest: guest.name, what: "whole process", ours, theirs, how });
    Ok(())
}
