//! The `executor` command: thin commands over the libraries.
//!
//! Invariant: a command ends here, with one exit code: the guest's own, 134 for a trap, 1 for a
//! failure and 2 for a command line that makes no sense. A failure is one line on standard error.
#![forbid(unsafe_code)]
// They panic where they cannot write; see `print`.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod args;
mod code_args;
mod compile;
mod create;
mod engine;
mod error;
mod given;
mod inspect;
mod print;
mod progress;
mod report;
mod run;
mod snapshot_cmd;
mod store_dir;
mod units;
#[cfg(feature = "compiler")]
mod wast_cmd;

use args::{Cli, Command};
use clap::{Parser, error::ErrorKind};
use error::{EXIT_USAGE, Failure};
use print::{out, warn};

fn main() {
    let code = match Cli::try_parse() {
        Ok(cli) => dispatch(cli.command),
        // Help and the version are asked for; they go to standard output.
        Err(error) if !error.use_stderr() => print::succeeded(error.print()).map(|()| 0),
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // There is nobody to tell when it cannot be written.
            let _ = error.print();
            Ok(EXIT_USAGE)
        }
        Err(error) => Err(usage(&error)),
    };
    let code = code.unwrap_or_else(|failure| {
        print::error(&failure);
        failure.code
    });
    std::process::exit(code);
}

fn dispatch(command: Command) -> Result<i32, Failure> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Compile(args) => compile::compile(&args),
        Command::Snapshot(command) => snapshot_cmd::snapshot(&command),
        #[cfg(feature = "compiler")]
        Command::Wast(args) => wast_cmd::wast(&args),
        #[cfg(not(feature = "compiler"))]
        Command::Wast(_) => Err(Failure::new("this build has no compiler and cannot run scripts")),
    }
}

/// The first paragraph of what clap has to say, which is what is wrong.
fn usage(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let paragraph: Vec<&str> =
        text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    let message = paragraph.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    Failure::usage(format_args!("{message} (see executor --help)"))
}
