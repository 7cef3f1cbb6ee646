//! Which directory is the store.
//!
//! Invariant: the option is stronger than `EXECUTOR_STORE`, and that than the default; a store that
//! others could write to is never used.

use crate::{
    args::{StoreArgs, StoreDirArgs},
    error::Failure,
    warn,
};
use executor_snapshot::{Catalogue, catalogue};
use std::path::{Path, PathBuf};

/// The environment variable that names the store.
const VARIABLE: &str = "EXECUTOR_STORE";

fn directory(option: Option<&Path>) -> Result<PathBuf, Failure> {
    let variable = || std::env::var_os(VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from);
    option.map(Path::to_owned).or_else(variable).or_else(catalogue::default_dir).ok_or_else(|| {
        Failure::new(format_args!("no home directory for the store; use --store or {VARIABLE}"))
    })
}

fn open_at(option: Option<&Path>) -> Result<Catalogue, Failure> {
    Catalogue::open(directory(option)?).map_err(Failure::new)
}

/// The store of a command that cannot do without.
///
/// # Errors
/// When there is none to be had.
pub fn open(args: &StoreDirArgs) -> Result<Catalogue, Failure> {
    open_at(args.store.as_deref())
}

/// The store of a command that can do without: what is wrong with it is a warning.
pub fn open_if_usable(args: &StoreDirArgs) -> Option<Catalogue> {
    open(args).inspect_err(|error| warn(error.line())).ok()
}

/// The store of a run that needs it, as a stored function does.
///
/// # Errors
/// When there is none to be had, or the command line says not to use it.
pub fn open_for_function(args: &StoreArgs, name: &str) -> Result<Catalogue, Failure> {
    match args.no_store {
        true => Err(Failure::usage(format_args!(
            "`{name}` is no file, and with --no-store there are no stored functions"
        ))),
        false => open_at(args.store.as_deref()),
    }
}

/// The store of a run that can do without it.
pub fn open_for_file(args: &StoreArgs) -> Option<Catalogue> {
    match args.no_store {
        true => None,
        false => open_at(args.store.as_deref()).inspect_err(|error| warn(error.line())).ok(),
    }
}
