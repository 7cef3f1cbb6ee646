//! The working set: which pages of its memories a store has written to since it was restored.
//!
//! Invariant: it is a hint. A restore that brings it in differs in nothing but its faults.
//!
//! Which pages a call touches repeats from call to call, their order does not, so the set is what is kept.

use crate::{store::Store, sys};
use executor_code::layout::{PAGE, align_up};
use executor_model::InstanceId;
use std::{io, ops::Range};

/// Runs of pages that are no further apart are one.
const GAP: u64 = 2 * PAGE;
/// Shorter runs are as quickly brought in by their faults.
const SHORTEST: u64 = 4 * PAGE;
/// The most runs of a memory: each is a system call.
const MOST: usize = 64;

impl Store {
    /// For each owned memory of an instance the runs of pages that were written to, in bytes: long ones
    /// only, the longest if there are many.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn working_set(&self, instance: InstanceId) -> io::Result<Vec<Vec<Range<u64>>>> {
        let Some(vm) = self.inner.instance(instance).map(|instance| &instance.vm) else {
            return Ok(Vec::new());
        };
        let (first, owned) = (vm.counts().imported_memories, vm.counts().owned_memories);
        let of = |index| match vm.memory_region(index) {
            None => Ok(Vec::new()),
            Some(region) => {
                let size = align_up(region.len() as u64, PAGE) as usize;
                sys::written(region.base..region.base + size).map(runs)
            }
        };
        (first..first + owned).map(of).collect()
    }
}

/// The runs that are worth a system call each, ascending.
fn runs(pages: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in pages {
        match runs.last_mut() {
            Some(last) if range.start - last.end < GAP => last.end = range.end,
            _ => runs.push(range),
        }
    }
    runs.retain(|run| run.end - run.start >= SHORTEST);
    runs.sort_by_key(|run| std::cmp::Reverse(run.end - run.start));
    runs.truncate(MOST);
    runs.sort_by_key(|run| run.start);
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_long_and_few() {
        let pages = |range: Range<u64>| range.start * PAGE..range.end * PAGE;
        let written = vec![pages(0..2), pages(3..5), pages(8..9), pages(20..24), pages(26..40)];
        assert_eq!(runs(written), [pages(0..5), pages(20..24), pages(26..40)]);
        let many = (0..1000).map(|i| pages(i * 10..i * 10 + 4 + i % 4)).collect();
        let few = runs(many);
        assert_eq!(few.len(), MOST);
        assert!(few.is_sorted_by_key(|run| run.start));
        assert!(few.iter().all(|run| run.end - run.start == 7 * PAGE));
    }
}
