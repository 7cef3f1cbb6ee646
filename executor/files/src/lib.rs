//! Files on disk, of code and snapshots alike.
//!
//! Invariant: what is published appears whole or not at all, and what somebody else could have
//! written is not trusted.
#![forbid(unsafe_code)]
// Libraries print nothing.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod dir;
mod error;
mod lock;
mod private;
mod publish;

pub use dir::{Entry, PrivateDir};
pub use error::FileError;
pub use lock::Lock;
pub use private::ensure_private;
pub use publish::{Draft, check_output, is_temporary, publish};
