//! Snapshots of stores: the file format, capture, restore, and the catalogue of the store directory.
//!
//! Invariant: a snapshot is one file that holds the state of a whole store and nothing else: no
//! machine address, no machine code. It appears whole or not at all, and nothing in it is believed
//! before it is checked. What a restore reads is proportional to the number of instances and of
//! extents (at most 16 for a memory), never to the size of the state.
//!
//! This is an internal of the crate `executor`, which is what programs embed.
#![forbid(unsafe_code)]
// Libraries print nothing.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod call;
mod capture;
pub mod catalogue;
mod contents;
mod error;
mod file;
mod flat;
pub mod format;
mod hooks;
mod layers;
mod manifest;
mod restore;
mod rewritten;
#[cfg(test)]
mod tests;

pub use capture::{Capture, Progress};
pub use catalogue::{Catalogue, CatalogueError};
pub use contents::{Item, PageBuffer};
pub use error::SnapshotError;
pub use file::SnapshotFile;
pub use flat::Flat;
pub use format::FormatError;
pub use hooks::{Hook, HookError, after_restore, check_after_restore};
pub use layers::Layers;
pub use manifest::{
    Defaults, EntryKind, GivenDirectory, InstanceNames, Manifest, NotAHash, SnapshotId,
};
pub use restore::{image, image_untrusted, restore, restore_untrusted};
pub use rewritten::Rewritten;
