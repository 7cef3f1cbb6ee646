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
mod quota;

pub use dir::{Entry, Look, PrivateDir};
pub use error::FileError;
pub use lock::Lock;
pub use private::{Trust, ensure_private, ensure_trusted};
pub use publish::{Draft, check_output, is_temporary, publish};
pub use quota::Room;
