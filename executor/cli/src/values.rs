//! Arguments and results of `--invoke`, as text.
//!
//! Invariant: an argument is parsed by the parameter's type alone, never guessed; what is printed
//! for a number parses back to it (NaN payloads aside).

use executor_model::{FuncType, Val, ValType};

/// Parses the arguments of a function.
///
/// # Errors
/// A sentence that names the function and the argument.
pub fn parse_arguments(name: &str, ty: &FuncType, args: &[String]) -> Result<Vec<Val>, String> {
    if args.len() != ty.params.len() {
        return Err(format!(
            "`{name}` takes {}, not {}: its type is {ty}",
            plural(ty.params.len(), "argument"),
            args.len()
        ));
    }
    let parse = |(i, (ty, text)): (usize, (&ValType, &String))| {
        parse_value(*ty, text).ok_or_else(|| {
            format!("argument {} of `{name}` is to be of type {ty}, and `{text}` is not", i + 1)
        })
    };
    ty.params.iter().zip(args).enumerate().map(parse).collect()
}

/// `1 argument`, `2 arguments`.
fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn parse_value(ty: ValType, text: &str) -> Option<Val> {
    match ty {
        // An integer is written signed or unsigned: both ranges name the same bits.
        ValType::I32 => {
            let n = parse_integer(text)?;
            let bits = i32::try_from(n).or_else(|_| u32::try_from(n).map(|n| n as i32)).ok()?;
            Some(Val::I32(bits))
        }
        ValType::I64 => {
            let n = parse_integer(text)?;
            let bits = i64::try_from(n).or_else(|_| u64::try_from(n).map(|n| n as i64)).ok()?;
            Some(Val::I64(bits))
        }
        ValType::F32 => text.parse::<f32>().ok().map(|f| Val::F32(f.to_bits())),
        ValType::F64 => text.parse::<f64>().ok().map(|f| Val::F64(f.to_bits())),
        ValType::V128 => {
            let n = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
                Some(hex) => u128::from_str_radix(hex, 16).ok()?,
                None => text.parse().ok()?,
            };
            Some(Val::V128(n))
        }
        // Only null can be written down.
        ValType::Ref(r) => (text == "null" && r.nullable).then(|| Val::default_of(ty)),
    }
}

/// A decimal or `0x` hexadecimal integer with an optional sign.
fn parse_integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let magnitude = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => {
            i128::from_str_radix(hex, 16).ok()?
        }
        Some(_) => return None,
        None => digits.parse().ok()?,
    };
    Some(if negative { -magnitude } else { magnitude })
}

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

    fn parse(ty: ValType, text: &str) -> Option<Val> {
        parse_value(ty, text)
    }

    #[test]
    fn integers_are_signed_unsigned_or_hexadecimal_within_their_width() {
        assert_eq!(parse(ValType::I32, "-1"), Some(Val::I32(-1)));
        assert_eq!(parse(ValType::I32, "4294967295"), Some(Val::I32(-1)));
        assert_eq!(parse(ValType::I32, "0xff"), Some(Val::I32(255)));
        assert_eq!(parse(ValType::I32, "-0x80000000"), Some(Val::I32(i32::MIN)));
        assert_eq!(parse(ValType::I64, "18446744073709551615"), Some(Val::I64(-1)));
        for bad in ["", "-", "1.0", "4294967296", "-2147483649", "0x", "0x-1", "+-1", "x"] {
            assert_eq!(parse(ValType::I32, bad), None, "{bad}");
        }
    }

    #[test]
    fn floats_and_references_follow_their_types() {
        assert_eq!(parse(ValType::F32, "1.5"), Some(Val::F32(1.5f32.to_bits())));
        assert_eq!(parse(ValType::F64, "-inf"), Some(Val::F64(f64::NEG_INFINITY.to_bits())));
        assert_eq!(parse(ValType::F64, "zero"), None);
        assert_eq!(parse(ValType::FUNCREF, "null"), Some(Val::FuncRef(None)));
        assert_eq!(parse(ValType::EXTERNREF, "1"), None);
    }

    #[test]
    fn a_wrong_number_of_arguments_names_the_type() {
        let ty = FuncType { params: vec![ValType::I32], results: vec![ValType::F64] };
        let error = parse_arguments("f", &ty, &[]).unwrap_err();
        assert_eq!(error, "`f` takes 1 argument, not 0: its type is (i32) -> (f64)");
        let error = parse_arguments("f", &ty, &["x".to_owned()]).unwrap_err();
        assert_eq!(error, "argument 1 of `f` is to be of type i32, and `x` is not");
    }

    #[test]
    fn results_print_as_numbers() {
        assert_eq!(show(&Val::I32(-1)), "-1");
        assert_eq!(show(&Val::F64(0.1f64.to_bits())), "0.1");
        assert_eq!(show(&Val::F32(f32::INFINITY.to_bits())), "inf");
        assert_eq!(show(&Val::FuncRef(None)), "<null funcref>");
    }
}
