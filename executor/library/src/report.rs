//! What was done to get an instance, and how long each part took.
//!
//! Invariant: a report is made from what happened, after it happened; making it changes nothing.

use crate::Snapshot;
use executor_model::ModuleHash;
use executor_runtime::{CodeOrigin, Collections};
use executor_snapshot::SnapshotId;
use std::time::{Duration, Instant};

/// What was done to get an instance.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Where the machine code of each module came from.
    pub code: Vec<ModuleCode>,
    /// How the instance came to be; none where there is none yet.
    pub start: Option<Start>,
    /// Whether a snapshot was taken on the way.
    pub capture: Capture,
    /// The time of each phase.
    pub phases: Phases,
    /// What the collections of its objects were, where it has run.
    pub collections: Collections,
}

/// Where a module's machine code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleCode {
    /// The hash of the module's bytes.
    pub module: ModuleHash,
    /// Where its code came from.
    pub origin: CodeOrigin,
}

/// How an instance came to be.
#[derive(Debug, Clone)]
pub struct Start {
    /// The snapshot that it was restored from; none for a fresh instance.
    pub restored: Option<Snapshot>,
    /// Why.
    pub why: String,
}

/// Whether a snapshot was taken of an instance before it went on.
#[derive(Debug, Clone, Default)]
pub struct Capture {
    /// The snapshot, if one was taken.
    pub id: Option<SnapshotId>,
    /// Why none was; or, where one was, what it is bound to.
    pub reasons: Vec<String>,
}

/// The time of each phase, in order.
#[derive(Debug, Clone)]
pub struct Phases {
    last: Instant,
    list: Vec<(&'static str, Duration)>,
}

impl Default for Phases {
    fn default() -> Self {
        Self::begin()
    }
}

impl Phases {
    /// Begins the first phase.
    #[must_use]
    pub fn begin() -> Self {
        Self { last: Instant::now(), list: Vec::with_capacity(12) }
    }

    /// Ends the running phase, names it and begins the next. Times of one name add up.
    pub fn end(&mut self, name: &'static str) {
        let now = Instant::now();
        let time = now - std::mem::replace(&mut self.last, now);
        match self.list.iter_mut().find(|(n, _)| *n == name) {
            Some((_, total)) => *total += time,
            None => self.list.push((name, time)),
        }
    }

    /// Begins the next phase, and counts the time since the last one as nobody's.
    pub fn resume(&mut self) {
        self.last = Instant::now();
    }

    /// The phases that have ended.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        self.list.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_keep_their_order_and_add_up() {
        let mut phases = Phases::begin();
        for name in ["z", "a", "z"] {
            phases.end(name);
        }
        assert!(phases.iter().map(|(name, _)| name).eq(["z", "a"]));
    }
}
