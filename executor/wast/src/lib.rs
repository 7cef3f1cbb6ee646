//! Runs specification scripts (`.wast`) on the engine. Scripts name, link and look into instances one by
//! one, so this works on the runtime itself and not on functions.
//!
//! Invariant: every directive of a script is tried, or counted as skipped with its reason; one
//! that does not hold never stops the rest.
//!
//! What is compared: results bit for bit; the messages of traps, of exhaustion and of links that
//! fail as the specification's reference interpreter does (the expected text begins ours). For
//! `assert_invalid` and `assert_malformed` only the fact that the module is refused counts, since
//! the words there are the interpreter's own. A script of an earlier version may assert a restriction
//! that a later one lifted; what lifted it is then switched off for that assertion.
//!
//! Each script has an engine and a store of its own, in which the module `spectest` is an ordinary
//! instance, so that a store is captured with it. With [`Options::through_snapshots`] the store
//! is captured into a snapshot file after each instantiation and each bare `invoke`, and the
//! script goes on with the store restored from that file.
//!
//! A thread block is a script with a store of its own, on a thread of its own.
#![forbid(unsafe_code)]
// Libraries print nothing.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod report;
mod script;
mod snapshots;
mod threads;
mod values;

pub use report::{Failure, ScriptReport, Summary};

use executor_code::Compiler;
use executor_model::Features;
use executor_runtime::StoreConfig;
use script::Script;
use std::{num::NonZeroU32, sync::Arc};
use wast::{
    Error, Wast,
    lexer::Lexer,
    parser::{self, ParseBuffer},
    token::Span,
};

/// How scripts are run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Capture and restore the store wherever that is possible.
    pub through_snapshots: bool,
    /// What modules may use.
    pub features: Features,
    /// Collect objects at every so many allocations, and not only when it is time.
    pub collect_every: Option<NonZeroU32>,
}

impl Options {
    /// What the scripts' stores are made with.
    fn store(self) -> StoreConfig {
        StoreConfig { collect_every: self.collect_every, ..StoreConfig::default() }
    }
}

/// Runs scripts; can be shared between threads.
pub struct Runner {
    compiler: Arc<dyn Compiler>,
    options: Options,
}

impl Runner {
    /// A runner of scripts whose modules `compiler` compiles.
    #[must_use]
    pub fn new(compiler: Arc<dyn Compiler>, options: Options) -> Self {
        Self { compiler, options }
    }

    /// Runs a script. A script that is not well-formed is reported as one failure.
    #[must_use]
    pub fn run_script(&self, name: &str, text: &str) -> ScriptReport {
        let mut report = ScriptReport { name: name.to_owned(), ..ScriptReport::default() };
        if let Err(error) = self.run(text, &mut report) {
            report.failed.push(failure(text, error.span(), error.message()));
        }
        report
    }

    fn run(&self, text: &str, report: &mut ScriptReport) -> Result<(), Error> {
        let buffer = lex(text)?;
        let directives = parser::parse::<Wast<'_>>(&buffer)?.directives;
        let mut script =
            self.script().map_err(|message| Error::new(Span::from_offset(0), message))?;
        self.run_directives(text, directives, &mut script, report);
        Ok(())
    }

    fn script(&self) -> Result<Script, String> {
        Script::new(self.compiler.clone(), self.options)
    }
}

/// What became of the store after a directive that held.
enum Snapshot {
    /// It is as the directive left it.
    NotTaken,
    /// It was captured, and is the restored one now.
    Restored,
    /// It could not be captured, for this reason.
    Refused(String),
}

/// A directive that did not hold.
enum Miss {
    Failed(String),
    Skipped(String),
}

impl Miss {
    fn skipped(reason: &str) -> Self {
        Self::Skipped(reason.to_owned())
    }
}

impl From<String> for Miss {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

/// Splits text into tokens. The scripts hold look-alike characters on purpose.
fn lex(text: &str) -> Result<ParseBuffer<'_>, Error> {
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    ParseBuffer::new_with_lexer(lexer)
}

fn failure(text: &str, span: Span, message: String) -> Failure {
    let (line, col) = span.linecol_in(text);
    Failure { line: line + 1, col: col + 1, message }
}
