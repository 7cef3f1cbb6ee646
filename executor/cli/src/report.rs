//! `--report`: what a run did and why, as JSON.
//!
//! Invariant: the report is made from what happened, after it happened; making it changes nothing
//! about the run.

use crate::{
    error::{Context, Failure},
    warn,
};
use executor::{CodeOrigin, ModuleCode, Phases};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write},
    time::Duration,
};

/// What happened.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// What was run, as given.
    target: String,
    /// Where the machine code came from.
    code: Code,
    /// How the instance came to be.
    instance: Instance<'a>,
    /// Whether a snapshot was taken.
    snapshot: Snapshot<'a>,
    /// How the run ended.
    exit: Exit,
    /// The microseconds of each phase, in order.
    #[serde(serialize_with = "times")]
    phases: &'a Phases,
    /// What the collections of objects were.
    collections: Collected,
}

/// What the collections of objects were.
#[derive(Debug, Serialize)]
struct Collected {
    /// How many there were.
    count: u64,
    /// The microseconds of the longest.
    longest: f64,
    /// The most bytes that objects took before one.
    most_bytes: u64,
}

/// Where the machine code came from: the costliest of the modules' origins first.
#[derive(Debug, Default, Serialize)]
struct Code {
    /// `compiled` when any module was, else `code-cache`, else `memory`.
    outcome: Option<&'static str>,
    /// Why.
    why: Option<&'static str>,
    /// Each module.
    modules: Vec<Module>,
}

/// Where one module's machine code came from.
#[derive(Debug, Serialize)]
struct Module {
    /// The module's hash.
    module: String,
    /// `compiled`, `code-cache` or `memory`.
    outcome: &'static str,
}

/// How the instance came to be.
#[derive(Debug, Default, Serialize)]
struct Instance<'a> {
    /// `instantiated` or `restored`.
    outcome: Option<&'static str>,
    /// Why.
    why: &'a str,
    /// The snapshot that was restored.
    snapshot: Option<String>,
}

/// Whether the run took a snapshot.
#[derive(Debug, Serialize)]
struct Snapshot<'a> {
    /// Whether it did.
    taken: bool,
    /// Its id.
    id: Option<String>,
    /// Why it did not; or, where it did, what it is bound to.
    reasons: &'a [String],
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

impl Code {
    fn of(modules: &[ModuleCode]) -> Self {
        let describe = |origin| match origin {
            CodeOrigin::Memory => ("memory", "the engine held it already"),
            CodeOrigin::Cache => ("code-cache", "the code cache has it"),
            CodeOrigin::Compiled => ("compiled", "the code cache did not have it"),
        };
        let costliest = [CodeOrigin::Compiled, CodeOrigin::Cache, CodeOrigin::Memory]
            .into_iter()
            .find(|origin| modules.iter().any(|module| module.origin == *origin))
            .map(describe);
        let module = |ModuleCode { module, origin }: &ModuleCode| Module {
            module: module.to_string(),
            outcome: describe(*origin).0,
        };
        Self {
            outcome: costliest.map(|(outcome, _)| outcome),
            why: costliest.map(|(_, why)| why),
            modules: modules.iter().map(module).collect(),
        }
    }
}

fn times<S: Serializer>(phases: &Phases, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for (name, time) in phases.iter() {
        map.serialize_entry(name, &micros(time))?;
    }
    map.serialize_entry("total", &micros(phases.iter().map(|(_, time)| time).sum()))?;
    map.end()
}

/// Microseconds to one decimal.
fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

impl<'a> Report<'a> {
    /// The report of a run that ended so.
    pub fn new(target: &OsStr, report: &'a executor::Report, exit: Exit) -> Self {
        let executor::Report { code, start, capture, phases, collections } = report;
        let instance = start.as_ref().map(|start| Instance {
            outcome: Some(if start.restored.is_some() { "restored" } else { "instantiated" }),
            why: &start.why,
            snapshot: start.restored.as_ref().map(|snapshot| snapshot.id().to_string()),
        });
        let snapshot = Snapshot {
            taken: capture.id.is_some(),
            id: capture.id.map(|id| id.to_string()),
            reasons: &capture.reasons,
        };
        let executor::Collections { count, longest, most_bytes } = *collections;
        let collections = Collected { count, longest: micros(longest), most_bytes };
        let (target, code) = (target.display().to_string(), Code::of(code));
        Self {
            target,
            code,
            instance: instance.unwrap_or_default(),
            snapshot,
            exit,
            phases,
            collections,
        }
    }
}

/// Where a report goes. It is opened before the guest runs, so that it can be written however that ends.
#[derive(Debug)]
pub struct Destination {
    /// What is run.
    target: OsString,
    path: OsString,
    /// The file; standard output where there is none.
    file: Option<File>,
}

impl Destination {
    /// Opens `path`, which is standard output where it is `-`. What a file holds stays until there is a
    /// report.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(target: &OsStr, path: &OsStr) -> Result<Self, Failure> {
        let open = || File::options().write(true).create(true).truncate(false).open(path);
        let what = || format!("cannot write the report to {}", path.display());
        let file = (path != "-").then(open).transpose().context(what())?;
        Ok(Self { target: target.to_owned(), path: path.to_owned(), file })
    }

    /// Writes the report of a run.
    pub fn write(&self, report: &executor::Report, exit: Exit) {
        let written = Report::new(&self.target, report, exit).write(self.file.as_ref());
        // The guest's exit code stays what it is.
        if let Err(error) = written {
            warn(format_args!("cannot write the report to {}: {error}", self.path.display()));
        }
    }
}

impl Report<'_> {
    fn write(&self, file: Option<&File>) -> io::Result<()> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        let Some(mut file) = file else { return io::stdout().write_all(&json) };
        if file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        file.write_all(&json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor::ModuleHash;

    #[test]
    fn the_costliest_origin_is_the_outcome() {
        let module = ModuleHash::of(b"");
        let origins = [CodeOrigin::Cache, CodeOrigin::Compiled, CodeOrigin::Memory];
        let code = Code::of(&origins.map(|origin| ModuleCode { module, origin }));
        assert_eq!((code.outcome, code.modules.len()), (Some("compiled"), 3));
        assert_eq!(Code::of(&[]).outcome, None);
    }

    #[test]
    fn phases_are_written_in_their_order() {
        let mut report = executor::Report::default();
        for name in ["z", "a", "z"] {
            report.phases.end(name);
        }
        let report = Report::new(OsStr::new("x"), &report, Exit::default());
        let json = serde_json::to_string(&report).unwrap();
        let phases = json.split_once("\"phases\":").unwrap().1;
        assert!(phases.starts_with("{\"z\":") && phases.contains(",\"a\":"), "{json}");
        assert!(phases.contains(",\"total\":"), "{json}");
    }
}
