//! The key of a store: the file `key`, 32 random bytes, under which the store vouches for its code.
//!
//! Invariant: a key that is there is never replaced, unless it is no key. Nobody but the store's user can read it;
//! whoever has it can have any machine code run as that user.

use executor_files::{FileError, PrivateDir};
use rustix::{
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};
use std::{fmt, io::Write};

/// The name of its file.
const KEY: &str = "key";
/// Its length, in bytes.
const LEN: usize = blake3::KEY_LEN;

/// What a MAC says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// A first page is that of a code file of the store.
    CodeFile,
    /// A code file was read whole and found right.
    Checked,
}

/// The key of a store.
pub(crate) struct StoreKey([u8; LEN]);

impl StoreKey {
    /// The key of a store, if it has one.
    pub(crate) fn read(store: &PrivateDir) -> Result<Option<Self>, FileError> {
        Ok(store.read_array(KEY)?.map(Self))
    }

    /// The key of a store, which is made where there is none.
    pub(crate) fn read_or_make(store: &PrivateDir) -> Result<Self, FileError> {
        if let Some(key) = Self::read(store)? {
            return Ok(key);
        }
        let mut bytes = [0; LEN];
        loop {
            // So few bytes come all at once.
            match getrandom(&mut bytes, GetRandomFlags::empty()) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(error) => {
                    let path = store.path().join(KEY);
                    return Err(FileError::Io { path, source: error.into() });
                }
            }
        }
        if !store.publish_new(KEY, &bytes)? && Self::read(store)?.is_none() {
            // What is there is no key.
            store.publish(KEY, |file| file.write_all(&bytes))?;
        }
        // It may be another process's.
        Ok(Self::read(store)?.unwrap_or(Self(bytes)))
    }

    /// The MAC of parts for a purpose. To compare it takes the same time whatever is different.
    pub(crate) fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(match purpose {
            Purpose::CodeFile => &b"executor code file v1"[..],
            Purpose::Checked => b"executor checked v1",
        });
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize()
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey")
    }
}
