//! The snapshot file, byte by byte.
//!
//! Invariant: [`Head::read`] and [`Metadata::decode`] accept any bytes and hand out only what was
//! checked: afterwards every range lies inside its file, is page-aligned, and belongs to an area
//! that can hold it.
//!
//! ```text
//! offset 0      Header
//!        136    SectionRecord * sections
//!               the metadata: every section that a restore reads, up to a multiple of 4096
//!               the data, a multiple of 4096: the state blocks and the extents
//!               the hashes of the data's chunks
//! ```
//!
//! Everything is in a [`Section`], which the table says where it is. All integers are little-endian; all
//! offsets into the data count from where it begins, so the records do not depend on the length of what is
//! before it. A hash (BLAKE3) in the header covers the header and the table, one the metadata, and one the
//! list of the chunks' hashes. A restore checks the first two; the rest, proportional to the state, is for
//! `verify`, and what is proportional to the state lies behind the data, where a restore does not read it.
//!
//! Magic, format version and state layout are at offsets 0, 8 and 12 in every version to come.
//!
//! # How the format changes
//!
//! The encoding of a section never changes once a release has written it, for records have no room and
//! bincode does not describe itself: a new fact gets a section of its own. Readers skip sections
//! that they do not know, unless these are marked as required. Format 4 is the first that later releases read.

mod chunks;
mod head;
mod read;
mod write;

pub use chunks::CHUNK;
pub(crate) use chunks::ChunkHasher;
pub(crate) use head::MAX_HEAD;
pub use head::{
    HEADER_LEN, Head, Header, MAGIC, MAX_SECTIONS, REQUIRED, SECTION_LEN, SectionRecord, reseal,
};

use crate::{Manifest, SnapshotId};
use executor_code::layout::STATE_VERSION;
use executor_model::{InstanceId, ModuleHash};
use executor_runtime::{CallState, Extent};
use std::{ops::Range, sync::Arc};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U32, U64},
};

/// The version of this format.
pub const VERSION: u32 = 4;
/// The most extents that are written for one memory of a snapshot that stands alone.
pub const MAX_EXTENTS: usize = 16;
/// The most extents of one table or memory that are read, and written for one of a layered snapshot.
pub const MAX_LAYERED_EXTENTS: usize = 64;
/// The most other files that one snapshot has pages of.
pub const MAX_BASES: usize = 7;
/// Metadata longer than this is refused, unread.
pub const MAX_METADATA: u64 = 64 << 20;

/// The sections, by their number in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Section {
    /// [`InstanceRecord`]s.
    Instances = 1,
    /// [`AreaRecord`]s: of each instance its tables, then its memories.
    Areas = 2,
    /// [`ExtentRecord`]s: of each area, by ascending address.
    Extents = 3,
    /// [`crate::call::FrameRecord`]s of the call that is suspended, if one is.
    Frames = 4,
    /// [`crate::call::ValueRecord`]s of each frame.
    Values = 5,
    /// [`RunRecord`]s, by area and address.
    WorkingSet = 6,
    /// The [`Manifest`], encoded by bincode.
    Manifest = 7,
    /// When and by which release the file was made, what that took, and what the files of its bases were called,
    /// encoded by bincode. It is no part of the snapshot's identity.
    Origin = 8,
    /// [`BaseRecord`]s.
    Bases = 9,
    /// The state blocks and the extents: whole pages, ready to be mapped.
    Data = 10,
    /// The hash of each [`CHUNK`] of the data.
    ChunkHashes = 11,
    /// The most bytes of objects that runs are given, where the function was made with such a limit.
    HeapLimit = 12,
}

impl Section {
    /// All sections, in the order in which they are written.
    pub const ALL: [Self; 12] = [
        Self::Instances,
        Self::Areas,
        Self::Extents,
        Self::Frames,
        Self::Values,
        Self::WorkingSet,
        Self::Manifest,
        Self::Origin,
        Self::Bases,
        Self::HeapLimit,
        Self::Data,
        Self::ChunkHashes,
    ];

    /// The section of a number, if this release knows it.
    #[must_use]
    pub fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|section| *section as u32 == number)
    }

    /// Whether it is a part of the metadata.
    #[must_use]
    pub fn is_metadata(self) -> bool {
        !matches!(self, Self::Data | Self::ChunkHashes)
    }

    /// Whether a reader that does not know it refuses the file.
    #[must_use]
    pub fn is_required(self) -> bool {
        !matches!(self, Self::WorkingSet | Self::Origin)
    }
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
    /// Where in the data of its source its bytes are.
    pub offset: U64,
    /// Its length.
    pub len: U64,
    /// Which file they are in: 0 is this one, k the k-th of the bases.
    pub source: U32,
}

/// Another snapshot, of whose data this one has pages.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BaseRecord {
    /// Its identity, by which it is found.
    pub id: [u8; 32],
    /// The hash of its data, by which it is known.
    pub data_hash: [u8; 32],
    /// The length of its data.
    pub data_len: U64,
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

/// Bytes that are not a snapshot that this release reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The magic is missing.
    #[error("not a snapshot: it does not begin as one")]
    Magic,
    /// Another version of the format.
    #[error(
        "snapshot format {found}, and this release reads format {VERSION}: {newer}create the snapshot again",
        found = .0,
        newer = if *.0 > VERSION { "use the newer release that wrote it, or " } else { "" }
    )]
    Version(u32),
    /// A section that a reader has to know, and this release does not.
    #[error(
        "it has section {0}, which a newer release wrote and which cannot be left out: \
         use that release, or create the snapshot again"
    )]
    Section(u32),
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
    /// A chunk of its data does not match its hash.
    #[error(
        "damaged in the {len} bytes at {offset:#x} ({holds}): copy it again from where it came, or \
         create it again"
    )]
    Chunk {
        /// Where in the file the chunk begins.
        offset: u64,
        /// Its length.
        len: u64,
        /// What part of the state is in it.
        holds: String,
    },
    /// The store cannot be written in this format.
    #[error("cannot be written: {0}")]
    Unwritable(&'static str),
}

/// A stretch of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Where in the data it begins; a multiple of the page size.
    pub offset: u64,
    /// Its length; a multiple of the page size.
    pub len: u64,
}

/// Another snapshot, of whose data this one has pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its identity.
    pub id: SnapshotId,
    /// The hash of its data.
    pub data_hash: [u8; 32],
    /// The length of its data.
    pub data_len: u64,
    /// What its file was called when this one was made. No part of this one's identity.
    pub file_name: Option<String>,
}

/// A table or memory as the file holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Area {
    /// Its live bytes.
    pub len: u64,
    /// What is in a file of it; offsets are into the data of that file: 0 is this one, k the k-th of the
    /// bases.
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
    /// The snapshots of whose data it has pages.
    pub bases: Vec<Base>,
    /// The call that is suspended.
    pub call: Option<Arc<CallState>>,
    /// What the snapshot says about itself.
    pub manifest: Manifest,
}

const INSTANTIATED: u32 = 1;

impl Metadata {
    fn areas(&self) -> impl Iterator<Item = &Area> {
        self.instances.iter().flat_map(|i| i.tables.iter().chain(&i.memories))
    }

    /// What holds of the whole, when it is written and when it is read.
    fn check(&self) -> Result<(), &'static str> {
        if self.manifest.instances.len() != self.instances.len() {
            return Err("its manifest names another number of instances");
        }
        if self.bases.len() > MAX_BASES {
            return Err("it has pages of too many other snapshots");
        }
        let main = InstanceId::new(self.manifest.main).map(InstanceId::position);
        match main.and_then(|i| self.instances.get(i)) {
            Some(main) if main.instantiated => Ok(()),
            _ => Err("it names no instance to call"),
        }
    }
}
