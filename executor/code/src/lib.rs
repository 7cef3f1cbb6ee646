//! What machine code and host agree on, and the code file that holds machine code.
//!
//! Invariant: the compiler and the runtime meet only here. Everything both must know is defined
//! once: structures that machine code reads ([`abi`]), where an instance's state lies
//! ([`layout`]) and what is in an object ([`objects`]), and the file format ([`file`]).
//!
//! This is an internal of the crate `executor`, which is what programs embed.
#![forbid(unsafe_code)]
// Libraries print nothing.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod abi;
mod cache;
mod compiler;
pub mod file;
mod key;
pub mod layout;
pub mod objects;
mod store_key;
mod stored;

pub use cache::{CodeCache, CodeEntry, CodeListed};
pub use compiler::{CompileError, CompileEvent, CompileOptions, Compiler, OptLevel, Progress};
pub use key::{CodeKey, CodeKind, CpuFeatures, ENGINE_VERSION};
pub use stored::{Check, StoredCode};
