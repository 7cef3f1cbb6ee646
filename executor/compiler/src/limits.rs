//! How much a module may have of what costs more to take in than it is long.
//!
//! Invariant: it is counted before room for it is made. What wasmparser limits is not here: numbers of items, the
//! lengths of function bodies and of names, as engines have agreed on them.

use crate::decode::Refusal;
use executor_code::CompileError;
use executor_model::Module;

/// Offsets are kept as 32-bit numbers, the largest of which stands for none.
const _: () = assert!(Module::MAX_BYTES < u32::MAX as u64);

/// The most parameters and locals of all functions: a declaration of a few bytes makes 50,000, each of which
/// takes some 10 ns to translate.
const MAX_LOCALS: u64 = 100_000_000;

/// The most operators of constant expressions: two bytes become 32 in memory, and up to a hundred where each
/// expression has just one.
const MAX_CONST_OPERATORS: u64 = 1 << 22;

/// What the limits are on, and how much of it a module has.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: Count,
    pub(crate) locals: Count,
    pub(crate) const_operators: Count,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: Count::up_to(Module::MAX_BYTES, "bytes"),
            locals: Count::up_to(MAX_LOCALS, "parameters and locals of functions"),
            const_operators: Count::up_to(MAX_CONST_OPERATORS, "operators in constant expressions"),
        }
    }
}

/// How much there is of something that there may be only so much of.
#[derive(Debug)]
pub(crate) struct Count {
    limit: Limit,
    found: u64,
}

impl Count {
    fn up_to(max: u64, what: &'static str) -> Self {
        Self { limit: Limit { max, what }, found: 0 }
    }

    /// # Errors
    /// When there is too much with `more`.
    pub(crate) fn add(&mut self, more: u64) -> Result<(), Limit> {
        self.found = self.found.saturating_add(more);
        if self.found > self.limit.max { Err(self.limit) } else { Ok(()) }
    }
}

/// A limit that a module exceeds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    max: u64,
    what: &'static str,
}

impl From<Limit> for CompileError {
    fn from(Limit { max, what }: Limit) -> Self {
        Self::Unsupported(format!("the module has more than {max} {what}, which is the limit"))
    }
}

impl From<Limit> for Refusal {
    fn from(limit: Limit) -> Self {
        Self::Limit(limit)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        deadline::Deadline,
        decode::{Validate, decode},
    };
    use executor_model::Features;
    use std::time::Duration;

    /// A number in LEB128.
    fn number(mut n: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let low = (n & 127) as u8;
            n >>= 7;
            bytes.push(low | if n > 0 { 128 } else { 0 });
            if n == 0 {
                return bytes;
            }
        }
    }

    fn section(id: u8, contents: &[u8]) -> Vec<u8> {
        [&[id], &number(contents.len())[..], contents].concat()
    }

    /// A section of a vector.
    fn vector(id: u8, items: &[Vec<u8>]) -> Vec<u8> {
        section(id, &[number(items.len()), items.concat()].concat())
    }

    fn module(sections: &[Vec<u8>]) -> Vec<u8> {
        [b"\0asm\x01\0\0\0", &sections.concat()[..]].concat()
    }

    /// `at` is taken, and `above` refused for having more than that.
    #[track_caller]
    fn check(at: &[u8], above: &[u8], expected: &str) {
        let deadline = Deadline::after(Duration::MAX);
        let decode = |wasm| decode(wasm, Features::default(), Validate::All, deadline).map(drop);
        assert!(decode(at).is_ok(), "{expected}: {:?}", decode(at));
        let error = decode(above).expect_err(expected);
        assert_eq!(
            error.to_string(),
            format!("the module has more than {expected}, which is the limit")
        );
    }

    #[test]
    fn modules_have_at_most_1_gib() {
        // A section without a name, of zeroes, which nobody reads: no page of it is touched.
        let of = |len: usize| {
            let mut wasm = vec![0; len];
            let header = [b"\0asm\x01\0\0\0\0", &number(len - 14)[..]].concat();
            assert_eq!(header.len(), 14);
            wasm[..14].copy_from_slice(&header);
            wasm
        };
        check(&of(1 << 30), &of((1 << 30) + 1), "1073741824 bytes");
    }

    #[test]
    fn modules_have_at_most_a_hundred_million_locals() {
        let body = [&[1], &number(50_000)[..], &[0x7f, 0x0b]].concat();
        let body = [number(body.len()), body].concat();
        let of = |functions: usize| {
            module(&[
                vector(1, &[vec![0x60, 0, 0]]),
                vector(3, &vec![vec![0]; functions]),
                vector(10, &vec![body.clone(); functions]),
            ])
        };
        check(&of(2000), &of(2001), "100000000 parameters and locals of functions");
    }

    #[test]
    fn modules_have_at_most_four_million_operators_in_constant_expressions() {
        let global = |additions: usize| {
            [&[0x7f, 0, 0x41, 0][..], &[0x41, 0, 0x6a].repeat(additions), &[0x0b]].concat()
        };
        // Two by themselves, and two for each addition.
        let full = vec![global((1 << 21) - 1), global(0)];
        let above = [&full[..], &[global(0)]].concat();
        check(
            &module(&[vector(6, &full)]),
            &module(&[vector(6, &above)]),
            "4194304 operators in constant expressions",
        );
    }
}
