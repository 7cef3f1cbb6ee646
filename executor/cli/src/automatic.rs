//! `executor snapshot list --auto` and `rm --auto`: the automatic snapshots of the store.
//!
//! Invariant: what is removed here is made again by the next run that misses it.

use crate::{
    error::{EXIT_FAILURE, Failure},
    out, units,
};
use executor::{AutoListed, Conditions, Escaped, Runtime, Swept};
use std::fmt::Write;

/// Lists them, one to a line.
///
/// # Errors
/// When the store cannot be read.
pub fn list(runtime: &Runtime) -> Result<i32, Failure> {
    let listed = runtime.automatic()?;
    let mut lines = String::new();
    if !listed.is_empty() {
        lines = format!(
            "{:12}  {:12}  {:12}  {:>10}  {:16}  BOUND TO\n",
            "KEY", "MODULE", "SNAPSHOT", "SIZE", "CREATED"
        );
    }
    let mut code = 0;
    for AutoListed { key, conditions, info } in listed {
        // Writing to a string cannot fail.
        let _ = match info {
            Ok(info) => writeln!(
                lines,
                "{:.12}  {:.12}  {:.12}  {:>10}  {:16}  {}",
                key.to_string(),
                // The module that is called is the last to be instantiated.
                info.modules.last().map(ToString::to_string).unwrap_or_default(),
                info.snapshot.to_string(),
                units::show_size(info.size),
                units::show_time(info.created),
                bound_to(&conditions)
            ),
            Err(error) => {
                code = EXIT_FAILURE;
                writeln!(lines, "{:.12}  {error}", key.to_string())
            }
        };
    }
    out(format_args!("{lines}"))?;
    Ok(code)
}

/// What has to be as it was for the snapshot to be used.
fn bound_to(conditions: &Conditions) -> String {
    let Conditions { args, env, files } = conditions;
    let mut what = Vec::new();
    what.extend(args.map(|_| "arguments".to_owned()));
    what.extend(env.map(|_| "environment".to_owned()));
    what.extend(files.iter().map(|(path, digest)| match digest {
        Some(_) => format!("file {}", Escaped(path)),
        None => format!("no file {}", Escaped(path)),
    }));
    match what.is_empty() {
        true => "nothing".to_owned(),
        false => what.join(", "),
    }
}

/// Removes those of some keys, or all.
///
/// # Errors
/// When there is no such key, or a file cannot be removed.
pub fn remove(runtime: &Runtime, keys: &[String]) -> Result<i32, Failure> {
    let Swept { files, bytes } = runtime.remove_automatic(keys)?;
    out(format_args!(
        "removed automatic snapshots: {files} files ({})\n",
        units::show_size(bytes)
    ))?;
    Ok(0)
}
