//! Values as a host sees them ([`Val`]) and as machine code passes them ([`RawValue`]).

use crate::{FuncRef, Hierarchy, StoreId, ValType};
use std::fmt;

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
    /// A host value's handle in its store, or null.
    ExternRef(Option<std::num::NonZeroU64>),
    /// An exception's handle in its store, or null.
    ExnRef(Option<std::num::NonZeroU64>),
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
        }
    }

    /// Zero or null of a type.
    #[must_use]
    pub fn default_of(ty: ValType) -> Self {
        Self::from_raw(RawValue::default(), ty)
    }

    /// The value as a store gives it out: a function reference is of that store.
    #[must_use]
    pub fn of(self, store: StoreId) -> Self {
        match self {
            Self::FuncRef(Some(func)) => Self::FuncRef(Some(func.of(store))),
            other => other,
        }
    }

    /// The value as machine code passes it.
    #[must_use]
    pub fn to_raw(self) -> RawValue {
        RawValue(match self {
            Self::I32(v) => u128::from(v as u32),
            Self::I64(v) => u128::from(v as u64),
            Self::F32(v) => u128::from(v),
            Self::F64(v) => u128::from(v),
            Self::V128(v) => v,
            Self::FuncRef(r) => u128::from(r.map_or(0, FuncRef::to_bits)),
            Self::ExternRef(r) | Self::ExnRef(r) => {
                u128::from(r.map_or(0, std::num::NonZeroU64::get))
            }
        })
    }

    /// Reads a value of type `ty`; only the bytes that belong to `ty` are looked at.
    #[must_use]
    pub fn from_raw(raw: RawValue, ty: ValType) -> Self {
        let low = raw.0 as u64;
        match ty {
            ValType::I32 => Self::I32(low as i32),
            ValType::I64 => Self::I64(low as i64),
            ValType::F32 => Self::F32(low as u32),
            ValType::F64 => Self::F64(low),
            ValType::V128 => Self::V128(raw.0),
            ValType::Ref(r) => match r.heap.hierarchy() {
                Hierarchy::Func => Self::FuncRef(FuncRef::from_bits(low)),
                Hierarchy::Extern => Self::ExternRef(std::num::NonZeroU64::new(low)),
                Hierarchy::Exn => Self::ExnRef(std::num::NonZeroU64::new(low)),
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
