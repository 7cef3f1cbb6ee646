//! The store directory: where functions, snapshots, modules and code files are kept.
//!
//! Invariant: nothing here is believed because of where it lies. The directory must be this user's
//! alone; every file carries or is named by a hash; and every file and link appears whole or not
//! at all. Reading creates nothing.
//!
//! ```text
//! code/                  code files: see `executor_code::CodeCache`
//! modules/HASH.wasm      the bytes of the modules of every snapshot here, to compile them again
//! snapshots/ID.snap      snapshots, named by their identity: see `crate::format`
//! functions/NAME         a symbolic link to the snapshot of a function, or to a version of it: see `versions`
//! settings/NAME.json     how a function is served
//! auto/KEY               which automatic snapshots there are: see `auto`
//! index/DEVICE-INODE     which module a file held when last looked at: see `stamp`
//! key                    under which the store vouches for its code
//! deploying              held while versions are made and switched
//! lock                   held shared while something is added, exclusively while unused files go
//! ```

mod auto;
mod check;
mod error;
mod sealed;
mod settings;
mod stamp;
mod survey;
mod sweep;
mod usage;
mod versions;

use auto::{AUTO, key_of_name};
pub use auto::{AutoEntry, AutoKey, AutoListed, Conditions, Digest, MAX_ENTRIES, digest};
pub use check::{Checked, Fault};
pub use error::CatalogueError;
use settings::SETTINGS;
use stamp::INDEX;
pub use stamp::{ModuleFile, Stamp};
pub use sweep::{Collect, Collected, Swept};
pub use usage::{Count, FunctionUsage, Usage};
pub use versions::{Switched, Version};

use crate::{
    Capture, EntryKind, Progress, Rewritten, SnapshotFile, SnapshotId, file::DataFile,
    format::Base, manifest::parse_hash,
};
use executor_code::CodeCache;
use executor_files::{Entry, FileError, Lock, PrivateDir, Trust};
use executor_model::ModuleHash;
use std::{
    cell::RefCell,
    ffi::OsStr,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The directory of the snapshots.
const SNAPSHOTS: &str = "snapshots";
/// The directory of the functions.
const FUNCTIONS: &str = "functions";
/// The directory of the modules.
const MODULES: &str = "modules";

/// The longest name of a function, in bytes; leaves room for a temporary suffix.
const MAX_NAME: usize = 200;

/// A store directory.
#[derive(Debug, Clone)]
pub struct Catalogue {
    dir: PathBuf,
    trust: Trust,
}

/// A function as [`Catalogue::list`] describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionInfo {
    /// Its snapshot.
    pub snapshot: SnapshotId,
    /// The length of the snapshot file.
    pub size: u64,
    /// When the snapshot was made, in seconds since 1970.
    pub created: u64,
    /// The modules of its instances, in order of the instances' ids.
    pub modules: Vec<ModuleHash>,
    /// How it is meant to be called.
    pub entry: EntryKind,
}

impl FunctionInfo {
    /// The description of a function that has this snapshot.
    #[must_use]
    pub fn of(file: &SnapshotFile) -> Self {
        Self {
            snapshot: file.id(),
            size: file.file_len(),
            created: file.manifest().created,
            modules: file.modules().collect(),
            entry: file.manifest().entry,
        }
    }
}

/// A function's name, and its description or why there is none.
pub type Listed = (String, Result<FunctionInfo, CatalogueError>);

/// The directory that is used where none is named: `executor` in the user's XDG data directory.
/// `None` when the environment names neither that nor a home.
#[must_use]
pub fn default_dir() -> Option<PathBuf> {
    // A relative path in XDG_DATA_HOME is to be ignored, says its specification.
    let absolute = |p: PathBuf| p.is_absolute().then_some(p);
    let var = |name| std::env::var_os(name).map(PathBuf::from).and_then(absolute);
    let data = var("XDG_DATA_HOME").or_else(|| Some(var("HOME")?.join(".local/share")))?;
    Some(data.join("executor"))
}

impl Catalogue {
    /// The catalogue of a directory, which need not exist: it is made by the first write.
    ///
    /// # Errors
    /// When it exists and someone else owns it or may write to it.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, CatalogueError> {
        Self::open_with(dir, Trust::Own)
    }

    /// As [`Self::open`], of a directory that the user may vouch for: then it may be anyone's, and is only read.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(dir: impl Into<PathBuf>, trust: Trust) -> Result<Self, CatalogueError> {
        let dir = dir.into();
        PrivateDir::open_with(&dir, trust)?;
        Ok(Self { dir, trust })
    }

    /// Whether it is only read.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.trust == Trust::Vouched
    }

    /// The directory, to be written to.
    fn make(&self) -> Result<PrivateDir, CatalogueError> {
        match (self.trust, self.store()?) {
            (Trust::Vouched, Some(store)) => Ok(store),
            _ => Ok(PrivateDir::make(&self.dir)?),
        }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its code files.
    #[must_use]
    pub fn code(&self) -> CodeCache {
        if self.is_read_only() {
            return CodeCache::trusted(self.dir.clone());
        }
        CodeCache::new(self.dir.clone()).with_make_room(|store, bytes| {
            // Where it fails the code finds no room.
            let _ = Self::open(store).and_then(|catalogue| catalogue.make_room(bytes));
        })
    }

    /// Where the snapshot of an identity is, if it is there at all.
    #[must_use]
    pub fn snapshot_path(&self, id: SnapshotId) -> PathBuf {
        self.dir.join(SNAPSHOTS).join(snapshot_name(id))
    }

    /// Opens the snapshot of an identity, if there is one.
    ///
    /// # Errors
    /// When it is there and cannot be read, is not a snapshot that this release reads, or is another.
    pub fn snapshot(&self, id: SnapshotId) -> Result<Option<SnapshotFile>, CatalogueError> {
        match self.store()? {
            Some(store) => self.snapshot_in(&store, id, self.snapshot_path(id)),
            None => Ok(None),
        }
    }

    /// As [`Self::snapshot`], found by way of the path `at`.
    fn snapshot_in(
        &self,
        store: &PrivateDir,
        id: SnapshotId,
        at: PathBuf,
    ) -> Result<Option<SnapshotFile>, CatalogueError> {
        let Some(dir) = store.sub(SNAPSHOTS)? else { return Ok(None) };
        let Some(file) = dir.file(snapshot_name(id))? else { return Ok(None) };
        let mut file = SnapshotFile::of(file, at)?.with_trust(self.trust);
        match file.id() {
            found if found == id => {
                find_bases(&mut file, &dir)?;
                Ok(Some(file))
            }
            found => Err(CatalogueError::Misnamed { path: self.snapshot_path(id), id: found }),
        }
    }

    /// Looks in the store for the bases that a snapshot from elsewhere lacks.
    ///
    /// # Errors
    /// When the file of one cannot be read, or is not a snapshot.
    pub fn find_bases(&self, file: &mut SnapshotFile) -> Result<(), CatalogueError> {
        if file.bases().is_empty() {
            return Ok(());
        }
        match self.sub(SNAPSHOTS)? {
            Some(dir) => find_bases(file, &dir),
            None => Ok(()),
        }
    }

    /// Checks that `name` can be that of a function.
    ///
    /// # Errors
    /// When it cannot.
    pub fn check_name(name: &str) -> Result<(), CatalogueError> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
        let valid = name.bytes().all(allowed) && (1..=MAX_NAME).contains(&name.len());
        // A name that looks like a file's could never be run: `executor run` takes it for the file.
        if !valid || name.starts_with(['.', '-']) || is_like_a_file(name) {
            return Err(CatalogueError::Name { name: name.to_owned() });
        }
        Ok(())
    }

    /// Opens the snapshot of a function, or of a version or an alias of one: `NAME@TAG`.
    ///
    /// # Errors
    /// When there is no such function, or its snapshot cannot be read.
    pub fn open_function(&self, name: &str) -> Result<SnapshotFile, CatalogueError> {
        versions::split(name)?;
        let unknown = || versions::unknown(name);
        let store = self.store()?.ok_or_else(unknown)?;
        let functions = store.sub(FUNCTIONS)?.ok_or_else(unknown)?;
        let mut missing = None;
        loop {
            let id = match target(&functions, name)?.ok_or_else(unknown)? {
                Target::File(mut file) => {
                    self.find_bases(&mut file)?;
                    return Ok(*file);
                }
                Target::Link(id) => Some(id),
                Target::Gone => None,
            };
            let file = match id {
                Some(id) => self.snapshot_in(&store, id, functions.path().join(name))?,
                None => None,
            };
            match file {
                Some(file) => return Ok(file),
                None if missing == Some(id) => {
                    return Err(CatalogueError::Dangling { name: name.to_owned() });
                }
                // Who replaces or removes a function changes its link first: it is read again.
                None => missing = Some(id),
            }
        }
    }

    /// Every function, by name; those whose snapshot cannot be read with the reason.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, CatalogueError> {
        let Some(functions) = self.sub(FUNCTIONS)? else { return Ok(Vec::new()) };
        // Temporary links begin with a dot and so are no names.
        let names = functions.names()?.into_iter().filter_map(|name| name.into_string().ok());
        let mut names: Vec<String> = names.filter(|name| Self::check_name(name).is_ok()).collect();
        names.sort_unstable();
        let describe = |name: String| match self.open_function(&name) {
            // Removed since.
            Err(CatalogueError::UnknownFunction { .. }) => None,
            opened => Some((name, opened.map(|file| FunctionInfo::of(&file)))),
        };
        Ok(names.into_iter().filter_map(describe).collect())
    }

    /// Reads all that a function consists of, its snapshot and its modules, and checks it.
    ///
    /// # Errors
    /// When there is no such function, or anything of it cannot be read or is damaged.
    pub fn verify_function(&self, name: &str) -> Result<(), CatalogueError> {
        loop {
            let file = self.open_function(name)?;
            file.verify()?;
            let mut modules: Vec<ModuleHash> = file.modules().collect();
            modules.sort_unstable_by_key(|hash| hash.0);
            modules.dedup();
            let check = |hash: ModuleHash| match self.module(hash)? {
                Some(_) => Ok(()),
                None => Err(CatalogueError::MissingModule { path: self.module_path(hash) }),
            };
            match modules.into_iter().try_for_each(check) {
                Ok(()) => return Ok(()),
                // Its modules may have gone with it since.
                Err(error) if self.open_function(name)?.id() == file.id() => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// The bytes of a module, if they are here.
    ///
    /// # Errors
    /// When they cannot be read, or are not the module's.
    pub fn module(&self, hash: ModuleHash) -> Result<Option<Vec<u8>>, CatalogueError> {
        match self.store()? {
            Some(store) => self.module_in(&store, hash),
            None => Ok(None),
        }
    }

    /// As [`Self::module`], in the open store.
    fn module_in(
        &self,
        store: &PrivateDir,
        hash: ModuleHash,
    ) -> Result<Option<Vec<u8>>, CatalogueError> {
        let Some(dir) = store.sub(MODULES)? else { return Ok(None) };
        match dir.read(module_name(hash))? {
            Some(bytes) if ModuleHash::of(&bytes) != hash => {
                Err(CatalogueError::DamagedModule { path: self.module_path(hash) })
            }
            bytes => Ok(bytes),
        }
    }

    /// Begins to add something. Until the result is dropped, nothing is swept away, in any process;
    /// so don't [remove](Self::remove), [sweep](Self::sweep) or add code on the same thread meanwhile.
    ///
    /// # Errors
    /// When the directory cannot be made or locked, or is not this user's alone.
    pub fn add(&self) -> Result<Adding<'_>, CatalogueError> {
        let store = self.make()?;
        let lock = store.lock_shared()?;
        Ok(Adding { catalogue: self, store, lock: RefCell::new(Some(lock)) })
    }

    /// The most bytes that the files of the store may have together, if that is limited.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn quota(&self) -> Result<Option<u64>, CatalogueError> {
        match self.store()? {
            Some(store) => Ok(store.quota()?),
            None => Ok(None),
        }
    }

    /// Limits how many bytes the files of the store may have together, or no longer. What is there already may be
    /// more.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_quota(&self, bytes: Option<u64>) -> Result<(), CatalogueError> {
        Ok(self.make()?.set_quota(bytes)?)
    }

    /// Collects caches until the quota, if there is one, leaves room for so many bytes. That there may be
    /// too few is for who adds them to find out.
    ///
    /// # Errors
    /// As [`Self::collect`].
    pub fn make_room(&self, bytes: u64) -> Result<(), CatalogueError> {
        if let Some(store) = self.store()?
            && let Err(FileError::Quota { limit, .. }) = store.room_for(bytes)
        {
            let max_size = Some(limit.saturating_sub(bytes));
            self.collect(Collect { max_size, ..Collect::default() })?;
        }
        Ok(())
    }

    /// The store directory, if it is there.
    fn store(&self) -> Result<Option<PrivateDir>, CatalogueError> {
        Ok(PrivateDir::open_with(&self.dir, self.trust)?)
    }

    /// A directory in it, if it is there.
    fn sub(&self, name: &str) -> Result<Option<PrivateDir>, CatalogueError> {
        match self.store()? {
            Some(store) => Ok(store.sub(name)?),
            None => Ok(None),
        }
    }

    fn module_path(&self, hash: ModuleHash) -> PathBuf {
        self.dir.join(MODULES).join(module_name(hash))
    }
}

/// What the name of a function leads to.
enum Target {
    /// The snapshot of an identity.
    Link(SnapshotId),
    /// The snapshot itself, in a copy of a store that was made without links.
    File(Box<SnapshotFile>),
    /// A version that is not there.
    Gone,
}

/// What the name of a function, a version or an alias leads to.
fn target(functions: &PrivateDir, name: &str) -> Result<Option<Target>, CatalogueError> {
    let mut entry = functions.entry(name)?;
    let mut name = name;
    let version;
    if let Some(Entry::Link(to)) = &entry
        && let Some(to) = versions::version_led_to(name, to)
    {
        version = to.to_owned();
        name = &version;
        match functions.entry(name)? {
            None => return Ok(Some(Target::Gone)),
            // A version leads to a snapshot, and to nothing else.
            found => entry = found,
        }
    }
    let path = || functions.path().join(name);
    match entry {
        None => Ok(None),
        Some(Entry::Link(target)) => {
            let id = target.strip_prefix("../snapshots").ok();
            let id = id.and_then(|name| id_of_name(name.as_os_str()));
            let id = id.filter(|_| !versions::is_alias(name));
            let reason = "it does not lead to a snapshot of the store (remove it)".to_owned();
            let foreign = || FileError::Untrusted { path: path(), reason };
            Ok(Some(Target::Link(id.ok_or_else(foreign)?)))
        }
        Some(Entry::NoLink) => match functions.file(name)? {
            Some(file) => {
                let file = SnapshotFile::of(file, path())?.with_trust(functions.trust());
                Ok(Some(Target::File(Box::new(file))))
            }
            None => Ok(None),
        },
    }
}

/// The right to add to a catalogue: what is added stays until something refers to it.
#[derive(Debug)]
pub struct Adding<'a> {
    catalogue: &'a Catalogue,
    store: PrivateDir,
    lock: RefCell<Option<Lock>>,
}

impl Adding<'_> {
    /// Collects caches where the quota leaves no room for so many bytes. It is asked for before anything is added,
    /// because others may sweep meanwhile. That there is too little room still is for who adds to find out.
    ///
    /// # Errors
    /// When a directory cannot be read, or a file cannot be removed.
    pub fn make_room(&self, bytes: u64) -> Result<(), CatalogueError> {
        if !matches!(self.store.room_for(bytes), Err(FileError::Quota { .. })) {
            return Ok(());
        }
        drop(self.lock.take());
        let made = self.catalogue.make_room(bytes);
        self.lock.replace(Some(self.store.lock_shared()?));
        made
    }

    /// Whether the bytes of a module are kept, damaged perhaps.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn has_module(&self, hash: ModuleHash) -> Result<bool, CatalogueError> {
        match self.store.sub(MODULES)? {
            Some(dir) => Ok(dir.look(module_name(hash))?.is_some()),
            None => Ok(false),
        }
    }

    /// Writes a snapshot, unless it is there already and undamaged, and returns its identity. The snapshots that
    /// it has pages of are kept with it: those that are not here are copied.
    ///
    /// # Errors
    /// When it cannot be written; nothing of it is left then.
    pub fn put_snapshot(
        &self,
        capture: &Capture<'_>,
        progress: Progress<'_>,
    ) -> Result<SnapshotId, CatalogueError> {
        let id = capture.id();
        for (base, file) in capture.bases() {
            self.put_base(base, file)?;
        }
        let whole = match self.snapshot(id) {
            Ok(Some(file)) => file.verify().is_ok(),
            // What cannot be read is replaced.
            Ok(None) | Err(_) => false,
        };
        if !whole {
            let dir = self.store.make_sub(SNAPSHOTS)?;
            let _room = self.store.room_for(capture.file_len())?;
            dir.publish(snapshot_name(id), |file| capture.write_to(file, progress))?;
        }
        Ok(id)
    }

    /// Keeps the file of a base.
    fn put_base(&self, base: &Base, file: &DataFile) -> Result<(), CatalogueError> {
        let dir = self.store.make_sub(SNAPSHOTS)?;
        let name = snapshot_name(base.id);
        let path = dir.path().join(&name);
        if let Ok(Some(here)) = dir.file(&name)
            && let Ok(here) = DataFile::of(here, path.clone())
            && (here.is_same(file) || here.is(base) && here.verify_alone().is_ok())
        {
            return Ok(());
        }
        dir.publish(&name, |copy| {
            file.copy(0..file.head().header().file_len.get(), copy)?;
            // What is here is trusted: it is the copy that is looked at, not the original.
            let copied = SnapshotFile::of(copy.try_clone()?, path).map_err(io::Error::other)?;
            let sound = copied.verify_alone().map_err(io::Error::other);
            match copied.id() == base.id && copied.is(base) {
                true => sound,
                false => Err(io::Error::other("the file of its base is of another snapshot")),
            }
        })?;
        Ok(())
    }

    /// Writes a snapshot from elsewhere, unless it is there already and undamaged, with the snapshots that it has
    /// pages of, and returns its identity. Whether the state in it can be trusted is for the caller to know.
    ///
    /// # Errors
    /// When it is damaged, a base is missing, or it cannot be written.
    pub fn put_rewritten(&self, snapshot: &Rewritten<'_>) -> Result<SnapshotId, CatalogueError> {
        let id = snapshot.id();
        for (base, file) in snapshot.bases()? {
            self.put_base(base, file)?;
        }
        if let Ok(Some(file)) = self.snapshot(id)
            && file.verify().is_ok()
        {
            return Ok(id);
        }
        let dir = self.store.make_sub(SNAPSHOTS)?;
        let name = snapshot_name(id);
        let path = dir.path().join(&name);
        dir.publish(&name, |copy| {
            snapshot.write_to(copy)?;
            let copied = SnapshotFile::of(copy.try_clone()?, path).map_err(io::Error::other)?;
            copied.verify_alone().map_err(io::Error::other)
        })?;
        Ok(id)
    }

    /// A new file in the store that has no name and is gone when it is closed.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn unnamed_file(&self) -> Result<File, CatalogueError> {
        let dir = self.store.make_sub(SNAPSHOTS)?;
        Ok(dir.draft()?.unnamed())
    }

    /// The error of a file without a name that cannot be written: it names the directory.
    #[must_use]
    pub fn unnamed_file_error(&self, source: io::Error) -> CatalogueError {
        FileError::Io { path: self.store.path().join(SNAPSHOTS), source }.into()
    }

    /// Keeps the bytes of a module, so that a snapshot of it can be restored where no code for it
    /// is cached. A damaged copy is replaced.
    ///
    /// # Errors
    /// When they cannot be written.
    ///
    /// # Panics
    /// When `hash` is not the hash of `bytes`.
    pub fn put_module(&self, hash: ModuleHash, bytes: &[u8]) -> Result<(), CatalogueError> {
        if matches!(self.catalogue.module_in(&self.store, hash), Ok(Some(_))) {
            return Ok(());
        }
        assert_eq!(ModuleHash::of(bytes), hash, "a module is kept under its own hash");
        let dir = self.store.make_sub(MODULES)?;
        let _room = self.store.room_for(bytes.len() as u64)?;
        dir.publish(module_name(hash), |file| file.write_all(bytes))?;
        Ok(())
    }

    /// Gives a snapshot that was put here the name of a function; a function of that name is
    /// replaced.
    ///
    /// # Errors
    /// When `name` cannot be that of a function or is one that is deployed, the snapshot is not here, or the link
    /// cannot be written.
    pub fn set_function(&self, name: &str, id: SnapshotId) -> Result<(), CatalogueError> {
        Catalogue::check_name(name)?;
        if self.snapshot(id)?.is_none() {
            return Err(CatalogueError::Dangling { name: name.to_owned() });
        }
        let dir = self.store.make_sub(FUNCTIONS)?;
        Self::ensure_not_deployed(&dir, name)?;
        dir.publish_link(name, &Path::new("../snapshots").join(snapshot_name(id)))?;
        Ok(())
    }

    /// Opens a snapshot in the directory that is added to, wherever that lies by now.
    fn snapshot(&self, id: SnapshotId) -> Result<Option<SnapshotFile>, CatalogueError> {
        self.catalogue.snapshot_in(&self.store, id, self.catalogue.snapshot_path(id))
    }
}

/// Looks for the bases of a snapshot in the directory of the snapshots.
fn find_bases(file: &mut SnapshotFile, dir: &PrivateDir) -> Result<(), CatalogueError> {
    file.find_bases(|base| {
        let name = snapshot_name(base.id);
        let path = dir.path().join(&name);
        Ok(dir.file(name)?.map(|file| (file, path)))
    })
}

/// Whether a name ends as the files of modules and snapshots do.
fn is_like_a_file(name: &str) -> bool {
    [".wasm", ".wat", ".snap"].iter().any(|end| name.ends_with(end))
}

fn snapshot_name(id: SnapshotId) -> String {
    format!("{id}.snap")
}

/// The identity in the name of a snapshot file.
fn id_of_name(name: &OsStr) -> Option<SnapshotId> {
    parse_hash(name.to_str()?.strip_suffix(".snap")?).ok().map(SnapshotId)
}

fn module_name(hash: ModuleHash) -> String {
    format!("{hash}.wasm")
}

/// The hash in the name of a module's file.
fn module_of_name(name: &OsStr) -> Option<ModuleHash> {
    parse_hash(name.to_str()?.strip_suffix(".wasm")?).ok().map(ModuleHash)
}
