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
    ConcreteFunc(TypeIndex),
    /// Any host value.
    Extern,
    /// No host value.
    NoExtern,
    /// Any exception.
    Exn,
    /// No exception.
    NoExn,
    /// Anything that the guest makes or is handed: objects, small integers, host values made internal.
    Any,
    /// What can be compared for identity: objects and small integers.
    Eq,
    /// A 31-bit integer.
    I31,
    /// Any structure.
    Struct,
    /// A structure of this type of the module.
    ConcreteStruct(TypeIndex),
    /// Any array.
    Array,
    /// An array of this type of the module.
    ConcreteArray(TypeIndex),
    /// Nothing of these.
    None,
}

/// The top of a hierarchy of heap types: what a reference's 8 bytes mean follows from it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hierarchy {
    /// Functions: the bytes are a [`crate::FuncRef`].
    Func,
    /// Host values, and objects handed out as such: the bytes are as of [`Self::Any`].
    Extern,
    /// Exceptions: the bytes are a handle of the store.
    Exn,
    /// Objects: the bytes are an [`crate::ObjectBits`].
    Any,
}

impl Hierarchy {
    /// The heap type that all of it are subtypes of.
    #[must_use]
    pub const fn top(self) -> HeapType {
        match self {
            Self::Func => HeapType::Func,
            Self::Extern => HeapType::Extern,
            Self::Exn => HeapType::Exn,
            Self::Any => HeapType::Any,
        }
    }

    /// Whether a reference may be one to an object, which a collection moves.
    #[must_use]
    pub const fn holds_objects(self) -> bool {
        matches!(self, Self::Any | Self::Extern)
    }
}

impl HeapType {
    /// The hierarchy that it belongs to.
    #[must_use]
    pub fn hierarchy(self) -> Hierarchy {
        match self {
            Self::Func | Self::NoFunc | Self::ConcreteFunc(_) => Hierarchy::Func,
            Self::Extern | Self::NoExtern => Hierarchy::Extern,
            Self::Exn | Self::NoExn => Hierarchy::Exn,
            Self::Any
            | Self::Eq
            | Self::I31
            | Self::Struct
            | Self::ConcreteStruct(_)
            | Self::Array
            | Self::ConcreteArray(_)
            | Self::None => Hierarchy::Any,
        }
    }

    /// The index of a concrete type.
    #[must_use]
    pub fn index(self) -> Option<TypeIndex> {
        match self {
            Self::ConcreteFunc(index)
            | Self::ConcreteStruct(index)
            | Self::ConcreteArray(index) => Some(index),
            _ => None,
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
    /// `anyref`.
    pub const ANYREF: Self = Self { nullable: true, heap: HeapType::Any };
}

impl fmt::Display for RefType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.heap.index() {
            return match self.nullable {
                true => write!(f, "(ref null {index})"),
                false => write!(f, "(ref {index})"),
            };
        }
        let heap = match self.heap {
            HeapType::ConcreteFunc(_)
            | HeapType::ConcreteStruct(_)
            | HeapType::ConcreteArray(_) => {
                unreachable!("they have an index")
            }
            HeapType::Any => "any",
            HeapType::Eq => "eq",
            HeapType::I31 => "i31",
            HeapType::Struct => "struct",
            HeapType::Array => "array",
            HeapType::None => "none",
            HeapType::Func => "func",
            HeapType::NoFunc => "nofunc",
            HeapType::Extern => "extern",
            HeapType::NoExtern => "noextern",
            HeapType::Exn => "exn",
            HeapType::NoExn => "noexn",
        };
        match (self.nullable, heap.strip_prefix("no")) {
            (false, _) => write!(f, "(ref {heap})"),
            (true, Some("ne")) => f.write_str("nullref"),
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
    /// `anyref`.
    pub const ANYREF: Self = Self::Ref(RefType::ANYREF);
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

/// What a field of a structure or an element of an array is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StorageType {
    /// The low 8 bits of an `i32`.
    I8,
    /// The low 16 bits of an `i32`.
    I16,
    /// A whole value.
    Val(ValType),
}

impl StorageType {
    /// The type of the value that is read and written.
    #[must_use]
    pub const fn unpacked(self) -> ValType {
        match self {
            Self::I8 | Self::I16 => ValType::I32,
            Self::Val(ty) => ty,
        }
    }

    /// Whether a reference to an object may be stored in it.
    #[must_use]
    pub fn holds_objects(self) -> bool {
        matches!(self, Self::Val(ValType::Ref(ty)) if ty.heap.hierarchy().holds_objects())
    }
}

impl fmt::Display for StorageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::I8 => f.write_str("i8"),
            Self::I16 => f.write_str("i16"),
            Self::Val(ty) => ty.fmt(f),
        }
    }
}

/// The type of a field of a structure, or of the elements of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FieldType {
    /// What it is stored as.
    pub storage: StorageType,
    /// Whether it may be assigned.
    pub mutable: bool,
}

/// A type of the type section.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CompositeType {
    /// Functions.
    Func(FuncType),
    /// Structures, by the types of their fields.
    Struct(Vec<FieldType>),
    /// Arrays, by the type of their elements.
    Array(FieldType),
}

impl CompositeType {
    /// The function type, if it is one.
    #[must_use]
    pub fn as_func(&self) -> Option<&FuncType> {
        match self {
            Self::Func(ty) => Some(ty),
            Self::Struct(_) | Self::Array(_) => None,
        }
    }

    /// The types of the fields of a structure, or of the elements of an array.
    #[must_use]
    pub fn fields(&self) -> &[FieldType] {
        match self {
            Self::Func(_) => &[],
            Self::Struct(fields) => fields,
            Self::Array(element) => std::slice::from_ref(element),
        }
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
