//! `executor snapshot export` and `import`: functions as archives.

use crate::{
    args::StoreDirArgs,
    error::Failure,
    out,
    outputs::{Named, refuse_inputs},
    snapshot_cmd::{named, open, runtime},
    units, warn,
};
use executor::{
    Base,
    archive::{Export, Exported, Import, Imported},
};
use std::{ffi::OsStr, path::Path};

/// Writes an archive.
///
/// # Errors
/// When something of the snapshot is missing or damaged, or the archive cannot be written.
pub fn export(
    store: &StoreDirArgs,
    target: &OsStr,
    path: &Path,
    code: bool,
) -> Result<i32, Failure> {
    let base = named(store, target)?;
    let name = match &base {
        Base::Function(name) => Some(name.clone()),
        Base::Snapshot(file) => {
            let output = Named { option: Some("--output"), path };
            refuse_inputs(output, [Named { option: None, path: file }])?;
            None
        }
        Base::Module(_) => None,
    };
    let (runtime, snapshot) = open(store, base, target)?;
    let Exported { id, len } = runtime.export(&snapshot, path, &Export { name, code })?;
    out(format_args!("{id} {}\n", units::show_size(len)))?;
    Ok(0)
}

/// Takes a function in.
///
/// # Errors
/// When the archive is none, damaged or too large, or the store cannot be written.
pub fn import(store: &StoreDirArgs, path: &Path, options: &Import) -> Result<i32, Failure> {
    let Imported { name, id, warnings } = runtime(store)?.import(path, options)?;
    warnings.iter().for_each(warn);
    out(format_args!("{name} {id}\n"))?;
    Ok(0)
}
