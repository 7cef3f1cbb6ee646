//! What ends a command early.
//!
//! Invariant: a [`Failure`] is one line that says what to do, and the exit code that goes with it.

use std::fmt::Display;

/// The exit code of a failure: a bad file, a missing export, a refused snapshot.
pub const EXIT_FAILURE: i32 = 1;
/// The exit code of a command line that makes no sense.
pub const EXIT_USAGE: i32 = 2;
/// The exit code of a trap, or of an exception that nothing catches: that of a shell's child killed by SIGABRT.
pub const EXIT_TRAP: i32 = 134;

/// A message for people and an exit code.
#[derive(Debug)]
pub struct Failure {
    /// The message, without the program's name.
    pub message: String,
    /// The exit code.
    pub code: i32,
}

impl Failure {
    /// A failure of the work itself.
    pub fn new(message: impl Display) -> Self {
        Self { message: message.to_string(), code: EXIT_FAILURE }
    }

    /// A command line that makes no sense.
    pub fn usage(message: impl Display) -> Self {
        Self { message: message.to_string(), code: EXIT_USAGE }
    }

    /// The message as one line.
    pub fn line(&self) -> String {
        let mut parts = self.message.lines().map(str::trim).filter(|l| !l.is_empty());
        let first = parts.next().unwrap_or("failed").to_owned();
        parts.fold(first, |line, part| line + " " + part)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_whatever_the_message() {
        assert_eq!(Failure::new("bad\n  --> file\n\n   | (x").line(), "bad --> file | (x");
        assert_eq!(Failure::new("").line(), "failed");
    }
}
