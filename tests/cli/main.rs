//! The `executor` binary, run as a user runs it: command lines in; exit codes, output, reports and
//! the store's files out.
#![forbid(unsafe_code)]

mod after_restore;
mod archives;
mod automatic;
mod binary;
mod code;
mod damage;
mod deep;
mod defaults;
mod deploy;
mod diff;
mod entry;
mod errors;
mod explain;
mod faults;
mod functions;
mod guests;
mod hooks;
mod imports;
mod inspect;
mod layers;
mod messages;
mod names;
mod noexec;
mod objects;
mod outputs;
mod page;
mod points;
#[path = "../support/process.rs"]
mod process;
mod repair;
mod run;
mod sandbox;
mod shared;
mod state;
mod store;
mod store_care;
mod streams;
mod syscalls;
mod targets;
mod trust;
mod verified;
mod world;
