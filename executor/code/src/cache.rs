//! The code cache: the directory `code` of a store, whose files are named by their keys.
//!
//! Invariant: a file that someone else could have written is never handed out, and files appear
//! whole or not at all, while the store is locked shared. Whether a file is what was written is for
//! [`StoredCode::check`] to say.

use crate::{
    CodeKey, CodeKind, CpuFeatures, StoredCode,
    file::{CodeFileError, CodeHeader, MAC_OFFSET, TEXT_OFFSET},
    store_key::{Purpose, StoreKey},
};
use executor_files::{FileError, Lock, Look, PrivateDir, Trust, is_temporary};
use executor_model::ModuleHash;
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The file there in which whoever compiles locks the number of a key.
const COMPILING: &str = "compiling";

/// The code files of a store.
#[derive(Debug, Clone)]
pub struct CodeCache {
    store: PathBuf,
    trust: Trust,
    make_room: fn(&Path, u64),
}

impl CodeCache {
    /// The name of the directory of code files in a store.
    pub const DIR: &str = "code";

    /// The cache of a store directory, which is made on the first write.
    #[must_use]
    pub fn new(store: PathBuf) -> Self {
        Self { store, trust: Trust::Own, make_room: |_, _| {} }
    }

    /// The cache of a store that the user vouches for, whoever owns it. It is not written to, and its files are not
    /// read before they are used.
    #[must_use]
    pub fn trusted(store: PathBuf) -> Self {
        Self { trust: Trust::Vouched, ..Self::new(store) }
    }

    /// Whether nothing can be added.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.trust == Trust::Vouched
    }

    /// The same cache, of a store with a quota: what is done before so many bytes are added to it.
    #[must_use]
    pub fn with_make_room(self, make_room: fn(&Path, u64)) -> Self {
        Self { make_room, ..self }
    }

    /// Where the code files are.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.store.join(Self::DIR)
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
        let Some(store) = PrivateDir::open_with(&self.store, self.trust)? else { return Ok(None) };
        let Some(dir) = store.sub(Self::DIR)? else { return Ok(None) };
        let Some((file, metadata)) = dir.file_and_metadata(name(key))? else { return Ok(None) };
        let store_key = StoreKey::read(&store)?;
        Ok(Some(StoredCode { file, metadata, dir, key: *key, store_key }))
    }

    /// Publishes a code file, with a MAC under the key of the store, and opens it.
    ///
    /// # Errors
    /// When the directory or file cannot be written, or is not this user's own; or the store's quota leaves
    /// no room.
    ///
    /// # Panics
    /// When the bytes are not those of a code file.
    pub fn insert(&self, key: &CodeKey, bytes: &[u8]) -> Result<File, FileError> {
        let store = PrivateDir::make(&self.store)?;
        (self.make_room)(&self.store, bytes.len() as u64);
        let _lock = store.lock_shared()?;
        let _room = store.room_for(bytes.len() as u64)?;
        let store_key = StoreKey::read_or_make(&store)?;
        let (page, body) = bytes.split_at(TEXT_OFFSET as usize);
        let page = &page[..MAC_OFFSET as usize];
        let mac = store_key.mac(Purpose::CodeFile, &[page]);
        store.make_sub(Self::DIR)?.publish(name(key), |file| {
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
        PrivateDir::make(&self.store)?.make_sub(Self::DIR)?.lock_number(COMPILING, key.number())
    }

    /// Removes a key's file, and the marker that it was checked; what is not there is not an error.
    ///
    /// # Errors
    /// When a file is there and cannot be removed.
    pub fn remove(&self, key: &CodeKey) -> Result<(), FileError> {
        let Some(store) = PrivateDir::open(&self.store)? else { return Ok(()) };
        let Some(dir) = store.sub(Self::DIR)? else { return Ok(()) };
        dir.remove(name(key))?;
        dir.remove(marker(key)).map(drop)
    }

    /// What lies in the directory of code files of a store; nothing where there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn list(store: &PrivateDir) -> Result<Vec<CodeListed>, FileError> {
        let Some(dir) = store.sub(Self::DIR)? else { return Ok(Vec::new()) };
        // Without a key no code can be used.
        let store_key = StoreKey::read(store);
        let mut listed = Vec::new();
        for name in dir.names()? {
            // Removed since.
            let Some(Look { len, mut written }) = dir.look(&name)? else { continue };
            let what = if is_temporary(&name) {
                CodeEntry::Temporary
            } else if has_extension(&name, ELF) {
                let marker = dir.look(Path::new(&name).with_extension(MARKER))?;
                written = written.max(marker.map_or(written, |marker| marker.written));
                let file = dir.file(&name);
                let header = file.as_ref().ok().and_then(|file| CodeHeader::of(file.as_ref()?));
                let module = header.map(|header| ModuleHash(header.module));
                let usable = match (&file, &store_key) {
                    (Ok(Some(file)), Ok(Some(key))) => is_usable(file, &name, key) == Some(true),
                    // What cannot be opened now may be as it should: that is no reason to remove it.
                    (Err(FileError::Io { .. }), _) | (_, Err(FileError::Io { .. })) => true,
                    _ => false,
                };
                CodeEntry::Code { module, usable }
            } else if has_extension(&name, MARKER) {
                CodeEntry::Marker { of: Path::new(&name).with_extension(ELF).into() }
            } else {
                CodeEntry::Other
            };
            listed.push(CodeListed { name, len, used: written, what });
        }
        Ok(listed)
    }

    /// Reads all of a file in the directory of code files, and checks it; `None` where it is gone, or of
    /// another format.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn check(
        store: &PrivateDir,
        name: &OsStr,
    ) -> Result<Option<Result<(), CodeFileError>>, FileError> {
        let Some(dir) = store.sub(Self::DIR)? else { return Ok(None) };
        let Some((file, metadata)) = dir.file_and_metadata(name)? else { return Ok(None) };
        let Some(key) = key_of(name) else { return Ok(Some(Err(CodeFileError::Misnamed))) };
        let store_key = StoreKey::read(store)?;
        let stored = StoredCode { file, metadata, dir, key, store_key };
        Ok(stored.check_alone().transpose())
    }

    /// Removes files from the directory of code files, and returns the length of each that was there. Whoever
    /// calls this has the store locked exclusively.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove_all<'a>(
        store: &PrivateDir,
        names: impl IntoIterator<Item = &'a OsStr>,
    ) -> Result<Vec<u64>, FileError> {
        let Some(dir) = store.sub(Self::DIR)? else { return Ok(Vec::new()) };
        names.into_iter().filter_map(|name| dir.remove(name).transpose()).collect()
    }
}

/// Something in the directory of code files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeListed {
    /// Its name there.
    pub name: OsString,
    /// Its length, in bytes.
    pub len: u64,
    /// When it was last used, to a day; of code also when it was last checked.
    pub used: SystemTime,
    /// What it is.
    pub what: CodeEntry,
}

/// What there is in the directory of code files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeEntry {
    /// A code file.
    Code {
        /// The module that it is of, where that can be told.
        module: Option<ModuleHash>,
        /// Whether this build looks for it on this machine, and this store wrote it; or that cannot be told now,
        /// because the system does not open it.
        usable: bool,
    },
    /// The marker that a code file was checked.
    Marker {
        /// The name of the code file.
        of: OsString,
    },
    /// What is being written, or a crash left.
    Temporary,
    /// Anything else: the file of the locks.
    Other,
}

/// Whether this build looks for a file of this name on this machine, for the module that it is of, and the store
/// with this key wrote it; `None` where that cannot be told.
fn is_usable(file: &File, name: &OsStr, store_key: &StoreKey) -> Option<bool> {
    let mut page = [0; TEXT_OFFSET as usize];
    file.read_exact_at(&mut page, 0).ok()?;
    let (page, mac) = page.split_at(MAC_OFFSET as usize);
    let header = CodeHeader::of(file)?;
    let sites = header.continuations(file)?;
    let kind = CodeKind {
        listeners: header.listeners != 0,
        frame_maps: header.frame_maps != 0,
        continuations: (!sites.is_empty()).then_some(&sites[..]),
    };
    let key = CodeKey::new(&ModuleHash(header.module), kind, CpuFeatures::host());
    Some(key_of(name)? == key && store_key.mac(Purpose::CodeFile, &[page]) == *mac)
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

/// The key in the name of a code file.
fn key_of(name: &OsStr) -> Option<CodeKey> {
    let digits = name.to_str()?.strip_suffix(ELF)?.strip_suffix('.')?;
    let mut key = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(CodeKey(key))
}
