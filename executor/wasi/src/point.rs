//! Points: before which call of the host a snapshot inside a call is taken.
//!
//! Invariant: looking whether a point is reached changes nothing and is no observation of the guest's.

use crate::descriptor::Kind;
use crate::{MODULE, WasiCtx, preview0};
use executor_model::RawValue;
use executor_runtime::{Caller, HostCall, Linker};
use std::{fmt, str::FromStr};

/// The import by which a guest says itself where the point is: module name and name.
pub const CHECKPOINT: (&str, &str) = ("executor", "checkpoint");
/// The length of a subscription of `poll_oneoff`, and where it holds its kind and its descriptor.
const SUBSCRIPTION: (usize, usize, usize) = (48, 8, 16);
/// The same in preview 0.
const SUBSCRIPTION_0: (usize, usize, usize) = (56, 8, 16);
/// The kind of a subscription that waits for input.
const FD_READ: u8 = 1;

/// Before which call of the host a call of the guest is suspended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Point {
    /// The first read of descriptor 0, or poll on it.
    Stdin,
    /// The first `path_*` call on this path, as the guest sees it.
    Path(String),
    /// A call of an import.
    Import {
        /// Its module name, or `*` for any.
        module: String,
        /// Its name, or `*` for any.
        name: String,
        /// Which of its calls, from 1 on.
        nth: u64,
    },
    /// The first call of `executor.checkpoint`, at which every other point ends too.
    Checkpoint,
}

/// Text that is no point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected stdin, checkpoint, path:GUEST_PATH or import:MODULE.NAME[:N]")]
pub struct NotAPoint;

impl FromStr for Point {
    type Err = NotAPoint;

    fn from_str(text: &str) -> Result<Self, NotAPoint> {
        let filled = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty()).ok_or(NotAPoint);
        match text.split_once(':') {
            None if text == "stdin" => Ok(Self::Stdin),
            None if text == "checkpoint" => Ok(Self::Checkpoint),
            Some(("path", path)) => Ok(Self::Path(filled(path)?)),
            Some(("import", import)) => {
                let (import, nth) = match import.rsplit_once(':') {
                    Some((import, nth)) => (import, nth.parse().map_err(|_| NotAPoint)?),
                    None => (import, 1),
                };
                let (module, name) = import.split_once('.').ok_or(NotAPoint)?;
                match nth {
                    0 => Err(NotAPoint),
                    nth => Ok(Self::Import { module: filled(module)?, name: filled(name)?, nth }),
                }
            }
            _ => Err(NotAPoint),
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("stdin"),
            Self::Checkpoint => f.write_str(CHECKPOINT.1),
            Self::Path(path) => write!(f, "path:{path}"),
            Self::Import { module, name, nth: 1 } => write!(f, "import:{module}.{name}"),
            Self::Import { module, name, nth } => write!(f, "import:{module}.{name}:{nth}"),
        }
    }
}

impl Point {
    /// A closure for `Store::call_until`: whether a call of the host is the one to stop before.
    pub fn reached(self) -> impl FnMut(&mut Caller<'_>, &HostCall<'_>) -> bool + Send + 'static {
        let mut calls = 0;
        move |caller, call| {
            if (call.module, call.name) == CHECKPOINT {
                return true;
            }
            match &self {
                Self::Checkpoint => false,
                Self::Import { module, name, nth } => {
                    let is = |given: &str, wanted: &str| wanted == "*" || given == wanted;
                    calls += u64::from(is(call.module, module) && is(call.name, name));
                    calls == *nth
                }
                Self::Stdin => is_wasi(call) && reads_stdin(caller, call),
                Self::Path(path) => is_wasi(call) && names_path(caller, call, path),
            }
        }
    }
}

fn is_wasi(call: &HostCall<'_>) -> bool {
    [MODULE, preview0::MODULE].contains(&call.module)
}

/// Argument `i` of a call, as 32 bits.
fn arg(call: &HostCall<'_>, i: usize) -> Option<u32> {
    call.args.get(i).map(|RawValue(bits)| *bits as u32)
}

fn reads_stdin(caller: &mut Caller<'_>, call: &HostCall<'_>) -> bool {
    match call.name {
        "fd_read" => arg(call, 0) == Some(0),
        "poll_oneoff" => polls_stdin(caller, call).unwrap_or(false),
        _ => false,
    }
}

fn polls_stdin(caller: &mut Caller<'_>, call: &HostCall<'_>) -> Option<bool> {
    let (size, kind, descriptor) =
        if call.module == MODULE { SUBSCRIPTION } else { SUBSCRIPTION_0 };
    let (at, count) = (arg(call, 0)? as usize, arg(call, 2)? as usize);
    let memory = caller.memory()?;
    let subscriptions = memory.get(at..)?.get(..count.checked_mul(size)?)?;
    Some(subscriptions.chunks(size).any(|subscription| {
        subscription[kind] == FD_READ && subscription[descriptor..descriptor + 4] == [0; 4]
    }))
}

/// Whether a call names a path: a function may name two.
fn names_path(caller: &mut Caller<'_>, call: &HostCall<'_>, wanted: &str) -> bool {
    // Where the directory's descriptor and the path's address are among the arguments.
    let places: &[(usize, usize)] = match call.name {
        "path_open" | "path_filestat_get" | "path_filestat_set_times" => &[(0, 2)],
        "path_create_directory"
        | "path_readlink"
        | "path_remove_directory"
        | "path_unlink_file" => &[(0, 1)],
        "path_rename" => &[(0, 1), (3, 4)],
        "path_link" => &[(0, 2), (4, 5)],
        "path_symlink" => &[(2, 3)],
        _ => return false,
    };
    let wanted = components(wanted);
    places.iter().any(|(fd, at)| {
        let path = path_at(caller, call, *fd, *at);
        path.is_some_and(|path| components(&path) == wanted)
    })
}

/// The path that a call names, with the guest's path of the directory before it.
fn path_at(caller: &mut Caller<'_>, call: &HostCall<'_>, fd: usize, at: usize) -> Option<String> {
    let (fd, at, len) = (arg(call, fd)?, arg(call, at)? as usize, arg(call, at + 1)? as usize);
    let (memory, ctx) = caller.memory_and_data::<WasiCtx>()?;
    let path = std::str::from_utf8(memory.get(at..)?.get(..len)?).ok()?;
    let directory = match &ctx.descriptors.look(fd)?.kind {
        Kind::Directory(directory) => directory.path.text(),
        _ => return None,
    };
    Some(format!("{directory}/{path}"))
}

/// The names in a path, `.` and `..` resolved by their words. Guests have no working directory, so a
/// path that begins with a slash is no other than one that does not.
fn components(path: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    names
}

/// Defines `executor.checkpoint: func() -> i32`, by which a guest says where the point is: 0 in the
/// run that goes on from there, 1 in each that was restored.
pub fn add_checkpoint_to_linker(linker: &mut Linker) {
    linker.func(CHECKPOINT.0, CHECKPOINT.1, |caller: &mut Caller<'_>| {
        Ok(i32::from(caller.is_restored()))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_read_back_from_their_text() {
        for text in [
            "stdin",
            "checkpoint",
            "path:/snapshot/here",
            "import:wasi_snapshot_preview1.fd_write",
            "import:env.f:3",
            "import:*.*:20",
        ] {
            assert_eq!(text.parse::<Point>().unwrap().to_string(), text);
        }
        for text in
            ["", "x", "path:", "import:", "import:a", "import:a.b:0", "import:.b", "stdin:1"]
        {
            assert_eq!(text.parse::<Point>(), Err(NotAPoint), "{text}");
        }
    }

    #[test]
    fn a_path_is_its_names() {
        assert_eq!(components("/a//b/./c/../d"), ["a", "b", "d"]);
        assert_eq!(components("./a"), components("/a/"));
        assert!(components("..").is_empty());
    }
}
