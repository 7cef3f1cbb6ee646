//! The fixed part of a code file and the records of its tables.

use super::{CallSite, ContinuationRecord};
use crate::layout::Counts;
use executor_model::TagIndex;
use std::{fs::File, os::unix::fs::FileExt};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// The magic number at the start of [`CodeHeader`].
pub const CODE_MAGIC: [u8; 8] = *b"EXECCODE";
/// The version of the file format.
pub const FORMAT_VERSION: u32 = 5;

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
    /// Offsets in the text that calls return to while the frame holds references to objects, ascending (u32).
    StackMapReturns,
    /// For each of them, a [`StackMapRecord`].
    StackMaps,
    /// How far below the frame pointer these lie (u32).
    StackMapSlots,
    /// [`crate::objects::ObjectRecord`]s, by number.
    Objects,
    /// Where structures hold references to objects (u32).
    ObjectReferences,
    /// The owned globals that hold references to objects, by their position among the owned ones (u32).
    ObjectGlobals,
}

impl Section {
    /// All sections, in order.
    pub const ALL: [Self; 32] = [
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
        Self::StackMapReturns,
        Self::StackMaps,
        Self::StackMapSlots,
        Self::Objects,
        Self::ObjectReferences,
        Self::ObjectGlobals,
    ];
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
    /// Where the body, which begins at [`super::TEXT_OFFSET`], ends and the hashes of its chunks begin
    /// (see [`super::chunks`]).
    pub body_end: u64,
    /// The BLAKE3 hash of those hashes.
    pub root: [u8; 32],
}

impl CodeHeader {
    /// Where the header begins in the file.
    pub const OFFSET: usize = 64;

    /// Reads the header of a code file, if it is one of this version. What else it says is not checked.
    pub(crate) fn of(file: &File) -> Option<Self> {
        let mut header = Self::new_zeroed();
        file.read_exact_at(header.as_mut_bytes(), Self::OFFSET as u64).ok()?;
        let ours = header.magic == CODE_MAGIC && header.format_version == FORMAT_VERSION;
        ours.then_some(header)
    }

    /// The calls that the code of the file with this header goes on from; `None` where they cannot be read.
    pub(crate) fn continuations(&self, file: &File) -> Option<Vec<CallSite>> {
        let SectionRange { offset, len } = self.sections[Section::Continuations as usize];
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.file_len);
        if !inside || file.metadata().ok()?.len() != self.file_len {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        file.read_exact_at(&mut bytes, offset).ok()?;
        let record = |bytes: &[u8]| Some(ContinuationRecord::read_from_bytes(bytes).ok()?.site());
        bytes.chunks(size_of::<ContinuationRecord>()).map(record).collect()
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

/// The references to objects that a frame holds while it waits for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackMapRecord {
    /// The first of its slots.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

/// A type: of functions, or of structures or arrays.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TypeRecord {
    /// Where its parameters begin in the type words, and the results follow them; where its fields do, or its
    /// element is.
    pub offset: u32,
    /// [`Self::FUNC`], [`Self::STRUCT`] or [`Self::ARRAY`].
    pub kind: u32,
    /// How many parameters, or fields.
    pub params: u32,
    /// How many results.
    pub results: u32,
    /// The index of its declared supertype, or [`NO_SUPERTYPE`].
    pub supertype: u32,
    /// The number that objects of it have, or [`NO_OBJECTS`].
    pub number: u32,
    /// What the type is, whatever the module (see `ModuleInfo::type_digests`).
    pub digest: [u8; 32],
}

impl TypeRecord {
    /// A type of functions.
    pub const FUNC: u32 = 0;
    /// A type of structures.
    pub const STRUCT: u32 = 1;
    /// A type of arrays.
    pub const ARRAY: u32 = 2;
}

/// Stands in [`TypeRecord::supertype`] for a type that declares none.
pub const NO_SUPERTYPE: u32 = u32::MAX;

/// Stands in [`TypeRecord::number`] for a type of functions.
pub const NO_OBJECTS: u32 = u32::MAX;

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
    /// Its first page was not written with the key of the store.
    #[error("its header is not what this store wrote, or the store has another key now")]
    Mac,
    /// It is the code of something else.
    #[error("it is the code of something else")]
    Misnamed,
    /// The hashes of its chunks have changed.
    #[error("the hashes of its chunks do not match")]
    Hashes,
    /// Bytes of its body have changed.
    #[error("chunk {chunk}, from {at:#x} ({section:?}) on, does not match its hash")]
    Chunk {
        /// The number of the chunk.
        chunk: u64,
        /// Where it begins in the file.
        at: u64,
        /// The last section that begins there or before.
        section: Section,
    },
    /// Bytes of its body cannot be read.
    #[error("{reason}, reading at {at:#x}")]
    Unread {
        /// Where in the file.
        at: u64,
        /// What the operating system says.
        reason: String,
    },
    /// Compiled for a processor with features that this one lacks.
    #[error("compiled for a processor with more features than this one")]
    Features,
    /// A section lies outside the file or has the wrong size.
    #[error("section {0:?} is malformed")]
    Section(Section),
}
