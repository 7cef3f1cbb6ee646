//! Files on disk, of code and snapshots alike.
//!
//! Invariant: what is published appears whole or not at all, and what somebody else could have
//! written is not trusted.
#![forbid(unsafe_code)]

mod private;
mod publish;

pub use private::ensure_private;
pub use publish::{publish, publish_link};
