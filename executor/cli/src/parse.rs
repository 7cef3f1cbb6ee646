//! Reads the command line, without describing more to clap than is needed.
//!
//! Invariant: what is parsed, and every message, is as if [`Cli`] had been parsed at once.

use crate::args::{Cli, Command, RunArgs};
use clap::{Parser, Subcommand};
use std::ffi::OsString;

/// [`Cli`] as far as a run needs it.
#[derive(Debug, Parser)]
#[command(name = "executor")]
struct RunCli {
    #[command(subcommand)]
    command: OnlyRun,
}

#[derive(Debug, Subcommand)]
enum OnlyRun {
    Run(Box<RunArgs>),
}

/// Reads a command line. A start pays for every option that is described to clap, so a run is first read
/// without the other commands; what is not a run, or is wrong, is read again with all of them.
///
/// # Errors
/// When it is wrong, or asks for help.
pub fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    if words.get(1).is_some_and(|word| word == "run")
        && let Ok(RunCli { command: OnlyRun::Run(args) }) = RunCli::try_parse_from(words)
    {
        return Ok(Cli { command: Command::Run(args) });
    }
    Cli::try_parse_from(words)
}
