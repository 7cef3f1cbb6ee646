//! The code file: the machine code of one module for one target, as an ELF shared object that
//! perf, gdb and objdump read, with every table laid out to be used in place.
//!
//! Invariant: the file holds no absolute address and needs no relocation; virtual addresses equal
//! file offsets, so mapping the file is all there is to loading it.
//!
//! ```text
//! 0      ELF header (64 bytes)
//! 64     CodeHeader: magic, versions, lengths, key, hashes, and the range of each Section
//! 1024   program headers
//! 4096   Section::Text, the only executable part
//!        Section::Functions, on the page after the text
//!        the other sections, 16-byte aligned
//!        symbol table, string tables, section headers
//! ```
//!
//! All numbers are little-endian.

mod header;
mod reader;
#[cfg(feature = "write")]
mod writer;

pub use header::{
    CODE_MAGIC, CodeFileError, CodeHeader, ExportRecord, FORMAT_VERSION, ImportRecord, MODULE_NAME,
    NameRecord, Section, SectionRange, TypeRecord,
};
pub use reader::CodeFile;
#[cfg(feature = "write")]
pub use writer::{CodeParts, write};

use crate::layout::{PAGE, align_up};
use executor_model::{HeapType, RefType, ValType};

/// Where the text begins in a code file.
pub const TEXT_OFFSET: u64 = PAGE;
/// Stands in [`Section::Enter`] for a type that no function has.
pub const NO_TRAMPOLINE: u32 = u32::MAX;

/// The distance from the start of the text to the function table (see [`Section::Functions`]),
/// which machine code refers to relative to the program counter.
#[must_use]
pub const fn function_table_distance(text_len: u64) -> u64 {
    align_up(text_len, PAGE)
}

/// The byte that stands for a value type in type records: the one of the binary format.
#[must_use]
pub fn type_byte(ty: ValType) -> u8 {
    match ty {
        ValType::I32 => 0x7f,
        ValType::I64 => 0x7e,
        ValType::F32 => 0x7d,
        ValType::F64 => 0x7c,
        ValType::V128 => 0x7b,
        ValType::Ref(RefType { heap: HeapType::Func, .. }) => 0x70,
        ValType::Ref(RefType { heap: HeapType::Extern, .. }) => 0x6f,
    }
}

/// The value type that a byte stands for.
#[must_use]
pub fn type_of_byte(byte: u8) -> Option<ValType> {
    Some(match byte {
        0x7f => ValType::I32,
        0x7e => ValType::I64,
        0x7d => ValType::F32,
        0x7c => ValType::F64,
        0x7b => ValType::V128,
        0x70 => ValType::FUNCREF,
        0x6f => ValType::EXTERNREF,
        _ => return None,
    })
}
