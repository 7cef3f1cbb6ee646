//! What ends a command early.
//!
//! Invariant: a [`Failure`] is one line that says what to do, under which only the lines of a
//! backtrace may follow, and the exit code that goes with it.

use crate::{print, suggest::did_you_mean};
use executor::{CallError, Error, Escaped, WasiError, WasiStateError};
use std::fmt::{self, Display};

/// The exit code of a failure: a bad file, a missing export, a refused snapshot.
pub const EXIT_FAILURE: i32 = 1;
/// The exit code of a command line that makes no sense.
pub const EXIT_USAGE: i32 = 2;
/// The exit code of a trap, or of an exception that nothing catches: that of a shell's child killed by SIGABRT.
pub const EXIT_TRAP: i32 = 134;

/// A message and an exit code.
#[derive(Debug)]
pub struct Failure {
    /// The message, without the program's name.
    message: String,
    /// The exit code.
    pub code: i32,
}

impl Failure {
    /// A failure of the work itself.
    pub fn new(message: impl Display) -> Self {
        Self { message: print::line(&message.to_string()), code: EXIT_FAILURE }
    }

    /// A command line that makes no sense.
    pub fn usage(message: impl Display) -> Self {
        Self { message: print::line(&message.to_string()), code: EXIT_USAGE }
    }

    /// The same of a command whose other exit codes say what it found.
    pub fn trouble(self) -> Self {
        Self { code: EXIT_USAGE, ..self }
    }

    /// The message as one line.
    pub fn line(&self) -> String {
        print::line(&self.message)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    /// Says what to do about it in the words of the command line.
    fn from(error: Error) -> Self {
        let code = exit_code(&error);
        let message = match &error {
            Error::InsideCall => format!("--invoke: {error}"),
            Error::NoPoint => {
                "the snapshot is inside a call: say with --at how far it goes on".to_owned()
            }
            Error::Linked => format!("--preload: {error}"),
            Error::NothingToCall { .. } => format!("{error} (to name one: --invoke EXPORT)"),
            Error::InitIsProgram { name } => format!(
                "--init {}: that is the program itself, and after it there is nothing left to run; to \
                 keep the state on its way, say with --at how far it goes",
                Escaped(name)
            ),
            Error::Wasi(WasiError::MissingPreopen(guest)) => {
                format!("{error}; give it with --dir HOST::{guest}")
            }
            Error::Wasi(WasiError::MissingListener(_)) => {
                format!("{error}; give them with --listen ADDR:PORT")
            }
            Error::WasiCapture(WasiStateError::Entropy(_)) => format!(
                "{error}; --entropy=keep allows it, --entropy=refill draws the bytes anew at each \
                 restore"
            ),
            Error::NoExport { name, functions } => {
                let alike = did_you_mean(name, functions.iter().map(String::as_str));
                format!("{error}{alike}")
            }
            Error::Variable { name, .. } => {
                format!("--env {name}: {error} (to set it: --env {name}=VALUE)")
            }
            error => match error.limit() {
                Some(limit) => limit.message("--max-memory"),
                None => error.to_string(),
            },
        };
        // Where the guest called the host function that failed.
        let message = match error.call() {
            Some(CallError::Host { backtrace, .. }) => format!("{message}\n{backtrace}"),
            _ => message,
        };
        let has_backtrace = error.call().is_some()
            || matches!(error, Error::WasiCapture(WasiStateError::Entropy(_)));
        let message = if has_backtrace { message } else { print::line(&message) };
        Self { message, code }
    }
}

/// The exit code that goes with an error.
fn exit_code(error: &Error) -> i32 {
    match error {
        Error::Arguments(_)
        | Error::InsideCall
        | Error::NoPoint
        | Error::Linked
        | Error::Variable { .. } => EXIT_USAGE,
        Error::TimedOut { source, .. } => exit_code(source),
        error => match error.call() {
            Some(CallError::Trap(_) | CallError::Exception(_)) => EXIT_TRAP,
            _ => EXIT_FAILURE,
        },
    }
}

/// Says what was being done when an error came up.
pub trait Context<T> {
    /// Prefixes the error with `what`.
    ///
    /// # Errors
    /// The error, as a [`Failure`].
    fn context(self, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> Context<T> for Result<T, E> {
    fn context(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|e| Failure::new(format_args!("{what}: {e}")))
    }
}
