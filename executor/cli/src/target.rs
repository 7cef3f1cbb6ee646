//! What a word of the command line names: a file, standard input, or a stored function.
//!
//! Invariant: a stored function wins over a file of its name in the working directory, and that both are
//! there is said. A path has a slash or ends as modules and snapshots do.

use crate::{
    args::{GuestArgs, Preload},
    error::{Context, Failure},
    outputs::Named,
    warn,
};
use executor::{Base, Source};
use std::{ffi::OsStr, fs, io, path::Path};

/// The word for standard input.
const STDIN: &str = "-";

/// What `word` names. `has_function` looks for a stored function, and is asked only where there is a file
/// of that name too.
///
/// # Errors
/// When a file cannot be read, or a name is not UTF-8.
pub fn named(word: &OsStr, has_function: impl FnOnce(&str) -> bool) -> Result<Base, Failure> {
    if word == STDIN {
        return Ok(Base::Module(stdin()?));
    }
    if Base::is_path(word) {
        return Ok(Base::file(word)?);
    }
    let file = fs::metadata(Path::new(word)).is_ok_and(|metadata| !metadata.is_dir());
    let name = match word.to_str() {
        Some(name) => name,
        None if file => return Ok(Base::file(word)?),
        None => {
            let word = word.display();
            return Err(Failure::new(format_args!("no file and no function is named {word}")));
        }
    };
    match file {
        false => Ok(Base::Function(name.to_owned())),
        true if has_function(name) => {
            warn(format_args!(
                "`{name}` is a stored function, which is used, and a file here (to use that: ./{name})"
            ));
            Ok(Base::Function(name.to_owned()))
        }
        true => Ok(Base::file(word)?),
    }
}

/// The files that a command reads whose target, as it is named and as it is found, is `base`.
pub fn inputs<'a>(
    base: &Base,
    word: &'a OsStr,
    guest: &'a GuestArgs,
) -> impl Iterator<Item = Named<'a>> {
    let file = match base {
        Base::Module(_) | Base::Snapshot(_) if word != STDIN => Some(Path::new(word)),
        _ => None,
    };
    let preload = guest.preload.iter().map(|Preload { file, .. }| file.as_path());
    let preload = preload.map(|path| Named { option: Some("--preload"), path });
    file.into_iter().map(|path| Named { option: None, path }).chain(preload)
}

fn stdin() -> Result<Source, Failure> {
    Source::read("stdin", io::stdin().lock()).context("standard input")
}
