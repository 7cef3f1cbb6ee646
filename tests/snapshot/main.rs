//! Snapshots of whole stores: a restored store and the original are indistinguishable, for every
//! kind of state; what cannot be captured or restored is refused, and the error names it. Stores are looked into and
//! files forged here, so these work below the front door.
//!
//! Invariant: restoring is done by an engine without a compiler, from the code cache, as in another
//! process; so every test here also shows that a snapshot recompiles nothing.
#![forbid(unsafe_code)]

mod forged;
mod kept;
mod kinds;
mod layered;
mod linked;
mod memories;
mod portable;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../support/process.rs"]
mod process;
mod refusals;
mod scene;
mod suspended;
mod system_calls;
