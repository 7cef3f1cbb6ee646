//! The code file: the machine code of one module for one target, as an ELF shared object that
//! perf, gdb and objdump read, with every table laid out to be used in place.
//!
//! Invariant: the file holds no absolute address and needs no relocation; virtual addresses equal
//! file offsets, so mapping the file is all there is to loading it.
//!
//! ```text
//! 0      ELF header (64 bytes)
//! 64     CodeHeader: magic, versions, lengths, key, root, and the range of each Section
//! 1024   program headers
//! 4064   the MAC of all before it, under the key of the store that has the file (zeroes without a store)
//! 4096   Section::Text, the only executable part
//!        Section::Functions, on the page after the text
//!        the other sections, 16-byte aligned
//!        symbol table, string tables, section headers
//!        the hash of each 64 KiB of what lies between 4096 and here (see `chunks`)
//! ```
//!
//! The MAC covers the root, the root the hashes, and the hashes the rest: every byte is covered. What is checked
//! when is said at [`crate::StoredCode`].
//!
//! All numbers are little-endian.

pub(crate) mod chunks;
pub mod frames;
mod header;
mod leb128;
pub mod map;
mod reader;
#[cfg(feature = "write")]
mod writer;

pub use frames::{
    CallSite, ContinuationRecord, FrameCallRecord, FrameUnitRecord, FrameValue, Place, Resumption,
};
pub use header::{
    CODE_MAGIC, CodeFileError, CodeHeader, ExportRecord, FORMAT_VERSION, HandlerRecord,
    ImportRecord, MODULE_NAME, MapRecord, NO_CONTEXT, NO_OBJECTS, NO_SUPERTYPE, NameRecord,
    Section, SectionRange, StackMapRecord, TryCallRecord, TypeRecord,
};
pub use reader::CodeFile;
#[cfg(feature = "write")]
pub use writer::{CodeParts, Continuation, FrameUnit, StackMap, TryCall, write};

use crate::layout::{PAGE, align_up};
use executor_model::{FieldType, HeapType, RefType, StorageType, ValType};

/// Where the text begins in a code file.
pub const TEXT_OFFSET: u64 = PAGE;
/// Where the MAC lies, at the end of the first page.
pub(crate) const MAC_OFFSET: u64 = TEXT_OFFSET - 32;
/// Stands in [`Section::Enter`] for a type that no function has.
pub const NO_TRAMPOLINE: u32 = u32::MAX;

/// The distance from the start of the text to the function table (see [`Section::Functions`]),
/// which machine code refers to relative to the program counter.
#[must_use]
pub const fn function_table_distance(text_len: u64) -> u64 {
    align_up(text_len, PAGE)
}

/// The word that stands for a value type in type records: the byte of the binary format in the low
/// 8 bits, [`NON_NULLABLE`], and above [`TYPE_INDEX_SHIFT`] the index of a concrete heap type.
#[must_use]
pub fn type_word(ty: ValType) -> u32 {
    let ty = match ty {
        ValType::I32 => return 0x7f,
        ValType::I64 => return 0x7e,
        ValType::F32 => return 0x7d,
        ValType::F64 => return 0x7c,
        ValType::V128 => return 0x7b,
        ValType::Ref(ty) => ty,
    };
    let heap = match ty.heap {
        HeapType::NoExn => 0x74,
        HeapType::NoFunc => 0x73,
        HeapType::NoExtern => 0x72,
        HeapType::Func => 0x70,
        HeapType::Extern => 0x6f,
        HeapType::Exn => 0x69,
        HeapType::Any => 0x6e,
        HeapType::Eq => 0x6d,
        HeapType::I31 => 0x6c,
        HeapType::Struct => 0x6b,
        HeapType::Array => 0x6a,
        HeapType::None => 0x71,
        HeapType::ConcreteFunc(index) => CONCRETE_FUNC | index << TYPE_INDEX_SHIFT,
        HeapType::ConcreteStruct(index) => CONCRETE_STRUCT | index << TYPE_INDEX_SHIFT,
        HeapType::ConcreteArray(index) => CONCRETE_ARRAY | index << TYPE_INDEX_SHIFT,
    };
    if ty.nullable { heap } else { heap | NON_NULLABLE }
}

/// The bit of a type word that says that null is no value of the reference type.
const NON_NULLABLE: u32 = 1 << 8;
/// Where a type word holds a type index, which has at most 20 bits (`FuncRef::MAX_INDEX`).
const TYPE_INDEX_SHIFT: u32 = 12;
/// Stands in the low byte for a concrete type of functions. Snapshots hold these words too, so none of them changes.
const CONCRETE_FUNC: u32 = 0x64;
/// Stands there for a concrete type of structures.
const CONCRETE_STRUCT: u32 = 0x5f;
/// Stands there for a concrete type of arrays.
const CONCRETE_ARRAY: u32 = 0x5e;
/// The bit of the word of a field that says that it may be assigned.
const MUTABLE: u32 = 1 << 9;

/// The word that stands for the type of a field: that of its value type, or the byte of a packed type, and whether
/// it is mutable.
#[must_use]
pub fn field_word(field: FieldType) -> u32 {
    let storage = match field.storage {
        StorageType::I8 => 0x78,
        StorageType::I16 => 0x77,
        StorageType::Val(ty) => type_word(ty),
    };
    storage | if field.mutable { MUTABLE } else { 0 }
}

/// The type of a field that a word stands for.
#[must_use]
pub fn field_of_word(word: u32) -> Option<FieldType> {
    let storage = match word & !MUTABLE {
        0x78 => StorageType::I8,
        0x77 => StorageType::I16,
        word => StorageType::Val(type_of_word(word)?),
    };
    Some(FieldType { storage, mutable: word & MUTABLE != 0 })
}

/// The value type that a word stands for.
#[must_use]
pub fn type_of_word(word: u32) -> Option<ValType> {
    let heap = match word & 0xff {
        0x7f => return Some(ValType::I32),
        0x7e => return Some(ValType::I64),
        0x7d => return Some(ValType::F32),
        0x7c => return Some(ValType::F64),
        0x7b => return Some(ValType::V128),
        0x74 => HeapType::NoExn,
        0x73 => HeapType::NoFunc,
        0x72 => HeapType::NoExtern,
        0x70 => HeapType::Func,
        0x6f => HeapType::Extern,
        0x69 => HeapType::Exn,
        0x6e => HeapType::Any,
        0x6d => HeapType::Eq,
        0x6c => HeapType::I31,
        0x6b => HeapType::Struct,
        0x6a => HeapType::Array,
        0x71 => HeapType::None,
        CONCRETE_FUNC => HeapType::ConcreteFunc(word >> TYPE_INDEX_SHIFT),
        CONCRETE_STRUCT => HeapType::ConcreteStruct(word >> TYPE_INDEX_SHIFT),
        CONCRETE_ARRAY => HeapType::ConcreteArray(word >> TYPE_INDEX_SHIFT),
        _ => return None,
    };
    Some(ValType::Ref(RefType { nullable: word & NON_NULLABLE == 0, heap }))
}
