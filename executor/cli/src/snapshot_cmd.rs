//! `executor snapshot`: makes, shows, checks and removes snapshots.
//!
//! Invariant: only `create` runs a guest, and only `create` and `rm` write.

use crate::{
    args::{CreateArgs, SnapshotCommand, StoreDirArgs},
    capture::{self, Place, Written},
    engine::Host,
    error::{EXIT_FAILURE, EXIT_TRAP, Failure},
    guest::{self, Guest, Modules, Stop},
    inspect::Inspection,
    out,
    report::Phases,
    source::{Sources, Target},
    store_dir,
    timeout::Timeout,
    units, warn,
    world::World,
};
use executor_model::CallError;
use executor_snapshot::{Catalogue, Hook, SnapshotFile};
use std::{ffi::OsStr, fmt::Write};

/// Runs one of the commands.
///
/// # Errors
/// When it fails.
pub fn snapshot(command: &SnapshotCommand) -> Result<i32, Failure> {
    match command {
        SnapshotCommand::Create(args) => create(args),
        SnapshotCommand::List { store } => list(&store_dir::open(store)?),
        SnapshotCommand::Inspect { store, json, target } => inspect(store, target, *json),
        SnapshotCommand::Verify { store, target } => verify(store, target.as_deref()),
        SnapshotCommand::Rm { store, name } => remove(&store_dir::open(store)?, name),
    }
}

fn create(args: &CreateArgs) -> Result<i32, Failure> {
    let CreateArgs { output, name, guest: options, capture: captured, store, file, code } = args;
    let catalogue = match name {
        None if output.is_none() => {
            return Err(Failure::usage(
                "say where the snapshot goes: --name NAME, -o FILE.snap or both",
            ));
        }
        // A file can be written without a store.
        None => store_dir::open_if_usable(store),
        Some(name) => {
            let catalogue = store_dir::open(store)?;
            catalogue.function(name).map_err(Failure::new)?;
            Some(catalogue)
        }
    };
    let mut host = Host::new(catalogue.clone(), code, options.verbose, Phases::begin())?;
    let mut timeout = Timeout::new(options.timeout)?;
    let sources = Sources::open(catalogue.as_ref(), &options.preload, file)?;
    let modules = Modules::compile(&mut host, &sources)?;
    modules.check_hooks()?;
    let world = World::of(options, file.as_os_str(), &[])?;
    let wasi = world.wasi(options, &timeout)?.build().map_err(Failure::new)?;
    let config = guest::config(options)?;
    let ready =
        Guest::instantiate(&host.engine, &modules, &options.init, config, wasi, &mut timeout);
    let mut guest = ready.map_err(|stop| not_ready(stop, &timeout))?;

    guest.run_hook(Hook::BeforeSnapshot, &mut timeout)?;
    let observations = guest.take_observations();
    let manifest = capture::manifest(&guest, &modules, &options.init, captured, observations)?;
    let warnings = manifest.warnings.clone();

    let adding = match (name, &catalogue) {
        (Some(_), Some(catalogue)) => Some(catalogue.add().map_err(Failure::new)?),
        _ => None,
    };
    let file = output.as_deref().map(Place::File);
    let stored = adding.as_ref().map(|adding| Place::Store(adding, &sources));
    let places: Vec<Place<'_>> = file.into_iter().chain(stored).collect();
    let Written { id, len } = capture::write(&guest, manifest, &places)?;
    if let (Some(name), Some(adding)) = (name, &adding) {
        adding.set_function(name, id).map_err(Failure::new)?;
    }
    // The process ends soon: unmapping gigabytes piece by piece would only take time.
    std::mem::forget(guest);
    for warning in warnings {
        warn(warning);
    }
    out(format_args!("{id} {}\n", units::show_size(len)))?;
    Ok(0)
}

/// Why there is nothing to make a snapshot of.
fn not_ready(stop: Stop, timeout: &Timeout) -> Failure {
    match stop {
        Stop::Failure(failure) => failure,
        Stop::Ended(CallError::Exit(code)) => Failure::new(format_args!(
            "the initialisation ended by exiting with code {code}; there is no instance to capture"
        )),
        Stop::Ended(CallError::Trap(trap)) => {
            let time = timeout.passed().map(|line| line + ": ").unwrap_or_default();
            Failure { message: format!("{time}{trap}"), code: EXIT_TRAP }
        }
        Stop::Ended(error @ CallError::Exception(_)) => {
            Failure { message: error.to_string(), code: EXIT_TRAP }
        }
        Stop::Ended(error) => Failure::new(error),
    }
}

fn list(catalogue: &Catalogue) -> Result<i32, Failure> {
    let functions = catalogue.list().map_err(Failure::new)?;
    let width = functions.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(4);
    let mut lines = String::new();
    if !functions.is_empty() {
        lines = format!(
            "{:width$}  {:12}  {:>10}  {:16}  KIND\n",
            "NAME", "SNAPSHOT", "SIZE", "CREATED"
        );
    }
    let mut code = 0;
    for (name, info) in functions {
        // Writing to a string cannot fail.
        let _ = match info {
            Ok(info) => writeln!(
                lines,
                "{name:width$}  {:.12}  {:>10}  {:16}  {}",
                info.snapshot.to_string(),
                units::show_size(info.size),
                units::show_time(info.created),
                info.entry
            ),
            Err(error) => {
                code = EXIT_FAILURE;
                writeln!(lines, "{name:width$}  {error}")
            }
        };
    }
    out(format_args!("{lines}"))?;
    Ok(code)
}

/// Opens a snapshot by the name of its function or by its path.
fn open(store: &StoreDirArgs, target: &OsStr) -> Result<SnapshotFile, Failure> {
    match Target::classify(target)? {
        Target::Function(name) => store_dir::open(store)?.open_function(name).map_err(Failure::new),
        Target::Snapshot(path) => SnapshotFile::open(path).map_err(Failure::new),
        Target::Module(path) => Err(Failure::new(format_args!(
            "{} is a module, not a snapshot (to make one: executor snapshot create)",
            path.display()
        ))),
    }
}

fn inspect(store: &StoreDirArgs, target: &OsStr, json: bool) -> Result<i32, Failure> {
    let file = open(store, target)?;
    let inspection = Inspection::of(&file)?;
    let text = match json {
        true => serde_json::to_string_pretty(&inspection).map_err(Failure::new)? + "\n",
        false => inspection.text(),
    };
    out(format_args!("{text}"))?;
    Ok(0)
}

fn verify(store: &StoreDirArgs, target: Option<&OsStr>) -> Result<i32, Failure> {
    if let Some(target) = target {
        open(store, target)?.verify()?;
        out(format_args!("{}: ok\n", target.display()))?;
        return Ok(0);
    }
    let catalogue = store_dir::open(store)?;
    let mut damaged = 0;
    for (name, _) in catalogue.list().map_err(Failure::new)? {
        let verified = catalogue
            .open_function(&name)
            .map_err(Failure::new)
            .and_then(|file| Ok(file.verify()?));
        match verified {
            Ok(()) => out(format_args!("{name}: ok\n"))?,
            Err(failure) => {
                damaged += 1;
                out(format_args!("{name}: {}\n", failure.line()))?;
            }
        }
    }
    Ok(if damaged == 0 { 0 } else { EXIT_FAILURE })
}

fn remove(catalogue: &Catalogue, name: &str) -> Result<i32, Failure> {
    let swept = catalogue.remove(name).map_err(Failure::new)?;
    out(format_args!(
        "removed `{name}` and {} files ({})\n",
        swept.files,
        units::show_size(swept.bytes)
    ))?;
    Ok(0)
}
