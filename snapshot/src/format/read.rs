//! From the bytes before the data to metadata.
//!
//! Invariant: nothing is decoded before the hash over it is checked, and what is handed out keeps what the
//! module above promises, also of a forged file whose hashes are right.

use super::{
    Area, AreaRecord, Base, BaseRecord, ExtentRecord, FormatError, Head, INSTANTIATED, Instance,
    InstanceRecord, MAX_LAYERED_EXTENTS, MAX_METADATA, Metadata, RunRecord, Section, Stretch,
    write::identity,
};
use crate::{
    SnapshotId,
    call::{self, FrameRecord, ValueRecord},
    format::FormatError::Damaged,
    manifest::Origin,
};
use executor_code::layout::PAGE;
use executor_model::ModuleHash;
use executor_runtime::Extent;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use zerocopy::{
    FromBytes, Immutable, KnownLayout, Unaligned,
    little_endian::{U32, U64},
};

impl Metadata {
    /// Checks and decodes the metadata that belongs to `head`: the bytes from
    /// [`Head::metadata_start`] to the data. Also returns the snapshot's identity.
    ///
    /// # Errors
    /// When it is damaged, by accident or with intent.
    pub fn decode(head: &Head, bytes: &[u8]) -> Result<(Self, SnapshotId), FormatError> {
        let header = head.header();
        if bytes.len() as u64 != header.metadata_len.get()
            || *blake3::hash(bytes).as_bytes() != header.metadata_hash
        {
            return Err(Damaged("its metadata does not match its checksum"));
        }
        let at = |offset: u64| offset.checked_sub(head.metadata_start()).map(|at| at as usize);
        let within = |start: u64, end: u64| Some(&bytes[at(start)?..at(end)?]);
        // `Head` has checked where those that are known lie.
        let section = |section| {
            let range = head.section(section);
            within(range.start, range.end).unwrap_or_default()
        };
        let areas = records::<AreaRecord>(section(Section::Areas))?;
        let extents = records::<ExtentRecord>(section(Section::Extents))?;
        let origin: Origin = match section(Section::Origin) {
            [] => Origin::default(),
            bytes => plain(bytes, "its origin cannot be decoded")?,
        };
        let bases = records::<BaseRecord>(section(Section::Bases))?.iter().enumerate();
        let bases = bases.map(|(i, record)| Base {
            id: SnapshotId(record.id),
            data_hash: record.data_hash,
            data_len: record.data_len.get(),
            file_name: origin.base_files.get(i).cloned().flatten(),
        });
        let bases: Vec<Base> = bases.collect();

        let data_lens = std::iter::once(head.data_len()).chain(bases.iter().map(|b| b.data_len));
        let mut reader =
            Reader { areas: areas.iter(), extents: extents.iter(), data_lens: data_lens.collect() };
        let instances = records::<InstanceRecord>(section(Section::Instances))?.iter();
        let mut instances = instances.map(|r| reader.instance(r)).collect::<Result<Vec<_>, _>>()?;
        if reader.areas.next().is_some() || reader.extents.next().is_some() {
            return Err(Damaged("some of its records belong to nothing"));
        }
        add_runs(records::<RunRecord>(section(Section::WorkingSet))?, &mut instances)?;
        let frames = records::<FrameRecord>(section(Section::Frames))?;
        let values = records::<ValueRecord>(section(Section::Values))?;
        let call = call::decode(frames, values, instances.len())?.map(Arc::new);
        let mut manifest: crate::Manifest =
            plain(section(Section::Manifest), "its manifest cannot be decoded")?;
        (manifest.engine, manifest.created) = (origin.engine, origin.created);
        manifest.timeline = origin.timeline;
        manifest.defaults.max_heap = match records::<U64>(section(Section::HeapLimit))? {
            [] => None,
            [bytes] => Some(bytes.get()),
            _ => return Err(Damaged("it has more than one limit of objects")),
        };
        let metadata = Self { instances, bases, call, manifest };
        metadata.check().map_err(Damaged)?;
        let sections = head.sections().iter().filter_map(|record| {
            let (offset, len) = (record.offset.get(), record.len.get());
            (offset + len <= head.data_start())
                .then(|| Some((record.kind.get(), within(offset, offset + len)?)))?
        });
        Ok((metadata, identity(sections, &header.data_hash)))
    }
}

/// Takes records and checks each.
struct Reader<'a> {
    areas: std::slice::Iter<'a, AreaRecord>,
    extents: std::slice::Iter<'a, ExtentRecord>,
    /// The length of the data of this file, and of each base.
    data_lens: Vec<u64>,
}

impl Reader<'_> {
    fn instance(&mut self, record: &InstanceRecord) -> Result<Instance, FormatError> {
        let flags = record.flags.get();
        if flags & !INSTANTIATED != 0 {
            return Err(Damaged("an instance has unknown flags"));
        }
        let block = self.stretch(0, record.block_offset, record.block_len)?;
        // Collecting stops at the first missing record, whatever the counts promise.
        let mut areas = |n: U32| (0..n.get()).map(|_| self.area()).collect::<Result<Vec<_>, _>>();
        Ok(Instance {
            module: ModuleHash(record.module),
            instantiated: flags & INSTANTIATED != 0,
            block,
            tables: areas(record.tables)?,
            memories: areas(record.memories)?,
        })
    }

    fn area(&mut self) -> Result<Area, FormatError> {
        let record = self.areas.next().ok_or(Damaged("a table or memory has no record"))?;
        let len = record.len.get();
        let end = len.checked_next_multiple_of(PAGE).ok_or(Damaged("a size is out of range"))?;
        let mut extents = Vec::new();
        let mut free = 0;
        // So that whoever wrote the file does not say how much work a restore is.
        if record.extents.get() as usize > MAX_LAYERED_EXTENTS {
            return Err(Damaged("a table or memory has more extents than a restore maps"));
        }
        for _ in 0..record.extents.get() {
            let extent = self.extents.next().ok_or(Damaged("an extent has no record"))?;
            let (source, at) = (extent.source.get(), extent.at.get());
            let Stretch { offset, len } = self.stretch(source, extent.offset, extent.len)?;
            if at < free || !at.is_multiple_of(PAGE) || len > end.saturating_sub(at) {
                return Err(Damaged("an extent lies outside its table or memory"));
            }
            free = at + len;
            extents.push(Extent { source, at, offset, len });
        }
        Ok(Area { len, extents, working_set: Vec::new() })
    }

    fn stretch(&self, source: u32, offset: U64, len: U64) -> Result<Stretch, FormatError> {
        let (offset, len) = (offset.get(), len.get());
        let data_len = self.data_lens.get(source as usize);
        let data_len = *data_len.ok_or(Damaged("an extent is in a file that it does not name"))?;
        let aligned = offset.is_multiple_of(PAGE) && len.is_multiple_of(PAGE);
        if !aligned || len == 0 || len > data_len.saturating_sub(offset) {
            return Err(Damaged("a range lies outside the file"));
        }
        Ok(Stretch { offset, len })
    }
}

/// Takes the runs of the working set and checks each.
fn add_runs(runs: &[RunRecord], instances: &mut [Instance]) -> Result<(), FormatError> {
    let areas = instances.iter_mut().flat_map(|i| i.tables.iter_mut().chain(&mut i.memories));
    let mut areas = areas.enumerate();
    let mut area = areas.next();
    let mut free = 0;
    for run in runs {
        while area.as_ref().is_some_and(|(i, _)| *i < run.area.get() as usize) {
            (area, free) = (areas.next(), 0);
        }
        let (at, len) = (run.at.get(), run.len.get());
        let of = area.as_mut().filter(|(i, _)| *i == run.area.get() as usize);
        let (_, of) = of.ok_or(Damaged("a run of pages belongs to no memory"))?;
        let end = of.len.checked_next_multiple_of(PAGE).unwrap_or(0);
        let aligned = at.is_multiple_of(PAGE) && len.is_multiple_of(PAGE) && len > 0;
        if !aligned || at < free || len > end.saturating_sub(at) {
            return Err(Damaged("a run of pages lies outside its memory"));
        }
        free = at + len;
        of.working_set.push(at..free);
    }
    Ok(())
}

fn records<T>(bytes: &[u8]) -> Result<&[T], FormatError>
where
    T: FromBytes + Immutable + KnownLayout + Unaligned,
{
    <[T]>::ref_from_bytes(bytes).map_err(|_| Damaged("its records are cut short"))
}

fn plain<T: DeserializeOwned>(bytes: &[u8], failure: &'static str) -> Result<T, FormatError> {
    let config = bincode::config::standard().with_limit::<{ MAX_METADATA as usize }>();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((value, read)) if read == bytes.len() => Ok(value),
        _ => Err(Damaged(failure)),
    }
}
