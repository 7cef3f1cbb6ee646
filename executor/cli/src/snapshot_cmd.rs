//! `executor snapshot`: makes, shows, checks and removes snapshots.
//!
//! Invariant: only `create` runs a guest, and only `create` and `rm` write.

use crate::{
    args::{SnapshotCommand, StoreDirArgs},
    create,
    error::{EXIT_FAILURE, Failure},
    inspect::Inspection,
    out,
    source::Target,
    store_dir, units,
};
use executor_snapshot::{Catalogue, SnapshotFile};
use std::{ffi::OsStr, fmt::Write};

/// Runs one of the commands.
///
/// # Errors
/// When it fails.
pub fn snapshot(command: &SnapshotCommand) -> Result<i32, Failure> {
    match command {
        SnapshotCommand::Create(args) => create::create(args),
        SnapshotCommand::List { store } => list(&store_dir::open(store)?),
        SnapshotCommand::Inspect { store, json, target } => inspect(store, target, *json),
        SnapshotCommand::Verify { store, target } => verify(store, target.as_deref()),
        SnapshotCommand::Rm { store, name } => remove(&store_dir::open(store)?, name),
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
