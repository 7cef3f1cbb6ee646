//! Value, reference, function, table, memory and global types.
//!
//! Invariant: a [`TypeIndex`] stored in a decoded [`crate::ModuleInfo`] is canonical: two
//! equal types of one module have the same index.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An index into a module's type section, made canonical when the module is decoded.
pub type TypeIndex = u32;
/// An index into a module's function index space (imports first).
pub type FuncIndex = u32;
/// An index into a module's table index space (imports first).
pub type TableIndex = u32;
/// An index into a module's memory index space (imports first).
pub type MemoryIndex = u32;
/// An index into a module's global index space (imports first).
pub type GlobalIndex = u32;
/// An index into a module's tag index space (imports first).
pub type TagIndex = u32;

/// A heap type: what a reference may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HeapType {
    /// Any function.
    Func,
    /// No function.
    NoFunc,
    /// A function of this type of the module.
    Concrete(TypeIndex),
    /// Any host value.
    Extern,
    /// No host value.
    NoExtern,
    /// Any exception.
    Exn,
    /// No exception.
    NoExn,
}

/// The top of a hierarchy of heap types: what a reference's 8 bytes mean follows from it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hierarchy {
    /// Functions: the bytes are a [`crate::FuncRef`].
    Func,
    /// Host values: the bytes are a handle of the store.
    Extern,
    /// Exceptions: the bytes are a handle of the store.
    Exn,
}

impl HeapType {
    /// The hierarchy that it belongs to.
    #[must_use]
    pub fn hierarchy(self) -> Hierarchy {
        match self {
            Self::Func | Self::NoFunc | Self::Concrete(_) => Hierarchy::Func,
            Self::Extern | Self::NoExtern => Hierarchy::Extern,
            Self::Exn | Self::NoExn => Hierarchy::Exn,
        }
    }
}

/// A reference type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RefType {
    /// Whether null is a value of the type.
    pub nullable: bool,
    /// What the reference refers to.
    pub heap: HeapType,
}

impl RefType {
    /// `funcref`.
    pub const FUNCREF: Self = Self { nullable: true, heap: HeapType::Func };
    /// `externref`.
    pub const EXTERNREF: Self = Self { nullable: true, heap: HeapType::Extern };
    /// `exnref`.
    pub const EXNREF: Self = Self { nullable: true, heap: HeapType::Exn };
}

impl fmt::Display for RefType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heap = match self.heap {
            HeapType::Concrete(ty) if self.nullable => return write!(f, "(ref null {ty})"),
            HeapType::Concrete(ty) => return write!(f, "(ref {ty})"),
            HeapType::Func => "func",
            HeapType::NoFunc => "nofunc",
            HeapType::Extern => "extern",
            HeapType::NoExtern => "noextern",
            HeapType::Exn => "exn",
            HeapType::NoExn => "noexn",
        };
        match (self.nullable, heap.strip_prefix("no")) {
            (false, _) => write!(f, "(ref {heap})"),
            (true, Some(top)) => write!(f, "null{top}ref"),
            (true, None) => write!(f, "{heap}ref"),
        }
    }
}

/// A value type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 128-bit vector.
    V128,
    /// A reference.
    Ref(RefType),
}

impl ValType {
    /// `funcref`.
    pub const FUNCREF: Self = Self::Ref(RefType::FUNCREF);
    /// `externref`.
    pub const EXTERNREF: Self = Self::Ref(RefType::EXTERNREF);
    /// `exnref`.
    pub const EXNREF: Self = Self::Ref(RefType::EXNREF);
}

impl fmt::Display for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::I32 => f.write_str("i32"),
            Self::I64 => f.write_str("i64"),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::V128 => f.write_str("v128"),
            Self::Ref(ty) => ty.fmt(f),
        }
    }
}

/// A function type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FuncType {
    /// Parameter types, in order.
    pub params: Vec<ValType>,
    /// Result types, in order.
    pub results: Vec<ValType>,
}

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, types: &[ValType]| {
            f.write_str("(")?;
            for (i, ty) in types.iter().enumerate() {
                if i > 0 {
                    f.write_str(", ")?;
                }
                ty.fmt(f)?;
            }
            f.write_str(")")
        };
        list(f, &self.params)?;
        f.write_str(" -> ")?;
        list(f, &self.results)
    }
}

/// A memory type; sizes are in pages of its own page size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemoryType {
    /// Initial size in pages.
    pub min: u64,
    /// Largest size in pages, if declared.
    pub max: Option<u64>,
    /// Whether addresses are 64-bit.
    pub memory64: bool,
    /// Whether threads may share it.
    pub shared: bool,
    /// The binary logarithm of the page size: 16, or 0 with custom page sizes.
    pub page_size_log2: u32,
}

impl MemoryType {
    /// The size of a page in bytes.
    #[must_use]
    pub const fn page_size(&self) -> u64 {
        1 << self.page_size_log2
    }
}

/// A table type; sizes are in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableType {
    /// What the table holds.
    pub element: RefType,
    /// Initial size.
    pub min: u64,
    /// Largest size, if declared.
    pub max: Option<u64>,
    /// Whether indices are 64-bit.
    pub table64: bool,
}

/// A global type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GlobalType {
    /// The type of its value.
    pub value: ValType,
    /// Whether it may be assigned.
    pub mutable: bool,
}
