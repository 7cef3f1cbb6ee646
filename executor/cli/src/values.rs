//! Results of `--invoke`, as text.
//!
//! Invariant: what is printed for a number is read back as it by an argument (NaN payloads aside).

use executor::Val;

/// A result as it is printed.
pub fn show(value: &Val) -> String {
    match value {
        Val::I32(v) => v.to_string(),
        Val::I64(v) => v.to_string(),
        Val::F32(bits) => f32::from_bits(*bits).to_string(),
        Val::F64(bits) => f64::from_bits(*bits).to_string(),
        Val::V128(v) => v.to_string(),
        Val::FuncRef(None) => "<null funcref>".to_owned(),
        Val::FuncRef(Some(_)) => "<funcref>".to_owned(),
        Val::ExternRef(None) => "<null externref>".to_owned(),
        Val::ExternRef(Some(_)) => "<externref>".to_owned(),
        Val::ExnRef(None) => "<null exnref>".to_owned(),
        Val::ExnRef(Some(_)) => "<exnref>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_print_as_numbers() {
        assert_eq!(show(&Val::I32(-1)), "-1");
        assert_eq!(show(&Val::F64(0.1f64.to_bits())), "0.1");
        assert_eq!(show(&Val::F32(f32::INFINITY.to_bits())), "inf");
        assert_eq!(show(&Val::FuncRef(None)), "<null funcref>");
    }
}
