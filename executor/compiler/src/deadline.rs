//! How long compiling a module may take.
//!
//! Invariant: once the deadline has passed, nothing more of a function is validated or translated than a few
//! operators, and no machine code is generated. The code generator cannot be interrupted, so what it has begun
//! ends late, by as much as one function takes: that is in proportion to its IR, which the limit on memory bounds
//! (see [`crate::weight`]).

use executor_code::CompileError;
use std::time::{Duration, Instant};

/// When the compilation of a module has to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    /// Nothing where the clock does not reach so far.
    at: Option<Instant>,
    limit: Duration,
}

impl Deadline {
    /// So long from now.
    pub(crate) fn after(limit: Duration) -> Self {
        Self { at: Instant::now().checked_add(limit), limit }
    }

    /// # Errors
    /// [`CompileError::TooSlow`] once it has passed.
    pub(crate) fn check(self) -> Result<(), CompileError> {
        match self.at {
            Some(at) if Instant::now() >= at => Err(CompileError::TooSlow { limit: self.limit }),
            _ => Ok(()),
        }
    }
}
