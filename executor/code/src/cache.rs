//! The code cache: the directory `code` of a store, whose files are named by their keys.
//!
//! Invariant: a file that someone else could have written is never handed out, and files appear
//! whole or not at all, while the store is locked shared.

use crate::{CodeKey, file::CodeHeader};
use executor_files::{FileError, Lock, PrivateDir, is_temporary};
use executor_model::ModuleHash;
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

/// The directory of code files.
const CODE: &str = "code";
/// The file there in which whoever compiles locks the number of a key.
const COMPILING: &str = "compiling";

/// The code files of a store.
#[derive(Debug, Clone)]
pub struct CodeCache {
    store: PathBuf,
}

impl CodeCache {
    /// The cache of a store directory, which is made on the first write.
    #[must_use]
    pub fn new(store: PathBuf) -> Self {
        Self { store }
    }

    /// Where the code files are.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.store.join(CODE)
    }

    /// The path of a key's file.
    #[must_use]
    pub fn path(&self, key: &CodeKey) -> PathBuf {
        self.dir().join(name(key))
    }

    /// Opens a key's file, if there is one.
    ///
    /// # Errors
    /// When the file or a directory could have been written by someone else, or cannot be opened.
    pub fn open(&self, key: &CodeKey) -> Result<Option<File>, FileError> {
        match self.open_dir()? {
            Some(dir) => dir.file(name(key)),
            None => Ok(None),
        }
    }

    /// Publishes a code file and opens it.
    ///
    /// # Errors
    /// When the directory or file cannot be written, or is not this user's own.
    pub fn insert(&self, key: &CodeKey, bytes: &[u8]) -> Result<File, FileError> {
        let store = PrivateDir::make(&self.store)?;
        let _lock = store.lock_shared()?;
        store.make_sub(CODE)?.publish(name(key), |file| file.write_all(bytes))
    }

    /// Waits until nobody else compiles for this key, in any process, and keeps others from it until
    /// the result is dropped. Whoever has waited looks for the file again.
    ///
    /// # Errors
    /// When the store cannot be written, or its file system has no locks: those who compile all the
    /// same do the work twice, and no harm.
    pub fn lock(&self, key: &CodeKey) -> Result<Lock, FileError> {
        PrivateDir::make(&self.store)?.make_sub(CODE)?.lock_number(COMPILING, key.number())
    }

    /// Removes a key's file; what is not there is not an error.
    ///
    /// # Errors
    /// When the file is there and cannot be removed.
    pub fn remove(&self, key: &CodeKey) -> Result<(), FileError> {
        match self.open_dir()? {
            Some(dir) => dir.remove(name(key)).map(drop),
            None => Ok(()),
        }
    }

    /// Removes what crashes left behind, and the code of modules that are `unneeded`, and returns the
    /// length of each file. Whoever calls this has the store locked exclusively.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file cannot be removed.
    pub fn sweep(
        store: &PrivateDir,
        unneeded: impl Fn(&ModuleHash) -> bool,
    ) -> Result<Vec<u64>, FileError> {
        let Some(dir) = store.sub(CODE)? else { return Ok(Vec::new()) };
        let mut removed = Vec::new();
        for name in dir.names()? {
            let remove = is_temporary(&name)
                || Path::new(&name).extension().is_some_and(|end| end == "elf")
                    && module_of(&dir, &name).is_some_and(|module| unneeded(&module));
            if remove {
                removed.extend(dir.remove(&name)?);
            }
        }
        Ok(removed)
    }

    fn open_dir(&self) -> Result<Option<PrivateDir>, FileError> {
        match PrivateDir::open(&self.store)? {
            Some(store) => store.sub(CODE),
            None => Ok(None),
        }
    }
}

fn name(key: &CodeKey) -> String {
    format!("{key}.elf")
}

/// The module that a code file is of, where that can be told.
fn module_of(dir: &PrivateDir, name: &std::ffi::OsStr) -> Option<ModuleHash> {
    let header = CodeHeader::of(&dir.file(name).ok()??)?;
    Some(ModuleHash(header.module))
}
