//! `--timeout`: stops the guest when its time is up.
//!
//! Invariant: only the guest's own time counts, initialisation and call together; compiling and
//! writing snapshots do not. Without a limit there is no thread.

use crate::error::EXIT_TRAP;
use executor_runtime::Interrupter;
use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// How long an interrupted guest may take to come back from a call of the host that nothing wakes,
/// such as reading a file from a network that is gone, before the process ends without it.
const GRACE: Duration = Duration::from_secs(1);

/// The guest's time.
#[derive(Debug)]
pub struct Timeout {
    limit: Option<Duration>,
    used: Duration,
    passed: bool,
}

impl Timeout {
    /// A guest with a limit or none.
    pub fn new(limit: Option<Duration>) -> Self {
        Self { limit, used: Duration::ZERO, passed: false }
    }

    /// Runs the guest, and interrupts it when its time is up.
    pub fn watch<T>(&mut self, interrupter: Interrupter, guest: impl FnOnce() -> T) -> T {
        let Some(limit) = self.limit else {
            // Waits are cheaper where nobody can end them.
            drop(interrupter);
            return guest();
        };
        let left = limit.saturating_sub(self.used);
        let begun = Instant::now();
        let (finished, wait) = mpsc::channel::<()>();
        let watchdog = move || {
            if wait.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
                return false;
            }
            interrupter.interrupt();
            if wait.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("executor: error: {}, in a call of the host", Self::message(limit));
                std::process::exit(EXIT_TRAP);
            }
            true
        };
        let (value, passed) = thread::scope(move |scope| {
            let watchdog = scope.spawn(watchdog);
            let value = guest();
            // The watchdog waits for this end of the channel to close.
            drop(finished);
            (value, watchdog.join().unwrap_or(false))
        });
        self.used += begun.elapsed();
        self.passed |= passed;
        value
    }

    /// What to say when the guest was interrupted; `None` when its time was not up.
    pub fn passed(&self) -> Option<String> {
        self.limit.filter(|_| self.passed).map(Self::message)
    }

    fn message(limit: Duration) -> String {
        format!("the timeout of {limit:?} passed")
    }
}
