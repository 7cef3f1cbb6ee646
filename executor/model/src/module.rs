//! A decoded, validated module as plain data.
//!
//! Invariant: a [`Module`] is made only by a decoder that validated the bytes; indices are in
//! range and type indices canonical.

use crate::{
    FuncIndex, FuncType, GlobalIndex, GlobalType, HeapType, MemoryIndex, MemoryType, RefType,
    TableIndex, TableType, TypeIndex, ValType,
};
use serde::{Deserialize, Serialize};
use std::{fmt, ops::Range, sync::Arc};

/// The BLAKE3 hash of a module's bytes: its identity everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModuleHash(pub [u8; 32]);

impl ModuleHash {
    /// Hashes a module's bytes.
    #[must_use]
    pub fn of(wasm: &[u8]) -> Self {
        Self(*blake3::hash(wasm).as_bytes())
    }
}

impl fmt::Display for ModuleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for ModuleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A module that passed validation.
#[derive(Debug, Clone)]
pub struct Module {
    /// The hash of [`Self::bytes`].
    pub hash: ModuleHash,
    /// The binary module.
    pub bytes: Arc<[u8]>,
    /// All that is declared outside function bodies.
    pub info: Arc<ModuleInfo>,
    /// The byte ranges of the bodies of the defined functions, within [`Self::bytes`].
    pub bodies: Arc<[Range<usize>]>,
}

/// Everything a module declares outside its function bodies; written into code files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModuleInfo {
    /// The type section. Only canonical indices (see `canonical`) are used elsewhere in this struct.
    pub types: Vec<FuncType>,
    /// For each declared type, the least index of a structurally equal one.
    pub canonical: Vec<TypeIndex>,
    /// The imports, in order.
    pub imports: Vec<Import>,
    /// The canonical type of every function, imported ones first.
    pub functions: Vec<TypeIndex>,
    /// Every table, imported ones first.
    pub tables: Vec<Table>,
    /// Every memory, imported ones first.
    pub memories: Vec<MemoryType>,
    /// Every global, imported ones first.
    pub globals: Vec<Global>,
    /// The canonical function type of every tag, imported ones first; tags have no results.
    pub tags: Vec<TypeIndex>,
    /// How many of `functions` are imported.
    pub imported_functions: u32,
    /// How many of `tables` are imported.
    pub imported_tables: u32,
    /// How many of `memories` are imported.
    pub imported_memories: u32,
    /// How many of `globals` are imported.
    pub imported_globals: u32,
    /// How many of `tags` are imported.
    pub imported_tags: u32,
    /// The exports, in order.
    pub exports: Vec<Export>,
    /// The start function.
    pub start: Option<FuncIndex>,
    /// The element segments.
    pub elements: Vec<ElementSegment>,
    /// The data segments.
    pub data: Vec<DataSegment>,
    /// Names from the name section.
    pub names: ModuleNames,
}

impl ModuleInfo {
    /// The type of a function.
    ///
    /// # Panics
    /// When `func` is out of range.
    #[must_use]
    pub fn func_type(&self, func: FuncIndex) -> &FuncType {
        &self.types[self.functions[func as usize] as usize]
    }

    /// What each type is, whatever the module: equal types of all modules have equal digests. A
    /// type of this module inside another type counts by its digest, and the type itself inside
    /// itself by a mark, so it is the structure that is hashed (the specification's rolled types).
    #[must_use]
    pub fn type_digests(&self) -> Vec<[u8; 32]> {
        let mut digests: Vec<[u8; 32]> = Vec::with_capacity(self.types.len());
        for (ty, canonical) in self.types.iter().zip(&self.canonical) {
            if let Some(known) = digests.get(*canonical as usize) {
                digests.push(*known);
                continue;
            }
            let mut hasher = blake3::Hasher::new_derive_key("executor function type v1");
            for list in [&ty.params, &ty.results] {
                hasher.update(&(list.len() as u32).to_le_bytes());
                for value in list {
                    // Names of value types are unlike each other but for the index in them.
                    match value {
                        ValType::Ref(RefType { nullable, heap: HeapType::Concrete(index) }) => {
                            hasher.update(if *nullable { b"?" } else { b"!" });
                            hasher.update(digests.get(*index as usize).unwrap_or(&[0; 32]));
                        }
                        other => {
                            hasher.update(format!("{other};").as_bytes());
                        }
                    }
                }
            }
            digests.push(*hasher.finalize().as_bytes());
        }
        digests
    }

    /// The export of a name.
    #[must_use]
    pub fn export(&self, name: &str) -> Option<&Export> {
        self.exports.iter().find(|e| e.name == name)
    }
}

/// What the name section says; best effort, never checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleNames {
    /// The module's name.
    pub module: Option<String>,
    /// Function names, sorted by index.
    pub functions: Vec<(FuncIndex, String)>,
}

/// An import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// The module name.
    pub module: String,
    /// The item's name.
    pub name: String,
    /// What is imported.
    pub kind: ImportKind,
}

/// What is imported, with its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportKind {
    /// A function of this canonical type.
    Func(TypeIndex),
    /// A table.
    Table(TableType),
    /// A memory.
    Memory(MemoryType),
    /// A global.
    Global(GlobalType),
    /// A tag of this canonical function type.
    Tag(TypeIndex),
}

/// The kind of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the specification's words")]
pub enum ExternKind {
    Func,
    Table,
    Memory,
    Global,
    Tag,
}

/// An export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// Which index space `index` is in.
    pub kind: ExternKind,
    /// What it exports.
    pub index: u32,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Its type.
    pub ty: TableType,
    /// What its elements are at first; `None` is null.
    pub init: Option<ConstExpr>,
}

/// A global.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Global {
    /// Its type.
    pub ty: GlobalType,
    /// Its first value; `None` when imported.
    pub init: Option<ConstExpr>,
}

/// A constant expression, in postfix order.
pub type ConstExpr = Vec<ConstOp>;

/// One operator of a constant expression.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the specification's operators")]
pub enum ConstOp {
    I32Const(i32),
    I64Const(i64),
    F32Const(u32),
    F64Const(u64),
    V128Const(u128),
    GlobalGet(GlobalIndex),
    RefNull(RefType),
    RefFunc(FuncIndex),
    I32Add,
    I32Sub,
    I32Mul,
    I64Add,
    I64Sub,
    I64Mul,
}

/// An element segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ElementSegment {
    /// When it is used.
    pub mode: ElementMode,
    /// The type of its items.
    pub ty: RefType,
    /// Its items.
    pub items: ElementItems,
}

/// When an element segment is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ElementMode {
    /// Copied to a table at instantiation, then dropped.
    Active {
        /// The table.
        table: TableIndex,
        /// Where in the table.
        offset: ConstExpr,
    },
    /// Used by `table.init`.
    Passive,
    /// Only declares references; dropped from the beginning.
    Declared,
}

/// The items of an element segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ElementItems {
    /// References to these functions.
    Functions(Vec<FuncIndex>),
    /// The values of these expressions.
    Expressions(Vec<ConstExpr>),
}

impl ElementItems {
    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Functions(items) => items.len(),
            Self::Expressions(items) => items.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A data segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataSegment {
    /// When it is used.
    pub mode: DataMode,
    /// Where its bytes are within the module's bytes.
    pub range: Range<u64>,
}

/// When a data segment is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DataMode {
    /// Copied to a memory at instantiation, then dropped.
    Active {
        /// The memory.
        memory: MemoryIndex,
        /// Where in the memory.
        offset: ConstExpr,
    },
    /// Used by `memory.init`.
    Passive,
}
