//! Automatic snapshots: which there are of a module, and under what conditions each may be used.
//!
//! Invariant: an entry says everything outside the module that its snapshot depends on; whoever
//! finds all of it unchanged may restore the snapshot instead of running the initialisation.

use super::{Adding, Catalogue, CatalogueError, FunctionInfo, sealed};
use crate::{SnapshotId, format, manifest::parse_hash};
use executor_code::layout::STATE_VERSION;
use executor_files::PrivateDir;
use executor_model::ModuleHash;
use serde::{Deserialize, Serialize};
use std::{ffi::OsStr, fmt};

/// The most entries that are kept for one key: the latest.
pub const MAX_ENTRIES: usize = 8;

/// A hash of something that an initialisation observed.
pub type Digest = [u8; 32];

/// The digest of a list of byte strings; lists that differ in where one ends and the next begins
/// have different digests.
#[must_use]
pub fn digest<T: AsRef<[u8]>>(items: impl IntoIterator<Item = T>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for item in items {
        let item = item.as_ref();
        hasher.update(&(item.len() as u64).to_le_bytes());
        hasher.update(item);
    }
    *hasher.finalize().as_bytes()
}

/// What a module is initialised with, apart from what it observes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AutoKey(Digest);

impl AutoKey {
    /// The key of a module, the exports called to initialise it, the modules that were instantiated
    /// before it under the given names, and the options of the run that change its state.
    #[must_use]
    pub fn new(
        module: ModuleHash,
        inits: &[String],
        preloads: &[(String, ModuleHash)],
        options: &[u8],
    ) -> Self {
        let inits = digest(inits);
        let preloads = digest(preloads.iter().flat_map(|(n, h)| [n.as_bytes(), &h.0]));
        // Snapshots that this release could not read are as good as none.
        let (format, layout) = (format::VERSION.to_le_bytes(), STATE_VERSION.to_le_bytes());
        Self(digest([&format[..], &layout, &module.0, &inits, &preloads, options]))
    }
}

impl fmt::Display for AutoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// What an initialisation observed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// The digest of the arguments, if it looked at them.
    pub args: Option<Digest>,
    /// The digest of the environment, if it looked at it.
    pub env: Option<Digest>,
    /// The files that it read, by the guest's path, with the digest of their contents; `None` for
    /// one that did not exist.
    pub files: Vec<(String, Option<Digest>)>,
}

/// An automatic snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoEntry {
    /// When it may be used.
    pub conditions: Conditions,
    /// The snapshot.
    pub snapshot: SnapshotId,
}

/// An automatic snapshot as [`Catalogue::list_auto`] describes it.
#[derive(Debug)]
pub struct AutoListed {
    /// Its key.
    pub key: AutoKey,
    /// When it may be used.
    pub conditions: Conditions,
    /// Its snapshot, or why it cannot be read.
    pub info: Result<FunctionInfo, CatalogueError>,
}

/// The payload of a file in `auto/`: the entries, the latest first.
#[derive(Serialize, Deserialize)]
struct Entries(Vec<AutoEntry>);

impl sealed::Sealed for Entries {
    const PREFIX: [u8; 12] = sealed::prefix(b"exec-aut", 1);
}

impl Catalogue {
    /// The automatic snapshots of a key, the latest first.
    ///
    /// # Errors
    /// When they cannot be read. Going on as if there were none is always right: the next
    /// [`Adding::insert_auto`] replaces what is damaged.
    pub fn auto(&self, key: &AutoKey) -> Result<Vec<AutoEntry>, CatalogueError> {
        match self.sub(AUTO)? {
            Some(dir) => Ok(list(sealed::read_and_note(&dir, &key.to_string())?)),
            None => Ok(Vec::new()),
        }
    }

    /// Every automatic snapshot, by key, the latest of a key first; those that cannot be read with the
    /// reason.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list_auto(&self) -> Result<Vec<AutoListed>, CatalogueError> {
        let Some(dir) = self.sub(AUTO)? else { return Ok(Vec::new()) };
        let mut keys: Vec<AutoKey> = dir.names()?.iter().filter_map(|n| key_of_name(n)).collect();
        keys.sort_unstable_by_key(|key| key.0);
        let mut listed = Vec::new();
        for key in keys {
            match entries(&dir, &key.to_string()) {
                Ok(entries) => {
                    for AutoEntry { conditions, snapshot } in entries {
                        let info = match self.snapshot(snapshot) {
                            Ok(Some(file)) => Ok(FunctionInfo::of(&file)),
                            // Taken away since: whoever runs the module initialises it again.
                            Ok(None) => continue,
                            Err(error) => Err(error),
                        };
                        listed.push(AutoListed { key, conditions, info });
                    }
                }
                Err(error) => {
                    let conditions = Conditions::default();
                    listed.push(AutoListed { key, conditions, info: Err(error) });
                }
            }
        }
        Ok(listed)
    }

    /// The key of automatic snapshots that begins with these digits.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn auto_key(&self, digits: &str) -> Result<AutoKey, CatalogueError> {
        let names = self.sub(AUTO)?.map_or_else(|| Ok(Vec::new()), |dir| dir.names())?;
        let keys = names.iter().filter_map(|name| key_of_name(name));
        let mut keys = keys.filter(|key| key.to_string().starts_with(digits));
        let digits = digits.escape_debug();
        match (keys.next(), keys.next()) {
            (Some(key), None) => Ok(key),
            (None, _) => {
                let what = format!("there are no automatic snapshots of key `{digits}`");
                Err(CatalogueError::UnknownAuto { what })
            }
            (Some(_), Some(_)) => {
                let what = format!("`{digits}` is how more than one key begins");
                Err(CatalogueError::UnknownAuto { what })
            }
        }
    }
}

/// The directory of the entries.
pub(super) const AUTO: &str = "auto";

/// The key that a file in `auto/` is named by.
pub(super) fn key_of_name(name: &OsStr) -> Option<AutoKey> {
    parse_hash(name.to_str()?).ok().map(AutoKey)
}

/// The entries in a file, the latest first; none where there is no file.
pub(super) fn entries(dir: &PrivateDir, name: &str) -> Result<Vec<AutoEntry>, CatalogueError> {
    Ok(list(sealed::read(dir, name)?))
}

fn list(read: Option<Entries>) -> Vec<AutoEntry> {
    read.map_or_else(Vec::new, |Entries(entries)| entries)
}

impl Adding<'_> {
    /// Remembers an automatic snapshot. It replaces one of the same conditions, and the oldest when
    /// there are more than [`MAX_ENTRIES`].
    ///
    /// # Errors
    /// When the entries cannot be read or written.
    pub fn insert_auto(&self, key: &AutoKey, entry: AutoEntry) -> Result<(), CatalogueError> {
        let (dir, name) = (self.store.make_sub(AUTO)?, key.to_string());
        let mut entries = match entries(&dir, &name) {
            Ok(entries) => entries,
            Err(CatalogueError::Damaged { .. }) => Vec::new(),
            Err(e) => return Err(e),
        };
        entries.retain(|e| e.conditions != entry.conditions);
        entries.insert(0, entry);
        entries.truncate(MAX_ENTRIES);
        // Two processes that insert at once can lose one entry; it is made again when missed.
        Ok(sealed::write(&dir, &name, &Entries(entries))?)
    }
}
