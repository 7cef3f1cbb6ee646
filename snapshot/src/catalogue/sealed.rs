//! Small files of the catalogue: magic, version and checksum before a bincode payload.
//!
//! Invariant: nothing is decoded before magic, version and checksum match, and all of the payload
//! is used.
//!
//! ```text
//! offset 0   magic (8 bytes)
//!        8   version (little-endian u32)
//!        12  BLAKE3 of magic, version and payload
//!        44  payload
//! ```

use super::CatalogueError;
use executor_files::{FileError, PrivateDir};
use serde::{Serialize, de::DeserializeOwned};
use std::{fs::File, io::Write};

/// A kind of sealed file.
pub(super) trait Sealed: Serialize + DeserializeOwned {
    /// What the file begins with: the magic, and the version of the payload.
    const PREFIX: [u8; 12];
}

/// The prefix of a kind.
pub(super) const fn prefix(magic: &[u8; 8], version: u32) -> [u8; 12] {
    let mut bytes = [0; 12];
    let (head, tail) = bytes.split_at_mut(8);
    head.copy_from_slice(magic);
    tail.copy_from_slice(&version.to_le_bytes());
    bytes
}

const MAX_PAYLOAD: usize = 16 << 20;

fn checksum(prefix: &[u8], payload: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(prefix).update(payload).finalize().as_bytes()
}

/// Publishes a sealed file.
pub(super) fn write<T: Sealed>(dir: &PrivateDir, name: &str, value: &T) -> Result<(), FileError> {
    let payload = bincode::serde::encode_to_vec(value, bincode::config::standard())
        .expect("strings, numbers and hashes can always be encoded");
    let write = |file: &mut File| {
        file.write_all(&T::PREFIX)?;
        file.write_all(&checksum(&T::PREFIX, &payload))?;
        file.write_all(&payload)
    };
    dir.publish(name, write).map(drop)
}

/// Reads a sealed file, if it is there.
pub(super) fn read<T: Sealed>(dir: &PrivateDir, name: &str) -> Result<Option<T>, CatalogueError> {
    decode_in(dir, name, dir.read(name)?)
}

/// As [`read`], and notes that the file was used.
pub(super) fn read_and_note<T: Sealed>(
    dir: &PrivateDir,
    name: &str,
) -> Result<Option<T>, CatalogueError> {
    decode_in(dir, name, dir.read_and_note(name)?)
}

fn decode_in<T: Sealed>(
    dir: &PrivateDir,
    name: &str,
    bytes: Option<Vec<u8>>,
) -> Result<Option<T>, CatalogueError> {
    let Some(bytes) = bytes else { return Ok(None) };
    let damaged = || CatalogueError::Damaged { path: dir.path().join(name) };
    decode(&bytes).map(Some).ok_or_else(damaged)
}

fn decode<T: Sealed>(bytes: &[u8]) -> Option<T> {
    let rest = bytes.strip_prefix(&T::PREFIX)?;
    let (stored, payload) = rest.split_first_chunk::<32>()?;
    if *stored != checksum(&T::PREFIX, payload) {
        return None;
    }
    let config = bincode::config::standard().with_limit::<MAX_PAYLOAD>();
    let (value, read) = bincode::serde::decode_from_slice(payload, config).ok()?;
    (read == payload.len()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Sealed for Vec<String> {
        const PREFIX: [u8; 12] = prefix(b"exec-tst", 7);
    }

    #[test]
    fn a_length_that_is_not_there_is_refused_before_room_is_made_for_it() {
        let huge = [&[253][..], &(1_u64 << 61).to_le_bytes()].concat();
        for payload in [huge.clone(), [&[1][..], &huge].concat()] {
            let prefix = Vec::<String>::PREFIX;
            let bytes = [&prefix[..], &checksum(&prefix, &payload), &payload].concat();
            assert_eq!(decode::<Vec<String>>(&bytes), None);
        }
    }

    #[test]
    fn a_sealed_file_reads_back_and_any_change_to_it_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = PrivateDir::open(temporary.path()).unwrap().unwrap();
        let value = vec!["one".to_owned(), "two".to_owned()];
        assert!(matches!(read::<Vec<String>>(&dir, "f"), Ok(None)));
        write(&dir, "f", &value).unwrap();
        assert_eq!(read::<Vec<String>>(&dir, "f").unwrap(), Some(value));

        let good = dir.read("f").unwrap().unwrap();
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 0x41;
            assert_eq!(decode::<Vec<String>>(&bad), None, "byte {i} changed");
            assert_eq!(decode::<Vec<String>>(&good[..i]), None, "cut at {i}");
        }
    }
}
