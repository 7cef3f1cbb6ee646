//! The fingerprint of the compiler, for the keys of code files.
//!
//! Invariant: two builds with one fingerprint make the same machine code of a module, for the same
//! options and processor. It covers the sources of the compiler and of what code and host agree on,
//! without their comments, and the versions of the crates that generate code (see `build.rs`).
//!
//! A crate of its own, without dependencies, because a build without the compiler looks up code by
//! it too.
#![forbid(unsafe_code)]

/// The fingerprint, in hexadecimal digits.
pub const FINGERPRINT: &str = env!("EXECUTOR_FINGERPRINT");

#[cfg(test)]
#[path = "../tokens.rs"]
mod tokens;

#[cfg(test)]
mod tests {
    use super::tokens::tokens;

    fn of(source: &str) -> Vec<String> {
        tokens(source).expect("it is Rust")
    }

    #[test]
    fn comments_and_layout_do_not_count() {
        let plain = of("fn f(x: u32) -> u32 { x + 1 }");
        for same in [
            "fn f(x: u32) -> u32 {\n    x + 1\n}\n",
            "// Adds.\nfn f(x: u32) -> u32 { /* really */ x + 1 }",
            "//! A file.\n/// Adds.\nfn f(x: u32) -> u32 { x + 1 }",
            "#![doc = \"A file.\"] #[doc = \"Adds.\"] fn f(x: u32) -> u32 { x + 1 }",
        ] {
            assert_eq!(of(same), plain, "{same}");
        }
    }

    #[test]
    fn all_else_counts() {
        let sources = [
            "fn f(x: u32) -> u32 { x + 1 }",
            "fn f(x: u32) -> u32 { x + 2 }",
            "fn f(x: u32) -> u32 { x - 1 }",
            "fn f(x: u32) -> u32 { (x + 1) }",
            "#[inline] fn f(x: u32) -> u32 { x + 1 }",
            "fn f(x: u32) -> u32 { g(\"// not a comment\"); x + 1 }",
            "fn f(x: u32) -> u32 { g(\"// not a  comment\"); x + 1 }",
            "fn f() { a == b }",
            "fn f() { a = = b }",
        ];
        for (i, one) in sources.iter().enumerate() {
            for other in &sources[i + 1..] {
                assert_ne!(of(one), of(other));
            }
        }
    }
}
