//! `executor deploy`, `rollback`, `alias` and `versions`: the versions of stored functions.
//!
//! Invariant: a command that fails has switched nothing.

use crate::{
    args::{HowArgs, StoreDirArgs, split},
    create::creation,
    error::Failure,
    out, print,
    snapshot_cmd::runtime,
    units, warn,
};
use clap::Args;
use executor::{
    Deployed, Version,
    settings::{Protocol, Route, Settings},
};
use serde::Serialize;
use std::{
    ffi::{OsStr, OsString},
    fmt::Write,
};

/// `executor deploy`.
#[derive(Debug, Args)]
#[command(
    override_usage = "executor deploy [OPTIONS] --name <NAME> <FILE.wasm|FILE.wat|FILE.snap|NAME> [ARGS]..."
)]
pub struct DeployArgs {
    /// The function. One that is stored already and has no versions becomes version 1
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// The path that a server answers it at
    #[arg(long, value_name = "/PATH")]
    pub route: Option<Route>,
    /// How a server makes a call of a request
    #[arg(long, value_name = "cgi|stdio|export:NAME")]
    pub protocol: Option<Protocol>,
    /// How many of the latest versions are kept; older ones go unless the function or an alias leads to them
    #[arg(long, value_name = "K", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: u32,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub how: HowArgs,
    /// A file with a module, or `-` for standard input, or what is to go on from: a file with a snapshot or
    /// a stored function; then the guest's arguments, which its runs have too where they give none
    #[arg(trailing_var_arg = true, required = true, value_name = "TARGET")]
    pub target_and_args: Vec<OsString>,
}

impl DeployArgs {
    /// What a version is made of, and its arguments.
    ///
    /// # Errors
    /// When the arguments are not UTF-8.
    pub fn split(&self) -> Result<(&OsStr, Vec<String>), Failure> {
        split(&self.target_and_args)
    }
}

/// `executor rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub store: StoreDirArgs,
    /// The version to switch to [default: the latest before the current one]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub to: Option<u32>,
    /// The function
    pub name: String,
}

/// `executor alias`.
#[derive(Debug, Args)]
pub struct AliasArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub store: StoreDirArgs,
    /// Remove the alias; the version stays
    #[arg(long, conflicts_with = "version")]
    pub remove: bool,
    /// The function and the alias
    #[arg(value_name = "NAME@ALIAS")]
    pub alias: String,
    /// The version that it is to lead to
    #[arg(value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub version: Option<u32>,
}

/// `executor versions`.
#[derive(Debug, Args)]
pub struct VersionsArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the command's help")]
    pub store: StoreDirArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The function
    pub name: String,
}

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
