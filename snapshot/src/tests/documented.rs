//! What docs/formats.md says of the snapshot file is what the code does.

use crate::{
    call::{FrameRecord, ValueRecord},
    format::{
        AreaRecord, BaseRecord, CHUNK, ExtentRecord, HEADER_LEN, Header, InstanceRecord,
        MAX_SECTIONS, RunRecord, SECTION_LEN, Section, SectionRecord,
    },
};
use executor_code::layout::PAGE;
use std::mem::offset_of;

const FORMATS: &str = include_str!("../../../docs/formats.md");

/// The rows of the table that has this row of titles: their cells.
fn table(titles: &str) -> Vec<Vec<&'static str>> {
    let (_, rest) = FORMATS.split_once(titles).unwrap_or_else(|| panic!("no table: {titles}"));
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn the_header_is_documented_as_it_is() {
    let fields = [
        (offset_of!(Header, magic), 8),
        (offset_of!(Header, format), 4),
        (offset_of!(Header, state_layout), 4),
        (offset_of!(Header, file_len), 8),
        (offset_of!(Header, metadata_len), 8),
        (offset_of!(Header, sections), 4),
        (offset_of!(Header, reserved), 4),
        (offset_of!(Header, metadata_hash), 32),
        (offset_of!(Header, data_hash), 32),
        (offset_of!(Header, header_hash), 32),
    ];
    let mut rows: Vec<Vec<String>> =
        fields.iter().map(|(at, len)| vec![at.to_string(), len.to_string()]).collect();
    rows.push(vec![HEADER_LEN.to_string(), format!("{SECTION_LEN} each")]);
    let documented = table("| offset | bytes | field |");
    assert_eq!(documented.iter().map(|row| row[..2].to_vec()).collect::<Vec<_>>(), rows);
    assert!(documented[5][2].ends_with(&format!("at most {MAX_SECTIONS}")));
    let entry = [
        offset_of!(SectionRecord, kind),
        offset_of!(SectionRecord, flags),
        offset_of!(SectionRecord, offset),
        offset_of!(SectionRecord, len),
    ];
    assert_eq!(entry, [0, 4, 8, 16]);
}

#[test]
fn every_section_is_documented_with_its_number_and_the_size_of_its_records() {
    let record = |section| match section {
        Section::Instances => size_of::<InstanceRecord>(),
        Section::Areas => size_of::<AreaRecord>(),
        Section::Extents => size_of::<ExtentRecord>(),
        Section::Frames => size_of::<FrameRecord>(),
        Section::Values => size_of::<ValueRecord>(),
        Section::WorkingSet => size_of::<RunRecord>(),
        Section::Bases => size_of::<BaseRecord>(),
        Section::HeapLimit => size_of::<u64>(),
        Section::Data => PAGE as usize,
        Section::ChunkHashes => blake3::OUT_LEN,
        Section::Manifest | Section::Origin => 0,
    };
    let documented = table("| section | what | a record's bytes | required |");
    assert_eq!(documented.len(), Section::ALL.len());
    for (row, section) in documented.iter().zip(Section::ALL) {
        let size = match record(section) {
            0 => "bincode".to_owned(),
            size => size.to_string(),
        };
        let required = if section.is_required() { "yes" } else { "no" };
        let number = (section as u32).to_string();
        assert_eq!([row[0], row[2], row[3]], [number.as_str(), &size, required], "{section:?}");
        assert_eq!(Section::of(section as u32), Some(section));
    }
    assert_eq!(CHUNK, 64 << 10);
}
