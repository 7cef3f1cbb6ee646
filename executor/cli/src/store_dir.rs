//! Which directory is the store.
//!
//! Invariant: the option is stronger than `EXECUTOR_STORE`, and that than the default.

use crate::error::Failure;
use std::path::{Path, PathBuf};

/// The environment variable that names the store.
const VARIABLE: &str = "EXECUTOR_STORE";

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
