//! The proposals beyond the first version of WebAssembly, each of which can be switched off.
//!
//! Invariant: a [`Features`] holds known bits only, so equal sets have equal bits.

use std::fmt;

/// A set of features.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Features(u32);

macro_rules! features {
    ($($(#[$doc:meta])* $bit:literal $constant:ident $name:literal $default:literal;)*) => {
        impl Features {
            $($(#[$doc])* pub const $constant: Self = Self(1 << $bit);)*

            /// Every feature by the name that users know it by.
            pub const NAMED: &[(&'static str, Self)] = &[$(($name, Self::$constant)),*];

            /// All features.
            pub const ALL: Self = Self($(1 << $bit)|*);

            /// What is on when nothing is said: the standard and what shipped modules use.
            pub const DEFAULT: Self = Self($(if $default { 1 << $bit } else { 0 })|*);
        }
    };
}

features! {
    /// Imported and exported mutable globals.
    0 MUTABLE_GLOBAL "mutable-global" true;
    /// `trunc_sat`.
    1 SATURATING_FLOAT_TO_INT "saturating-float-to-int" true;
    /// `extend8_s` and its like.
    2 SIGN_EXTENSION "sign-extension" true;
    /// Functions and blocks with several results.
    3 MULTI_VALUE "multi-value" true;
    /// `memory.copy`, passive segments and their like.
    4 BULK_MEMORY "bulk-memory" true;
    /// `externref`, several tables.
    5 REFERENCE_TYPES "reference-types" true;
    /// `v128`.
    6 SIMD "simd" true;
    /// Vector operators whose result may differ between machines; here it does not.
    7 RELAXED_SIMD "relaxed-simd" true;
    /// `return_call` and its like.
    8 TAIL_CALL "tail-call" true;
    /// Arithmetic in constant expressions.
    9 EXTENDED_CONST "extended-const" true;
    /// Several memories.
    10 MULTI_MEMORY "multi-memory" true;
    /// 64-bit memories and tables.
    11 MEMORY64 "memory64" true;
    /// Typed function references.
    12 FUNCTION_REFERENCES "function-references" true;
    /// `try_table`, `throw`, `exnref`.
    13 EXCEPTIONS "exceptions" true;
    /// The older `try`, `catch`, `delegate`, `rethrow`.
    14 LEGACY_EXCEPTIONS "legacy-exceptions" true;
    /// Shared memories and atomic operators.
    15 THREADS "threads" true;
    /// 128-bit addition, subtraction and multiplication.
    16 WIDE_ARITHMETIC "wide-arithmetic" false;
    /// Memories with pages of one byte.
    17 CUSTOM_PAGE_SIZES "custom-page-sizes" false;
    /// Structures, arrays, small integers: objects that are collected.
    18 GC "gc" true;
}

impl Default for Features {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Features {
    /// The first version of WebAssembly, without any.
    pub const NONE: Self = Self(0);

    /// The feature of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, feature)| *feature)
    }

    /// The set of some bits; `None` when one of them is no feature known here.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits & !Self::ALL.0 == 0 { Some(Self(bits)) } else { None }
    }

    /// The bits, for files.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The features of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// How many there are.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// What to say on the command line to switch them on.
    #[must_use]
    pub fn switches(self) -> String {
        let named = Self::NAMED.iter().filter(|(_, feature)| self.contains(*feature));
        named.map(|(name, _)| format!("-W {name}")).collect::<Vec<_>>().join(" ")
    }

    /// Its features but those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The names, separated by commas.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMED.iter().filter(|(_, feature)| self.contains(*feature));
        for (i, (name, _)) in named.enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_two_share_a_bit() {
        let mut all = Features::NONE;
        for (name, feature) in Features::NAMED {
            assert_eq!(Features::named(name), Some(*feature));
            assert!(!all.contains(*feature), "{name}");
            all = all.with(*feature);
        }
        assert_eq!(all, Features::ALL);
        assert!(!Features::default().contains(Features::WIDE_ARITHMETIC));
    }

    #[test]
    fn sets_are_shown_by_name() {
        let set = Features::SIMD.with(Features::THREADS);
        assert_eq!(set.to_string(), "simd, threads");
        assert_eq!(set.switches(), "-W simd -W threads");
        assert_eq!(set.without(Features::SIMD), Features::THREADS);
    }
}
