//! Where a piece of code begins in the text: so that it, if it is short, and its short loops lie in as
//! few cache lines as can be.
//!
//! A processor keeps decoded instructions by line, so a loop in two lines where one would do can be a
//! tenth slower, and which loops are is chance where code begins anywhere. Code generation does not
//! align loops; moving the whole piece is enough, as most have one loop that matters.
//!
//! Invariant: every piece begins at a multiple of [`STEP`], and of [`ALIGNMENT`] if another place is no
//! better.

use std::collections::BTreeMap;

/// A piece begins at a multiple of this, which processors fetch as one, unless its loops are better off
/// elsewhere.
const ALIGNMENT: u64 = 32;
/// What it is moved by then.
const STEP: u64 = 16;
/// A cache line.
const LINE: u64 = 64;
/// Longer loops are left alone: that they lie in a line more matters little.
const LONGEST: u64 = 2 * LINE;
/// How many times as often a loop runs as the one around it, by way of guessing.
const NESTED: u32 = 8;
/// How deep loops are told apart.
const DEEPEST: usize = 8;

/// A short loop, within a piece of code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loop {
    start: u32,
    end: u32,
    /// How much it matters.
    weight: u32,
}

/// The short loops of `len` bytes of code, given where its basic blocks begin, ascending, which leads
/// to which, and where its calls return to, ascending. A loop that calls takes most of its time
/// elsewhere, so it does not count; the whole is one around them all, since functions are called again
/// and again.
pub(crate) fn loops(blocks: &[u32], edges: &[(u32, u32)], returns: &[u32], len: u32) -> Vec<Loop> {
    // By its first block; it ends with the last that leads back there.
    let mut loops = BTreeMap::new();
    for (from, to) in edges.iter().filter(|(from, to)| to <= from) {
        let next = blocks.partition_point(|block| block <= from);
        let end = blocks.get(next).copied().unwrap_or(len);
        loops.entry(*to).and_modify(|known: &mut u32| *known = end.max(*known)).or_insert(end);
    }
    let mut ends: Vec<u32> = loops.values().copied().collect();
    ends.sort_unstable();
    let weighed = loops.into_iter().enumerate().map(|(before, (start, end))| {
        let around = 1 + before - ends.partition_point(|end| *end <= start);
        Loop { start, end, weight: NESTED.pow(around.min(DEEPEST) as u32) }
    });
    let whole = Loop { start: 0, end: len, weight: 1 };
    let calls = |l: &Loop| {
        let next = returns.partition_point(|at| *at <= l.start);
        returns.get(next).is_some_and(|at| *at <= l.end)
    };
    let short = |l: &Loop| u64::from(l.end - l.start) <= LONGEST;
    std::iter::once(whole).chain(weighed.filter(|l| !calls(l))).filter(short).collect()
}

/// Where a piece with these loops begins when the text so far is `end` bytes long.
pub(crate) fn start(end: u64, loops: &[Loop]) -> u64 {
    let first = end.next_multiple_of(ALIGNMENT);
    let starts = (0..LINE / STEP).map(|step| first + step * STEP);
    starts.min_by_key(|start| (cost(*start, loops), *start)).unwrap_or(first)
}

/// How many lines too many the loops lie in, each by its weight.
fn cost(start: u64, loops: &[Loop]) -> u64 {
    let one = |l: &Loop| {
        let (from, to) = (start + u64::from(l.start), start + u64::from(l.end));
        let lines = to.div_ceil(LINE) - from / LINE;
        (lines - (to - from).div_ceil(LINE)) * u64::from(l.weight)
    };
    loops.iter().map(one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block before, a loop of two blocks around a loop of one, a block behind.
    const BLOCKS: [u32; 5] = [0, 40, 50, 80, 300];
    const EDGES: [(u32, u32); 7] =
        [(0, 40), (40, 50), (50, 50), (50, 80), (80, 40), (80, 300), (40, 80)];

    #[test]
    fn loops_are_found_by_their_back_edges() {
        let found = |edges: &[(u32, u32)]| loops(&BLOCKS, edges, &[], 310);
        // The outer one and the whole are too long.
        assert_eq!(found(&EDGES), [Loop { start: 50, end: 80, weight: NESTED * NESTED }]);
        assert_eq!(found(&[(0, 40), (40, 50)]), []);
        // Two ways back to one block are one loop, which ends with the code.
        let last = Loop { start: 300, end: 310, weight: NESTED };
        assert_eq!(found(&[(300, 300), (300, 300)]), [last]);
        assert_eq!(loops(&[0], &[], &[], 99), [Loop { start: 0, end: 99, weight: 1 }]);
    }

    #[test]
    fn a_loop_that_calls_does_not_count() {
        let found = |returns| loops(&BLOCKS, &EDGES, returns, 310).len();
        assert_eq!([found(&[]), found(&[45, 90]), found(&[50, 81])], [1; 3]);
        assert_eq!([found(&[45, 60]), found(&[80])], [0; 2]);
    }

    #[test]
    fn a_loop_that_fits_a_line_lies_in_one() {
        for begin in 0..200 {
            for len in 1..=LINE as u32 - STEP as u32 {
                let l = Loop { start: begin, end: begin + len, weight: 1 };
                for end in [0, 1, 64, 95, 4096] {
                    let start = start(end, &[l]);
                    assert!(start >= end && start.is_multiple_of(STEP) && start - end < 2 * LINE);
                    let (from, to) = (start + u64::from(l.start), start + u64::from(l.end));
                    assert_eq!(from / LINE, (to - 1) / LINE, "{begin} {len} {end}");
                }
            }
        }
    }

    #[test]
    fn the_inner_loop_decides() {
        let outer = Loop { start: 0, end: 60, weight: 1 };
        let inner = Loop { start: 60, end: 80, weight: NESTED };
        assert_eq!(start(0, &[outer]), 0);
        assert_eq!(start(0, &[outer, inner]), 16);
        assert_eq!(start(33, &[]), 64);
    }
}
