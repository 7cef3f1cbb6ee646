//! `executor snapshot verify --deep`: a stored function is made again, and compared.
//!
//! Invariant: the exit code is 0 only where the snapshot that was made again differs in nothing.

use crate::{
    args::StoreDirArgs,
    diff,
    error::{EXIT_FAILURE, Failure},
    out,
    snapshot_cmd::{named, runtime},
};
use executor::{Base, Difference, Escaped};
use std::ffi::OsStr;

/// Checks a stored function and makes it again.
///
/// # Errors
/// When it is damaged, or cannot be made again.
pub fn verify(store: &StoreDirArgs, target: &OsStr) -> Result<i32, Failure> {
    let Base::Function(name) = named(store, target)? else {
        return Err(Failure::usage(
            "--deep is for stored functions: what a file says of how it was made is not to be trusted",
        ));
    };
    let runtime = runtime(store)?;
    runtime.verify(&name)?;
    let kept = runtime.snapshot_of(&name)?;
    let again = runtime.repeat(&name)?;
    let difference = Difference::between(&runtime, &kept, &again)?;
    if difference.same {
        out(format_args!("{name}: ok, and made again it is the same\n"))?;
        return Ok(0);
    }
    let mut text = format!("{name}: made again it differs\n{}", diff::text(&difference, diff::FEW));
    let observed = kept.observations();
    if !observed.is_empty() {
        let observed: Vec<String> = observed.iter().map(|what| Escaped(what).to_string()).collect();
        text += &format!("what it observed may be why: {}\n", observed.join("; "));
    }
    out(format_args!("{text}"))?;
    Ok(EXIT_FAILURE)
}
