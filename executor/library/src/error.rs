//! What can go wrong.
//!
//! Invariant: an error keeps what caused it, and its message says of which module, file or export it
//! speaks.

use crate::imports;
use executor_code::CompileError;
use executor_model::{
    CallError, EngineError, Escaped, FuncType, LimitError, LinkError, ModuleHash, Trap,
};
use executor_runtime::{CaptureError, InstantiateError, OutOfBounds, RestoreError, SuspendError};
use executor_snapshot::{CatalogueError, FormatError, HookError, SnapshotError, SnapshotId};
use executor_wasi::{Errno, InvalidWasiState, Point, WasiError, WasiStateError};
use std::{ffi::OsString, io, path::PathBuf, time::Duration};

/// A failure of this library, or the end of a guest's call other than by returning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Nothing can be written to a path: there is something else than a regular file, or no
    /// directory for one.
    #[error("nothing can be written to {path}: {source}", path = path.display())]
    Output {
        /// The path.
        path: PathBuf,
        /// What is there.
        source: io::Error,
    },
    /// The operating system refused something else.
    #[error("cannot {what}: {source}")]
    System {
        /// What was to be done.
        what: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Bytes are no module.
    #[error("{name} is not a WebAssembly module: {what}")]
    NotAModule {
        /// What they are called.
        name: String,
        /// What is known of them.
        what: &'static str,
    },
    /// A snapshot is to be read from a pipe or a device.
    #[error("{path} is a snapshot, and not in a file of its own, which it has to be to be mapped", path = path.display())]
    SnapshotInPipe {
        /// Where it came from.
        path: PathBuf,
    },
    /// A variable is to have the value that it has in this process's environment.
    #[error(
        "environment variable {name} {what}: the guest is to have its value",
        what = if *.unset { "is not set" } else { "has a value that is not UTF-8" }
    )]
    Variable {
        /// Its name.
        name: String,
        /// Whether it has no value at all.
        unset: bool,
    },
    /// A name that is not UTF-8 names no function.
    #[error("no function is named {}", .name.display())]
    FunctionName {
        /// The name.
        name: OsString,
    },
    /// The text of a module cannot be parsed.
    #[error("{module}{place}: {message}")]
    Text {
        /// Which module.
        module: String,
        /// Where in it, as `:LINE:COLUMN`.
        place: String,
        /// What is wrong there.
        message: String,
    },
    /// The text of a module needs the parser, which comes with the compiler.
    #[error("{module}: this build has no compiler and cannot read text modules")]
    NoParser {
        /// Which module.
        module: String,
    },
    /// A module's file is not what it was when its hash was taken.
    #[error("{path} changed while it was in use; run again", path = path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// The code of a module in the store is damaged. Without it, it is compiled again when it is needed.
    #[error("{}: damaged: {reason}; remove it, and the module is compiled again when it next runs", .path.display())]
    DamagedCode {
        /// The code file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no code for a module, and nothing to make it with.
    #[error("{module} is not compiled yet, and this build has no compiler")]
    NotCompiled {
        /// Which module.
        module: String,
    },
    /// A module is invalid, or uses what is not supported or switched off.
    #[error("{module}: {source}")]
    Invalid {
        /// Which module.
        module: String,
        /// What is wrong with it.
        source: CompileError,
    },
    /// A module cannot be compiled, or its code not be kept or mapped.
    #[error("{module}: {source}")]
    Compile {
        /// Which module.
        module: String,
        /// Why.
        source: EngineError,
    },
    /// A snapshot is of a module that is not at hand.
    #[error(
        "the code of module {0} is not in the store; give the module to `executor compile` first"
    )]
    UnknownModule(ModuleHash),
    /// The store directory.
    #[error(transparent)]
    Store(#[from] CatalogueError),
    /// A snapshot without a name is no function; [`Creation::save`](crate::Creation::save) makes one.
    #[error("a snapshot without a name is no function")]
    NoName,
    /// Functions that are kept in memory have no versions and no settings.
    #[error("only a store keeps versions and settings of functions")]
    NoVersions,
    /// A snapshot that is not in the store.
    #[error("the store has no snapshot {0}")]
    UnknownSnapshot(SnapshotId),
    /// Settings of a function that cannot be read.
    #[error("{path}: damaged: {source}; remove it, and set them again", path = path.display())]
    Settings {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// What a snapshot is laid over is a snapshot, and this is a module.
    #[error(
        "{0} is a module: what a snapshot shares pages with is another snapshot (to make one of the module: \
         executor snapshot create)"
    )]
    BaseIsModule(String),
    /// An archive of a function.
    #[cfg(feature = "archive")]
    #[error("{path}: {source}", path = path.display())]
    Archive {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: crate::archive::ArchiveError,
    },
    /// A snapshot file.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What an instance is given cannot be had, or a snapshot needs more than it is given.
    #[error(transparent)]
    Wasi(#[from] WasiError),
    /// The WASI state of a snapshot.
    #[error(transparent)]
    WasiState(#[from] InvalidWasiState),
    /// Random bytes that a snapshot has drawn anew at each restore cannot be drawn.
    #[error("random bytes cannot be drawn: {0:?}")]
    Random(Errno),
    /// A snapshot names a main instance that it does not have.
    #[error("the snapshot names a main instance that it does not have")]
    NoMainInstance,
    /// Imports cannot be satisfied.
    #[error("{0}{hint}", hint = hint(.0))]
    Link(LinkError),
    /// A module cannot be instantiated.
    #[error(transparent)]
    Instantiate(InstantiateError),
    /// A call ended otherwise than by returning.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A call could not be suspended.
    #[error(transparent)]
    Suspend(SuspendError),
    /// A hook of the guest is no hook, or did not return.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The guest's time was up.
    #[error("the timeout of {limit:?} passed: {source}")]
    TimedOut {
        /// How much it had.
        limit: Duration,
        /// How it ended.
        source: Box<Error>,
    },
    /// There is no such export.
    #[error("the module has no export `{}`{}", Escaped(.name), suggest(.functions))]
    NoExport {
        /// The name.
        name: String,
        /// The functions that it exports.
        functions: Vec<String>,
    },
    /// The export is not a function.
    #[error("export `{}` is a {kind}, not a function", Escaped(.name))]
    NotAFunction {
        /// Its name.
        name: String,
        /// What it is, in the specification's word.
        kind: String,
    },
    /// A function that is called without arguments takes some.
    #[error("export `{}` is called without arguments, but its type is {ty}", Escaped(.name))]
    TakesArguments {
        /// Its name.
        name: String,
        /// Its type.
        ty: FuncType,
    },
    /// A function has another type than the caller says.
    #[error("export `{}` is of type {ty}, not {wanted}", Escaped(.name))]
    Type {
        /// Its name.
        name: String,
        /// Its type.
        ty: FuncType,
        /// The type that was asked for.
        wanted: FuncType,
    },
    /// Arguments do not fit a function; the message names it.
    #[error("{0}")]
    Arguments(String),
    /// A function was to be called where a call goes on already.
    #[error("the snapshot is inside a call already, which goes on")]
    InsideCall,
    /// A snapshot inside a call was to be made from one, without a point to go on to.
    #[error("the snapshot is inside a call: say with a point how far it goes on")]
    NoPoint,
    /// There is nothing to call: a reactor has no `_start`, and no export was named.
    #[error("nothing to call: the module has no `_start`, and no export was named{}", suggest(.functions))]
    NothingToCall {
        /// The functions that it exports.
        functions: Vec<String>,
    },
    /// A command was to be initialised by its own program, after which there is nothing left to run.
    #[error(
        "`{}` is the program itself: after it there is nothing left to run. To keep the state on its \
         way, say with a point how far it goes",
        Escaped(.name)
    )]
    InitIsProgram {
        /// Its name.
        name: String,
    },
    /// Instances were to be linked to those of a snapshot.
    #[error("the instances of a snapshot are linked already")]
    Linked,
    /// A snapshot cannot be made again as it was made.
    #[error("it cannot be made again: {0}")]
    NotRepeatable(String),
    /// There is nothing to capture, because the guest did not get ready.
    #[error("{}", not_ready(.during, .source))]
    NotReady {
        /// What it was doing.
        during: String,
        /// How that ended.
        source: Box<Error>,
    },
    /// The call returned before it reached the point; there is nothing to capture.
    #[error("the call returned before it reached {0}; there is nothing to capture")]
    PointNotReached(Point),
    /// The state holds something that cannot be captured.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// WASI's state holds something that cannot be captured, or is not to be.
    #[error(transparent)]
    WasiCapture(#[from] WasiStateError),
    /// The state does not fit the file format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A directory that a snapshot is to keep has no path in UTF-8.
    #[error("{path}: a snapshot keeps only paths in UTF-8", path = path.display())]
    DirectoryName {
        /// Its path.
        path: PathBuf,
    },
    /// There is no memory to read or write, or other threads share it.
    #[error("the module has no memory of its own")]
    NoMemory,
    /// Bytes outside the memory.
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
}

impl Error {
    /// How the guest's call ended, where that is what went wrong.
    #[must_use]
    pub fn call(&self) -> Option<&CallError> {
        match self {
            Self::Call(error) => Some(error),
            Self::TimedOut { source, .. } | Self::NotReady { source, .. } => source.call(),
            Self::Hook(HookError::Call { source, .. }) => Some(source),
            _ => None,
        }
    }

    /// The limit on memory ([`Limits::memory`](crate::Limits::memory)) that an instance would exceed, where that
    /// is what went wrong.
    #[must_use]
    pub fn limit(&self) -> Option<&LimitError> {
        match self {
            Self::Engine(EngineError::Limit(limit))
            | Self::Instantiate(InstantiateError::Engine(EngineError::Limit(limit)))
            | Self::Snapshot(SnapshotError::Restore {
                source: RestoreError::Engine(EngineError::Limit(limit)),
                ..
            }) => Some(limit),
            _ => match self.call() {
                Some(CallError::Limit(limit)) => Some(limit),
                _ => None,
            },
        }
    }

    /// Whether the guest ended, and not the host's side failed.
    pub(crate) fn ends_guest(&self) -> bool {
        match self {
            Self::Call(error) => !matches!(error, CallError::Usage(_)),
            Self::TimedOut { source, .. } => source.ends_guest(),
            _ => false,
        }
    }

    /// The trap that ended the guest's call.
    #[must_use]
    pub fn trap(&self) -> Option<&Trap> {
        match self.call() {
            Some(CallError::Trap(trap)) => Some(trap),
            _ => None,
        }
    }
}

impl From<InstantiateError> for Error {
    fn from(error: InstantiateError) -> Self {
        match error {
            InstantiateError::Call(error) => Self::Call(error),
            InstantiateError::Link(error) => Self::Link(error),
            error => Self::Instantiate(error),
        }
    }
}

impl From<SuspendError> for Error {
    fn from(error: SuspendError) -> Self {
        match error {
            SuspendError::Call(error) => Self::Call(error),
            error => Self::Suspend(error),
        }
    }
}

/// The exported functions, for one who misspelt a name.
fn suggest(functions: &[String]) -> String {
    const MOST: usize = 8;
    let functions: Vec<String> = functions.iter().map(|f| Escaped(f).to_string()).collect();
    match functions.len() {
        0 => "; it exports no functions".to_owned(),
        n if n > MOST => {
            format!("; it exports the functions {}, ...", functions[..MOST].join(", "))
        }
        _ => format!("; it exports the functions {}", functions.join(", ")),
    }
}

/// What a module's unknown imports say of how it was built.
fn hint(error: &LinkError) -> String {
    match error {
        LinkError::Unknown(unknown) => imports::hint(unknown),
        _ => String::new(),
    }
}

fn not_ready(during: &str, source: &Error) -> String {
    match source {
        Error::Call(CallError::Exit(code)) => {
            format!("{during} ended by exiting with code {code}; there is no instance to capture")
        }
        source => format!("{during}: {source}"),
    }
}
