//! The last calls of a function that failed.
//!
//! Invariant: it keeps so many, each of a bounded length, whatever guests do. Only a call that fails takes the lock.

use crate::wire::Failure;
use executor::Escaped;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// How many are kept.
const MOST: usize = 20;
/// The most bytes that are kept of what is said of one.
const TEXT: usize = 4 << 10;

/// A call that failed.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) at: SystemTime,
    /// The name of its request in the log.
    pub(crate) request: Arc<str>,
    pub(crate) failure: Failure,
    /// With its backtrace, a line for each frame. Escaped but for the ends of lines.
    pub(crate) text: String,
}

/// The last calls that failed.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<VecDeque<Failed>>);

impl Failures {
    /// Keeps one; the oldest goes for it.
    pub(crate) fn keep(&self, request: &Arc<str>, failure: Failure, text: &str) {
        let text = &text[..text.floor_char_boundary(TEXT)];
        let lines: Vec<String> = text.lines().map(|line| Escaped(line).to_string()).collect();
        let failed = Failed {
            at: SystemTime::now(),
            request: Arc::clone(request),
            failure,
            text: lines.join("\n"),
        };
        let mut kept = self.kept();
        if kept.len() == MOST {
            kept.pop_front();
        }
        kept.push_back(failed);
    }

    /// Those that are kept, the last one first.
    pub(crate) fn latest(&self) -> Vec<Failed> {
        self.kept().iter().rev().cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Failed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_short_and_escaped() {
        let failures = Failures::default();
        for number in 0..MOST + 5 {
            let text = format!("{number}\n\u{1b}[31m{}", "ä".repeat(TEXT));
            failures.keep(&"id".into(), Failure::Trap, &text);
        }
        let latest = failures.latest();
        assert_eq!(latest.len(), MOST);
        let lines: Vec<&str> = latest[0].text.lines().collect();
        assert_eq!(lines[0], (MOST + 4).to_string());
        assert!(lines[1].starts_with(r"\u{1b}[31m") && lines[1].len() <= TEXT + 6, "{}", lines[1]);
        assert!(latest[MOST - 1].text.starts_with("5\n"));
    }
}
