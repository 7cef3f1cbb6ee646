//! What running scripts found, and the lines that say so.
//!
//! Invariant: every directive of a script is counted exactly once, as passed, failed or skipped.

use std::fmt;

/// A directive that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The line of the directive, from 1.
    pub line: usize,
    /// The column of the directive, from 1.
    pub col: usize,
    /// What was expected and what happened.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.col, self.message)
    }
}

/// What running one script found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScriptReport {
    /// The script's name, as given.
    pub name: String,
    /// How many directives held. Modules, registrations and invocations count like assertions.
    pub passed: usize,
    /// The directives that did not hold.
    pub failed: Vec<Failure>,
    /// The lines of directives that were not tried, and why.
    pub skipped: Vec<(usize, String)>,
    /// How many times the store was captured and replaced by its restored copy.
    pub restored: usize,
    /// The lines after which the store could not be captured, and why; the script went on with
    /// the store as it was.
    pub not_captured: Vec<(usize, String)>,
}

impl ScriptReport {
    /// Adds the counts of a part of the script that ran apart.
    pub(crate) fn add(&mut self, part: Self) {
        let Self { name: _, passed, failed, skipped, restored, not_captured } = part;
        self.passed += passed;
        self.failed.extend(failed);
        self.skipped.extend(skipped);
        self.restored += restored;
        self.not_captured.extend(not_captured);
    }
}

/// The line `NAME: P passed, F failed[, S skipped]`.
impl fmt::Display for ScriptReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} passed, {} failed", self.name, self.passed, self.failed.len())?;
        match self.skipped.len() {
            0 => Ok(()),
            n => write!(f, ", {n} skipped"),
        }
    }
}

/// The sum over scripts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many directives held.
    pub passed: usize,
    /// How many did not.
    pub failed: usize,
    /// How many were not tried.
    pub skipped: usize,
}

impl Summary {
    /// Adds a script's counts.
    pub fn add(&mut self, report: &ScriptReport) {
        self.passed += report.passed;
        self.failed += report.failed.len();
        self.skipped += report.skipped.len();
    }
}

/// The line `total: P passed, F failed, S skipped`.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "total: {passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_have_the_promised_form() {
        let mut report = ScriptReport { name: "a.wast".into(), passed: 3, ..Default::default() };
        assert_eq!(report.to_string(), "a.wast: 3 passed, 0 failed");
        report.failed.push(Failure { line: 7, col: 2, message: "expected 1".into() });
        report.skipped.push((9, "threads".into()));
        assert_eq!(report.to_string(), "a.wast: 3 passed, 1 failed, 1 skipped");
        assert_eq!(report.failed[0].to_string(), "7:2: expected 1");
        let mut summary = Summary::default();
        summary.add(&report);
        summary.add(&report);
        assert_eq!(summary.to_string(), "total: 6 passed, 2 failed, 2 skipped");
    }
}
