//! What a snapshot says about itself: the manifest, and the identity of a snapshot.
//!
//! Invariant: the manifest holds no state of the instances; a restore needs only the records. Two
//! snapshots have one identity exactly when they differ in nothing but when, and by which release,
//! they were made.

use executor_code::ENGINE_VERSION;
use executor_model::InstanceId;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How the main instance is meant to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// It exports `_start`, which has not run yet.
    Command,
    /// It is initialised; its exports may be called in any order.
    Reactor,
    /// It is inside a call, which goes on.
    Call,
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "command",
            Self::Reactor => "reactor",
            Self::Call => "call",
        })
    }
}

/// The names of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceNames {
    /// The name it was registered under for others to import from, if any.
    pub registered: Option<String>,
    /// Its module's name from the name section, if any.
    pub module: Option<String>,
}

/// A directory of the host that a guest was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenDirectory {
    /// Its path on the host, absolute.
    pub host: String,
    /// What the guest calls it.
    pub guest: String,
    /// Whether the guest can change nothing in it.
    pub read_only: bool,
}

/// What a stored function was made with, and its runs are given where they say nothing else. A run
/// overrides each by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defaults {
    /// The export that is called, of a snapshot that is not inside a call.
    pub invoke: Option<String>,
    /// Argument 0.
    pub arg0: Option<String>,
    /// The arguments after it.
    pub args: Option<Vec<String>>,
    /// The environment, each name once. A variable without a value has the one that it has in the
    /// environment of the process that makes the instance, so that a secret is not in the file.
    pub env: Vec<(String, Option<String>)>,
    /// Whether the rest of that process's environment is given too.
    pub inherit_env: bool,
    /// The directories, for runs that give none of that name.
    pub directories: Vec<GivenDirectory>,
    /// Whether clocks and randomness are the same in every run.
    pub deterministic: bool,
    /// The most memory, in bytes.
    pub max_memory: Option<u64>,
    /// The most elements of a table.
    pub max_table: Option<u64>,
    /// The size of the stack, in bytes.
    pub max_stack: Option<u64>,
    /// How much time a guest has.
    pub timeout: Option<Duration>,
    /// The most bytes that objects take. It has a section of its own.
    #[serde(skip)]
    pub max_heap: Option<u64>,
}

/// The facts about a snapshot that people and the command line want. Its encoding is a section of the file,
/// and does not describe itself: no release may change it (see [`crate::format`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The names of every instance, in order of their ids.
    pub instances: Vec<InstanceNames>,
    /// The number of the instance that calls go to.
    pub main: u32,
    /// How it is meant to be called.
    pub entry: EntryKind,
    /// The point that it was taken at, inside a call.
    pub at: Option<String>,
    /// The backtrace of that call.
    pub backtrace: String,
    /// What its runs are given where they say nothing else.
    pub defaults: Defaults,
    /// The exports that were called to initialise it, in order.
    pub inits: Vec<String>,
    /// The exports of the main instance that are called after each restore, in order.
    pub after_restore: Vec<String>,
    /// What the initialisation observed of the world outside the store.
    pub observations: Vec<String>,
    /// What the user was warned of.
    pub warnings: Vec<String>,
    /// The state of the host's side of WASI, as its crate encodes it.
    pub wasi: Option<Vec<u8>>,
    /// The release that made the snapshot.
    #[serde(skip)]
    pub engine: String,
    /// When it was made, in seconds since 1970.
    #[serde(skip)]
    pub created: u64,
    /// What its making took, phase by phase, as far as that was known when it was written.
    #[serde(skip)]
    pub timeline: Vec<(String, Duration)>,
}

/// What may differ between two files of one identity, in a section of its own.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) engine: String,
    pub(crate) created: u64,
    /// What the file of each base was called, where it had a name.
    pub(crate) base_files: Vec<Option<String>>,
    pub(crate) timeline: Vec<(String, Duration)>,
}

impl Manifest {
    /// A manifest made now by this release, for instances of the given names.
    #[must_use]
    pub fn new(main: InstanceId, entry: EntryKind, instances: Vec<InstanceNames>) -> Self {
        // A clock before 1970 is the host's mistake, and no reason to refuse a snapshot.
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
        Self {
            instances,
            main: main.get(),
            entry,
            at: None,
            backtrace: String::new(),
            defaults: Defaults::default(),
            inits: Vec::new(),
            after_restore: Vec::new(),
            observations: Vec::new(),
            warnings: Vec::new(),
            wasi: None,
            engine: ENGINE_VERSION.to_owned(),
            created,
            timeline: Vec::new(),
        }
    }
}

/// The identity of a snapshot, and its name in the store: a hash of the module hashes, the state
/// and the manifest, but not of when and by which release it was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SnapshotId(pub [u8; 32]);

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not the 64 lower-case hexadecimal digits of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a hash of 64 lower-case hexadecimal digits")]
pub struct NotAHash;

/// Reads what `Display` of a hash writes.
pub(crate) fn parse_hash(text: &str) -> Result<[u8; 32], NotAHash> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Ok(c - b'0'),
        b'a'..=b'f' => Ok(c - b'a' + 10),
        _ => Err(NotAHash),
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut hash = [0; 32];
    if pairs.len() != hash.len() || !rest.is_empty() {
        return Err(NotAHash);
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Ok(hash)
}

impl FromStr for SnapshotId {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        parse_hash(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_from_its_text_and_from_nothing_else() {
        let id = SnapshotId(std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "00", &"g".repeat(64), &"A0".repeat(32), &"0".repeat(65), &"é".repeat(32)]
        {
            assert_eq!(text.parse::<SnapshotId>(), Err(NotAHash), "{text}");
        }
    }
}
