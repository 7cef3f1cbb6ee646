//! Files that are not what they claim are refused, and never crash the reader.

use super::*;
use crate::{
    FormatError, SnapshotError, SnapshotFile,
    format::{
        HEADER_LEN, Head, Metadata, REQUIRED, SECTION_LEN, Section, SectionRecord, VERSION, reseal,
    },
};
use std::fs;
use zerocopy::IntoBytes;

fn small() -> Vec<u8> {
    let mut bytes = Vec::new();
    with_capture(&areas(), |capture| capture.write_to(&mut bytes, &quiet).unwrap());
    bytes
}

fn parse(bytes: &[u8]) -> Result<Metadata, FormatError> {
    let head = Head::read(bytes, bytes.len() as u64)?;
    let (start, end) = (head.metadata_start() as usize, head.data_start() as usize);
    Ok(Metadata::decode(&head, bytes.get(start..end).unwrap_or_default())?.0)
}

fn head(bytes: &[u8]) -> Head {
    Head::read(bytes, bytes.len() as u64).unwrap()
}

#[test]
fn any_changed_byte_of_header_or_metadata_is_refused() {
    let good = small();
    let metadata = parse(&good).unwrap();
    assert_eq!(metadata.manifest.inits, ["init"]);
    let data_start = head(&good).data_start() as usize;
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
    let head = head(&good);
    let (data_start, data_len) = (head.data_start() as usize, head.data_len());
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
    for (version, words) in [(VERSION + 1, "newer release"), (VERSION - 1, ": create")] {
        let mut bytes = small();
        bytes[8] = version as u8;
        let error = parse(&bytes).unwrap_err();
        assert_eq!(error, FormatError::Version(version));
        let text = error.to_string();
        let both = format!("snapshot format {version}, and this release reads format {VERSION}");
        assert!(text.starts_with(&both) && text.contains(words), "{text}");
        assert!(text.ends_with("create the snapshot again"), "{text}");
    }
    let mut bytes = small();
    bytes[12] ^= 0xff;
    reseal(&mut bytes);
    assert!(matches!(parse(&bytes), Err(FormatError::StateLayout(_))));
}

#[test]
fn changed_data_is_found_by_verify_alone_which_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.snap");
    let good = small();
    let head = head(&good);
    let file = {
        fs::write(&path, &good).unwrap();
        SnapshotFile::open(&path).unwrap()
    };
    let last = file.instances()[1].memories[0].extents.last().copied().unwrap();
    let at = head.data_start() + last.offset + last.len - 1;
    let mut bytes = good.clone();
    bytes[at as usize] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let file = SnapshotFile::open(&path).unwrap();
    let SnapshotError::Format { source: FormatError::Chunk { offset, len, holds }, .. } =
        file.verify().unwrap_err()
    else {
        panic!("another error")
    };
    assert!((offset..offset + len).contains(&at), "{offset:#x} {len}");
    let page = format!("to {:#x} of memory 0 of instance 2", last.at + last.len);
    assert!(holds.contains(&page), "{holds}");

    let mut bytes = good;
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = SnapshotFile::open(&path).unwrap().verify().unwrap_err();
    assert!(error.to_string().contains("checksums"), "{error}");
}

#[test]
fn counts_beyond_all_bounds_allocate_nothing() {
    let contradiction = FormatError::Damaged("its header contradicts itself");
    // The number of sections.
    let mut bytes = small();
    bytes[32..36].copy_from_slice(u32::MAX.as_bytes());
    assert_eq!(parse(&bytes), Err(contradiction.clone()));
    // The length of the first section.
    let mut bytes = small();
    bytes[HEADER_LEN + 16..HEADER_LEN + 24].copy_from_slice(u64::MAX.as_bytes());
    reseal(&mut bytes);
    assert_eq!(parse(&bytes), Err(contradiction));
    // The first instance's tables and memories.
    let good = small();
    let at = head(&good).section(Section::Instances).start as usize;
    let mut bytes = good.clone();
    bytes[at + 48..at + 56].copy_from_slice([u32::MAX; 2].as_bytes());
    reseal(&mut bytes);
    assert_eq!(parse(&bytes), Err(FormatError::Damaged("a table or memory has no record")));
    // The first area's extents.
    let at = head(&good).section(Section::Areas).start as usize;
    let mut bytes = good;
    bytes[at + 8..at + 12].copy_from_slice(u32::MAX.as_bytes());
    reseal(&mut bytes);
    let most = "a table or memory has more extents than a restore maps";
    assert_eq!(parse(&bytes), Err(FormatError::Damaged(most)));
}

/// The file with one more section at its end.
fn with_section(good: &[u8], kind: u32, flags: u32, content: &[u8]) -> Vec<u8> {
    let old = head(good);
    let mut header = *old.header();
    let (start, end) = (old.metadata_start() as usize, old.data_start() as usize);
    // The padding of the metadata has room for the entry.
    let metadata = &good[start..end - SECTION_LEN];
    assert!(good[end - SECTION_LEN..end].iter().all(|&byte| byte == 0), "no room");
    let mut table = old.sections().to_vec();
    for record in table.iter_mut().filter(|r| r.offset.get() < old.data_start()) {
        record.offset += SECTION_LEN as u64;
    }
    table.push(SectionRecord {
        kind: kind.into(),
        flags: flags.into(),
        offset: (good.len() as u64).into(),
        len: (content.len() as u64).into(),
    });
    header.sections += 1;
    header.metadata_len -= SECTION_LEN as u64;
    header.file_len += content.len() as u64;
    let mut bytes = [header.as_bytes(), table.as_bytes(), metadata, &good[end..], content].concat();
    reseal(&mut bytes);
    bytes
}

#[test]
fn a_section_of_a_later_release_is_skipped_unless_it_is_required() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.snap");
    let good = small();
    let expected = parse(&good).unwrap();
    let optional = with_section(&good, 4000, 0, b"something new");
    assert_eq!(parse(&optional), Ok(expected));
    fs::write(&path, &optional).unwrap();
    SnapshotFile::open(&path).unwrap().verify().unwrap();

    let required = with_section(&good, 4000, REQUIRED, b"something new");
    let error = parse(&required).unwrap_err();
    assert_eq!(error, FormatError::Section(4000));
    let text = error.to_string();
    assert!(text.contains("section 4000") && text.contains("newer release"), "{text}");
    // Known sections cannot come twice.
    let twice = with_section(&good, Section::Manifest as u32, REQUIRED, b"");
    assert_eq!(parse(&twice), Err(FormatError::Damaged("its header contradicts itself")));
}

#[test]
fn a_working_set_can_be_left_out() {
    let runs = vec![Vec::new(), vec![vec![0..PAGE]]];
    let areas = areas();
    let state = state(&areas);
    let capture = Capture::with_working_set(&state, manifest(), &runs, &quiet).unwrap();
    let mut bytes = Vec::new();
    capture.write_to(&mut bytes, &quiet).unwrap();
    let mut metadata = parse(&bytes).unwrap();
    assert_eq!(metadata.instances[1].memories[0].working_set.first(), Some(&(0..PAGE)));
    // To a release that knows no working set the section is an unknown one.
    let at = head(&bytes).sections().iter().position(|r| r.kind == Section::WorkingSet as u32);
    let at = HEADER_LEN + at.unwrap() * SECTION_LEN;
    bytes[at..at + 4].copy_from_slice(5000u32.as_bytes());
    reseal(&mut bytes);
    metadata.instances[1].memories[0].working_set.clear();
    assert_eq!(parse(&bytes), Ok(metadata));
}

#[test]
fn a_limit_of_objects_is_one_number() {
    let areas = areas();
    let state = state(&areas);
    let mut manifest = manifest();
    manifest.defaults.max_heap = Some(65_536);
    let mut bytes = Vec::new();
    let capture = Capture::new(&state, manifest, &quiet).unwrap();
    capture.write_to(&mut bytes, &quiet).unwrap();
    assert_eq!(parse(&bytes).unwrap().manifest.defaults.max_heap, Some(65_536));

    let at = head(&bytes).sections().iter().position(|r| r.kind == Section::HeapLimit as u32);
    let len = HEADER_LEN + at.unwrap() * SECTION_LEN + 16;
    bytes[len..len + 8].copy_from_slice(4u64.as_bytes());
    reseal(&mut bytes);
    assert_eq!(parse(&bytes), Err(FormatError::Damaged("its records are cut short")));
}
