//! Names of functions as their source has them.
//!
//! Invariant: a name that is no mangled one, or that would become very long, is left as it is. Names
//! are stored as they come; only what is printed is demangled.

use cpp_demangle::{BorrowedSymbol, DemangleOptions};
use std::fmt::{self, Write};

/// How many bytes a demangled name may have: a short mangled name can stand for a very long one.
const MOST: usize = 1024;

/// The name of a function of Rust or C++ as its source has it, `None` for any other.
#[must_use]
pub fn demangle(name: &str) -> Option<String> {
    // A mangled name of either language begins so.
    if !name.starts_with("_R") && !name.starts_with("_Z") {
        return None;
    }
    let mut text = Bounded(String::new());
    match rustc_demangle::try_demangle(name) {
        // Without the hash.
        Ok(symbol) => write!(text, "{symbol:#}").ok()?,
        Err(_) => {
            let symbol = BorrowedSymbol::new(name.as_bytes()).ok()?;
            symbol.structured_demangle(&mut text, &DemangleOptions::new()).ok()?;
        }
    }
    Some(text.0)
}

/// Text up to [`MOST`] bytes; more is an error.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() > MOST - self.0.len() {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mangled_names_are_shown_as_their_source_has_them() {
        let show = |name| demangle(name).unwrap_or_default();
        assert_eq!(show("_ZN4core9panicking5panic17h0123456789abcdefE"), "core::panicking::panic");
        assert_eq!(show("_RNvC6_123foo3bar"), "123foo::bar");
        assert_eq!(show("_ZN5space3fooEibc"), "space::foo(int, bool, char)");
        assert_eq!(
            show("_ZNSt6vectorIiSaIiEE9push_backEOi"),
            "std::vector<int, std::allocator<int> >::push_back(int&&)"
        );
    }

    #[test]
    fn other_names_are_left() {
        for name in ["", "_start", "main", "_Z", "_R", "_Zxyz", "RNvC6_123foo3bar", "_ZN1"] {
            assert_eq!(demangle(name), None, "{name}");
        }
    }

    #[test]
    fn a_very_long_name_is_left() {
        let name = |len: usize| format!("_Z{len}{}v", "a".repeat(len));
        assert_eq!(demangle(&name(1000)).map(|text| text.len()), Some(1002));
        assert_eq!(demangle(&name(2000)), None);
    }
}
