//! `executor store`: says how much room the store takes and what is wrong with it, and makes room.
//!
//! Invariant: only `gc` removes anything, and never what a user has named; only `gc` and `quota` write.

use crate::{
    args::StoreDirArgs,
    code_args::CodeArgs,
    engine::{self, Talk},
    error::{EXIT_FAILURE, Failure},
    out, print, units,
};
use clap::Subcommand;
use executor::{Checked, Collect, Collected, Count, Escaped, StoreCare, Swept, Usage};
use std::{fmt::Write, time::Duration};

/// `executor store`.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Print the store's directory
    Path {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
        store: StoreDirArgs,
    },
    /// Show how much room the store takes, by kind of file and by function
    Du {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
        store: StoreDirArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove what nothing refers to, what crashes left, and code that this build does not use on this machine
    ///
    /// Code and automatic snapshots are caches: the next run that misses them makes them again. Stored functions are
    /// never removed (executor snapshot rm NAME).
    Gc {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
        store: StoreDirArgs,
        /// Also remove caches, those first that were not used for longest, until the store is no larger
        #[arg(long, value_name = "SIZE", value_parser = units::size)]
        max_size: Option<u64>,
        /// Also remove caches that were not used for so long (`30d`); uses are noted once a day
        #[arg(long, value_name = "DURATION", value_parser = units::duration)]
        older_than: Option<Duration>,
        /// Say what would be removed, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Read every file of the store and check it; exits with 1 if something is wrong
    Check {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
        store: StoreDirArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Limit how large the store may become, or show the limit
    ///
    /// Whatever would exceed it removes caches first, those that were not used for longest. Where that is not enough,
    /// runs keep nothing, and `snapshot create` fails.
    Quota {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
        store: StoreDirArgs,
        /// The most bytes that its files may have together, or `none`
        #[arg(value_name = "SIZE|none", value_parser = parse_quota)]
        quota: Option<Quota>,
    },
}

/// A limit, or that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota(Option<u64>);

fn parse_quota(text: &str) -> Result<Quota, String> {
    match text {
        "none" => Ok(Quota(None)),
        size => units::size(size).map(|size| Quota(Some(size))),
    }
}

/// Runs one of the commands.
///
/// # Errors
/// When it fails.
pub fn store(command: &StoreCommand) -> Result<i32, Failure> {
    match command {
        StoreCommand::Path { store } => {
            with(store, |store| print::raw(&format!("{}\n", store.path().display())).map(|()| 0))
        }
        StoreCommand::Du { store, json } => with(store, |store| {
            let usage = store.usage()?;
            match json {
                true => print::json(&usage)?,
                false => out(format_args!("{}", usage_text(&usage)))?,
            }
            Ok(0)
        }),
        StoreCommand::Gc { store, max_size, older_than, dry_run } => {
            let (max_size, older_than, dry_run) = (*max_size, *older_than, *dry_run);
            with(store, |store| gc(store, Collect { older_than, max_size, dry_run }))
        }
        StoreCommand::Check { store, json } => with(store, |store| {
            let checked = store.check()?;
            match json {
                true => print::json(&checked)?,
                false => out(format_args!("{}", faults_text(&checked)))?,
            }
            Ok(if checked.faults.is_empty() { 0 } else { EXIT_FAILURE })
        }),
        StoreCommand::Quota { store, quota } => with(store, |store| {
            if let Some(Quota(quota)) = quota {
                store.set_quota(*quota)?;
            }
            let quota = store.quota()?.map_or_else(|| "none".to_owned(), units::show_size);
            out(format_args!("{quota}\n"))?;
            Ok(0)
        }),
    }
}

fn with(
    store: &StoreDirArgs,
    command: impl FnOnce(StoreCare<'_>) -> Result<i32, Failure>,
) -> Result<i32, Failure> {
    let runtime = engine::with_store(store, &CodeArgs::default(), &Talk::default())?;
    command(runtime.store().ok_or_else(|| Failure::new("there is no store"))?)
}

fn gc(store: StoreCare<'_>, what: Collect) -> Result<i32, Failure> {
    let collected = store.collect(what)?;
    out(format_args!("{}", collected_text(&collected, what.dry_run)))?;
    match what.max_size {
        Some(max) if collected.left > max => Err(Failure::new(format_args!(
            "the store has {} and cannot be made smaller than that without removing functions \
             (executor snapshot rm); --max-size is {}",
            units::show_size(collected.left),
            units::show_size(max)
        ))),
        _ => Ok(0),
    }
}

fn collected_text(collected: &Collected, dry_run: bool) -> String {
    let Collected { garbage, other_code, old, for_room, left } = collected;
    let removed = if dry_run { "would remove" } else { "removed" };
    let mut lines = String::new();
    for (Swept { files, bytes }, why) in [
        (garbage, "that nothing refers to"),
        (other_code, "of code that this build does not use on this machine"),
        (old, "of caches that were not used for so long"),
        (for_room, "of caches, for room"),
    ] {
        if *files > 0 {
            let s = if *files == 1 { "" } else { "s" };
            let size = units::show_size(*bytes);
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{removed} {files} file{s} ({size}) {why}");
        }
    }
    if lines.is_empty() {
        lines = "nothing to remove\n".to_owned();
    }
    let _ = writeln!(lines, "{} left", units::show_size(*left));
    lines
}

fn usage_text(usage: &Usage) -> String {
    let mut lines = String::new();
    for (Count { files, bytes }, what) in [
        (usage.code, "code"),
        (usage.other_code, "code that this build does not use on this machine (executor store gc)"),
        (usage.markers, "markers of code that was checked"),
        (usage.modules, "modules"),
        (usage.snapshots, "snapshots"),
        (usage.names, "names of functions"),
        (usage.automatic, "entries of automatic snapshots"),
        (usage.index, "index of module files"),
        (usage.temporary, "temporary, or left by crashes (executor store gc)"),
        (usage.own, "locks, key and quota"),
        (usage.total, "in all"),
        (usage.garbage, "of these, that nothing refers to (executor store gc)"),
    ] {
        if files > 0 || what == "in all" {
            let _ = writeln!(lines, "{:>10}  {files:>6}  {what}", units::show_size(bytes));
        }
    }
    if let Some(quota) = usage.quota {
        let _ = writeln!(lines, "{:>10}  {:>6}  quota", units::show_size(quota), "");
    }
    if usage.functions.is_empty() {
        return lines;
    }
    let longest = usage.functions.iter().map(|f| f.name.len()).max().unwrap_or(0).max(4);
    let _ = writeln!(
        lines,
        "\n{:longest$}  {:>10}  {:>10}  {:>10}  SHARES WITH",
        "NAME", "SNAPSHOT", "NEEDS", "OWN"
    );
    for function in &usage.functions {
        let [snapshot, needed, own] =
            [function.snapshot, function.needed, function.own].map(units::show_size);
        let name = Escaped(&function.name).to_string();
        let shared = function.shared_with;
        let _ =
            writeln!(lines, "{name:longest$}  {snapshot:>10}  {needed:>10}  {own:>10}  {shared}");
    }
    lines
}

fn faults_text(checked: &Checked) -> String {
    let mut lines = String::new();
    for fault in &checked.faults {
        let path = fault.path.display().to_string();
        let (path, what) = (Escaped(&path), Escaped(&fault.what));
        let _ = writeln!(lines, "{path}: {what} ({})", fault.mend);
    }
    let (files, faults) = (checked.files, checked.faults.len());
    let _ = match faults {
        0 => writeln!(lines, "{files} files, all as they should be"),
        1 => writeln!(lines, "{files} files, 1 fault"),
        _ => writeln!(lines, "{files} files, {faults} faults"),
    };
    lines
}
