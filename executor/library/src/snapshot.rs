//! A snapshot that is open: what it is, apart from the code that it needs.

use crate::Error;
use executor_snapshot::{
    Catalogue, SnapshotError, SnapshotFile, SnapshotId, catalogue::FunctionInfo,
};
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

/// An open snapshot file whose header and metadata are checked. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Snapshot(Arc<SnapshotFile>);

impl Snapshot {
    pub(crate) fn new(file: SnapshotFile) -> Self {
        Self(Arc::new(file))
    }

    /// Opens a snapshot file. The snapshots that it has pages of are looked for beside it, by their identity
    /// (`ID.snap`) and by the names that their files had; [`crate::Runtime::snapshot_at`] looks in the store too.
    /// One that is missing is an error when its pages are needed.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a snapshot that this release reads.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Ok(Self::new(SnapshotFile::open(path)?))
    }

    pub(crate) fn open_with(path: PathBuf, store: Option<&Catalogue>) -> Result<Self, Error> {
        let file =
            File::open(&path).map_err(|source| SnapshotError::Io { path: path.clone(), source })?;
        let mut file = SnapshotFile::of(file, path)?;
        if let Some(store) = store {
            store.find_bases(&mut file)?;
        }
        file.find_bases_beside()?;
        Ok(Self::new(file))
    }

    /// Its identity: a hash of what it holds, computed now.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.0.id()
    }

    /// Whether every snapshot that it has pages of was found.
    #[must_use]
    pub fn has_all(&self) -> bool {
        self.0.has_all()
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Reads all of its data, and of the snapshots that it has pages of, and checks it against its hashes.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub fn verify(&self) -> Result<(), Error> {
        Ok(self.0.verify()?)
    }

    /// What its initialisation observed of the world outside.
    #[must_use]
    pub fn observations(&self) -> &[String] {
        &self.0.manifest().observations
    }

    /// What a list of functions says of it.
    #[must_use]
    pub fn info(&self) -> FunctionInfo {
        FunctionInfo::of(&self.0)
    }

    /// The file, to be looked into.
    pub(crate) fn file(&self) -> &SnapshotFile {
        &self.0
    }
}
