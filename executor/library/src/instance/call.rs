//! A call that an instance is made for, and arguments as text.
//!
//! Invariant: an argument is read by the parameter's type alone, never guessed.

use crate::Error;
use executor_model::{FuncType, Val, ValType};

/// A call of an export.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) export: String,
    pub(crate) args: Args,
}

/// Its arguments.
#[derive(Debug, Clone)]
pub(crate) enum Args {
    Values(Vec<Val>),
    /// To be read by the types of the parameters.
    Text(Vec<String>),
}

impl Call {
    pub(crate) fn text(
        export: impl Into<String>,
        args: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self { export: export.into(), args: Args::Text(args) }
    }
}

impl Args {
    /// The arguments of a function of a type.
    pub(crate) fn of(&self, name: &str, ty: &FuncType) -> Result<Vec<Val>, Error> {
        match self {
            Self::Values(values) => Ok(values.clone()),
            // A function without parameters leaves the arguments to WASI.
            Self::Text(_) if ty.params.is_empty() => Ok(Vec::new()),
            Self::Text(args) => parse(name, ty, args).map_err(Error::Arguments),
        }
    }

    /// Them as text, to tell calls apart.
    pub(crate) fn to_text(&self) -> Vec<String> {
        match self {
            Self::Values(values) => values.iter().map(|value| format!("{value:?}")).collect(),
            Self::Text(args) => args.clone(),
        }
    }
}

/// Reads the arguments of a function.
fn parse(name: &str, ty: &FuncType, args: &[String]) -> Result<Vec<Val>, String> {
    if args.len() != ty.params.len() {
        return Err(format!(
            "`{name}` takes {}, not {}: its type is {ty}",
            plural(ty.params.len(), "argument"),
            args.len()
        ));
    }
    let value = |(i, (ty, text)): (usize, (&ValType, &String))| {
        parse_value(*ty, text).ok_or_else(|| {
            format!("argument {} of `{name}` is to be of type {ty}, and `{text}` is not", i + 1)
        })
    };
    ty.params.iter().zip(args).enumerate().map(value).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_signed_unsigned_or_hexadecimal_within_their_width() {
        assert_eq!(parse_value(ValType::I32, "-1"), Some(Val::I32(-1)));
        assert_eq!(parse_value(ValType::I32, "4294967295"), Some(Val::I32(-1)));
        assert_eq!(parse_value(ValType::I32, "0xff"), Some(Val::I32(255)));
        assert_eq!(parse_value(ValType::I32, "-0x80000000"), Some(Val::I32(i32::MIN)));
        assert_eq!(parse_value(ValType::I64, "18446744073709551615"), Some(Val::I64(-1)));
        for bad in ["", "-", "1.0", "4294967296", "-2147483649", "0x", "0x-1", "+-1", "x"] {
            assert_eq!(parse_value(ValType::I32, bad), None, "{bad}");
        }
    }

    #[test]
    fn floats_and_references_follow_their_types() {
        assert_eq!(parse_value(ValType::F32, "1.5"), Some(Val::F32(1.5f32.to_bits())));
        assert_eq!(parse_value(ValType::F64, "-inf"), Some(Val::F64(f64::NEG_INFINITY.to_bits())));
        assert_eq!(parse_value(ValType::F64, "zero"), None);
        assert_eq!(parse_value(ValType::FUNCREF, "null"), Some(Val::FuncRef(None)));
        assert_eq!(parse_value(ValType::EXTERNREF, "1"), None);
    }

    #[test]
    fn a_wrong_number_of_arguments_names_the_type() {
        let ty = FuncType { params: vec![ValType::I32], results: vec![ValType::F64] };
        let error = super::parse("f", &ty, &[]).unwrap_err();
        assert_eq!(error, "`f` takes 1 argument, not 0: its type is (i32) -> (f64)");
        let error = super::parse("f", &ty, &["x".to_owned()]).unwrap_err();
        assert_eq!(error, "argument 1 of `f` is to be of type i32, and `x` is not");
    }
}
