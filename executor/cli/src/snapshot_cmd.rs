//! `executor snapshot`: makes, shows, checks and removes snapshots.
//!
//! Invariant: only `create`, `explain` and `verify --deep` run a guest, and only `create`, `flatten`, `export`, `import` and `rm` write.

#[cfg(feature = "archive")]
use crate::archive;
use crate::{
    args::{SnapshotCommand, StoreDirArgs},
    automatic,
    code_args::CodeArgs,
    create, deep, diff,
    engine::{self, Talk},
    error::{Context, EXIT_FAILURE, Failure},
    explain, flatten, inspect, out,
    outputs::{Named, refuse_inputs},
    page, print, target, units,
};
#[cfg(feature = "archive")]
use executor::archive::Import;
use executor::{Base, CatalogueError, Detail, Error, Inspection, Runtime, Snapshot, Swept};
use std::{ffi::OsStr, fmt::Write, path::Path};

/// Runs one of the commands.
///
/// # Errors
/// When it fails.
pub fn snapshot(command: &SnapshotCommand) -> Result<i32, Failure> {
    match command {
        SnapshotCommand::Create(args) => create::create(args),
        SnapshotCommand::List { store, auto: true } => automatic::list(&runtime(store)?),
        SnapshotCommand::List { store, auto: false } => list(&runtime(store)?),
        SnapshotCommand::Inspect { store, html: Some(file), target, .. } => {
            write_page(store, target, file)
        }
        SnapshotCommand::Inspect { store, json, full, target, .. } => {
            show(store, target, *json, *full)
        }
        SnapshotCommand::Diff { store, json, full, a, b } => {
            diff::diff(store, (a, b), *json, *full)
        }
        SnapshotCommand::Explain(args) => explain::explain(args),
        SnapshotCommand::Verify { store, deep, target } => match (deep, target) {
            (true, Some(target)) => deep::verify(store, target),
            (_, target) => verify(store, target.as_deref()),
        },
        SnapshotCommand::Flatten { store, output, name, target } => {
            flatten::flatten(store, target, output.as_deref(), name.as_deref())
        }
        #[cfg(feature = "archive")]
        SnapshotCommand::Export { store, output, code, target } => {
            archive::export(store, target, output, *code)
        }
        #[cfg(feature = "archive")]
        SnapshotCommand::Import { store, name, max_size, trust_code, file } => {
            let (name, max_len, trust_code) = (name.clone(), *max_size, *trust_code);
            archive::import(store, file, &Import { name, max_len, trust_code })
        }
        #[cfg(not(feature = "archive"))]
        SnapshotCommand::Export { .. } | SnapshotCommand::Import { .. } => {
            Err(Failure::new("this build reads and writes no archives"))
        }
        SnapshotCommand::Rm { store, auto: true, names } => {
            automatic::remove(&runtime(store)?, names)
        }
        SnapshotCommand::Rm { store, auto: false, names } => remove(&runtime(store)?, names),
    }
}

/// The runtime over the store, for a command that compiles nothing.
///
/// # Errors
/// When there is none.
pub fn runtime(store: &StoreDirArgs) -> Result<Runtime, Failure> {
    engine::with_store(store, &CodeArgs::default(), &Talk::default())
}

fn list(runtime: &Runtime) -> Result<i32, Failure> {
    let functions = runtime.functions()?;
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

/// What a target names.
///
/// # Errors
/// As [`target::named`].
pub fn named(store: &StoreDirArgs, target: &OsStr) -> Result<Base, Failure> {
    target::named(target, |name| engine::has_function(store, name))
}

/// The runtime to look for modules in, and a snapshot, by the name of its function or by its path.
///
/// # Errors
/// When either cannot be had.
pub fn open(
    store: &StoreDirArgs,
    base: Base,
    target: &OsStr,
) -> Result<(Runtime, Snapshot), Failure> {
    match base {
        Base::Function(name) => {
            let runtime = runtime(store)?;
            let snapshot = runtime.snapshot_of(&name)?;
            Ok((runtime, snapshot))
        }
        Base::Snapshot(path) => {
            let (code, talk) = (CodeArgs::default(), Talk::default());
            let runtime = engine::with_store_if_usable(store, &code, &talk)?;
            let snapshot = runtime.snapshot_at(path)?;
            Ok((runtime, snapshot))
        }
        Base::Module(_) => Err(Failure::new(format_args!(
            "{} is a module, not a snapshot (to make one: executor snapshot create)",
            target.display()
        ))),
    }
}

fn show(store: &StoreDirArgs, target: &OsStr, json: bool, full: bool) -> Result<i32, Failure> {
    let (runtime, snapshot) = open(store, named(store, target)?, target)?;
    let detail = if full { Detail::Full } else { Detail::Summary };
    let inspection = Inspection::of(&runtime, &snapshot, detail)?;
    match json {
        true => print::json(&inspection)?,
        false => out(format_args!("{}", inspect::text(&inspection, full)))?,
    }
    Ok(0)
}

/// Writes the page of a snapshot.
fn write_page(store: &StoreDirArgs, target: &OsStr, file: &Path) -> Result<i32, Failure> {
    let base = named(store, target)?;
    if let Base::Snapshot(path) = &base {
        let output = Named { option: Some("--html"), path: file };
        refuse_inputs(output, [Named { option: None, path }])?;
    }
    let (runtime, snapshot) = open(store, base, target)?;
    let inspection = Inspection::of(&runtime, &snapshot, Detail::Full)?;
    let page = page::page(&target.to_string_lossy(), &inspection);
    std::fs::write(file, page).context(file.display())?;
    Ok(0)
}

fn verify(store: &StoreDirArgs, target: Option<&OsStr>) -> Result<i32, Failure> {
    if let Some(target) = target {
        match named(store, target)? {
            Base::Function(name) => runtime(store)?.verify(&name)?,
            Base::Snapshot(path) => match Snapshot::open(&path)? {
                whole if whole.has_all() => whole.verify()?,
                _ => open(store, Base::Snapshot(path), target)?.1.verify()?,
            },
            base => open(store, base, target).map(drop)?,
        }
        out(format_args!("{}: ok\n", target.display()))?;
        return Ok(0);
    }
    let runtime = runtime(store)?;
    let mut damaged = 0;
    let mut names = Vec::new();
    for (name, _) in runtime.functions()? {
        // A function whose versions cannot be told is damaged, which its own check says.
        let versions = runtime.versions(&name).unwrap_or_default();
        let others = versions.iter().filter(|version| !version.current);
        let others: Vec<_> = others.map(|version| format!("{name}@{}", version.number)).collect();
        names.push(name);
        names.extend(others);
    }
    for name in names {
        match runtime.verify(&name) {
            Ok(()) => out(format_args!("{name}: ok\n"))?,
            // Removed since.
            Err(Error::Store(
                CatalogueError::UnknownFunction { .. } | CatalogueError::UnknownTag { .. },
            )) => {}
            Err(error) => {
                damaged += 1;
                out(format_args!("{name}: {}\n", Failure::from(error).line()))?;
            }
        }
    }
    Ok(if damaged == 0 { 0 } else { EXIT_FAILURE })
}

fn remove(runtime: &Runtime, names: &[String]) -> Result<i32, Failure> {
    for name in names {
        let Swept { files, bytes } = runtime.remove(name)?;
        let s = if files == 1 { "" } else { "s" };
        out(format_args!("removed `{name}` and {files} file{s} ({})\n", units::show_size(bytes)))?;
    }
    Ok(0)
}
