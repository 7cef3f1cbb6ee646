//! The header of a snapshot file and its table of sections.
//!
//! Invariant: a [`Head`] that [`Head::read`] hands out was checked against its hash; its sections follow each
//! other inside the file, none occurs twice, and every section that a reader must know is one that this release
//! knows.

use super::{FormatError, MAX_METADATA, Section, VERSION};
use crate::format::FormatError::Damaged;
use executor_code::layout::{PAGE, STATE_VERSION};
use std::ops::Range;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U32, U64},
};

/// The first bytes of every snapshot: not text, and damaged by a transfer that thinks it is.
pub const MAGIC: [u8; 8] = *b"\x89snap\r\n\x1a";
/// The most sections that a file can have.
pub const MAX_SECTIONS: u32 = 64;

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
    /// The length of the metadata: from the end of the section table to the data.
    pub metadata_len: U64,
    /// How many entries the section table has.
    pub sections: U32,
    /// Zero.
    pub reserved: U32,
    /// The hash of the metadata.
    pub metadata_hash: [u8; 32],
    /// The hash of [`Section::ChunkHashes`], and so of the data.
    pub data_hash: [u8; 32],
    /// The hash of all of the header before this field, and of the section table.
    pub header_hash: [u8; 32],
}

/// An entry of the section table, which follows the header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SectionRecord {
    /// The number of the [`Section`].
    pub kind: U32,
    /// Bit 0: [`REQUIRED`]. The other bits are 0; a reader ignores them.
    pub flags: U32,
    /// Where in the file it begins.
    pub offset: U64,
    /// Its length.
    pub len: U64,
}

/// In [`SectionRecord::flags`]: a reader that does not know the section refuses the file; without it, it skips
/// the section.
pub const REQUIRED: u32 = 1;
/// The header's length, where the section table begins.
pub const HEADER_LEN: usize = size_of::<Header>();
/// The length of an entry of the section table.
pub const SECTION_LEN: usize = size_of::<SectionRecord>();
/// Before the metadata there is no more than this.
pub(crate) const MAX_HEAD: usize = HEADER_LEN + MAX_SECTIONS as usize * SECTION_LEN;

/// The header and the section table of a file, checked.
#[derive(Debug, Clone)]
pub struct Head {
    header: Header,
    sections: Vec<SectionRecord>,
}

impl Head {
    /// Reads and checks the head of a file of `file_len` bytes that begins with `bytes`.
    ///
    /// # Errors
    /// When it is not the head of a snapshot that this release reads.
    pub fn read(bytes: &[u8], file_len: u64) -> Result<Self, FormatError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(FormatError::Magic);
        }
        let short =
            |expected: usize| FormatError::Length { expected: expected as u64, found: file_len };
        let (header, rest) = Header::read_from_prefix(bytes).map_err(|_| short(HEADER_LEN))?;
        // Before the hash, whose place another version may have moved.
        if header.format.get() != VERSION {
            return Err(FormatError::Version(header.format.get()));
        }
        if header.sections.get() > MAX_SECTIONS {
            return Err(Damaged("its header contradicts itself"));
        }
        let count = header.sections.get() as usize;
        let (sections, _) = <[SectionRecord]>::ref_from_prefix_with_elems(rest, count)
            .map_err(|_| short(HEADER_LEN + count * SECTION_LEN))?;
        if header.hash(sections) != header.header_hash {
            return Err(Damaged("its header does not match its checksum"));
        }
        if header.state_layout.get() != STATE_VERSION {
            return Err(FormatError::StateLayout(header.state_layout.get()));
        }
        if header.file_len.get() != file_len {
            return Err(FormatError::Length { expected: header.file_len.get(), found: file_len });
        }
        let head = Self { header, sections: sections.to_vec() };
        head.check()?;
        Ok(head)
    }

    fn check(&self) -> Result<(), FormatError> {
        let contradiction = Err(Damaged("its header contradicts itself"));
        if self.header.reserved.get() != 0 || self.header.metadata_len.get() > MAX_METADATA {
            return contradiction;
        }
        let mut free = self.metadata_start();
        let mut seen = Vec::with_capacity(self.sections.len());
        for record in &self.sections {
            let (kind, offset) = (record.kind.get(), record.offset.get());
            if Section::of(kind).is_none() && record.flags.get() & REQUIRED != 0 {
                return Err(FormatError::Section(kind));
            }
            let end = offset.checked_add(record.len.get());
            match end.filter(|end| offset >= free && *end <= self.header.file_len.get()) {
                Some(end) if !seen.contains(&kind) => free = end,
                _ => return contradiction,
            }
            seen.push(kind);
        }
        for section in Section::ALL {
            let Range { start, end } = self.section(section);
            if section.is_metadata() && end > self.data_start() && start != end {
                return contradiction;
            }
        }
        let data = self.section(Section::Data);
        let paged = data.start.is_multiple_of(PAGE) && data.end.is_multiple_of(PAGE);
        let hashes = self.section(Section::ChunkHashes);
        let hashes_len = self.data_len().div_ceil(super::CHUNK as u64).saturating_mul(32);
        if !paged || data.start != self.data_start() || hashes.end - hashes.start != hashes_len {
            return contradiction;
        }
        Ok(())
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The entries of the section table, in the order of their offsets.
    #[must_use]
    pub fn sections(&self) -> &[SectionRecord] {
        &self.sections
    }

    /// Where in the file a section lies; nowhere where it has none.
    #[must_use]
    pub fn section(&self, section: Section) -> Range<u64> {
        let mut records = self.sections.iter();
        match records.find(|record| record.kind.get() == section as u32) {
            // `read` bounds the sum.
            Some(record) => record.offset.get()..record.offset.get() + record.len.get(),
            None => 0..0,
        }
    }

    /// Where in the file the metadata begins.
    #[must_use]
    pub fn metadata_start(&self) -> u64 {
        (HEADER_LEN + self.sections.len() * SECTION_LEN) as u64
    }

    /// Where in the file the metadata ends and the data begins.
    #[must_use]
    pub fn data_start(&self) -> u64 {
        self.metadata_start() + self.header.metadata_len.get()
    }

    /// The length of the data.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        let data = self.section(Section::Data);
        data.end - data.start
    }
}

impl Header {
    /// What [`Self::header_hash`] must be, before this section table.
    #[must_use]
    pub fn hash(&self, sections: &[SectionRecord]) -> [u8; 32] {
        let bytes = self.as_bytes();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes[..bytes.len() - size_of_val(&self.header_hash)]);
        hasher.update(sections.as_bytes());
        *hasher.finalize().as_bytes()
    }
}

/// Makes the hashes right in the bytes of a snapshot file that were changed, where its lengths leave
/// something to hash: what a forger can do, and so what tests do.
#[doc(hidden)]
pub fn reseal(bytes: &mut [u8]) {
    let Ok((header, rest)) = Header::mut_from_prefix(bytes) else { return };
    let count = header.sections.get().min(MAX_SECTIONS) as usize;
    let Ok((table, rest)) = <[SectionRecord]>::mut_from_prefix_with_elems(rest, count) else {
        return;
    };
    let start = (HEADER_LEN + size_of_val(table)) as u64;
    let find = |section: Section| table.iter().find(|r| r.kind.get() == section as u32);
    let range = |record: &SectionRecord, len: usize| {
        let begin = usize::try_from(record.offset.get().checked_sub(start)?).ok()?;
        let end = begin.checked_add(usize::try_from(record.len.get()).ok()?)?;
        (end <= len).then_some(begin..end)
    };
    let data = find(Section::Data).and_then(|r| range(r, rest.len()));
    let hashes = find(Section::ChunkHashes).and_then(|r| range(r, rest.len()));
    if let (Some(data), Some(hashes)) = (data, hashes) {
        let mut chunks = super::ChunkHasher::default();
        chunks.update(&rest[data]);
        let all = chunks.finish();
        if all.len() == hashes.len() {
            rest[hashes.clone()].copy_from_slice(&all);
        }
        header.data_hash = *blake3::hash(&rest[hashes]).as_bytes();
    }
    let len = usize::try_from(header.metadata_len.get()).unwrap_or(usize::MAX);
    if let Some(metadata) = rest.get(..len) {
        header.metadata_hash = *blake3::hash(metadata).as_bytes();
    }
    header.header_hash = header.hash(table);
}
