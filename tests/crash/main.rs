//! What becomes of a store when system calls fail, processes are killed, disks are full and many processes use it
//! at a time: each file wholly old or wholly new, one clear error, and the next command succeeds.
#![forbid(unsafe_code)]

mod disk;
mod fixture;
#[cfg(target_arch = "x86_64")]
mod nth;
#[cfg(target_arch = "x86_64")]
mod order;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../support/process.rs"]
mod process;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../cli/sandbox.rs"]
mod sandbox;
mod soak;
// Reads and changes the registers of the traced process.
#[cfg(target_arch = "x86_64")]
mod trace;
