//! Files that a command writes beside the store.
//!
//! Invariant: no output is a file that the command reads, and this is known before any work begins.

use crate::error::Failure;
use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

/// A file of the command line, and the option that names it; none is the target.
#[derive(Clone, Copy)]
pub struct Named<'a> {
    /// The option.
    pub option: Option<&'a str>,
    /// The file.
    pub path: &'a Path,
}

/// Refuses an output that is one of the inputs, by whatever path.
///
/// # Errors
/// When it is one.
pub fn refuse_inputs<'a>(
    output: Named<'_>,
    inputs: impl IntoIterator<Item = Named<'a>>,
) -> Result<(), Failure> {
    let identity = |path: &Path| -> io::Result<_> {
        let metadata = fs::metadata(path)?;
        // Reading and writing one terminal or pipe is no mistake.
        Ok(metadata.is_file().then(|| (metadata.dev(), metadata.ino())))
    };
    let Ok(Some(written)) = identity(output.path) else { return Ok(()) };
    let mut inputs = inputs.into_iter();
    match inputs.find(|input| identity(input.path).is_ok_and(|read| read == Some(written))) {
        None => Ok(()),
        Some(input) => Err(Failure::usage(format_args!(
            "{} {} would overwrite {}, which is read",
            output.option.unwrap_or_default(),
            output.path.display(),
            match input.option {
                Some(option) => format!("{option} {}", input.path.display()),
                None => input.path.display().to_string(),
            }
        ))),
    }
}
