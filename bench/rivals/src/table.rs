//! The table: one row for each thing that both sides do.

use serde_json::{Value, json};
use std::{fmt, time::Duration};

/// What was measured, or why nothing was.
pub type Outcome = Result<Duration, String>;

/// A row.
#[derive(Debug)]
pub struct Row {
    /// The guest's name.
    pub guest: &'static str,
    /// What the executor does.
    pub what: &'static str,
    /// How long it takes.
    pub ours: Outcome,
    /// How long Wasmtime takes.
    pub theirs: Outcome,
    /// What Wasmtime does.
    pub how: &'static str,
}

/// The rows, as they are measured.
#[derive(Debug, Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds a row.
    pub fn push(&mut self, row: Row) {
        eprintln!("{}: {}", row.guest, row.what);
        self.0.push(row);
    }
}

impl Table {
    /// The rows as a list of objects: `module`, `row`, `ours` and `theirs` in seconds, `ratio` (theirs /
    /// ours) and `rival` in words. What was not measured is null, with the reason in `not_measured`.
    pub fn json(&self) -> Value {
        let row = |Row { guest, what, ours, theirs, how }: &Row| {
            let seconds = |outcome: &Outcome| outcome.as_ref().ok().map(Duration::as_secs_f64);
            let (ours, theirs, reason) =
                (seconds(ours), seconds(theirs), ours.as_ref().err().or(theirs.as_ref().err()));
            let ratio = ours.zip(theirs).map(|(ours, theirs)| theirs / ours);
            json!({
                "module": guest, "row": what, "ours": ours, "theirs": theirs, "ratio": ratio,
                "rival": how, "not_measured": reason,
            })
        };
        self.0.iter().map(row).collect()
    }
}

/// A time with three digits.
#[derive(Debug, Clone, Copy)]
pub struct Time(pub Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_secs_f64() * 1e6;
        let (value, unit) = match micros {
            m if m < 1e3 => (m, "us"),
            m if m < 1e6 => (m / 1e3, "ms"),
            m => (m / 1e6, "s"),
        };
        let decimals = match value {
            v if v < 10.0 => 2,
            v if v < 100.0 => 1,
            _ => 0,
        };
        write!(f, "{value:.decimals$} {unit}")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reasons = Vec::new();
        let mut cell = |outcome: &Outcome| match outcome {
            Ok(time) => Time(*time).to_string(),
            Err(reason) => {
                let known = reasons.iter().position(|r| r == reason);
                let at = known.unwrap_or_else(|| {
                    reasons.push(reason.clone());
                    reasons.len() - 1
                });
                format!("({})", at + 1)
            }
        };
        writeln!(f, "| module | executor | takes | Wasmtime takes | ratio | Wasmtime does |")?;
        writeln!(f, "|---|---|--:|--:|--:|---|")?;
        for Row { guest, what, ours, theirs, how } in &self.0 {
            let ratio = match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => {
                    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
                    let decimals = if ratio < 10.0 { 2 } else { 0 };
                    format!("{ratio:.decimals$}")
                }
                _ => String::new(),
            };
            let (ours, theirs) = (cell(ours), cell(theirs));
            writeln!(f, "| {guest} | {what} | {ours} | {theirs} | {ratio} | {how} |")?;
        }
        writeln!(f, "\nRatio: how many times as long Wasmtime takes.")?;
        for (i, reason) in reasons.iter().enumerate() {
            writeln!(f, "({}) not measured: {reason}", i + 1)?;
        }
        Ok(())
    }
}
