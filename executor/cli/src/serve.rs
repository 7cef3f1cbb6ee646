//! `executor serve`: hands over to the program that serves.
//!
//! Invariant: a run pays for nothing that serving needs, which is a program of its own beside this one.

use crate::error::Failure;
use clap::Args;
use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

/// `executor serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// What the program that serves is told; `--help` lists it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub words: Vec<OsString>,
}

/// Becomes the program that serves.
///
/// # Errors
/// When it is not there, or cannot be started.
pub fn serve(args: &ServeArgs) -> Result<i32, Failure> {
    let this = std::env::current_exe()
        .map_err(|e| Failure::new(format_args!("cannot find this program: {e}")))?;
    let program = this.with_file_name("executor-serve");
    let error = Command::new(&program).arg0("executor serve").args(&args.words).exec();
    Err(Failure::new(format_args!(
        "cannot start {}, which serves and belongs beside this program: {error}",
        program.display()
    )))
}
