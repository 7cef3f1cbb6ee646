//! `executor deploy`, `rollback`, `alias` and `versions`: the versions of stored functions.
//!
//! Invariant: a command that fails has switched nothing.

use crate::{
    args::{AliasArgs, DeployArgs, RollbackArgs, VersionsArgs},
    create::creation,
    error::Failure,
    out, print,
    snapshot_cmd::runtime,
    units, warn,
};
use executor::{Deployed, Version, settings::Settings};
use serde::Serialize;
use std::fmt::Write;

/// Makes a version, and switches to it.
///
/// # Errors
/// When there is none to make, or it cannot be written.
pub fn deploy(args: &DeployArgs) -> Result<i32, Failure> {
    let DeployArgs { name, route, protocol, keep, how, .. } = args;
    let mut creation = creation(None, Some(name), how, args.split()?)?.keep(*keep);
    if route.is_some() || protocol.is_some() {
        let said =
            Settings { route: route.clone(), protocol: protocol.clone(), ..Settings::default() };
        creation = creation.settings(said.over(&runtime(&how.store)?.settings(name)?));
    }
    let Deployed { version, is_new, created, .. } = creation.deploy()?;
    created.warnings.iter().for_each(warn);
    let unchanged = if is_new { "" } else { " (unchanged)" };
    out(format_args!("{name}@{version} {}{unchanged}\n", created.id))?;
    Ok(0)
}

/// Switches to another version.
///
/// # Errors
/// When there is none, or the store cannot be written.
pub fn rollback(args: &RollbackArgs) -> Result<i32, Failure> {
    let RollbackArgs { store, to, name } = args;
    let version = runtime(store)?.rollback(name, *to)?;
    out(format_args!("{name}@{version}\n"))?;
    Ok(0)
}

/// Sets, shows or removes an alias.
///
/// # Errors
/// When there is no such function, version or alias, or the store cannot be written.
pub fn alias(args: &AliasArgs) -> Result<i32, Failure> {
    let AliasArgs { store, remove, alias, version } = args;
    let Some((name, tag)) = alias.split_once('@') else {
        return Err(Failure::usage(format_args!(
            "`{}` names no alias: give a function and a tag, such as {}@prod",
            alias.escape_debug(),
            alias.escape_debug()
        )));
    };
    let runtime = runtime(store)?;
    let version = match version {
        Some(version) => {
            runtime.set_alias(name, tag, *version)?;
            *version
        }
        None if *remove => {
            runtime.remove_alias(name, tag)?;
            out(format_args!("removed {name}@{tag}\n"))?;
            return Ok(0);
        }
        None => {
            // Says what is wrong where it leads to nothing.
            runtime.current(alias)?;
            let versions = runtime.versions(name)?;
            let leads = |version: &&Version| {
                version.number.to_string() == tag || version.aliases.iter().any(|a| a == tag)
            };
            let gone = || Failure::new(format_args!("{alias} leads to a version that is gone"));
            versions.iter().find(leads).ok_or_else(gone)?.number
        }
    };
    out(format_args!("{name}@{version}\n"))?;
    Ok(0)
}

/// A version as JSON shows it.
#[derive(Serialize)]
struct Shown<'a> {
    version: u32,
    snapshot: String,
    created: u64,
    current: bool,
    aliases: &'a [String],
}

/// Lists the versions.
///
/// # Errors
/// When there is no such function, or a version cannot be read.
pub fn versions(args: &VersionsArgs) -> Result<i32, Failure> {
    let VersionsArgs { store, json, name } = args;
    let versions = runtime(store)?.versions(name)?;
    if *json {
        let shown = versions.iter().map(|version| Shown {
            version: version.number,
            snapshot: version.snapshot.to_string(),
            created: version.created,
            current: version.current,
            aliases: &version.aliases,
        });
        print::json(&shown.collect::<Vec<_>>())?;
        return Ok(0);
    }
    let mut lines = String::new();
    if !versions.is_empty() {
        lines = format!("{:>8}  {:12}  {:16}  USED AS\n", "VERSION", "SNAPSHOT", "CREATED");
    }
    for version in versions {
        let current = version.current.then(|| name.clone());
        let aliases = version.aliases.iter().map(|alias| format!("{name}@{alias}"));
        let used: Vec<String> = current.into_iter().chain(aliases).collect();
        let line = format!(
            "{:>8}  {:.12}  {:16}  {}",
            version.number,
            version.snapshot.to_string(),
            units::show_time(version.created),
            used.join(", ")
        );
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{}", line.trim_end());
    }
    out(format_args!("{lines}"))?;
    Ok(0)
}
