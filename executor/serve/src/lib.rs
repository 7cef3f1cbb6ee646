#![forbid(unsafe_code)]
//! `executor serve`: functions over HTTP, a fresh instance for each request.
//!
//! ```text
//! client -- HTTP --> server: route, protocol, admission -- packets --> worker: acquire, run, release
//!                                                       <-- pipes, packets --
//! ```
//!
//! The server reads what clients send and runs no guest; workers, which are processes of their own, run guests and
//! have no socket to the world. It is a program of its own, so that `executor run` starts without it.

mod admin;
mod admission;
mod args;
mod config;
mod functions;
mod http;
mod load;
mod memory;
mod observe;
#[doc(hidden)]
pub mod oracle;
mod protocol;
mod server;
mod state;
mod watch;
mod wire;
mod worker;
mod workers;

use clap::Parser as _;
use std::{
    ffi::OsString,
    io::{self, Write as _},
};

/// Does what `executor serve` is asked for; returns the exit code.
#[must_use]
pub fn main(words: impl IntoIterator<Item = OsString>) -> i32 {
    let words: Vec<OsString> = words.into_iter().collect();
    executor::ignore_file_size_signal();
    let result = match words.get(1).is_some_and(|word| word == worker::WORD) {
        true => worker::run().map_err(|error| error.to_string()),
        false => match args::Args::try_parse_from(&words) {
            Ok(args) => server::run(args).map_err(|error| error.to_string()),
            // A failure to write it could be reported nowhere.
            Err(error) if !error.use_stderr() => return i32::from(error.print().is_err()),
            Err(error) => {
                let text = error.to_string();
                let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
                let _ = writeln!(io::stderr(), "{}", lines.collect::<Vec<_>>().join(" "));
                return error.exit_code();
            }
        },
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            1
        }
    }
}

/// Confines the calling thread as a worker with this store is, with a directory that guests may change and one that they
/// may read. For tests.
///
/// # Errors
/// Why the kernel cannot do it.
#[doc(hidden)]
pub fn confine(
    store: &std::path::Path,
    changed: &std::path::Path,
    read: &std::path::Path,
) -> Result<(), String> {
    let directory = |host: &std::path::Path, read_only| wire::Directory {
        host: host.to_owned(),
        guest: "/".to_owned(),
        read_only,
    };
    let directories = [directory(changed, false), directory(read, true)];
    worker::confine::confine(store, &directories).map_err(|error| error.to_string())
}
