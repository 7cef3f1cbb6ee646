//! The code cache: the directory `code` of a store, whose files are named by their keys.
//!
//! Invariant: a file that someone else could have written is never handed out, and files appear
//! whole or not at all, while the store is locked shared. Whether a file is what was written is for
//! [`StoredCode::check`] to say.

use crate::{
    CodeKey, StoredCode,
    file::{CodeHeader, MAC_OFFSET, TEXT_OFFSET},
    store_key::{Purpose, StoreKey},
};
use executor_files::{FileError, Lock, PrivateDir, is_temporary};
use executor_model::ModuleHash;
use std::{
    ffi::OsStr,
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
    pub fn open(&self, key: &CodeKey) -> Result<Option<StoredCode>, FileError> {
        let Some(store) = PrivateDir::open(&self.store)? else { return Ok(None) };
        let Some(dir) = store.sub(CODE)? else { return Ok(None) };
        let Some((file, metadata)) = dir.file_and_metadata(name(key))? else { return Ok(None) };
        let store_key = StoreKey::read(&store)?;
        Ok(Some(StoredCode { file, metadata, dir, key: *key, store_key }))
    }

    /// Publishes a code file, with a MAC under the key of the store, and opens it.
    ///
    /// # Errors
    /// When the directory or file cannot be written, or is not this user's own.
    ///
    /// # Panics
    /// When the bytes are not those of a code file.
    pub fn insert(&self, key: &CodeKey, bytes: &[u8]) -> Result<File, FileError> {
        let store = PrivateDir::make(&self.store)?;
        let _lock = store.lock_shared()?;
        let store_key = StoreKey::read_or_make(&store)?;
        let (page, body) = bytes.split_at(TEXT_OFFSET as usize);
        let page = &page[..MAC_OFFSET as usize];
        let mac = store_key.mac(Purpose::CodeFile, &[page]);
        store.make_sub(CODE)?.publish(name(key), |file| {
            [page, mac.as_bytes(), body].into_iter().try_for_each(|part| file.write_all(part))
        })
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

    /// Removes a key's file, and the marker that it was checked; what is not there is not an error.
    ///
    /// # Errors
    /// When a file is there and cannot be removed.
    pub fn remove(&self, key: &CodeKey) -> Result<(), FileError> {
        let Some(store) = PrivateDir::open(&self.store)? else { return Ok(()) };
        let Some(dir) = store.sub(CODE)? else { return Ok(()) };
        dir.remove(name(key))?;
        dir.remove(marker(key)).map(drop)
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
        let names = dir.names()?;
        // Code before its markers, which go where there is no code.
        let (markers, others): (Vec<_>, Vec<_>) =
            names.iter().partition(|name| has_extension(name, MARKER));
        for name in others.into_iter().chain(markers) {
            let remove = is_temporary(name)
                || has_extension(name, ELF)
                    && module_of(&dir, name).is_some_and(|module| unneeded(&module))
                || has_extension(name, MARKER)
                    && dir.entry(Path::new(name).with_extension(ELF))?.is_none();
            if remove {
                removed.extend(dir.remove(name)?);
            }
        }
        Ok(removed)
    }
}

/// What names of code files end in.
const ELF: &str = "elf";
/// What names of markers end in.
const MARKER: &str = "checked";

fn name(key: &CodeKey) -> String {
    format!("{key}.{ELF}")
}

/// The name of the marker that says that a key's file was checked.
pub(crate) fn marker(key: &CodeKey) -> String {
    format!("{key}.{MARKER}")
}

fn has_extension(name: &OsStr, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == extension)
}

/// The module that a code file is of, where that can be told.
fn module_of(dir: &PrivateDir, name: &OsStr) -> Option<ModuleHash> {
    let header = CodeHeader::of(&dir.file(name).ok()??)?;
    Some(ModuleHash(header.module))
}
