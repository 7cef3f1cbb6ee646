//! `--report`: what a run did and why, as JSON.
//!
//! Invariant: the report is made from what happened, after it happened; making it changes nothing
//! about the run.

use crate::error::{Context, Failure};
use executor_model::ModuleHash;
use executor_runtime::CodeOrigin;
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::{
    ffi::OsStr,
    fmt::Display,
    io::Write,
    time::{Duration, Instant},
};

/// What happened.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was run, as given.
    pub target: String,
    /// Where the machine code came from.
    pub code: Code,
    /// How the instance came to be.
    pub instance: Instance,
    /// Whether a snapshot was taken.
    pub snapshot: Snapshot,
    /// How the run ended.
    pub exit: Exit,
    /// The microseconds of each phase, in order.
    pub phases: Phases,
}

/// Where the machine code came from: the costliest of the modules' origins first.
#[derive(Debug, Default, Serialize)]
pub struct Code {
    /// `compiled` when any module was, else `code-cache`, else `memory`.
    pub outcome: Option<&'static str>,
    /// Why.
    pub why: Option<&'static str>,
    /// Each module.
    pub modules: Vec<ModuleCode>,
}

/// Where one module's machine code came from.
#[derive(Debug, Serialize)]
pub struct ModuleCode {
    /// The module's hash.
    #[serde(serialize_with = "as_text")]
    pub module: ModuleHash,
    /// `compiled`, `code-cache` or `memory`.
    pub outcome: &'static str,
}

impl Code {
    /// Adds a module.
    pub fn add(&mut self, module: ModuleHash, origin: CodeOrigin) {
        let (outcome, why) = match origin {
            CodeOrigin::Memory => ("memory", "the engine held it already"),
            CodeOrigin::Cache => ("code-cache", "the code cache has it"),
            CodeOrigin::Compiled => ("compiled", "the code cache did not have it"),
        };
        let rank = |outcome: Option<&str>| match outcome {
            Some("compiled") => 3,
            Some("code-cache") => 2,
            Some(_) => 1,
            None => 0,
        };
        if rank(Some(outcome)) > rank(self.outcome) {
            (self.outcome, self.why) = (Some(outcome), Some(why));
        }
        self.modules.push(ModuleCode { module, outcome });
    }
}

fn as_text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// How the instance came to be.
#[derive(Debug, Default, Serialize)]
pub struct Instance {
    /// `instantiated` or `restored`.
    pub outcome: Option<&'static str>,
    /// Why.
    pub why: String,
    /// The snapshot that was restored.
    pub snapshot: Option<String>,
}

impl Instance {
    /// A fresh instance.
    pub fn instantiated(why: impl Into<String>) -> Self {
        Self { outcome: Some("instantiated"), why: why.into(), snapshot: None }
    }

    /// A restored instance.
    pub fn restored(snapshot: Option<String>, why: impl Into<String>) -> Self {
        Self { outcome: Some("restored"), why: why.into(), snapshot }
    }
}

/// Whether the run took a snapshot.
#[derive(Debug, Default, Serialize)]
pub struct Snapshot {
    /// Whether it did.
    pub taken: bool,
    /// Its id.
    pub id: Option<String>,
    /// Why it did not; or, where it did, what it is bound to.
    pub reasons: Vec<String>,
}

/// How the run ended.
#[derive(Debug, Default, Serialize)]
pub struct Exit {
    /// The exit code.
    pub code: i32,
    /// The trap's message.
    pub trap: Option<&'static str>,
    /// The error's line, where it was neither an exit nor a trap.
    pub error: Option<String>,
}

/// The time of each phase.
#[derive(Debug)]
pub struct Phases {
    last: Instant,
    list: Vec<(&'static str, Duration)>,
}

impl Phases {
    /// Begins the first phase.
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
}

impl Serialize for Phases {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.list.len() + 1))?;
        for (name, time) in &self.list {
            map.serialize_entry(name, &micros(*time))?;
        }
        map.serialize_entry("total", &micros(self.list.iter().map(|(_, t)| *t).sum()))?;
        map.end()
    }
}

/// Microseconds to one decimal.
fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

impl Report {
    /// Writes the report to a file, or to standard output where `to` is `-`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, to: &OsStr) -> Result<(), Failure> {
        let what = || format!("cannot write the report to {}", to.display());
        let mut json = serde_json::to_vec_pretty(self).context(what())?;
        json.push(b'\n');
        match to == "-" {
            true => std::io::stdout().write_all(&json).context(what()),
            false => std::fs::write(to, json).context(what()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_costliest_origin_is_the_outcome() {
        let mut code = Code::default();
        for origin in [CodeOrigin::Cache, CodeOrigin::Compiled, CodeOrigin::Memory] {
            code.add(ModuleHash::of(b""), origin);
        }
        assert_eq!(code.outcome, Some("compiled"));
        assert_eq!(code.modules.len(), 3);
    }

    #[test]
    fn phases_keep_their_order_and_add_up() {
        let mut phases = Phases::begin();
        for name in ["z", "a", "z"] {
            phases.end(name);
        }
        let json = serde_json::to_string(&phases).unwrap();
        assert!(json.starts_with("{\"z\":") && json.contains(",\"a\":"), "{json}");
        assert!(json.contains(",\"total\":"), "{json}");
    }
}
