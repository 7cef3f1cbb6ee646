//! What can go wrong with a file or directory that is to be this user's alone.
//!
//! Invariant: every message names the file.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A failure to use a file or directory.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not what only this user could have put there.
    #[error("{path}: not used, because {reason}", path = path.display())]
    Untrusted {
        /// Which.
        path: PathBuf,
        /// Why, and what mends it.
        reason: String,
    },
    /// A directory has no room for a file.
    #[error(
        "{path} has {used} bytes and a quota of {limit}: no room for {bytes} more (make some: \
         executor store gc --max-size SIZE, executor snapshot rm; or set another: executor store quota SIZE)",
        path = path.display()
    )]
    Quota {
        /// Which directory.
        path: PathBuf,
        /// The most bytes that it may have.
        limit: u64,
        /// How many it has.
        used: u64,
        /// How many were to be added.
        bytes: u64,
    },
    /// The operating system.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

impl FileError {
    /// The error of the file or directory at `path`.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
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
