//! `executor snapshot flatten`: one file of a snapshot that shares pages with others.

use crate::{
    args::StoreDirArgs,
    error::Failure,
    out,
    outputs::{Named, refuse_inputs},
    snapshot_cmd::{named, open, runtime},
    units,
};
use executor::{Base, Created};
use std::{ffi::OsStr, path::Path};

/// Makes it.
///
/// # Errors
/// When anything of the snapshot is missing or damaged, or the result cannot be written.
pub fn flatten(
    store: &StoreDirArgs,
    target: &OsStr,
    output: Option<&Path>,
    name: Option<&str>,
) -> Result<i32, Failure> {
    let base = named(store, target)?;
    let Created { id, len, .. } = match (base, output) {
        (Base::Function(of), None) => runtime(store)?.flatten(&of, name.unwrap_or(&of))?,
        (Base::Snapshot(_), None) => {
            return Err(Failure::usage(format_args!(
                "{} is a file: say where the result goes with -o FILE.snap (to keep it in the store: \
                 executor snapshot create --name NAME FILE.snap)",
                target.display()
            )));
        }
        (base, Some(path)) => {
            if let Base::Snapshot(file) = &base {
                let output = Named { option: Some("--output"), path };
                refuse_inputs(output, [Named { option: None, path: file }])?;
            }
            let (runtime, snapshot) = open(store, base, target)?;
            runtime.flatten_to(&snapshot, path)?
        }
        (base @ Base::Module(_), None) => {
            return open(store, base, target).map(|_| 0);
        }
    };
    out(format_args!("{id} {}\n", units::show_size(len)))?;
    Ok(0)
}
