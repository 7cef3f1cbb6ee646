//! Programs as their users run them: C, Go, JavaScript, Kotlin, MoonBit and Python, beside the `wasmtime` command on the same
//! input; and these and others stopped anywhere, going on in another process.
//!
//! Invariant: where the packages can be had, every test runs; where they cannot, each says on standard
//! error why it is skipped. A package that was fetched and is wrong is a failure.
#![forbid(unsafe_code)]

mod c;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../serve/client.rs"]
mod client;
mod engines;
mod go;
mod javascript;
mod objects;
mod packages;
mod points;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../support/process.rs"]
mod process;
mod python;
mod serve;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../serve/server.rs"]
mod server;
mod stops;
