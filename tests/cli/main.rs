//! The `executor` binary, run as a user runs it: command lines in; exit codes, output, reports and
//! the store's files out.
#![forbid(unsafe_code)]

mod automatic;
mod binary;
mod code;
mod errors;
mod faults;
mod functions;
mod guests;
mod hooks;
mod points;
mod run;
mod sandbox;
mod state;
mod store;
mod streams;
mod syscalls;
mod world;
