//! Files that are not what they claim are refused, and never crash the reader.

use super::*;
use crate::{
    FormatError, SnapshotError, SnapshotFile,
    format::{HEADER_LEN, Header, Metadata, VERSION},
};
use std::fs;
use zerocopy::{FromBytes, IntoBytes};

fn small() -> Vec<u8> {
    let mut bytes = Vec::new();
    with_capture(&areas(), |capture| capture.write_to(&mut bytes, &quiet).unwrap());
    bytes
}

fn parse(bytes: &[u8]) -> Result<Metadata, FormatError> {
    let header = Header::read(bytes, bytes.len() as u64)?;
    let data_start = header.data_start() as usize;
    Metadata::decode(&header, bytes.get(HEADER_LEN..data_start).unwrap_or_default())
}

/// Makes the checksums of header and metadata right again, as a forger would.
fn reseal(bytes: &mut [u8]) {
    let (header, rest) = Header::mut_from_prefix(bytes).unwrap();
    let len = usize::try_from(header.metadata_len.get()).unwrap_or(usize::MAX);
    header.metadata_hash = *blake3::hash(&rest[..len.min(rest.len())]).as_bytes();
    header.header_hash = header.hash();
}

#[test]
fn any_changed_byte_of_header_or_metadata_is_refused() {
    let good = small();
    let metadata = parse(&good).unwrap();
    assert_eq!(metadata.manifest.inits, ["init"]);
    let data_start = Header::read(&good, good.len() as u64).unwrap().data_start() as usize;
    let mut bytes = good.clone();
    for i in 0..data_start {
        for change in [0x01, 0x80, 0xff] {
            bytes[i] ^= change;
            assert!(parse(&bytes).is_err(), "byte {i} xor {change:#x}");
            bytes[i] ^= change;
        }
    }
}

#[test]
fn a_forged_file_is_refused_or_stays_within_its_bounds() {
    let good = small();
    let header = Header::read(&good, good.len() as u64).unwrap();
    let (data_start, data_len) = (header.data_start() as usize, header.data_len());
    let mut refused = 0;
    let mut bytes = good.clone();
    for i in 0..data_start {
        for change in [0x01, 0x10, 0x80, 0xff] {
            bytes[i] ^= change;
            reseal(&mut bytes);
            match parse(&bytes) {
                Err(_) => refused += 1,
                Ok(metadata) => {
                    for instance in &metadata.instances {
                        assert!(instance.block.offset + instance.block.len <= data_len);
                        for area in instance.tables.iter().chain(&instance.memories) {
                            for e in &area.extents {
                                assert!(e.offset + e.len <= data_len, "byte {i}");
                                assert!(e.at + e.len <= area.len.next_multiple_of(PAGE));
                                assert!((e.at | e.offset | e.len).is_multiple_of(PAGE));
                            }
                        }
                    }
                }
            }
            bytes.copy_from_slice(&good);
        }
    }
    assert!(refused > 1000, "only {refused} forgeries were noticed");
}

#[test]
fn a_file_cut_short_or_made_longer_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.snap");
    let good = small();
    for len in (0..HEADER_LEN + 64).chain((HEADER_LEN..good.len()).step_by(997)) {
        fs::write(&path, &good[..len]).unwrap();
        match SnapshotFile::open(&path) {
            Err(SnapshotError::Format { source: FormatError::Magic, .. }) if len < 8 => {}
            Err(SnapshotError::Format { source: FormatError::Length { found, .. }, .. }) => {
                assert_eq!(found, len as u64);
            }
            other => panic!("{len} bytes: {other:?}"),
        }
    }
    fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    let error = SnapshotFile::open(&path).unwrap_err().to_string();
    assert!(error.contains("s.snap") && error.contains("bytes long instead of"), "{error}");
}

#[test]
fn another_version_is_named_whatever_its_checksum() {
    let mut bytes = small();
    bytes[8] = VERSION as u8 + 1;
    assert_eq!(parse(&bytes), Err(FormatError::Version(VERSION + 1)));
    let mut bytes = small();
    bytes[12] ^= 0xff;
    reseal(&mut bytes);
    assert!(matches!(parse(&bytes), Err(FormatError::StateLayout(_))));
}

#[test]
fn changed_data_is_found_by_verify_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.snap");
    let mut bytes = small();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    let file = SnapshotFile::open(&path).unwrap();
    let error = file.verify().unwrap_err();
    let damaged = FormatError::Damaged("its data does not match its checksum");
    assert!(matches!(error, SnapshotError::Format { source, .. } if source == damaged));
}

#[test]
fn counts_beyond_all_bounds_allocate_nothing() {
    let mut bytes = small();
    let (header, _) = Header::mut_from_prefix(&mut bytes).unwrap();
    header.extents = u32::MAX.into();
    header.header_hash = header.hash();
    let contradiction = FormatError::Damaged("its header contradicts itself");
    assert_eq!(parse(&bytes), Err(contradiction));
    // The first instance's tables and memories.
    let mut bytes = small();
    bytes[HEADER_LEN + 48..HEADER_LEN + 56].copy_from_slice([u32::MAX; 2].as_bytes());
    reseal(&mut bytes);
    assert_eq!(parse(&bytes), Err(FormatError::Damaged("a table or memory has no record")));
}
