//! Values as a host sees them ([`Val`]) and as machine code passes them ([`RawValue`]).

use crate::{FuncRef, Hierarchy, ObjectBits, ObjectRef, StoreId, ValType};
use std::{fmt, num::NonZeroU64};

/// One argument or result in the array that host and machine code exchange: 16 bytes,
/// little-endian, narrower values in the low bytes and the rest unspecified.
#[repr(C, align(16))]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct RawValue(pub u128);

impl RawValue {
    /// The value of a type, with zeroes above its own bits.
    #[must_use]
    pub fn truncated(self, ty: ValType) -> Self {
        Self(match ty {
            ValType::I32 | ValType::F32 => self.0 & 0xffff_ffff,
            ValType::I64 | ValType::F64 | ValType::Ref(_) => self.0 & 0xffff_ffff_ffff_ffff,
            ValType::V128 => self.0,
        })
    }
}

impl fmt::Debug for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A WebAssembly value. Floats are kept as bits, so NaN payloads survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Val {
    /// 32-bit integer.
    I32(i32),
    /// 64-bit integer.
    I64(i64),
    /// The bits of a 32-bit float.
    F32(u32),
    /// The bits of a 64-bit float.
    F64(u64),
    /// 128-bit vector.
    V128(u128),
    /// A function reference or null.
    FuncRef(Option<FuncRef>),
    /// A host value, what a guest handed out as one, or null.
    ExternRef(Option<ExternRef>),
    /// An exception's handle in its store, or null.
    ExnRef(Option<NonZeroU64>),
    /// An object, a small integer, a host value that a guest took in, or null.
    AnyRef(Option<AnyRef>),
}

/// A reference of the hierarchy `extern` other than null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExternRef {
    /// A host value's handle in its store.
    Host(NonZeroU64),
    /// An object that a guest handed out (`extern.convert_any`).
    Object(ObjectRef),
    /// A small integer that a guest handed out, sign-extended.
    I31(i32),
}

/// A reference of the hierarchy `any` other than null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnyRef {
    /// A structure or an array.
    Object(ObjectRef),
    /// A small integer, sign-extended from 31 bits.
    I31(i32),
    /// A host value's handle in its store, which a guest took in (`any.convert_extern`).
    Host(NonZeroU64),
}

impl From<ExternRef> for AnyRef {
    fn from(reference: ExternRef) -> Self {
        match reference {
            ExternRef::Host(handle) => Self::Host(handle),
            ExternRef::Object(object) => Self::Object(object),
            ExternRef::I31(value) => Self::I31(value),
        }
    }
}

impl From<AnyRef> for ExternRef {
    fn from(reference: AnyRef) -> Self {
        match reference {
            AnyRef::Host(handle) => Self::Host(handle),
            AnyRef::Object(object) => Self::Object(object),
            AnyRef::I31(value) => Self::I31(value),
        }
    }
}

/// As text: what is shown for a number is read back as it (NaN payloads aside).
impl fmt::Display for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::I32(v) => v.fmt(f),
            Self::I64(v) => v.fmt(f),
            Self::F32(bits) => f32::from_bits(*bits).fmt(f),
            Self::F64(bits) => f64::from_bits(*bits).fmt(f),
            Self::V128(v) => v.fmt(f),
            Self::FuncRef(None) => f.write_str("<null funcref>"),
            Self::FuncRef(Some(_)) => f.write_str("<funcref>"),
            Self::ExternRef(None) => f.write_str("<null externref>"),
            Self::ExternRef(Some(_)) => f.write_str("<externref>"),
            Self::ExnRef(None) => f.write_str("<null exnref>"),
            Self::ExnRef(Some(_)) => f.write_str("<exnref>"),
            Self::AnyRef(None) => f.write_str("<null anyref>"),
            Self::AnyRef(Some(AnyRef::I31(value))) => write!(f, "<i31 {value}>"),
            Self::AnyRef(Some(_)) => f.write_str("<anyref>"),
        }
    }
}

impl Val {
    /// The value's type; of a reference, the top of its hierarchy.
    #[must_use]
    pub fn ty(&self) -> ValType {
        match self {
            Self::I32(_) => ValType::I32,
            Self::I64(_) => ValType::I64,
            Self::F32(_) => ValType::F32,
            Self::F64(_) => ValType::F64,
            Self::V128(_) => ValType::V128,
            Self::FuncRef(_) => ValType::FUNCREF,
            Self::ExternRef(_) => ValType::EXTERNREF,
            Self::ExnRef(_) => ValType::EXNREF,
            Self::AnyRef(_) => ValType::ANYREF,
        }
    }

    /// Zero or null of a type.
    #[must_use]
    pub fn default_of(ty: ValType) -> Self {
        Self::from_raw(RawValue::default(), ty, |_| unreachable!("null is no object"))
    }

    /// The value as a store gives it out: a function reference is of that store.
    #[must_use]
    pub fn of(self, store: StoreId) -> Self {
        match self {
            Self::FuncRef(Some(func)) => Self::FuncRef(Some(func.of(store))),
            other => other,
        }
    }

    /// The value as machine code passes it. `offset` says where an object lies in the heap, if the store has it.
    #[must_use]
    pub fn to_raw(self, offset: impl FnOnce(ObjectRef) -> Option<u32>) -> Option<RawValue> {
        let any = |reference: Option<AnyRef>| {
            let Some(reference) = reference else { return Some(0) };
            let bits = match reference {
                AnyRef::Object(object) => ObjectBits::Object(offset(object)?),
                AnyRef::I31(value) => ObjectBits::I31(value as u32 & ((1 << 31) - 1)),
                AnyRef::Host(handle) => {
                    let handle = Some(handle.get()).filter(|n| *n <= ObjectBits::MAX_HOST)?;
                    ObjectBits::Host(handle as u32)
                }
            };
            Some(u128::from(bits.to_bits()))
        };
        Some(RawValue(match self {
            Self::I32(v) => u128::from(v as u32),
            Self::I64(v) => u128::from(v as u64),
            Self::F32(v) => u128::from(v),
            Self::F64(v) => u128::from(v),
            Self::V128(v) => v,
            Self::FuncRef(r) => u128::from(r.map_or(0, FuncRef::to_bits)),
            Self::ExnRef(r) => u128::from(r.map_or(0, NonZeroU64::get)),
            Self::ExternRef(r) => any(r.map(AnyRef::from))?,
            Self::AnyRef(r) => any(r)?,
        }))
    }

    /// Reads a value of type `ty`; only the bytes that belong to `ty` are looked at. `object` makes a handle of the
    /// object at an offset of the heap.
    #[must_use]
    pub fn from_raw(raw: RawValue, ty: ValType, object: impl FnOnce(u32) -> ObjectRef) -> Self {
        let low = raw.0 as u64;
        let any = |bits| {
            Some(match ObjectBits::from_bits(bits)? {
                ObjectBits::Object(offset) => AnyRef::Object(object(offset)),
                ObjectBits::I31(value) => AnyRef::I31((value << 1) as i32 >> 1),
                ObjectBits::Host(handle) => AnyRef::Host(NonZeroU64::new(handle.into())?),
            })
        };
        match ty {
            ValType::I32 => Self::I32(low as i32),
            ValType::I64 => Self::I64(low as i64),
            ValType::F32 => Self::F32(low as u32),
            ValType::F64 => Self::F64(low),
            ValType::V128 => Self::V128(raw.0),
            ValType::Ref(r) => match r.heap.hierarchy() {
                Hierarchy::Func => Self::FuncRef(FuncRef::from_bits(low)),
                Hierarchy::Exn => Self::ExnRef(NonZeroU64::new(low)),
                Hierarchy::Extern => Self::ExternRef(any(low).map(ExternRef::from)),
                Hierarchy::Any => Self::AnyRef(any(low)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_numbers() {
        assert_eq!(Val::I32(-1).to_string(), "-1");
        assert_eq!(Val::F64(0.1f64.to_bits()).to_string(), "0.1");
        assert_eq!(Val::F32(f32::INFINITY.to_bits()).to_string(), "inf");
        assert_eq!(Val::FuncRef(None).to_string(), "<null funcref>");
    }
}
