//! The snapshot file, byte by byte.
//!
//! Invariant: [`Header::read`] and [`Metadata::decode`] accept any bytes and hand out only what was
//! checked: afterwards every range lies inside the file, is page-aligned, and belongs to an area
//! that can hold it.
//!
//! ```text
//! offset 0          Header
//!        156        InstanceRecord * instances
//!                   AreaRecord * areas         (of each instance: its tables, then its memories)
//!                   ExtentRecord * extents     (of each area, by ascending address)
//!                   FrameRecord * frames       (of the call that is suspended, if one is)
//!                   ValueRecord * values       (of each frame)
//!                   RunRecord * runs           (of the working set, by area and address)
//!                   the manifest, encoded by bincode
//!                   zeroes up to a multiple of 4096: the metadata ends, the data begins
//!                   data, a multiple of 4096: the state blocks and the extents
//! ```
//!
//! All integers are little-endian; all offsets into the data count from where it begins, so the
//! records do not depend on the manifest's length. Three hashes (BLAKE3) cover every byte: one of
//! the header before it, one of the metadata, one of the data. A restore checks the first two; the
//! third, proportional to the state, is for `verify`. Magic and format version are at offsets 0
//! and 8 in every version to come.

use crate::{
    Manifest, SnapshotId,
    call::{self, FrameRecord, ValueRecord},
};
use executor_code::layout::{PAGE, STATE_VERSION, align_up};
use executor_model::{InstanceId, ModuleHash};
use executor_runtime::{CallState, Extent};
use std::{ops::Range, sync::Arc};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U32, U64},
};

/// The first bytes of every snapshot: not text, and damaged by a transfer that thinks it is.
pub const MAGIC: [u8; 8] = *b"\x89snap\r\n\x1a";
/// The version of this format.
pub const VERSION: u32 = 3;
/// The most extents that are written for one memory.
pub const MAX_EXTENTS: usize = 16;
/// Metadata longer than this is refused, unread.
pub const MAX_METADATA: u64 = 64 << 20;

/// What stands at offset 0.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub format: U32,
    /// The version of the layout of state blocks: `executor_code::layout::STATE_VERSION`.
    pub state_layout: U32,
    /// The length of the whole file.
    pub file_len: U64,
    /// The length of the metadata: from the end of the header to the data.
    pub metadata_len: U64,
    /// How many instance records there are.
    pub instances: U32,
    /// How many area records there are.
    pub areas: U32,
    /// How many extent records there are.
    pub extents: U32,
    /// How many frame records there are.
    pub frames: U32,
    /// How many value records there are.
    pub values: U32,
    /// How many runs of the working set there are.
    pub runs: U32,
    /// The length of the encoded manifest.
    pub manifest_len: U32,
    /// The hash of the metadata.
    pub metadata_hash: [u8; 32],
    /// The hash of the data.
    pub data_hash: [u8; 32],
    /// The hash of all of the header before this field.
    pub header_hash: [u8; 32],
}

/// One instance, in order of their ids.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct InstanceRecord {
    /// The hash of its module's bytes.
    pub module: [u8; 32],
    /// Where in the data its state block begins.
    pub block_offset: U64,
    /// The length of its state block.
    pub block_len: U64,
    /// How many tables it owns.
    pub tables: U32,
    /// How many memories it owns.
    pub memories: U32,
    /// Bit 0: its instantiation ended well. The other bits are 0.
    pub flags: U32,
}

/// One table or memory.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct AreaRecord {
    /// Its live bytes.
    pub len: U64,
    /// How many extents of it are in the file; everything else in it is zero.
    pub extents: U32,
}

/// One piece of a table or memory: whole pages.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ExtentRecord {
    /// Where in the table or memory it lies.
    pub at: U64,
    /// Where in the data its bytes are.
    pub offset: U64,
    /// Its length.
    pub len: U64,
}

/// Pages of a memory that the first call writes to.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RunRecord {
    /// The number of the memory's area record.
    pub area: U32,
    /// Where in the memory they begin.
    pub at: U64,
    /// Their length.
    pub len: U64,
}

/// The header's length, where the metadata begins.
pub const HEADER_LEN: usize = size_of::<Header>();
const INSTANTIATED: u32 = 1;

/// Bytes that are not a snapshot that this release reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The magic is missing.
    #[error("not a snapshot: it does not begin as one")]
    Magic,
    /// Another version of the format.
    #[error(
        "snapshot format {0}, and this release reads format {VERSION}: create the snapshot again"
    )]
    Version(u32),
    /// Another layout of the state.
    #[error(
        "state layout {0}, and this release has layout {ours}: create the snapshot again",
        ours = STATE_VERSION
    )]
    StateLayout(u32),
    /// The file's length is not what it says.
    #[error(
        "{found} bytes long instead of {expected}: {}; copy it again",
        if found > expected { "something was added to it" } else { "the copy is incomplete" }
    )]
    Length {
        /// What it says.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// A hash does not match, or a number makes no sense.
    #[error("damaged ({0}): copy it again from where it came, or create it again")]
    Damaged(&'static str),
    /// The store cannot be written in this format.
    #[error("cannot be written: {0}")]
    Unwritable(&'static str),
}

use FormatError::Damaged;

/// A stretch of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Where in the data it begins; a multiple of the page size.
    pub offset: u64,
    /// Its length; a multiple of the page size.
    pub len: u64,
}

/// A table or memory as the file holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Area {
    /// Its live bytes.
    pub len: u64,
    /// What is in the file of it; offsets are into the data.
    pub extents: Vec<Extent>,
    /// The whole pages of it that the first call writes to, in bytes.
    pub working_set: Vec<Range<u64>>,
}

/// An instance as the file holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Its module.
    pub module: ModuleHash,
    /// Whether its instantiation ended well; if not, others may still refer to its functions.
    pub instantiated: bool,
    /// Its state block.
    pub block: Stretch,
    /// The tables it owns.
    pub tables: Vec<Area>,
    /// The memories it owns.
    pub memories: Vec<Area>,
}

/// Everything in the file but its data.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// The instances, in order of their ids.
    pub instances: Vec<Instance>,
    /// The call that is suspended.
    pub call: Option<Arc<CallState>>,
    /// What the snapshot says about itself.
    pub manifest: Manifest,
}

impl Header {
    /// Reads and checks the header of a file of `file_len` bytes that begins with `bytes`.
    ///
    /// # Errors
    /// When it is not the header of such a snapshot.
    pub fn read(bytes: &[u8], file_len: u64) -> Result<Self, FormatError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(FormatError::Magic);
        }
        let (header, _) = Self::read_from_prefix(bytes)
            .map_err(|_| FormatError::Length { expected: HEADER_LEN as u64, found: file_len })?;
        // Before the hash, whose place another version may have moved.
        if header.format.get() != VERSION {
            return Err(FormatError::Version(header.format.get()));
        }
        if header.hash() != header.header_hash {
            return Err(Damaged("its header does not match its checksum"));
        }
        if header.state_layout.get() != STATE_VERSION {
            return Err(FormatError::StateLayout(header.state_layout.get()));
        }
        if header.file_len.get() != file_len {
            return Err(FormatError::Length { expected: header.file_len.get(), found: file_len });
        }
        let size = |n: U32, of: usize| u64::from(n.get()) * of as u64;
        let content = HEADER_LEN as u64
            + size(header.instances, size_of::<InstanceRecord>())
            + size(header.areas, size_of::<AreaRecord>())
            + size(header.extents, size_of::<ExtentRecord>())
            + size(header.frames, size_of::<FrameRecord>())
            + size(header.values, size_of::<ValueRecord>())
            + size(header.runs, size_of::<RunRecord>())
            + size(header.manifest_len, 1);
        let data_start = align_up(content, PAGE);
        if header.metadata_len.get() > MAX_METADATA
            || header.data_start() != data_start
            || header.file_len.get() < data_start
            || !header.file_len.get().is_multiple_of(PAGE)
        {
            return Err(Damaged("its header contradicts itself"));
        }
        Ok(header)
    }

    /// Where in the file the data begins.
    #[must_use]
    pub fn data_start(&self) -> u64 {
        // `read` bounds the sum; of an unchecked header any number will do.
        (HEADER_LEN as u64).wrapping_add(self.metadata_len.get())
    }

    /// The length of the data.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.file_len.get().saturating_sub(self.data_start())
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        let bytes = self.as_bytes();
        *blake3::hash(&bytes[..bytes.len() - size_of_val(&self.header_hash)]).as_bytes()
    }
}

impl Metadata {
    /// Checks and decodes the metadata that belongs to `header`: the bytes from [`HEADER_LEN`] to
    /// the data.
    ///
    /// # Errors
    /// When it is damaged, by accident or with intent.
    pub fn decode(header: &Header, bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() as u64 != header.metadata_len.get()
            || *blake3::hash(bytes).as_bytes() != header.metadata_hash
        {
            return Err(Damaged("its metadata does not match its checksum"));
        }
        let (instances, rest) = records::<InstanceRecord>(bytes, header.instances)?;
        let (areas, rest) = records::<AreaRecord>(rest, header.areas)?;
        let (extents, rest) = records::<ExtentRecord>(rest, header.extents)?;
        let (frames, rest) = records::<FrameRecord>(rest, header.frames)?;
        let (values, rest) = records::<ValueRecord>(rest, header.values)?;
        let (runs, rest) = records::<RunRecord>(rest, header.runs)?;
        let manifest = rest
            .get(..header.manifest_len.get() as usize)
            .ok_or(Damaged("its manifest is cut short"))?;

        let mut reader =
            Reader { areas: areas.iter(), extents: extents.iter(), data_len: header.data_len() };
        let mut instances =
            instances.iter().map(|r| reader.instance(r)).collect::<Result<Vec<_>, _>>()?;
        if reader.areas.next().is_some() || reader.extents.next().is_some() {
            return Err(Damaged("some of its records belong to nothing"));
        }
        add_runs(runs, &mut instances)?;
        let call = call::decode(frames, values, instances.len())?;
        let call = call.map(Arc::new);
        let metadata = Self { instances, call, manifest: decode_manifest(manifest)? };
        metadata.check().map_err(Damaged)?;
        Ok(metadata)
    }

    /// The bytes before the data, for data of the given length and hash.
    pub(crate) fn encode(
        &self,
        data_len: u64,
        data_hash: [u8; 32],
    ) -> Result<Vec<u8>, FormatError> {
        self.check().map_err(FormatError::Unwritable)?;
        let areas = self.areas().count();
        let extents = self.areas().map(|a| a.extents.len()).sum::<usize>();
        let frames = self.call.iter().flat_map(|call| &call.frames);
        let (frames, values) = (frames.clone().count(), frames.map(|f| f.values.len()).sum());
        let manifest = encode_manifest(&self.manifest);
        let count = |n: usize| U32::new(u32::try_from(n).unwrap_or(u32::MAX));

        let mut bytes = vec![0; HEADER_LEN];
        bytes.extend(self.records());
        bytes.extend(&manifest);
        bytes.resize(align_up(bytes.len() as u64, PAGE) as usize, 0);
        let metadata = &bytes[HEADER_LEN..];
        if metadata.len() as u64 > MAX_METADATA {
            return Err(FormatError::Unwritable(
                "it has too many instances or frames, or too large a manifest",
            ));
        }
        let mut header = Header {
            magic: MAGIC,
            format: U32::new(VERSION),
            state_layout: U32::new(STATE_VERSION),
            file_len: U64::new(bytes.len() as u64 + data_len),
            metadata_len: U64::new(metadata.len() as u64),
            // None exceeds the metadata's length, which is below 2^32.
            instances: count(self.instances.len()),
            areas: count(areas),
            extents: count(extents),
            frames: count(frames),
            values: count(values),
            runs: count(self.areas().map(|a| a.working_set.len()).sum()),
            manifest_len: count(manifest.len()),
            metadata_hash: *blake3::hash(metadata).as_bytes(),
            data_hash,
            header_hash: [0; 32],
        };
        header.header_hash = header.hash();
        bytes[..HEADER_LEN].copy_from_slice(header.as_bytes());
        Ok(bytes)
    }

    /// The identity of a snapshot of this metadata and of data with the given hash.
    #[must_use]
    pub fn id(&self, data_hash: [u8; 32]) -> SnapshotId {
        let mut hasher = blake3::Hasher::new_derive_key("executor snapshot identity v1");
        let records = self.records();
        hasher.update(&STATE_VERSION.to_le_bytes());
        hasher.update(&(records.len() as u64).to_le_bytes());
        hasher.update(&records);
        hasher.update(&encode_manifest(&self.manifest.without_origin()));
        hasher.update(&data_hash);
        SnapshotId(*hasher.finalize().as_bytes())
    }

    fn areas(&self) -> impl Iterator<Item = &Area> {
        self.instances.iter().flat_map(|i| i.tables.iter().chain(&i.memories))
    }

    fn records(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for instance in &self.instances {
            let record = InstanceRecord {
                module: instance.module.0,
                block_offset: U64::new(instance.block.offset),
                block_len: U64::new(instance.block.len),
                tables: U32::new(instance.tables.len() as u32),
                memories: U32::new(instance.memories.len() as u32),
                flags: U32::new(if instance.instantiated { INSTANTIATED } else { 0 }),
            };
            bytes.extend(record.as_bytes());
        }
        for area in self.areas() {
            let extents = U32::new(area.extents.len() as u32);
            bytes.extend(AreaRecord { len: U64::new(area.len), extents }.as_bytes());
        }
        for extent in self.areas().flat_map(|a| &a.extents) {
            let record = ExtentRecord {
                at: U64::new(extent.at),
                offset: U64::new(extent.offset),
                len: U64::new(extent.len),
            };
            bytes.extend(record.as_bytes());
        }
        if let Some(call) = &self.call {
            let (frames, values) = call::encode(call);
            bytes.extend(frames.as_bytes());
            bytes.extend(values.as_bytes());
        }
        for (i, area) in self.areas().enumerate() {
            for run in &area.working_set {
                let (at, len) = (U64::new(run.start), U64::new(run.end - run.start));
                bytes.extend(RunRecord { area: U32::new(i as u32), at, len }.as_bytes());
            }
        }
        bytes
    }

    /// What holds of the whole, when it is written and when it is read.
    fn check(&self) -> Result<(), &'static str> {
        if self.manifest.instances.len() != self.instances.len() {
            return Err("its manifest names another number of instances");
        }
        let main = InstanceId::new(self.manifest.main).map(InstanceId::position);
        match main.and_then(|i| self.instances.get(i)) {
            Some(main) if main.instantiated => Ok(()),
            _ => Err("it names no instance to call"),
        }
    }
}

/// Takes records and checks each.
struct Reader<'a> {
    areas: std::slice::Iter<'a, AreaRecord>,
    extents: std::slice::Iter<'a, ExtentRecord>,
    data_len: u64,
}

impl Reader<'_> {
    fn instance(&mut self, record: &InstanceRecord) -> Result<Instance, FormatError> {
        let flags = record.flags.get();
        if flags & !INSTANTIATED != 0 {
            return Err(Damaged("an instance has unknown flags"));
        }
        let block = self.stretch(record.block_offset, record.block_len)?;
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
        for _ in 0..record.extents.get() {
            let extent = self.extents.next().ok_or(Damaged("an extent has no record"))?;
            let Stretch { offset, len } = self.stretch(extent.offset, extent.len)?;
            let at = extent.at.get();
            if at < free || !at.is_multiple_of(PAGE) || len > end.saturating_sub(at) {
                return Err(Damaged("an extent lies outside its table or memory"));
            }
            free = at + len;
            extents.push(Extent { at, offset, len });
        }
        Ok(Area { len, extents, working_set: Vec::new() })
    }

    fn stretch(&self, offset: U64, len: U64) -> Result<Stretch, FormatError> {
        let (offset, len) = (offset.get(), len.get());
        let aligned = offset.is_multiple_of(PAGE) && len.is_multiple_of(PAGE);
        if !aligned || len == 0 || len > self.data_len.saturating_sub(offset) {
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

fn records<T: FromBytes + Immutable + KnownLayout + Unaligned>(
    bytes: &[u8],
    count: U32,
) -> Result<(&[T], &[u8]), FormatError>
where
    [T]: FromBytes + Immutable + KnownLayout<PointerMetadata = usize> + Unaligned,
{
    <[T]>::ref_from_prefix_with_elems(bytes, count.get() as usize)
        .map_err(|_| Damaged("its records are cut short"))
}

fn encode_manifest(manifest: &Manifest) -> Vec<u8> {
    bincode::serde::encode_to_vec(manifest, bincode::config::standard())
        .expect("strings, numbers and bytes can always be encoded")
}

fn decode_manifest(bytes: &[u8]) -> Result<Manifest, FormatError> {
    let config = bincode::config::standard().with_limit::<{ MAX_METADATA as usize }>();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((manifest, read)) if read == bytes.len() => Ok(manifest),
        _ => Err(Damaged("its manifest cannot be decoded")),
    }
}
