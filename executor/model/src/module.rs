//! A decoded, validated module as plain data.
//!
//! Invariant: a [`Module`] is made only by a decoder that validated the bytes; indices are in
//! range and type indices canonical.

use crate::{
    CompositeType, Features, FieldType, FuncIndex, FuncType, GlobalIndex, GlobalType, HeapType,
    MemoryIndex, MemoryType, RefType, StorageType, TableIndex, TableType, TagIndex, TypeIndex,
    ValType,
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
    /// The features that it was validated with. It may need fewer.
    pub features: Features,
}

impl Module {
    /// The most bytes of a module in the binary format.
    pub const MAX_BYTES: u64 = 1 << 30;
}

/// Everything a module declares outside its function bodies; written into code files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModuleInfo {
    /// The type section. Only canonical indices (see `canonical`) are used elsewhere in this struct.
    pub types: Vec<CompositeType>,
    /// How each type is declared, which is part of what it is.
    pub declarations: Vec<TypeDeclaration>,
    /// For each declared type, the least index of an equal one.
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
        self.func_type_at(self.functions[func as usize])
    }

    /// A function type.
    ///
    /// # Panics
    /// When `ty` is out of range, or of no function.
    #[must_use]
    pub fn func_type_at(&self, ty: TypeIndex) -> &FuncType {
        self.types[ty as usize].as_func().expect("the type of a function")
    }

    /// The heap type that a type of the type section stands for.
    ///
    /// # Panics
    /// When `index` is out of range.
    #[must_use]
    pub fn concrete(&self, index: TypeIndex) -> HeapType {
        let canonical = self.canonical[index as usize];
        match &self.types[canonical as usize] {
            CompositeType::Func(_) => HeapType::ConcreteFunc(canonical),
            CompositeType::Struct(_) => HeapType::ConcreteStruct(canonical),
            CompositeType::Array(_) => HeapType::ConcreteArray(canonical),
        }
    }

    /// Whether code of the module can have references to objects in its frames: those that it declares, or others'
    /// that are handed to it.
    #[must_use]
    pub fn holds_objects(&self) -> bool {
        let holds =
            |ty: &ValType| matches!(ty, ValType::Ref(ty) if ty.heap.hierarchy().holds_objects());
        let mut funcs = self.types.iter().filter_map(CompositeType::as_func);
        self.has_objects()
            || funcs.any(|ty| ty.params.iter().chain(&ty.results).any(holds))
            || self.globals.iter().any(|global| holds(&global.ty.value))
            || self.tables.iter().any(|table| holds(&ValType::Ref(table.ty.element)))
    }

    /// Whether instances of the module make or read objects, and so need the store's heap of them.
    #[must_use]
    pub fn has_objects(&self) -> bool {
        self.types.iter().any(|ty| ty.as_func().is_none())
    }

    /// What each type is, whatever the module: equal types of all modules have equal digests, and
    /// no others. As the specification rolls up recursive types, a group is hashed as a whole, with
    /// the types of the group by their position in it and all others by their digests.
    #[must_use]
    pub fn type_digests(&self) -> Vec<[u8; 32]> {
        let mut digests: Vec<[u8; 32]> = Vec::with_capacity(self.types.len());
        while let Some(declaration) = self.declarations.get(digests.len()) {
            let start = digests.len();
            let group = start..(start + declaration.group_len as usize).min(self.types.len());
            if self.canonical[start] as usize != start {
                // The groups of equal types are equal.
                let first = self.canonical[start] as usize;
                digests.extend_from_within(first..first + group.len());
                continue;
            }
            let mut hasher = blake3::Hasher::new_derive_key("executor type group v1");
            for i in group.clone() {
                self.hash_type(&mut hasher, i, start, &digests);
            }
            let whole = hasher.finalize();
            for position in 0..group.len() as u32 {
                let mut hasher = blake3::Hasher::new_derive_key("executor type v1");
                hasher.update(whole.as_bytes()).update(&position.to_le_bytes());
                digests.push(*hasher.finalize().as_bytes());
            }
        }
        digests
    }

    /// Hashes type `i` of the group that begins at `start`. What is variable in length says so
    /// first, so different types never hash the same bytes.
    fn hash_type(&self, hasher: &mut blake3::Hasher, i: usize, start: usize, done: &[[u8; 32]]) {
        let refer = |hasher: &mut blake3::Hasher, index: TypeIndex| match done.get(index as usize) {
            Some(digest) => drop(hasher.update(b"=").update(digest)),
            None => drop(hasher.update(b"+").update(&(index - start as u32).to_le_bytes())),
        };
        let declaration = &self.declarations[i];
        hasher.update(&[u8::from(declaration.is_final), u8::from(declaration.supertype.is_some())]);
        if let Some(supertype) = declaration.supertype {
            refer(hasher, supertype);
        }
        let hash_value = |hasher: &mut blake3::Hasher, ty: &ValType| match ty {
            ValType::Ref(RefType { nullable, heap }) if heap.index().is_some() => {
                hasher.update(if *nullable { b"?" } else { b"!" });
                heap.index().into_iter().for_each(|index| refer(hasher, index));
            }
            other => drop(hasher.update(format!("{other};").as_bytes())),
        };
        let hash_field = |hasher: &mut blake3::Hasher, field: &FieldType| {
            hasher.update(if field.mutable { b"m" } else { b"c" });
            match &field.storage {
                StorageType::Val(ty) => hash_value(hasher, ty),
                packed => drop(hasher.update(format!("{packed};").as_bytes())),
            }
        };
        match &self.types[i] {
            CompositeType::Func(ty) => {
                hasher.update(b"f");
                for list in [&ty.params, &ty.results] {
                    hasher.update(&(list.len() as u32).to_le_bytes());
                    list.iter().for_each(|ty| hash_value(hasher, ty));
                }
            }
            CompositeType::Struct(fields) => {
                hasher.update(b"s").update(&(fields.len() as u32).to_le_bytes());
                fields.iter().for_each(|field| hash_field(hasher, field));
            }
            CompositeType::Array(element) => {
                hasher.update(b"a");
                hash_field(hasher, element);
            }
        }
    }

    /// The export of a name.
    #[must_use]
    pub fn export(&self, name: &str) -> Option<&Export> {
        self.exports.iter().find(|e| e.name == name)
    }
}

/// How a type is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeDeclaration {
    /// How many types there are from the first of its recursion group to the last; said by each.
    pub group_len: u32,
    /// Whether it has no subtypes.
    pub is_final: bool,
    /// The canonical index of the type that it declares itself a subtype of.
    pub supertype: Option<TypeIndex>,
}

/// What the name section says; best effort, never checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleNames {
    /// The module's name.
    pub module: Option<String>,
    /// Function names, sorted by index.
    pub functions: Vec<(FuncIndex, String)>,
    /// Tag names, sorted by index.
    pub tags: Vec<(TagIndex, String)>,
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

/// Whether evaluating a constant expression makes an object: each time another one.
#[must_use]
pub fn makes_objects(expr: &ConstExpr) -> bool {
    let makes = |op: &ConstOp| {
        matches!(
            op,
            ConstOp::StructNew(_)
                | ConstOp::StructNewDefault(_)
                | ConstOp::ArrayNew(_)
                | ConstOp::ArrayNewDefault(_)
                | ConstOp::ArrayNewFixed(..)
        )
    };
    expr.iter().any(makes)
}

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
    RefI31,
    StructNew(TypeIndex),
    StructNewDefault(TypeIndex),
    ArrayNew(TypeIndex),
    ArrayNewDefault(TypeIndex),
    ArrayNewFixed(TypeIndex, u32),
    AnyConvertExtern,
    ExternConvertAny,
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

impl ElementSegment {
    /// Whether its items are objects that it makes: once, at instantiation.
    #[must_use]
    pub fn makes_objects(&self) -> bool {
        match &self.items {
            ElementItems::Functions(_) => false,
            ElementItems::Expressions(items) => items.iter().any(makes_objects),
        }
    }
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
