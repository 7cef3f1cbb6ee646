//! `executor wast`: runs specification scripts and counts.
//!
//! Invariant: the command succeeds exactly when every script could be read and nothing failed.

use crate::{
    args::{self, WastArgs},
    error::{Context, EXIT_FAILURE, Failure},
    out,
};
use executor::Features;
use executor_compiler::NativeCompiler;
use executor_wast::{Options, Runner, Summary};
use std::sync::Arc;

/// Runs the scripts; the failures of each go before its line.
///
/// # Errors
/// When a script cannot be read.
pub fn wast(args: &WastArgs) -> Result<i32, Failure> {
    let WastArgs { features: args::Features::All, through_snapshots, collect_every, code, files } =
        args;
    let options = Options {
        through_snapshots: *through_snapshots,
        features: code.features(Features::ALL),
        collect_every: *collect_every,
    };
    let compiler = NativeCompiler::new().map_err(Failure::new)?;
    let runner = Runner::new(Arc::new(compiler), options);
    let mut total = Summary::default();
    for file in files {
        let text = std::fs::read_to_string(file).context(file.display())?;
        let report = runner.run_script(&file.display().to_string(), &text);
        for failure in &report.failed {
            out(format_args!("{}:{failure}\n", file.display()))?;
        }
        for (line, reason) in &report.skipped {
            out(format_args!("{}:{line}: skipped: {reason}\n", file.display()))?;
        }
        out(format_args!("{report}\n"))?;
        total.add(&report);
    }
    out(format_args!("{total}\n"))?;
    Ok(if total.failed == 0 { 0 } else { EXIT_FAILURE })
}
