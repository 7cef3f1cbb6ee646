//! Removal of functions and of files that nothing refers to.
//!
//! Invariant: with the lock held exclusively nobody is adding, so what no function and no automatic
//! entry leads to is garbage: left by a removal, by an entry that was replaced, or by a crash.
//! Code files are not swept: they belong to modules, not to snapshots.

use super::{Catalogue, CatalogueError, id_of_name, read_dir};
use crate::manifest::parse_hash;
use executor_model::ModuleHash;
use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::Path,
};

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many files.
    pub files: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

impl Catalogue {
    /// Removes a function, and every file that nothing refers to any more.
    ///
    /// # Errors
    /// When there is no such function, or a file cannot be removed.
    pub fn remove(&self, name: &str) -> Result<Swept, CatalogueError> {
        let link = self.function(name)?;
        let unknown = || CatalogueError::UnknownFunction { name: name.to_owned() };
        if !link.is_symlink() {
            return Err(unknown());
        }
        let _lock = self.lock_exclusively()?;
        fs::remove_file(&link).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => unknown(),
            _ => CatalogueError::at(&link)(e),
        })?;
        // Or a crash could bring back the link after its snapshot has gone.
        let dir = self.functions();
        File::open(&dir).and_then(|d| d.sync_all()).map_err(CatalogueError::at(&dir))?;
        self.sweep_locked()
    }

    /// Removes every snapshot and module that no function and no automatic entry leads to, and what
    /// crashes left behind.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file cannot be removed.
    pub fn sweep(&self) -> Result<Swept, CatalogueError> {
        if !self.dir.is_dir() {
            return Ok(Swept::default());
        }
        let _lock = self.lock_exclusively()?;
        self.sweep_locked()
    }

    fn lock_exclusively(&self) -> Result<File, CatalogueError> {
        let lock = self.lock_file()?;
        lock.lock().map_err(CatalogueError::at(&self.dir))?;
        Ok(lock)
    }

    fn sweep_locked(&self) -> Result<Swept, CatalogueError> {
        let mut swept = Swept::default();
        let mut snapshots = HashSet::new();
        for name in read_dir(&self.functions())? {
            let path = self.functions().join(&name);
            if name.as_encoded_bytes().starts_with(b".") {
                swept.remove(&path)?;
            } else if let Ok(target) = fs::read_link(&path) {
                snapshots.extend(target.file_name().and_then(id_of_name));
            }
        }
        for name in read_dir(&self.auto_dir())? {
            let path = self.auto_dir().join(&name);
            match name.to_str().filter(|n| parse_hash(n).is_ok()).map(|n| self.auto_named(n)) {
                Some(Ok(entries)) => snapshots.extend(entries.iter().map(|e| e.snapshot)),
                None | Some(Err(CatalogueError::Damaged { .. })) => swept.remove(&path)?,
                Some(Err(e)) => return Err(e),
            }
        }
        let dir = self.dir.join("snapshots");
        for name in read_dir(&dir)? {
            if !id_of_name(&name).is_some_and(|id| snapshots.contains(&id)) {
                swept.remove(&dir.join(name))?;
            }
        }

        let dir = self.dir.join("index");
        for name in read_dir(&dir)? {
            if name.as_encoded_bytes().ends_with(b".tmp") {
                swept.remove(&dir.join(name))?;
            }
        }

        let mut modules = HashSet::new();
        let mut all_read = true;
        for id in snapshots {
            match self.snapshot(id) {
                Ok(file) => modules.extend(file.iter().flat_map(|f| f.modules())),
                Err(_) => all_read = false,
            }
        }
        let dir = self.dir.join("modules");
        for name in read_dir(&dir)? {
            let hash = name.to_str().and_then(|n| n.strip_suffix(".wasm")).map(parse_hash);
            let keep = match hash {
                // What a snapshot needs that cannot be read now is not known: keep them all.
                Some(Ok(hash)) => !all_read || modules.contains(&ModuleHash(hash)),
                _ => false,
            };
            if !keep {
                swept.remove(&dir.join(name))?;
            }
        }
        Ok(swept)
    }
}

impl Swept {
    fn remove(&mut self, path: &Path) -> Result<(), CatalogueError> {
        let len = fs::symlink_metadata(path).map_or(0, |m| m.len());
        fs::remove_file(path).map_err(CatalogueError::at(path))?;
        self.files += 1;
        self.bytes += len;
        Ok(())
    }
}
