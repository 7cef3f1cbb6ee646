//! Objects: where the fields of structures and the elements of arrays lie, and how their types are numbered.
//!
//! Invariant: all of it is a pure function of the module's declarations. A type's fields lie where those of its
//! supertype do, and others behind them. The *numbers* of a type and of all its subtypes follow each other, so
//! whether an object is of a type is one subtraction and one comparison. (Schubert, Papalaskaris and Taugher,
//! "Determining type, part, color, and time relationships", 1983.)
//!
//! An object begins with a word:
//!
//! ```text
//! bits 40..64  the instance whose module's type it is
//!      20..40  the number of the type there
//!       1..20  0
//!           0  1 for an array
//! ```
//!
//! The fields of a structure follow, each at a multiple of its size (of 8 for a vector). The word of an array is
//! followed by its length (u32) and its elements. References of the hierarchies `any` and `extern` take 4 bytes,
//! others 8. Objects lie at multiples of 8 and are zero where nothing is stored.

use crate::layout::align_up;
use executor_model::{CompositeType, FuncRef, ModuleInfo, StorageType, TypeIndex, ValType};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where the first field of a structure can lie.
pub const HEADER: u32 = 8;
/// Where an array holds its length.
pub const ARRAY_LENGTH: u32 = 8;
/// The bit at which the number of the type begins in an object's word.
pub const NUMBER_SHIFT: u32 = FuncRef::TYPE_SHIFT;
/// The bit of an object's word that is set in an array.
pub const ARRAY: u64 = 1;
/// Stands for the type of the arrays that hold the items of element segments, which no module declares.
pub const ITEMS: u32 = FuncRef::MAX_INDEX;

/// How many bytes a field or element takes.
#[must_use]
pub fn size_of_storage(storage: StorageType) -> u32 {
    match storage {
        StorageType::I8 => 1,
        StorageType::I16 => 2,
        StorageType::Val(ValType::I32 | ValType::F32) => 4,
        StorageType::Val(ValType::V128) => 16,
        _ if storage.holds_objects() => 4,
        StorageType::Val(_) => 8,
    }
}

fn alignment(size: u32) -> u64 {
    u64::from(size.min(8))
}

/// Where the elements of an array begin, by their size.
#[must_use]
#[inline]
pub fn elements_at(size: u32) -> u32 {
    align_up(u64::from(ARRAY_LENGTH) + 4, alignment(size)) as u32
}

/// How many bytes an array takes.
#[must_use]
#[inline]
pub fn array_size(element: u32, len: u32) -> u64 {
    align_up(u64::from(elements_at(element)) + u64::from(element) * u64::from(len), 8)
}

/// What a type of objects is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectType {
    /// Its number.
    pub number: u32,
    /// The last number of its subtypes, itself included.
    pub last: u32,
    /// Where its fields lie.
    pub shape: Shape,
}

/// Where the fields of a type lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A structure.
    Struct {
        /// Where each field lies.
        fields: Vec<u32>,
        /// How many bytes it takes, a multiple of 8.
        size: u32,
    },
    /// An array, by the size of its elements.
    Array {
        /// In bytes.
        element: u32,
    },
}

/// The types of objects of a module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectTypes(Vec<Option<ObjectType>>);

impl ObjectTypes {
    /// Those of a module.
    #[must_use]
    pub fn of(info: &ModuleInfo) -> Self {
        if !info.has_objects() {
            return Self::default();
        }
        let declares =
            |i: usize| info.canonical[i] as usize == i && info.types[i].as_func().is_none();
        // How many subtypes each has, itself included: they are declared behind it.
        let mut sizes: Vec<u32> = (0..info.types.len()).map(|i| u32::from(declares(i))).collect();
        for i in (0..info.types.len()).rev().filter(|i| declares(*i)) {
            if let Some(supertype) = info.declarations[i].supertype {
                sizes[supertype as usize] += sizes[i];
            }
        }
        // Where the numbers of the next subtype of each begin.
        let mut next = vec![0; info.types.len()];
        let mut roots = 0;
        let types = (0..info.types.len()).map(|i| {
            if !declares(i) {
                return None;
            }
            let from = match info.declarations[i].supertype {
                Some(supertype) => &mut next[supertype as usize],
                None => &mut roots,
            };
            let number = *from;
            *from += sizes[i];
            next[i] = number + 1;
            Some(ObjectType {
                number,
                last: number + sizes[i] - 1,
                shape: Shape::of(&info.types[i])?,
            })
        });
        Self(types.collect())
    }

    /// A type, by its canonical index; `None` for one of functions.
    #[must_use]
    pub fn get(&self, ty: TypeIndex) -> Option<&ObjectType> {
        self.0.get(ty as usize)?.as_ref()
    }

    /// The records of a code file, by number, and what they refer to.
    #[must_use]
    pub fn records(&self, info: &ModuleInfo) -> (Vec<ObjectRecord>, Vec<u32>) {
        let types = self.0.iter().enumerate().filter_map(|(i, ty)| Some((i, ty.as_ref()?)));
        let mut types: Vec<(usize, &ObjectType)> = types.collect();
        types.sort_unstable_by_key(|(_, ty)| ty.number);
        let (mut records, mut references) = (Vec::with_capacity(types.len()), Vec::new());
        for (i, ty) in types {
            let holds = info.types[i].fields().iter().map(|field| field.storage.holds_objects());
            let first = references.len() as u32;
            let (size, kind) = match &ty.shape {
                Shape::Struct { fields, size } => {
                    let held = fields.iter().zip(holds).filter(|(_, holds)| *holds);
                    references.extend(held.map(|(at, _)| *at));
                    (*size, ObjectRecord::STRUCT)
                }
                Shape::Array { element } => match holds.into_iter().any(|holds| holds) {
                    true => (*element, ObjectRecord::ARRAY_OF_REFERENCES),
                    false => (*element, ObjectRecord::ARRAY),
                },
            };
            let count = references.len() as u32 - first;
            records.push(ObjectRecord { ty: i as u32, kind, size, first, count });
        }
        (records, references)
    }
}

impl Shape {
    /// That of a type; `None` for one of functions.
    #[must_use]
    pub fn of(ty: &CompositeType) -> Option<Self> {
        match ty {
            CompositeType::Func(_) => None,
            CompositeType::Struct(fields) => {
                let mut end = u64::from(HEADER);
                let fields = fields.iter().map(|field| {
                    let size = size_of_storage(field.storage);
                    let at = align_up(end, alignment(size));
                    end = at + u64::from(size);
                    at as u32
                });
                let fields = fields.collect();
                Some(Self::Struct { fields, size: align_up(end, 8) as u32 })
            }
            CompositeType::Array(element) => {
                Some(Self::Array { element: size_of_storage(element.storage) })
            }
        }
    }
}

/// A type of objects in a code file, by its number: what a collection needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ObjectRecord {
    /// Its canonical index.
    pub ty: u32,
    /// [`Self::STRUCT`], [`Self::ARRAY`] or [`Self::ARRAY_OF_REFERENCES`].
    pub kind: u32,
    /// Of a structure the bytes it takes, of an array those of an element.
    pub size: u32,
    /// Where a structure's list of fields that hold references to objects begins.
    pub first: u32,
    /// How many these are.
    pub count: u32,
}

impl ObjectRecord {
    /// A structure.
    pub const STRUCT: u32 = 0;
    /// An array whose elements refer to no objects.
    pub const ARRAY: u32 = 1;
    /// An array whose elements may.
    pub const ARRAY_OF_REFERENCES: u32 = 2;
    /// What stands for [`ITEMS`].
    pub const OF_ITEMS: Self =
        Self { ty: u32::MAX, kind: Self::ARRAY_OF_REFERENCES, size: 4, first: 0, count: 0 };

    /// Where a structure of the type holds references to objects, given the list of its code file.
    #[must_use]
    #[inline]
    pub fn references_in<'a>(&self, all: &'a [u32]) -> &'a [u32] {
        let from = all.get(self.first as usize..).unwrap_or_default();
        from.get(..self.count as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor_model::{FieldType, TypeDeclaration};

    fn info(types: &[(CompositeType, Option<u32>)]) -> ModuleInfo {
        let declaration = |supertype: &Option<u32>| TypeDeclaration {
            group_len: 1,
            is_final: false,
            supertype: *supertype,
        };
        ModuleInfo {
            types: types.iter().map(|(ty, _)| ty.clone()).collect(),
            declarations: types.iter().map(|(_, supertype)| declaration(supertype)).collect(),
            canonical: (0..types.len() as u32).collect(),
            ..ModuleInfo::default()
        }
    }

    fn structure(fields: &[StorageType]) -> CompositeType {
        let field = |storage: &StorageType| FieldType { storage: *storage, mutable: true };
        CompositeType::Struct(fields.iter().map(field).collect())
    }

    #[test]
    fn the_numbers_of_subtypes_follow_each_other() {
        let ty = || structure(&[]);
        let info = info(&[
            (ty(), None),
            (ty(), Some(0)),
            (CompositeType::Func(Default::default()), None),
            (ty(), None),
            (ty(), Some(1)),
            (ty(), Some(0)),
            (ty(), Some(3)),
        ]);
        let types = ObjectTypes::of(&info);
        let range = |i| types.get(i).map(|ty| (ty.number, ty.last));
        assert_eq!(range(0), Some((0, 3)));
        assert_eq!(range(1), Some((1, 2)));
        assert_eq!(range(2), None);
        assert_eq!(range(3), Some((4, 5)));
        assert_eq!(range(4), Some((2, 2)));
        assert_eq!(range(5), Some((3, 3)));
        assert_eq!(range(6), Some((5, 5)));
        let (records, _) = types.records(&info);
        assert_eq!(records.iter().map(|r| r.ty).collect::<Vec<_>>(), [0, 1, 4, 5, 3, 6]);
    }

    #[test]
    fn fields_of_a_subtype_lie_where_those_of_its_supertype_do() {
        use StorageType::{I8, I16, Val};
        let fields = [I8, Val(ValType::ANYREF), I16, Val(ValType::V128), Val(ValType::FUNCREF), I8];
        let mut last: Option<Vec<u32>> = None;
        for len in 0..=fields.len() {
            let Some(Shape::Struct { fields, size }) = Shape::of(&structure(&fields[..len])) else {
                panic!("a structure")
            };
            assert!(size.is_multiple_of(8) && size >= HEADER);
            if let Some(last) = &last {
                assert_eq!(fields[..last.len()], last[..]);
            }
            last = Some(fields);
        }
        assert_eq!(last, Some(vec![8, 12, 16, 24, 40, 48]));
        assert_eq!(
            (elements_at(1), elements_at(4), elements_at(8), elements_at(16)),
            (12, 12, 16, 16)
        );
        assert_eq!(array_size(16, u32::MAX), 16 + 16 * u64::from(u32::MAX));
    }
}
