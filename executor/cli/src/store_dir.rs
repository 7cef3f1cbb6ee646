//! Which directory is the store.
//!
//! Invariant: the option is stronger than `EXECUTOR_STORE`, and that than the default.

use crate::error::Failure;
use std::path::{Path, PathBuf};

/// The environment variable that names the store.
const VARIABLE: &str = "EXECUTOR_STORE";
/// The environment variable that says to trust it.
const TRUST: &str = "EXECUTOR_TRUST_STORE";

/// The directory that the option and the environment name.
///
/// # Errors
/// When they name none and there is no home.
pub fn directory(option: Option<&Path>) -> Result<PathBuf, Failure> {
    let variable = || std::env::var_os(VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from);
    option.map(Path::to_owned).or_else(variable).or_else(executor::default_store).ok_or_else(|| {
        Failure::new(format_args!("no home directory for the store; use --store or {VARIABLE}"))
    })
}

/// Whether the option or the environment says to trust the store as it is.
///
/// # Errors
/// When the environment says neither yes nor no.
pub fn is_trusted(option: bool) -> Result<bool, Failure> {
    match std::env::var_os(TRUST) {
        _ if option => Ok(true),
        None => Ok(false),
        Some(value) if value.is_empty() || value == "0" => Ok(false),
        Some(value) if value == "1" => Ok(true),
        Some(_) => Err(Failure::usage(format_args!("{TRUST} is to be 1 or 0"))),
    }
}
