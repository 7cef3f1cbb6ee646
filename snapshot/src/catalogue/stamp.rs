//! The index from files to modules: a file whose stamp is known need not be read to know its hash.
//!
//! Invariant: a stamp is recorded only when the file had last changed long enough before it was
//! stamped that any later change, however quick, gives it another.

use super::{Adding, Catalogue, CatalogueError, sealed};
use executor_files::PrivateDir;
use executor_model::ModuleHash;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The directory of the index.
pub(super) const INDEX: &str = "index";

/// Clocks of file systems are coarse (2 s on FAT): two changes within this may look like one.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Fields {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The state of a file at a moment, as its metadata shows it.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    fields: Fields,
    settled: bool,
}

impl Stamp {
    /// The stamp of a file with this metadata, which must be fresh.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self::at(metadata, SystemTime::now())
    }

    fn at(metadata: &Metadata, now: SystemTime) -> Self {
        let fields = Fields {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        // Whole seconds, rounded up. A time in the future never settles.
        let (latest, _) = fields.modified.max(fields.changed);
        let settled = UNIX_EPOCH
            .checked_add(Duration::from_secs(u64::try_from(latest).unwrap_or(0) + 1))
            .and_then(|latest| now.duration_since(latest).ok())
            .is_some_and(|age| age >= SETTLED_AFTER);
        Self { fields, settled }
    }

    /// The name of its file in the index.
    fn name(&self) -> String {
        let Fields { device, inode, .. } = self.fields;
        format!("{device:x}-{inode:x}")
    }
}

/// The payload of a file in `index/`.
#[derive(Serialize, Deserialize)]
struct Known {
    fields: Fields,
    module: ModuleHash,
}

impl sealed::Sealed for Known {
    const PREFIX: [u8; 12] = sealed::prefix(b"exec-idx", 1);
}

/// A file that holds a module, opened.
#[derive(Debug)]
pub struct ModuleFile {
    /// The file, at its beginning.
    pub file: File,
    /// Its stamp, taken before anything was read.
    pub stamp: Stamp,
    /// The hash of its module, if it is known without reading the file.
    pub hash: Option<ModuleHash>,
}

impl Catalogue {
    /// Opens a file and looks up which module it holds. Why the index cannot be read, if it cannot, is
    /// told to `ignored`: reading the file instead is always right.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn module_hash_of(
        &self,
        path: &Path,
        ignored: impl FnOnce(CatalogueError),
    ) -> io::Result<ModuleFile> {
        let file = File::open(path)?;
        let stamp = Stamp::of(&file.metadata()?);
        let hash = self.known(&stamp).unwrap_or_else(|error| {
            ignored(error);
            None
        });
        Ok(ModuleFile { file, stamp, hash })
    }

    fn known(&self, stamp: &Stamp) -> Result<Option<ModuleHash>, CatalogueError> {
        let Some(dir) = self.sub(INDEX)? else { return Ok(None) };
        let known = match sealed::read::<Known>(&dir, &stamp.name()) {
            // It is written anew, now that the file is read.
            Err(CatalogueError::Damaged { .. }) => None,
            known => known?,
        };
        Ok(known.filter(|known| known.fields == stamp.fields).map(|known| known.module))
    }
}

/// Checks an entry of the index.
pub(super) fn read(dir: &PrivateDir, name: &str) -> Result<(), CatalogueError> {
    sealed::read::<Known>(dir, name).map(drop)
}

/// The modules that files held when last looked at; `None` where something in the index cannot be read
/// now and so is not known.
pub(super) fn indexed(store: &PrivateDir) -> Result<Option<HashSet<ModuleHash>>, CatalogueError> {
    let mut modules = HashSet::new();
    let Some(dir) = store.sub(INDEX)? else { return Ok(Some(modules)) };
    for name in dir.names()? {
        match name.to_str().map(|name| sealed::read::<Known>(&dir, name)) {
            Some(Ok(Some(known))) => drop(modules.insert(known.module)),
            Some(Ok(None) | Err(CatalogueError::Damaged { .. })) | None => {}
            Some(Err(_)) => return Ok(None),
        }
    }
    Ok(Some(modules))
}

impl Adding<'_> {
    /// Remembers which module was read from a file after its stamp was taken. Returns false, and
    /// remembers nothing, when the file had changed too shortly before.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn record_module(&self, stamp: &Stamp, module: ModuleHash) -> Result<bool, CatalogueError> {
        if !stamp.settled {
            return Ok(false);
        }
        let dir = self.store.make_sub(INDEX)?;
        sealed::write(&dir, &stamp.name(), &Known { fields: stamp.fields, module })?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn look(catalogue: &Catalogue, path: &Path) -> ModuleFile {
        catalogue.module_hash_of(path, |error| panic!("{error}")).unwrap()
    }

    #[test]
    fn a_settled_file_is_known_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(dir.path().join("store")).unwrap();
        let path = dir.path().join("f.wasm");
        fs::write(&path, b"one").unwrap();
        let opened = look(&catalogue, &path);
        assert_eq!(opened.hash, None);

        let later = SystemTime::now() + Duration::from_secs(4);
        let stamp = Stamp::at(&opened.file.metadata().unwrap(), later);
        let hash = ModuleHash::of(b"one");
        assert!(catalogue.add().unwrap().record_module(&stamp, hash).unwrap());
        assert_eq!(look(&catalogue, &path).hash, Some(hash));

        fs::write(&path, b"three").unwrap();
        assert_eq!(look(&catalogue, &path).hash, None, "changed in place");
        fs::write(dir.path().join("new"), b"one").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert_eq!(look(&catalogue, &path).hash, None, "replaced");
    }

    #[test]
    fn a_file_that_just_changed_is_not_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(dir.path().join("store")).unwrap();
        let path = dir.path().join("f.wasm");
        fs::write(&path, b"one").unwrap();
        let opened = look(&catalogue, &path);
        let hash = ModuleHash::of(b"one");
        assert!(!catalogue.add().unwrap().record_module(&opened.stamp, hash).unwrap());
        assert_eq!(look(&catalogue, &path).hash, None);
    }

    #[test]
    fn a_damaged_index_knows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(dir.path().join("store")).unwrap();
        let path = dir.path().join("f.wasm");
        fs::write(&path, b"one").unwrap();
        let later = SystemTime::now() + Duration::from_secs(4);
        let stamp = Stamp::at(&fs::metadata(&path).unwrap(), later);
        catalogue.add().unwrap().record_module(&stamp, ModuleHash::of(b"one")).unwrap();
        let entry = catalogue.dir().join(INDEX).join(stamp.name());
        let mut bytes = fs::read(&entry).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&entry, bytes).unwrap();
        assert_eq!(look(&catalogue, &path).hash, None);
    }
}
