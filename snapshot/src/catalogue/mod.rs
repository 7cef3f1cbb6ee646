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
//! functions/NAME         a symbolic link to the snapshot of a function
//! auto/KEY               which automatic snapshots there are: see `auto`
//! index/DEVICE-INODE     which module a file held when last looked at: see `stamp`
//! lock                   held shared while something is added, exclusively while unused files go
//! ```

mod auto;
mod error;
mod sealed;
mod stamp;
mod sweep;

pub use auto::{AutoEntry, AutoKey, Conditions, Digest, MAX_ENTRIES, digest};
pub use error::CatalogueError;
pub use stamp::{ModuleFile, Stamp};
pub use sweep::Swept;

use crate::{
    Capture, EntryKind, Progress, SnapshotError, SnapshotFile, SnapshotId, manifest::parse_hash,
};
use executor_code::CodeCache;
use executor_files::{ensure_private, publish, publish_link};
use executor_model::ModuleHash;
use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The longest name of a function, in bytes; leaves room for a temporary suffix.
const MAX_NAME: usize = 200;

/// A store directory.
#[derive(Debug, Clone)]
pub struct Catalogue {
    dir: PathBuf,
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
        let dir = dir.into();
        match File::open(&dir) {
            Ok(opened) => {
                let meta = ensure_private(&opened).map_err(CatalogueError::at(&dir))?;
                if !meta.is_dir() {
                    let error = io::Error::from(io::ErrorKind::NotADirectory);
                    return Err(CatalogueError::at(&dir)(error));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(CatalogueError::at(&dir)(e)),
        }
        Ok(Self { dir })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its code files.
    #[must_use]
    pub fn code(&self) -> CodeCache {
        CodeCache::new(self.dir.join("code"))
    }

    /// Where the snapshot of an identity is, if it is there at all.
    #[must_use]
    pub fn snapshot_path(&self, id: SnapshotId) -> PathBuf {
        self.dir.join("snapshots").join(snapshot_name(id))
    }

    /// Opens the snapshot of an identity, if there is one.
    ///
    /// # Errors
    /// When it is there and cannot be read, or is not a snapshot that this release reads.
    pub fn snapshot(&self, id: SnapshotId) -> Result<Option<SnapshotFile>, SnapshotError> {
        found(SnapshotFile::open(self.snapshot_path(id)))
    }

    /// The path that opens the snapshot of a function, which need not exist.
    ///
    /// # Errors
    /// When `name` cannot be that of a function.
    pub fn function(&self, name: &str) -> Result<PathBuf, CatalogueError> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
        let valid = name.bytes().all(allowed) && (1..=MAX_NAME).contains(&name.len());
        // A name that looks like a file's could never be run: `executor run` takes it for the file.
        let like_a_file = [".wasm", ".wat", ".snap"].iter().any(|end| name.ends_with(end));
        if !valid || name.starts_with(['.', '-']) || like_a_file {
            return Err(CatalogueError::Name { name: name.to_owned() });
        }
        Ok(self.functions().join(name))
    }

    /// Opens the snapshot of a function.
    ///
    /// # Errors
    /// When there is no such function, or its snapshot cannot be read.
    pub fn open_function(&self, name: &str) -> Result<SnapshotFile, CatalogueError> {
        let path = self.function(name)?;
        match found(SnapshotFile::open(&path))? {
            Some(file) => Ok(file),
            None if path.is_symlink() => Err(CatalogueError::Dangling { name: name.to_owned() }),
            None => Err(CatalogueError::UnknownFunction { name: name.to_owned() }),
        }
    }

    /// Every function, by name; those whose snapshot cannot be read with the reason.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, CatalogueError> {
        let mut names = Vec::new();
        for name in read_dir(&self.functions())? {
            // Temporary links begin with a dot and so are no names.
            names.extend(name.into_string().ok().filter(|n| self.function(n).is_ok()));
        }
        names.sort_unstable();
        let describe = |name: String| {
            let info = self.open_function(&name).map(|file| FunctionInfo::of(&file));
            (name, info)
        };
        Ok(names.into_iter().map(describe).collect())
    }

    /// The bytes of a module, if they are here.
    ///
    /// # Errors
    /// When they cannot be read, or are not the module's.
    pub fn module(&self, hash: ModuleHash) -> Result<Option<Vec<u8>>, CatalogueError> {
        let path = self.module_path(hash);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(CatalogueError::at(&path)(e)),
        };
        if ModuleHash::of(&bytes) != hash {
            return Err(CatalogueError::Damaged { path });
        }
        Ok(Some(bytes))
    }

    /// Begins to add something. Until the result is dropped, nothing is swept away, in any process;
    /// so don't [remove](Self::remove) or [sweep](Self::sweep) on the same thread meanwhile.
    ///
    /// # Errors
    /// When the directory cannot be made or locked, or is not this user's alone.
    pub fn add(&self) -> Result<Adding<'_>, CatalogueError> {
        private_dir(&self.dir)?;
        let lock = self.lock_file()?;
        lock.lock_shared().map_err(CatalogueError::at(&self.dir))?;
        Ok(Adding { catalogue: self, _lock: lock })
    }

    fn lock_file(&self) -> Result<File, CatalogueError> {
        let path = self.dir.join("lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        options.open(&path).map_err(CatalogueError::at(&path))
    }

    fn functions(&self) -> PathBuf {
        self.dir.join("functions")
    }

    fn module_path(&self, hash: ModuleHash) -> PathBuf {
        self.dir.join("modules").join(format!("{hash}.wasm"))
    }
}

/// The right to add to a catalogue: what is added stays until something refers to it.
#[derive(Debug)]
pub struct Adding<'a> {
    catalogue: &'a Catalogue,
    // Unlocked by closing it.
    _lock: File,
}

impl Adding<'_> {
    /// Writes a snapshot, unless it is there already, and returns its identity.
    ///
    /// # Errors
    /// When it cannot be written; nothing of it is left then.
    pub fn put_snapshot(
        &self,
        capture: &Capture<'_>,
        progress: Progress<'_>,
    ) -> Result<SnapshotId, CatalogueError> {
        let id = capture.id();
        // What is there but cannot be read is replaced.
        if !matches!(self.catalogue.snapshot(id), Ok(Some(_))) {
            private_dir(&self.catalogue.dir.join("snapshots"))?;
            capture.publish(&self.catalogue.snapshot_path(id), progress)?;
        }
        Ok(id)
    }

    /// Keeps the bytes of a module, so that a snapshot of it can be restored where no code for it
    /// is cached.
    ///
    /// # Errors
    /// When they cannot be written.
    ///
    /// # Panics
    /// When `hash` is not the hash of `bytes`.
    pub fn put_module(&self, hash: ModuleHash, bytes: &[u8]) -> Result<(), CatalogueError> {
        let path = self.catalogue.module_path(hash);
        // A damaged copy of another length is replaced; one of the same length is found on reading.
        if fs::metadata(&path).is_ok_and(|m| m.len() == bytes.len() as u64) {
            return Ok(());
        }
        assert_eq!(ModuleHash::of(bytes), hash, "a module is kept under its own hash");
        private_dir(&self.catalogue.dir.join("modules"))?;
        publish(&path, |file| file.write_all(bytes)).map_err(CatalogueError::at(&path))
    }

    /// Gives a snapshot that was put here the name of a function; a function of that name is
    /// replaced.
    ///
    /// # Errors
    /// When `name` cannot be that of a function, the snapshot is not here, or the link cannot be
    /// written.
    pub fn set_function(&self, name: &str, id: SnapshotId) -> Result<(), CatalogueError> {
        let link = self.catalogue.function(name)?;
        let snapshot = self.catalogue.snapshot_path(id);
        fs::metadata(&snapshot).map_err(CatalogueError::at(&snapshot))?;
        let dir = self.catalogue.functions();
        private_dir(&dir)?;
        let target = Path::new("../snapshots").join(snapshot_name(id));
        publish_link(&link, &target).map_err(CatalogueError::at(&link))
    }
}

fn snapshot_name(id: SnapshotId) -> String {
    format!("{id}.snap")
}

/// The identity in the name of a snapshot file.
fn id_of_name(name: &OsStr) -> Option<SnapshotId> {
    parse_hash(name.to_str()?.strip_suffix(".snap")?).ok().map(SnapshotId)
}

fn found(
    opened: Result<SnapshotFile, SnapshotError>,
) -> Result<Option<SnapshotFile>, SnapshotError> {
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(SnapshotError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// Makes a directory, and those above it, for this user alone, and checks that it is.
fn private_dir(path: &Path) -> Result<(), CatalogueError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(CatalogueError::at(path))?;
    let dir = File::open(path).map_err(CatalogueError::at(path))?;
    ensure_private(&dir).map_err(CatalogueError::at(path))?;
    Ok(())
}

/// The names in a directory; none when it does not exist.
fn read_dir(path: &Path) -> Result<Vec<std::ffi::OsString>, CatalogueError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(CatalogueError::at(path)(e)),
    };
    entries.map(|e| Ok(e?.file_name())).collect::<io::Result<_>>().map_err(CatalogueError::at(path))
}
