//! The types of exports.

use executor_model::{FuncType, GlobalType, MemoryType, TableType};
use std::fmt;

/// The type of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExternType {
    /// A function.
    Func(FuncType),
    /// A table.
    Table(TableType),
    /// A memory.
    Memory(MemoryType),
    /// A global.
    Global(GlobalType),
    /// A tag, with what its exceptions carry.
    Tag(FuncType),
}

impl fmt::Display for ExternType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Func(ty) => write!(f, "func {ty}"),
            Self::Table(ty) => write!(f, "table of {}", ty.element),
            Self::Memory(ty) => write!(f, "memory of {} pages", ty.min),
            Self::Global(ty) => {
                write!(f, "{}global {}", if ty.mutable { "mutable " } else { "" }, ty.value)
            }
            Self::Tag(ty) => write!(f, "tag {ty}"),
        }
    }
}
