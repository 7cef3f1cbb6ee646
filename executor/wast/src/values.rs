//! Values and result patterns of scripts.
//!
//! Invariant: a pattern is compared bit for bit, so the sign and payload of a NaN count wherever
//! the script names them. A pattern of a feature that the engine lacks matches nothing.

use executor_model::{AnyRef, CompositeType, ExternRef, Hierarchy, Val};
use executor_runtime::Store;
use wast::{
    WastArg, WastRet,
    core::{AbstractHeapType, HeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore},
    token::{F32, F64, Index},
};

/// The value of an argument. A `ref.extern n` becomes a host value of `store` that holds `n`.
pub(crate) fn argument(store: &mut Store, arg: &WastArg<'_>) -> Result<Val, String> {
    let WastArg::Core(core) = arg else {
        return Err(unsupported(arg));
    };
    Ok(match core {
        WastArgCore::I32(v) => Val::I32(*v),
        WastArgCore::I64(v) => Val::I64(*v),
        WastArgCore::F32(v) => Val::F32(v.bits),
        WastArgCore::F64(v) => Val::F64(v.bits),
        WastArgCore::V128(v) => Val::V128(u128::from_le_bytes(v.to_le_bytes())),
        WastArgCore::RefNull(heap) => match hierarchy(heap) {
            Some(Hierarchy::Func) => Val::FuncRef(None),
            Some(Hierarchy::Extern) => Val::ExternRef(None),
            Some(Hierarchy::Exn) => Val::ExnRef(None),
            Some(Hierarchy::Any) => Val::AnyRef(None),
            None => return Err(unsupported(arg)),
        },
        WastArgCore::RefExtern(n) => Val::ExternRef(Some(ExternRef::Host(store.new_extern(*n)))),
        WastArgCore::RefHost(n) => Val::AnyRef(Some(AnyRef::Host(store.new_extern(*n)))),
    })
}

/// Whether `results` are as many as, and match, the `expected` patterns.
pub(crate) fn check(
    store: &Store,
    results: &[Val],
    expected: &[WastRet<'_>],
) -> Result<(), String> {
    let fits = results.len() == expected.len()
        && results.iter().zip(expected).all(|(result, pattern)| match pattern {
            WastRet::Core(pattern) => matches(store, *result, pattern),
            _ => false,
        });
    if fits {
        return Ok(());
    }
    let results: Vec<_> = results.iter().map(|v| describe(store, *v)).collect();
    Err(format!("expected {expected:?}, got [{}]", results.join(", ")))
}

fn matches(store: &Store, result: Val, pattern: &WastRetCore<'_>) -> bool {
    match (pattern, result) {
        (WastRetCore::I32(v), Val::I32(r)) => *v == r,
        (WastRetCore::I64(v), Val::I64(r)) => *v == r,
        (WastRetCore::F32(p), Val::F32(r)) => f32_matches(p, r),
        (WastRetCore::F64(p), Val::F64(r)) => f64_matches(p, r),
        (WastRetCore::V128(p), Val::V128(r)) => v128_matches(p, r),
        (WastRetCore::RefNull(None), result) => null(result).is_some(),
        (WastRetCore::RefNull(Some(heap)), result) => {
            hierarchy(heap).is_some_and(|wanted| null(result) == Some(wanted))
        }
        (WastRetCore::RefExtern(None), Val::ExternRef(Some(_))) => true,
        (WastRetCore::RefExtern(Some(n)), Val::ExternRef(Some(ExternRef::Host(handle))))
        | (WastRetCore::RefHost(n), Val::AnyRef(Some(AnyRef::Host(handle)))) => {
            store.extern_value(handle).and_then(|v| v.downcast_ref()) == Some(n)
        }
        (WastRetCore::RefAny, Val::AnyRef(Some(_))) => true,
        (WastRetCore::RefEq, Val::AnyRef(Some(any))) => !matches!(any, AnyRef::Host(_)),
        (WastRetCore::RefI31, Val::AnyRef(Some(any))) => matches!(any, AnyRef::I31(_)),
        (WastRetCore::RefStruct | WastRetCore::RefArray, Val::AnyRef(Some(AnyRef::Object(o)))) => {
            let array = matches!(pattern, WastRetCore::RefArray);
            store.object_type(o).is_ok_and(|o| matches!(o.ty, CompositeType::Array(_)) == array)
        }
        (WastRetCore::RefFunc(None), Val::FuncRef(Some(_))) => true,
        (WastRetCore::RefFunc(Some(Index::Num(n, _))), Val::FuncRef(Some(f))) => f.func() == *n,
        (WastRetCore::Either(patterns), _) => patterns.iter().any(|p| matches(store, result, p)),
        _ => false,
    }
}

fn f32_matches(pattern: &NanPattern<F32>, bits: u32) -> bool {
    const CANONICAL: u32 = 0x7fc0_0000;
    match pattern {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff == CANONICAL,
        NanPattern::ArithmeticNan => bits & CANONICAL == CANONICAL,
        NanPattern::Value(v) => v.bits == bits,
    }
}

fn f64_matches(pattern: &NanPattern<F64>, bits: u64) -> bool {
    const CANONICAL: u64 = 0x7ff8_0000_0000_0000;
    match pattern {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff_ffff_ffff == CANONICAL,
        NanPattern::ArithmeticNan => bits & CANONICAL == CANONICAL,
        NanPattern::Value(v) => v.bits == bits,
    }
}

fn v128_matches(pattern: &V128Pattern, bits: u128) -> bool {
    // Lane 0 is in the low bits.
    fn lanes<P>(patterns: &[P], bits: u128, matches: impl Fn(&P, u64) -> bool) -> bool {
        let width = 128 / patterns.len();
        let mask = u128::MAX >> (128 - width);
        patterns.iter().enumerate().all(|(i, p)| matches(p, (bits >> (i * width) & mask) as u64))
    }
    match pattern {
        V128Pattern::I8x16(v) => lanes(v, bits, |p, lane| *p == lane as i8),
        V128Pattern::I16x8(v) => lanes(v, bits, |p, lane| *p == lane as i16),
        V128Pattern::I32x4(v) => lanes(v, bits, |p, lane| *p == lane as i32),
        V128Pattern::I64x2(v) => lanes(v, bits, |p, lane| *p == lane as i64),
        V128Pattern::F32x4(v) => lanes(v, bits, |p, lane| f32_matches(p, lane as u32)),
        V128Pattern::F64x2(v) => lanes(v, bits, f64_matches),
    }
}

/// The hierarchy of a heap type, if the engine has it.
fn hierarchy(heap: &HeapType<'_>) -> Option<Hierarchy> {
    match heap {
        HeapType::Abstract { ty, .. } => match ty {
            AbstractHeapType::Func | AbstractHeapType::NoFunc => Some(Hierarchy::Func),
            AbstractHeapType::Extern | AbstractHeapType::NoExtern => Some(Hierarchy::Extern),
            AbstractHeapType::Exn | AbstractHeapType::NoExn => Some(Hierarchy::Exn),
            AbstractHeapType::Any
            | AbstractHeapType::Eq
            | AbstractHeapType::I31
            | AbstractHeapType::Struct
            | AbstractHeapType::Array
            | AbstractHeapType::None => Some(Hierarchy::Any),
            _ => None,
        },
        // Scripts name no others.
        HeapType::Concrete(_) => Some(Hierarchy::Func),
        HeapType::Exact(_) => None,
    }
}

/// The hierarchy of a null reference; `None` for any other value.
fn null(value: Val) -> Option<Hierarchy> {
    match value {
        Val::FuncRef(None) => Some(Hierarchy::Func),
        Val::ExternRef(None) => Some(Hierarchy::Extern),
        Val::ExnRef(None) => Some(Hierarchy::Exn),
        Val::AnyRef(None) => Some(Hierarchy::Any),
        _ => None,
    }
}

fn unsupported(arg: &WastArg<'_>) -> String {
    format!("the engine has no values of the kind {arg:?}")
}

/// A value for a message: floats with their bits, host values by their number.
fn describe(store: &Store, value: Val) -> String {
    match value {
        Val::F32(bits) => format!("F32({:?} = {bits:#010x})", f32::from_bits(bits)),
        Val::F64(bits) => format!("F64({:?} = {bits:#018x})", f64::from_bits(bits)),
        Val::V128(bits) => format!("V128({bits:#034x})"),
        Val::FuncRef(Some(f)) => format!("FuncRef({f})"),
        Val::ExternRef(Some(ExternRef::Host(handle))) => {
            match store.extern_value(handle).and_then(|v| v.downcast_ref::<u32>()) {
                Some(n) => format!("RefExtern({n})"),
                None => format!("RefExtern(unknown handle {handle})"),
            }
        }
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32_value(v: f32) -> NanPattern<F32> {
        NanPattern::Value(F32 { bits: v.to_bits() })
    }

    #[test]
    fn a_canonical_nan_has_only_the_quiet_bit_of_its_payload() {
        for bits in [0x7fc0_0000, 0xffc0_0000] {
            assert!(f32_matches(&NanPattern::CanonicalNan, bits));
        }
        assert!(!f32_matches(&NanPattern::CanonicalNan, 0x7fc0_0001));
        assert!(f64_matches(&NanPattern::CanonicalNan, 0xfff8_0000_0000_0000));
        assert!(!f64_matches(&NanPattern::CanonicalNan, 0x7ff8_0000_0000_0001));
    }

    #[test]
    fn an_arithmetic_nan_has_the_quiet_bit_and_any_payload() {
        assert!(f32_matches(&NanPattern::ArithmeticNan, 0x7fc0_0001));
        assert!(!f32_matches(&NanPattern::ArithmeticNan, 0x7fa0_0000), "signalling");
        assert!(!f32_matches(&NanPattern::ArithmeticNan, f32::INFINITY.to_bits()));
        assert!(f64_matches(&NanPattern::ArithmeticNan, 0xffff_ffff_ffff_ffff));
        assert!(!f64_matches(&NanPattern::ArithmeticNan, 0x7ff4_0000_0000_0000), "signalling");
    }

    #[test]
    fn zeros_of_either_sign_differ() {
        assert!(!f32_matches(&f32_value(0.0), (-0.0f32).to_bits()));
        assert!(f32_matches(&f32_value(-0.0), (-0.0f32).to_bits()));
    }

    #[test]
    fn vector_lanes_count_from_the_low_bits() {
        let bits = u128::from_le_bytes(std::array::from_fn(|i| i as u8));
        assert!(v128_matches(&V128Pattern::I8x16(std::array::from_fn(|i| i as i8)), bits));
        assert!(v128_matches(
            &V128Pattern::I64x2([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]),
            bits
        ));
        assert!(!v128_matches(
            &V128Pattern::I64x2([0x0f0e_0d0c_0b0a_0908, 0x0706_0504_0302_0100]),
            bits
        ));
        let floats = u128::from(1.5f32.to_bits()) << 96 | 0x7fc0_0000;
        let pattern = [NanPattern::CanonicalNan, f32_value(0.0), f32_value(0.0), f32_value(1.5)];
        assert!(v128_matches(&V128Pattern::F32x4(pattern), floats));
    }
}
