//! Types of objects that a generated module declares.
//!
//! Invariant: a value of every type can be made: a field that may not be null is of a type declared before.

use fastrand::Rng;
use std::fmt::{self, Display};

/// A value type; the number is that of a type of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ty {
    I32,
    I64,
    F32,
    F64,
    V128,
    Any,
    Eq,
    I31,
    Struct,
    Array,
    Extern,
    Func,
    /// May be null.
    Ref(usize),
    /// May not.
    NonNull(usize),
}

/// What is in any module, whatever types of objects it has.
pub const PLAIN: &[Ty] = &[
    Ty::I32,
    Ty::I64,
    Ty::F32,
    Ty::F64,
    Ty::V128,
    Ty::Any,
    Ty::Eq,
    Ty::I31,
    Ty::Struct,
    Ty::Array,
    Ty::Extern,
    Ty::Func,
];

impl Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::V128 => "v128",
            Self::Any => "anyref",
            Self::Eq => "eqref",
            Self::I31 => "i31ref",
            Self::Struct => "structref",
            Self::Array => "arrayref",
            Self::Extern => "externref",
            Self::Func => "funcref",
            Self::Ref(k) => return write!(f, "(ref null $o{k})"),
            Self::NonNull(k) => return write!(f, "(ref $o{k})"),
        })
    }
}

impl Ty {
    /// Zero or null; none where it may not be null.
    pub fn zero(self) -> Option<String> {
        Some(match self {
            Self::I32 | Self::I64 | Self::F32 | Self::F64 => format!("({self}.const 0)"),
            Self::V128 => "(v128.const i64x2 0 0)".to_owned(),
            Self::Any | Self::Eq => "(ref.null none)".to_owned(),
            Self::I31 => "(ref.null i31)".to_owned(),
            Self::Struct => "(ref.null struct)".to_owned(),
            Self::Array => "(ref.null array)".to_owned(),
            Self::Extern => "(ref.null noextern)".to_owned(),
            Self::Func => "(ref.null nofunc)".to_owned(),
            Self::Ref(k) => format!("(ref.null $o{k})"),
            Self::NonNull(_) => return None,
        })
    }
}

/// What a field or element is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    I8,
    I16,
    Val(Ty),
}

impl Storage {
    pub fn unpacked(self) -> Ty {
        match self {
            Self::I8 | Self::I16 => Ty::I32,
            Self::Val(ty) => ty,
        }
    }
}

impl Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::I8 => f.write_str("i8"),
            Self::I16 => f.write_str("i16"),
            Self::Val(ty) => ty.fmt(f),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub storage: Storage,
    pub mutable: bool,
}

/// A type of objects.
#[derive(Debug, Clone)]
pub struct Object {
    pub supertype: Option<usize>,
    pub array: bool,
    /// Of an array, its elements.
    pub fields: Vec<Field>,
}

/// The types of objects of a module.
#[derive(Debug)]
pub struct Types {
    pub all: Vec<Object>,
    /// Whether all are one recursion group.
    one_group: bool,
}

impl Types {
    pub fn new(rng: &mut Rng) -> Self {
        let count = rng.usize(4..10);
        let mut types = Self { all: Vec::new(), one_group: rng.bool() };
        for k in 0..count {
            // The first are a structure and an array.
            let supertype = (k > 1 && rng.bool()).then(|| rng.usize(..k));
            let array =
                supertype.map_or(k == 1 || k > 1 && rng.u8(..3) == 0, |of| types.all[of].array);
            let mut fields = supertype.map_or_else(Vec::new, |of| types.all[of].fields.clone());
            let more = if array { usize::from(fields.is_empty()) } else { rng.usize(..5) };
            let more: Vec<Field> = (0..more).map(|_| types.field(rng, k, count)).collect();
            fields.extend(more);
            types.all.push(Object { supertype, array, fields });
        }
        types
    }

    /// A field of the type `k` of so many.
    fn field(&self, rng: &mut Rng, k: usize, count: usize) -> Field {
        let up_to = if self.one_group { count } else { k + 1 };
        let storage = match rng.u8(..12) {
            0 => Storage::I8,
            1 => Storage::I16,
            2 if k > 0 => Storage::Val(Ty::NonNull(rng.usize(..k))),
            3..=6 => Storage::Val(Ty::Ref(rng.usize(..up_to))),
            _ => Storage::Val(*rng.choice(PLAIN).expect("some")),
        };
        Field { storage, mutable: rng.u8(..4) > 0 }
    }

    /// Whether one is another or a subtype of it.
    pub fn is(&self, one: usize, other: usize) -> bool {
        std::iter::successors(Some(one), |k| self.all[*k].supertype).any(|k| k == other)
    }

    /// One that is a type or a subtype of it.
    pub fn subtype(&self, rng: &mut Rng, of: usize) -> usize {
        let all: Vec<usize> = (0..self.all.len()).filter(|k| self.is(*k, of)).collect();
        *rng.choice(&all).expect("itself")
    }

    /// A type, if there is one of the kind.
    pub fn of_kind(&self, rng: &mut Rng, array: bool) -> usize {
        let all: Vec<usize> = (0..self.all.len()).filter(|k| self.all[*k].array == array).collect();
        *rng.choice(&all).expect("one of each")
    }

    /// The types and fields that hold a value of a type.
    pub fn holding(&self, ty: Ty) -> Vec<(usize, usize)> {
        let all = self.all.iter().enumerate();
        all.flat_map(|(k, of)| {
            let fields = of.fields.iter().enumerate();
            fields.filter(|(_, field)| field.storage.unpacked() == ty).map(move |(f, _)| (k, f))
        })
        .collect()
    }

    pub fn text(&self) -> String {
        let field = |field: &Field| match field.mutable {
            true => format!("(mut {})", field.storage),
            false => field.storage.to_string(),
        };
        let one = |(k, ty): (usize, &Object)| {
            let fields: Vec<String> = ty.fields.iter().map(field).collect();
            let composite = match ty.array {
                true => format!("(array {})", fields[0]),
                false => {
                    let fields = fields.iter().map(|field| format!("(field {field})"));
                    format!("(struct {})", fields.collect::<String>())
                }
            };
            let supertype = ty.supertype.map_or_else(String::new, |of| format!("$o{of}"));
            format!("(type $o{k} (sub {supertype} {composite}))\n")
        };
        let all: String = self.all.iter().enumerate().map(one).collect();
        if self.one_group { format!("(rec {all})\n") } else { all }
    }
}
