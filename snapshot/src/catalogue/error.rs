//! What can go wrong with the store directory.
//!
//! Invariant: every message names the file, directory or function.

use crate::SnapshotError;
use std::{
    io,
    path::{Path, PathBuf},
};

/// A failure of the catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A file or directory that this user does not have to itself.
    #[error("{path}: not used as a store, because {reason}", path = path.display())]
    Untrusted {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The operating system.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// A file whose bytes do not match its hash, or of another release.
    #[error("{path}: damaged, or written by another release: not used", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// Not the name of a function.
    #[error(
        "`{name}` cannot name a function: a name has up to 200 letters, digits, `.`, `_` and `-`, \
         begins with none of `.` and `-`, and does not end like a file (.wasm, .wat, .snap)",
        name = name.escape_debug()
    )]
    Name {
        /// The name.
        name: String,
    },
    /// No function of that name.
    #[error("there is no function `{name}`; `executor snapshot list` shows those there are")]
    UnknownFunction {
        /// The name.
        name: String,
    },
    /// The function's snapshot was deleted.
    #[error("the snapshot of function `{name}` is gone; create it again")]
    Dangling {
        /// The name.
        name: String,
    },
    /// A snapshot could not be read or written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl CatalogueError {
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let path = path.to_owned();
            match source.kind() {
                // Made by `ensure_private`; the operating system's own carry a number.
                io::ErrorKind::PermissionDenied if source.raw_os_error().is_none() => {
                    Self::Untrusted { path, reason: source.to_string() }
                }
                _ => Self::Io { path, source },
            }
        }
    }
}
