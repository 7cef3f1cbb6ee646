//! The code cache: a directory of code files, named by their keys.
//!
//! Invariant: a file that someone else could have written is never handed out, and files appear
//! whole or not at all.

use crate::CodeKey;
use executor_files::{ensure_private, publish};
use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// A failure of the code cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file or directory that this user does not have to itself.
    #[error("{path}: not used, because {reason}")]
    Untrusted {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The operating system.
    #[error("{path}: {source}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

impl CacheError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            // Made by `ensure_private`; the operating system's own carry a number.
            io::ErrorKind::PermissionDenied if source.raw_os_error().is_none() => {
                Self::Untrusted { path, reason: source.to_string() }
            }
            _ => Self::Io { path, source },
        }
    }
}

/// A directory of code files.
#[derive(Debug, Clone)]
pub struct CodeCache {
    dir: PathBuf,
}

impl CodeCache {
    /// The cache in a directory, which is made on the first write.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The path of a key's file.
    #[must_use]
    pub fn path(&self, key: &CodeKey) -> PathBuf {
        self.dir.join(format!("{key}.elf"))
    }

    /// Opens a key's file, if there is one.
    ///
    /// # Errors
    /// When the file could have been written by someone else, or cannot be opened.
    pub fn open(&self, key: &CodeKey) -> Result<Option<File>, CacheError> {
        let path = self.path(key);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(CacheError::at(&path)(e)),
        };
        ensure_private(&file).map_err(CacheError::at(&path))?;
        Ok(Some(file))
    }

    /// Publishes a code file and opens it.
    ///
    /// # Errors
    /// When the directory or file cannot be written, or is not this user's own.
    pub fn insert(&self, key: &CodeKey, bytes: &[u8]) -> Result<File, CacheError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.dir).map_err(CacheError::at(&self.dir))?;
        let dir = File::open(&self.dir).map_err(CacheError::at(&self.dir))?;
        ensure_private(&dir).map_err(CacheError::at(&self.dir))?;
        let path = self.path(key);
        publish(&path, |file| file.write_all(bytes)).map_err(CacheError::at(&path))?;
        File::open(&path).map_err(CacheError::at(&path))
    }

    /// Removes a key's file; what is not there is not an error.
    ///
    /// # Errors
    /// When the file is there and cannot be removed.
    pub fn remove(&self, key: &CodeKey) -> Result<(), CacheError> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(CacheError::at(&path)(e)),
            _ => Ok(()),
        }
    }
}
