//! What can go wrong with one snapshot file.
//!
//! Invariant: every message names the file.

use crate::{SnapshotId, format::FormatError};
use executor_model::ModuleHash;
use executor_runtime::RestoreError;
use std::{
    io,
    path::{Path, PathBuf},
};

/// A failure to write, read or restore a snapshot file.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The operating system.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// The file's bytes are not those of a snapshot that this release reads.
    #[error("{path}: {source}", path = path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A snapshot of whose data this one has pages was not found.
    #[error(
        "{path}: it has pages of snapshot {id}{}, which was found neither in the store nor beside it: put that \
         file beside it as {id}.snap, or create the snapshot again",
        file_name.as_ref().map(|name| format!(" (its file was {name})")).unwrap_or_default(),
        path = path.display()
    )]
    MissingBase {
        /// Which file.
        path: PathBuf,
        /// The snapshot that is missing.
        id: SnapshotId,
        /// What its file was called.
        file_name: Option<String>,
    },
    /// A snapshot over this one would have pages of too many files.
    #[error(
        "{path}: it has pages of as many snapshots as one can have: put all in one file first (executor \
         snapshot flatten), and lay the new one over that",
        path = path.display()
    )]
    Chain {
        /// Which file.
        path: PathBuf,
    },
    /// The state recorded for an instance does not fit the module it is said to be of.
    #[error(
        "{path}: the state of instance {instance} does not fit module {module}: the snapshot is \
         damaged; create it again",
        path = path.display()
    )]
    Misfit {
        /// Which file.
        path: PathBuf,
        /// The instance's number.
        instance: usize,
        /// The module it names.
        module: ModuleHash,
    },
    /// The runtime refused the state.
    #[error("{path}: {source}", path = path.display())]
    Restore {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: RestoreError,
    },
}

impl SnapshotError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn format(path: &Path) -> impl FnOnce(FormatError) -> Self {
        move |source| Self::Format { path: path.to_owned(), source }
    }

    /// A refusal of the runtime's to restore the file at `path`.
    pub fn restore(path: &Path) -> impl FnOnce(RestoreError) -> Self {
        move |source| Self::Restore { path: path.to_owned(), source }
    }
}
