//! The `executor` command: thin commands over the libraries.
//!
//! Invariant: a command ends here, with one exit code: the guest's own, 134 for a trap, 1 for a
//! failure and 2 for a command line that makes no sense. A failure is one line on standard error.
#![forbid(unsafe_code)]
// They panic where they cannot write; see `print`.
#![deny(clippy::print_stderr, clippy::print_stdout)]

#[cfg(feature = "archive")]
mod archive;
mod args;
mod automatic;
mod code_args;
mod compile;
mod create;
mod deep;
mod diff;
mod engine;
mod error;
mod explain;
mod flatten;
mod given;
mod inspect;
mod outputs;
mod page;
mod parse;
mod print;
mod progress;
mod report;
mod run;
mod serve;
mod snapshot_cmd;
mod store_cmd;
mod store_dir;
mod suggest;
mod target;
#[cfg(feature = "compiler")]
mod wast_cmd;

use args::{Cli, Command};
use clap::{
    CommandFactory,
    error::{ContextKind, ContextValue, ErrorKind},
};
use error::{EXIT_USAGE, Failure};
use executor::{Base, units};
use print::{out, warn};
use std::ffi::OsString;

fn main() {
    executor::ignore_file_size_signal();
    let words = with_run(std::env::args_os().collect());
    let code = match parse::parse(&words) {
        Ok(cli) => dispatch(cli.command),
        // Help and the version are asked for; they go to standard output.
        Err(error) if !error.use_stderr() => print::succeeded(error.print()).map(|()| 0),
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // A failure to write it could be reported nowhere.
            let _ = error.print();
            Ok(EXIT_USAGE)
        }
        Err(error) => Err(usage(&error, &words)),
    };
    let code = code.unwrap_or_else(|failure| {
        print::error(&failure);
        failure.code
    });
    std::process::exit(status(code));
}

/// The exit code as the system takes it, which has eight bits for it. A failure stays one.
fn status(code: i32) -> i32 {
    if code & 0xff == 0 && code != 0 { 1 } else { code & 0xff }
}

fn dispatch(command: Command) -> Result<i32, Failure> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Compile(args) => compile::compile(&args),
        Command::Snapshot(command) => snapshot_cmd::snapshot(&command),
        Command::Serve(args) => serve::serve(&args),
        Command::Store(command) => store_cmd::store(&command),
        #[cfg(feature = "compiler")]
        Command::Wast(args) => wast_cmd::wast(&args),
        #[cfg(not(feature = "compiler"))]
        Command::Wast(_) => Err(Failure::new("this build has no compiler and cannot run scripts")),
    }
}

/// The command line with the `run` that is meant where a file stands in place of a command.
fn with_run(mut words: Vec<OsString>) -> Vec<OsString> {
    if words.get(1).is_some_and(|word| Base::is_path(word)) {
        words.insert(1, "run".into());
    }
    words
}

/// The first paragraph of what clap has to say, which is what is wrong, and what may have been meant.
fn usage(error: &clap::Error, words: &[OsString]) -> Failure {
    let text = error.to_string();
    let paragraph: Vec<&str> =
        text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    let message = paragraph.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let suggested =
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    let alike = suggested.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(word) => Some(word.as_str()),
        ContextValue::Strings(words) => words.first().map(String::as_str),
        _ => None,
    });
    let alike = alike.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
    // The help that describes it is that of the innermost command that was named.
    let mut command = Cli::command();
    let mut name = command.get_name().to_owned();
    for word in &words[1..] {
        let inner = command.get_subcommands().find(|inner| inner.get_name() == word.as_os_str());
        let Some(inner) = inner.cloned() else { break };
        name = format!("{name} {}", inner.get_name());
        command = inner;
    }
    Failure::usage(format_args!("{message}{alike} (see {name} --help)"))
}

#[cfg(test)]
mod tests {
    use super::status;

    #[test]
    fn no_failure_becomes_a_success() {
        assert_eq!(
            [0, 3, 255, 256, 259, 65536, -1, -256].map(status),
            [0, 3, 255, 1, 3, 1, 255, 1]
        );
    }
}
