//! What can go wrong with the store directory.
//!
//! Invariant: every message names the file, directory or function.

use crate::{SnapshotError, SnapshotId};
use executor_files::FileError;
use std::path::PathBuf;

/// A failure of the catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A file or directory that cannot be used, or that this user does not have to itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file whose bytes do not match its hash, or of another release.
    #[error("{path}: damaged, or written by another release: not used", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// A module's file that is not there.
    #[error(
        "{path} is missing, from which the function is compiled again; create the function again, from its module",
        path = path.display()
    )]
    MissingModule {
        /// Which file.
        path: PathBuf,
    },
    /// A module's file that does not have the hash in its name.
    #[error(
        "{path}: damaged: it is not the module that its name says; create the function again, from its module",
        path = path.display()
    )]
    DamagedModule {
        /// Which file.
        path: PathBuf,
    },
    /// A snapshot under the name of another.
    #[error(
        "{path}: not used, because it is not the snapshot that its name says, but {id}; create the \
         function again",
        path = path.display()
    )]
    Misnamed {
        /// Which file.
        path: PathBuf,
        /// What it is.
        id: SnapshotId,
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
    /// Not a version or an alias.
    #[error(
        "`@{tag}` names no version and cannot be an alias: a version is a number from 1 on; an alias has up to 64 \
         of `a` to `z`, digits, `.`, `_` and `-`, begins with a letter, and does not end like a file (.wasm, .wat, \
         .snap); with the function's name it has up to 255 bytes",
        tag = tag.escape_debug()
    )]
    Tag {
        /// What follows the `@`.
        tag: String,
    },
    /// No version or alias of that name.
    #[error("there is no `{name}@{tag}`; `executor versions {name}` shows those there are")]
    UnknownTag {
        /// The function.
        name: String,
        /// The version or the alias.
        tag: String,
    },
    /// A function that has no versions.
    #[error(
        "`{name}` has no versions: it was not deployed yet (`executor deploy NAME --name {name}`)"
    )]
    NotDeployed {
        /// The function.
        name: String,
    },
    /// A function that has versions, and would lose sight of them.
    #[error(
        "`{name}` is deployed and has versions: make a new one with `executor deploy --name {name}`, or remove it \
         first with `executor snapshot rm {name}`"
    )]
    Deployed {
        /// The function.
        name: String,
    },
    /// There is nothing to go back to.
    #[error(
        "`{name}` has no version before the current one; `executor versions {name}` shows those there are"
    )]
    NoEarlierVersion {
        /// The function.
        name: String,
    },
    /// Its last version has the highest number that there is.
    #[error("`{name}` has the highest version that there can be; remove that one to deploy again")]
    NoNextVersion {
        /// The function.
        name: String,
    },
    /// A version that is to be removed though something leads to it.
    #[error("`{name}` is in use by {}; it can be removed once nothing leads to it", .by.join(", "))]
    VersionInUse {
        /// The version.
        name: String,
        /// What leads to it.
        by: Vec<String>,
    },
    /// The function's snapshot was deleted.
    #[error("the snapshot of function `{name}` is gone; create it again")]
    Dangling {
        /// The name.
        name: String,
    },
    /// No automatic snapshots of that key, or of several.
    #[error("{what}; `executor snapshot list --auto` shows those there are")]
    UnknownAuto {
        /// What is wrong.
        what: String,
    },
    /// A snapshot could not be read or written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}
