//! From metadata to the bytes before the data.
//!
//! Invariant: what is written is a function of the metadata and of the data's chunk hashes alone, and a section
//! that would be empty is left out.

use super::{
    AreaRecord, BaseRecord, ExtentRecord, FormatError, HEADER_LEN, Header, INSTANTIATED,
    InstanceRecord, MAGIC, MAX_METADATA, Metadata, REQUIRED, RunRecord, SECTION_LEN, Section,
    SectionRecord, VERSION,
};
use crate::{SnapshotId, call, manifest::Origin};
use executor_code::layout::{PAGE, STATE_VERSION, align_up};
use serde::Serialize;
use zerocopy::{
    IntoBytes,
    little_endian::{U32, U64},
};

/// The sections of the metadata, ready to be written.
#[derive(Debug)]
pub(crate) struct Encoded(Vec<(Section, Vec<u8>)>);

impl Metadata {
    /// The sections, in order.
    ///
    /// # Errors
    /// When the metadata contradicts itself.
    pub(crate) fn encode(&self) -> Result<Encoded, FormatError> {
        self.check().map_err(FormatError::Unwritable)?;
        let (frames, values) = self.call.as_deref().map(call::encode).unwrap_or_default();
        let origin = Origin {
            engine: self.manifest.engine.clone(),
            created: self.manifest.created,
            base_files: self.bases.iter().map(|base| base.file_name.clone()).collect(),
            timeline: self.manifest.timeline.clone(),
        };
        let sections = Section::ALL.into_iter().filter(|section| section.is_metadata());
        let sections = sections.map(|section| {
            let bytes = match section {
                Section::Instances => self.instance_records(),
                Section::Areas => self.area_records(),
                Section::Extents => self.extent_records(),
                Section::Frames => frames.as_bytes().to_vec(),
                Section::Values => values.as_bytes().to_vec(),
                Section::WorkingSet => self.run_records(),
                Section::Manifest => plain(&self.manifest),
                Section::Origin => plain(&origin),
                Section::Bases => self.base_records(),
                Section::HeapLimit => {
                    records(self.manifest.defaults.max_heap.map(U64::new).into_iter())
                }
                Section::Data | Section::ChunkHashes => Vec::new(),
            };
            (section, bytes)
        });
        Ok(Encoded(sections.filter(|(_, bytes)| !bytes.is_empty()).collect()))
    }

    fn instance_records(&self) -> Vec<u8> {
        let record = |instance: &super::Instance| InstanceRecord {
            module: instance.module.0,
            block_offset: U64::new(instance.block.offset),
            block_len: U64::new(instance.block.len),
            tables: U32::new(instance.tables.len() as u32),
            memories: U32::new(instance.memories.len() as u32),
            flags: U32::new(if instance.instantiated { INSTANTIATED } else { 0 }),
        };
        records(self.instances.iter().map(record))
    }

    fn area_records(&self) -> Vec<u8> {
        records(self.areas().map(|area| AreaRecord {
            len: U64::new(area.len),
            extents: U32::new(area.extents.len() as u32),
        }))
    }

    fn extent_records(&self) -> Vec<u8> {
        records(self.areas().flat_map(|area| &area.extents).map(|extent| ExtentRecord {
            at: U64::new(extent.at),
            offset: U64::new(extent.offset),
            len: U64::new(extent.len),
            source: U32::new(extent.source),
        }))
    }

    fn run_records(&self) -> Vec<u8> {
        records(self.areas().enumerate().flat_map(|(i, area)| {
            area.working_set.iter().map(move |run| RunRecord {
                area: U32::new(i as u32),
                at: U64::new(run.start),
                len: U64::new(run.end - run.start),
            })
        }))
    }

    fn base_records(&self) -> Vec<u8> {
        records(self.bases.iter().map(|base| BaseRecord {
            id: base.id.0,
            data_hash: base.data_hash,
            data_len: U64::new(base.data_len),
        }))
    }
}

impl Encoded {
    /// The bytes before the data, for data of the given length and chunk hashes.
    ///
    /// # Errors
    /// When there is more metadata than the format holds.
    pub(crate) fn head(&self, data_len: u64, chunk_hashes: &[u8]) -> Result<Vec<u8>, FormatError> {
        let count = self.0.len() + 2;
        let start = HEADER_LEN + count * SECTION_LEN;
        let mut metadata = Vec::new();
        let mut table = Vec::with_capacity(count);
        let mut entry = |section: Section, offset: u64, len: u64| {
            let flags = U32::new(if section.is_required() { REQUIRED } else { 0 });
            let (offset, len) = (U64::new(offset), U64::new(len));
            table.push(SectionRecord { kind: U32::new(section as u32), flags, offset, len });
        };
        for (section, bytes) in &self.0 {
            entry(*section, (start + metadata.len()) as u64, bytes.len() as u64);
            metadata.extend(bytes);
        }
        let data_start = align_up((start + metadata.len()) as u64, PAGE);
        metadata.resize(data_start as usize - start, 0);
        if metadata.len() as u64 > MAX_METADATA {
            return Err(FormatError::Unwritable(
                "it has too many instances or frames, or too large a manifest",
            ));
        }
        entry(Section::Data, data_start, data_len);
        entry(Section::ChunkHashes, data_start + data_len, chunk_hashes.len() as u64);
        let mut header = Header {
            magic: MAGIC,
            format: U32::new(VERSION),
            state_layout: U32::new(STATE_VERSION),
            file_len: U64::new(data_start + data_len + chunk_hashes.len() as u64),
            metadata_len: U64::new(metadata.len() as u64),
            sections: U32::new(count as u32),
            reserved: U32::new(0),
            metadata_hash: *blake3::hash(&metadata).as_bytes(),
            data_hash: *blake3::hash(chunk_hashes).as_bytes(),
            header_hash: [0; 32],
        };
        header.header_hash = header.hash(&table);
        Ok([header.as_bytes(), table.as_bytes(), &metadata].concat())
    }

    /// The identity of a snapshot of these sections, over data of the given hash.
    pub(crate) fn id(&self, data_hash: &[u8; 32]) -> SnapshotId {
        let sections = self.0.iter().map(|(section, bytes)| (*section as u32, &bytes[..]));
        identity(sections, data_hash)
    }
}

/// The identity of a snapshot whose metadata has these sections, by their numbers; those that this release
/// does not know are a part of it like the others.
pub(super) fn identity<'a>(
    sections: impl Iterator<Item = (u32, &'a [u8])>,
    data_hash: &[u8; 32],
) -> SnapshotId {
    let mut hasher = blake3::Hasher::new_derive_key("executor snapshot identity v2");
    hasher.update(&STATE_VERSION.to_le_bytes());
    for (number, bytes) in sections.filter(|(number, _)| *number != Section::Origin as u32) {
        hasher.update(&number.to_le_bytes());
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    hasher.update(data_hash);
    SnapshotId(*hasher.finalize().as_bytes())
}

fn records<T: IntoBytes + zerocopy::Immutable>(records: impl Iterator<Item = T>) -> Vec<u8> {
    let mut bytes = Vec::new();
    records.for_each(|record| bytes.extend(record.as_bytes()));
    bytes
}

fn plain(value: &impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .expect("strings, numbers and bytes can always be encoded")
}
