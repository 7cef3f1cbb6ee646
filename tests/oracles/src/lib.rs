//! What must hold of the executor whatever bytes it is given.
//!
//! Invariant: an oracle is a function of its input, takes any input, and panics where a property does not hold and
//! nowhere else. The fuzzers (`fuzz/`) look for such inputs, and the tests of this crate run over those that were
//! found and over generated ones, so that both ask the same.
#![forbid(unsafe_code)]

mod code_file;
mod decode_compile;
mod edits;
mod snapshot_file;
mod wasi_hostile;

pub use code_file::code_file;
pub use decode_compile::decode_compile;
pub use executor_serve::oracle::bytes as serve_bytes;
pub use snapshot_file::snapshot_file;
pub use wasi_hostile::wasi_hostile;

/// A function that panics where a property does not hold for an input.
pub type Oracle = fn(&[u8]);

/// Every oracle, by the name of its fuzzer and its corpus.
pub const ALL: &[(&str, Oracle)] = &[
    ("decode_compile", decode_compile),
    ("code_file", code_file),
    ("snapshot_file", snapshot_file),
    ("wasi_hostile", wasi_hostile),
    ("serve_bytes", serve_bytes),
];
