//! What the guest has observed of the world or changed in it: whether a snapshot taken now says
//! the same as a run from the start would.
//!
//! Invariant: every function whose answer depends on anything outside the module, or that changes
//! it, leaves a mark here before it answers. What is not marked depends on the module alone.

use cap_std::fs::{Dir, Metadata, MetadataExt};
use executor_model::Escaped;
use serde::{Deserialize, Serialize};
use std::{fmt, io};

/// A path as the guest names it: below a preopened directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GuestPath {
    /// The guest's path of the preopened directory.
    pub preopen: String,
    /// The path relative to it, as the guest gave it; empty for the directory itself.
    pub path: String,
}

impl GuestPath {
    /// The whole path, from the preopened directory's on.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { preopen, path } = self;
        let separator = if preopen.ends_with('/') || path.is_empty() { "" } else { "/" };
        [preopen, separator, path].concat()
    }

    /// The path of `relative` below this one.
    pub(crate) fn join(&self, relative: &str) -> Self {
        let path = match self.path.as_str() {
            "" => relative.to_owned(),
            parent => format!("{parent}/{relative}"),
        };
        Self { preopen: self.preopen.clone(), path }
    }
}

impl fmt::Display for GuestPath {
    /// The path as messages show it: see [`Escaped`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.text()).fmt(f)
    }
}

/// What is noted when a guest looks at a stream of its own.
pub(crate) const STREAM: &str = "what a standard stream is was looked at";

/// How many files are remembered: a guest cannot make the list grow without end, nor looking
/// through it slow.
const MAX_FILES: usize = 1024;

/// A file that the guest opened for reading, or looked for and did not find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRead {
    /// Where.
    pub path: GuestPath,
    /// What it was then; `None` when it was missing.
    seen: Option<Stamp>,
}

/// Tells one version of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The device it is on.
    pub device: u64,
    /// Its inode number there.
    pub inode: u64,
    /// Its length.
    pub size: u64,
    /// When its contents last changed, in seconds and nanoseconds.
    pub modified: (i64, i64),
    /// When it last changed at all.
    pub changed: (i64, i64),
}

impl Stamp {
    /// Whether both are of one file, whatever has become of it in between.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The blake3 hash of a file's contents; `None` when there is no such file.
pub type FileDigest = Option<[u8; 32]>;

/// What the guest observed or changed since the last time this was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observations {
    /// The arguments, or their number.
    pub args: bool,
    /// The environment, or its size.
    pub env: bool,
    /// Which directories are preopened, under which guest paths and descriptor numbers, or that
    /// there is none at a number.
    pub preopens: bool,
    /// Any clock.
    pub clock: bool,
    /// Randomness.
    pub random: bool,
    /// Standard input was read.
    pub stdin: bool,
    /// Standard output or standard error was written.
    pub output: bool,
    /// Files opened for reading, and files looked for and not found, in order; beyond a limit the
    /// rest is one of `other`.
    pub files_read: Vec<FileRead>,
    /// Everything else, in words, each once.
    pub other: Vec<&'static str>,
}

impl Observations {
    /// Whether nothing was observed and nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What every restore shares that was not meant to be, in words: the blockers but for those that are
    /// about streams, which each restore has for itself.
    #[must_use]
    pub fn shared(&self) -> Vec<String> {
        let other = self.other.iter().copied().filter(|what| *what != STREAM).collect();
        Self { output: false, other, ..self.clone() }.blockers()
    }

    /// Why an automatic snapshot cannot be taken: the observations that nothing can be keyed on.
    /// Empty when arguments, environment, preopened directories and files read say it all.
    #[must_use]
    pub fn blockers(&self) -> Vec<String> {
        let named = [
            (self.clock, "a clock was read"),
            (self.random, "random bytes were asked for"),
            (self.stdin, "standard input was read"),
            (self.output, "output was written"),
        ];
        let named = named.into_iter().filter_map(|(seen, reason)| seen.then_some(reason));
        named.chain(self.other.iter().copied()).map(str::to_owned).collect()
    }

    pub(crate) fn other(&mut self, what: &'static str) {
        if !self.other.contains(&what) {
            self.other.push(what);
        }
    }

    pub(crate) fn file(&mut self, path: GuestPath, seen: Option<Stamp>) {
        let file = FileRead { path, seen };
        if self.files_read.contains(&file) {
            return;
        }
        if self.files_read.len() < MAX_FILES {
            self.files_read.push(file);
        } else {
            self.other("more files were read than are remembered");
        }
    }
}

/// A file that an automatic snapshot cannot be keyed on.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// The file changed between the guest's look at it and now.
    #[error("file `{0}` changed while it was in use")]
    Changed(GuestPath),
    /// The file can't be read, for another reason than that it is missing.
    #[error("cannot read `{path}`: {source}")]
    Unreadable {
        /// Which.
        path: GuestPath,
        /// The operating system's answer.
        source: io::Error,
    },
    /// No directory is preopened under the path's preopen.
    #[error("`{0}` is not below a directory that is preopened now")]
    NoPreopen(GuestPath),
}

/// The digest of `path` below `dir`, checked against what was seen there if `expected` says.
pub(crate) fn digest(
    dir: Option<&Dir>,
    path: &GuestPath,
    expected: Option<&FileRead>,
) -> Result<FileDigest, DigestError> {
    let dir = dir.ok_or_else(|| DigestError::NoPreopen(path.clone()))?;
    let (now, digest) = read(dir, &path.path)
        .map_err(|source| DigestError::Unreadable { path: path.clone(), source })?;
    if expected.is_some_and(|file| file.seen != now) {
        return Err(DigestError::Changed(path.clone()));
    }
    Ok(digest)
}

fn read(dir: &Dir, path: &str) -> io::Result<(Option<Stamp>, FileDigest)> {
    let file = match dir.open(path) {
        Err(error) if is_missing(&error) => return Ok((None, None)),
        file => file?,
    };
    // The stamp is taken last, so that a change while reading shows.
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&file)?;
    Ok((Some(Stamp::from(&file.metadata()?)), Some(*hasher.finalize().as_bytes())))
}

/// Whether an error says that there is no such file.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
