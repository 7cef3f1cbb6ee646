//! The fixed part of a code file and the records of its tables.

use crate::layout::Counts;
use executor_model::TagIndex;
use std::{fs::File, os::unix::fs::FileExt};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// The magic number at the start of [`CodeHeader`].
pub const CODE_MAGIC: [u8; 8] = *b"EXECCODE";
/// The version of the file format.
pub const FORMAT_VERSION: u32 = 3;

/// The sections, by their position in [`CodeHeader::sections`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Section {
    /// Machine code.
    Text,
    /// For each function, the distance from the start of this section to its code (i32).
    Functions,
    /// For each function, its canonical type index (u32).
    FunctionTypes,
    /// For each type, the offset in the text of its enter trampoline (u32), or `NO_TRAMPOLINE`.
    Enter,
    /// Offsets in the text of instructions that can trap, ascending (u32).
    TrapOffsets,
    /// For each of them, the trap code (u8).
    TrapCodes,
    /// [`MapRecord`]s, ascending.
    MapRecords,
    /// The runs of the address map (see [`super::map`]).
    Map,
    /// Offsets in the text that calls with handlers return to, ascending (u32).
    TryReturns,
    /// For each of them, a [`TryCallRecord`].
    TryCalls,
    /// The [`HandlerRecord`]s that those refer to.
    Handlers,
    /// [`TypeRecord`]s, by type index.
    Types,
    /// What the types' parameters and results are (see [`super::type_word`]).
    TypeWords,
    /// For each tag, its canonical type index (u32).
    Tags,
    /// [`ExportRecord`]s, sorted by name.
    Exports,
    /// [`ImportRecord`]s of the imported functions, by function index.
    Imports,
    /// [`NameRecord`]s of functions with a name, sorted by function index.
    Names,
    /// The bytes that records refer to.
    Strings,
    /// [`crate::layout::TablePlan`]s of owned tables.
    Tables,
    /// [`crate::layout::MemoryPlan`]s of owned memories.
    Memories,
    /// The bytes of all data segments, one after another.
    Data,
    /// The `ModuleInfo` in bincode; data segment ranges are within [`Section::Data`].
    Info,
    /// [`super::FrameUnitRecord`]s, ascending.
    FrameUnits,
    /// The [`super::FrameCallRecord`]s that those refer to.
    FrameCalls,
    /// Lists of values (see [`super::frames`]).
    FrameValues,
    /// [`super::ContinuationRecord`]s. In a file that has any, `Functions` and `FunctionTypes` are
    /// of continuations, by their position here, and `Enter` has trampolines that enter them.
    Continuations,
}

impl Section {
    /// All sections, in order.
    pub const ALL: [Self; 26] = [
        Self::Text,
        Self::Functions,
        Self::FunctionTypes,
        Self::Enter,
        Self::TrapOffsets,
        Self::TrapCodes,
        Self::MapRecords,
        Self::Map,
        Self::TryReturns,
        Self::TryCalls,
        Self::Handlers,
        Self::Types,
        Self::TypeWords,
        Self::Tags,
        Self::Exports,
        Self::Imports,
        Self::Names,
        Self::Strings,
        Self::Tables,
        Self::Memories,
        Self::Data,
        Self::Info,
        Self::FrameUnits,
        Self::FrameCalls,
        Self::FrameValues,
        Self::Continuations,
    ];

    /// Whether unsafe code relies on what the section says, and it is as small as an instance has
    /// tables and memories, or a suspended call frames. Values of frames are so in a file of
    /// continuations only.
    #[must_use]
    pub(super) fn is_checked_at_open(self, has_continuations: bool) -> bool {
        match self {
            Self::Tables | Self::Memories | Self::Continuations => true,
            Self::FrameValues => has_continuations,
            _ => false,
        }
    }
}

/// A range of the file.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SectionRange {
    /// Where it begins.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// What lies at offset 64 of a code file.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CodeHeader {
    /// [`CODE_MAGIC`].
    pub magic: [u8; 8],
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// [`crate::abi::VERSION`].
    pub abi_version: u32,
    /// The length of the whole file.
    pub file_len: u64,
    /// The features of the processor that the code was compiled for.
    pub cpu_features: u64,
    /// The hash of the module's bytes.
    pub module: [u8; 32],
    /// The file's key.
    pub key: [u8; 32],
    /// The [`executor_model::Features`] that the module was validated with.
    pub features: u32,
    /// The number of the [`crate::OptLevel`].
    pub opt_level: u32,
    /// 1 when listeners are compiled in.
    pub listeners: u32,
    /// 1 when the code has frame maps.
    pub frame_maps: u32,
    /// Bytes of a slot before `vmctx`.
    pub before: u64,
    /// Bytes of a slot from `vmctx` on.
    pub after: u64,
    /// What the state block's layout follows from.
    pub counts: Counts,
    /// Where each section lies.
    pub sections: [SectionRange; Section::ALL.len()],
    /// The BLAKE3 hash of the sections that are checked whenever the file is opened (see
    /// [`Section::is_checked_at_open`]), one after another.
    pub open_hash: [u8; 32],
    /// The BLAKE3 hash of [`Section::Info`], which is checked before that is decoded.
    pub info_hash: [u8; 32],
    /// The BLAKE3 hash of everything from [`super::TEXT_OFFSET`] to the end of the file.
    pub body_hash: [u8; 32],
    /// The BLAKE3 hash of this header up to here.
    pub header_hash: [u8; 32],
}

impl CodeHeader {
    /// Where the header begins in the file.
    pub const OFFSET: usize = 64;

    /// Reads the header of a code file, if it is one of this version and undamaged.
    pub(crate) fn of(file: &File) -> Option<Self> {
        let mut header = Self::new_zeroed();
        file.read_exact_at(header.as_mut_bytes(), Self::OFFSET as u64).ok()?;
        let whole = header.magic == CODE_MAGIC && header.header_hash == header.compute_hash();
        whole.then_some(header)
    }

    /// The hash that [`Self::header_hash`] must hold.
    #[must_use]
    pub fn compute_hash(&self) -> [u8; 32] {
        let bytes = self.as_bytes();
        *blake3::hash(&bytes[..std::mem::offset_of!(Self, header_hash)]).as_bytes()
    }
}

/// A call in the body of a `try_table` or `try`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TryCallRecord {
    /// How far below the frame pointer the stack pointer is at the call and at its handlers.
    pub frame: u32,
    /// Where the frame holds its `vmctx`, above that stack pointer, or [`NO_CONTEXT`].
    pub context: u32,
    /// The first of its handlers, of which the first that matches is the one.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

/// Stands in [`TryCallRecord::context`] where it is not needed: no handler names a tag, or the call is
/// of a builtin, which is given `vmctx`.
pub const NO_CONTEXT: u32 = u32::MAX;

/// What catches the exceptions of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HandlerRecord {
    /// Which exceptions, and whether the handler asks for a reference (see [`Self::clause`]).
    pub clause: u32,
    /// The offset in the text at which the handler begins.
    pub landing: u32,
}

impl HandlerRecord {
    /// Stands for every tag. There are fewer tags.
    const ALL: u32 = (1 << 30) - 1;

    /// The word for a clause that catches exceptions of a tag of the module, or all, and may want a
    /// reference to the exception.
    #[must_use]
    pub const fn clause(tag: Option<TagIndex>, reference: bool) -> u32 {
        let tag = match tag {
            Some(tag) => tag,
            None => Self::ALL,
        };
        tag << 1 | reference as u32
    }

    /// Which exceptions it catches; `None` is all.
    #[must_use]
    pub fn tag(&self) -> Option<TagIndex> {
        Some(self.clause >> 1).filter(|tag| *tag != Self::ALL)
    }

    /// Whether it asks for a reference to the exception.
    #[must_use]
    pub const fn wants_reference(&self) -> bool {
        self.clause & 1 == 1
    }
}

/// A function type.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TypeRecord {
    /// Where its parameters begin in the type words; the results follow them.
    pub offset: u32,
    /// How many parameters.
    pub params: u32,
    /// How many results.
    pub results: u32,
    /// The index of its declared supertype, or [`NO_SUPERTYPE`].
    pub supertype: u32,
    /// What [`Self::compute_check`] must find: machine code reads and writes as many values of the
    /// host as this says.
    pub check: u32,
    /// What the type is, whatever the module (see `ModuleInfo::type_digests`).
    pub digest: [u8; 32],
}

impl TypeRecord {
    /// A check sum of the record (without its digest, which is one), of the words of its values, and
    /// of the type's word in [`Section::Enter`]. It finds damage, not a forger.
    #[must_use]
    pub(super) fn compute_check(&self, words: &[u32], enter: u32) -> u32 {
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let mix = |sum: u64, n: u64| (sum ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let record = [pair(self.offset, self.params), pair(self.results, self.supertype)];
        let words = words.iter().map(|word| u64::from(*word));
        let sum = record.into_iter().chain([u64::from(enter)]).chain(words).fold(!0, mix);
        (sum >> 32) as u32 ^ sum as u32
    }
}

/// Stands in [`TypeRecord::supertype`] for a type that declares none.
pub const NO_SUPERTYPE: u32 = u32::MAX;

/// The address map of one function or trampoline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MapRecord {
    /// Where its code begins, as an offset in the text.
    pub code: u32,
    /// Where its run begins in the map; it ends where the next one begins.
    pub run: u32,
}

/// An export.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExportRecord {
    /// Where its name begins in the strings.
    pub name: u32,
    /// The name's length in bytes.
    pub name_len: u32,
    /// 0 function, 1 table, 2 memory, 3 global, 4 tag.
    pub kind: u32,
    /// The index in that space.
    pub index: u32,
}

/// An imported function.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ImportRecord {
    /// Where the module name begins in the strings.
    pub module: u32,
    /// Its length in bytes.
    pub module_len: u32,
    /// Where the item's name begins in the strings.
    pub name: u32,
    /// Its length in bytes.
    pub name_len: u32,
}

/// The function index under which the names hold the module's own name.
pub const MODULE_NAME: u32 = u32::MAX;

/// A function's name.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NameRecord {
    /// The function's index.
    pub func: u32,
    /// Where its name begins in the strings.
    pub name: u32,
    /// Its length in bytes.
    pub name_len: u32,
}

/// A file that is not a usable code file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodeFileError {
    /// Not a code file at all.
    #[error("not a code file")]
    NotCode,
    /// Written by another version of the engine.
    #[error("written by another version (format {format}, interface {abi})")]
    Version {
        /// Its format version.
        format: u32,
        /// Its interface version.
        abi: u32,
    },
    /// Cut short, or with bytes added.
    #[error("its length is {actual}, but it was written with {expected}")]
    Length {
        /// The length in the header.
        expected: u64,
        /// The length it has.
        actual: u64,
    },
    /// Bytes have changed.
    #[error("its checksum does not match")]
    Checksum,
    /// Compiled for a processor with features that this one lacks.
    #[error("compiled for a processor with more features than this one")]
    Features,
    /// A section lies outside the file or has the wrong size.
    #[error("section {0:?} is malformed")]
    Section(Section),
}
