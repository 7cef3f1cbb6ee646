//! Types of different modules, compared.
//!
//! Invariant: a type index means something in one module only, so a type is compared together with
//! the code file of the module that it was taken from; concrete types are equal when their digests
//! are, and subtypes as they declare.

use executor_code::file::CodeFile;
use executor_model::{HeapType, Hierarchy, RefType, ValType};

/// A type, and the code file of the module that its indices belong to.
pub(crate) struct Scoped<'a, B, T> {
    pub(crate) code: &'a CodeFile<B>,
    pub(crate) ty: T,
}

impl<'a, B: AsRef<[u8]>, T> Scoped<'a, B, T> {
    pub(crate) fn new(code: &'a CodeFile<B>, ty: T) -> Self {
        Self { code, ty }
    }
}

impl<B: AsRef<[u8]>> Scoped<'_, B, HeapType> {
    fn is_subtype_of(&self, other: &Self) -> bool {
        match (self.ty, other.ty) {
            (a, b) if let (Some(a), Some(b)) = (a.index(), b.index()) => {
                other.code.type_digest(b).is_some_and(|b| self.code.is_subtype(a, b))
            }
            (HeapType::NoFunc, HeapType::Func | HeapType::ConcreteFunc(_))
            | (HeapType::ConcreteFunc(_), HeapType::Func)
            | (HeapType::NoExtern, HeapType::Extern)
            | (HeapType::NoExn, HeapType::Exn) => true,
            (HeapType::None, other) => other.hierarchy() == Hierarchy::Any,
            (
                HeapType::Eq
                | HeapType::I31
                | HeapType::Struct
                | HeapType::ConcreteStruct(_)
                | HeapType::Array
                | HeapType::ConcreteArray(_),
                HeapType::Any,
            )
            | (
                HeapType::I31
                | HeapType::Struct
                | HeapType::ConcreteStruct(_)
                | HeapType::Array
                | HeapType::ConcreteArray(_),
                HeapType::Eq,
            )
            | (HeapType::ConcreteStruct(_), HeapType::Struct)
            | (HeapType::ConcreteArray(_), HeapType::Array) => true,
            (a, b) => a == b,
        }
    }
}

impl<B: AsRef<[u8]>> Scoped<'_, B, RefType> {
    /// Whether every value of this type is one of the other.
    pub(crate) fn is_subtype_of(&self, other: &Self) -> bool {
        let heap = Scoped::new(self.code, self.ty.heap);
        (other.ty.nullable || !self.ty.nullable)
            && heap.is_subtype_of(&Scoped::new(other.code, other.ty.heap))
    }

    /// Whether the types have the same values.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.is_subtype_of(other) && other.is_subtype_of(self)
    }
}

impl<B: AsRef<[u8]>> Scoped<'_, B, ValType> {
    /// Whether every value of this type is one of the other.
    pub(crate) fn is_subtype_of(&self, other: &Self) -> bool {
        match (self.ty, other.ty) {
            (ValType::Ref(a), ValType::Ref(b)) => {
                Scoped::new(self.code, a).is_subtype_of(&Scoped::new(other.code, b))
            }
            (a, b) => a == b,
        }
    }

    /// Whether a global of this type can be imported as one of the other; one that is assigned
    /// to must be of the very type.
    pub(crate) fn fits(&self, other: &Self, mutable: bool) -> bool {
        self.is_subtype_of(other) && (!mutable || other.is_subtype_of(self))
    }
}
