//! Output that was held back long enough is passed on.
//!
//! Invariant: a worker without held output sleeps.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

/// How often held output is looked at, and how long it is held back at least.
pub(super) const MOMENT: Duration = Duration::from_millis(10);

/// Wakes the thread that flushes.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    /// Something is held back, or was since the thread looked.
    armed: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Flusher {
    /// Notes that something is held back.
    pub(super) fn arm(&self) {
        if !self.armed.swap(true, SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Has `flush` pass on what was held back since a time, again and again; it says whether something still is.
    pub(super) fn run(&self, mut flush: impl FnMut(Instant) -> bool) {
        let _ = self.thread.set(thread::current());
        loop {
            // Who arms before the thread is known is seen here.
            while !self.armed.swap(false, SeqCst) {
                thread::park();
            }
            thread::sleep(MOMENT);
            if let Some(since) = Instant::now().checked_sub(MOMENT)
                && flush(since)
            {
                self.armed.store(true, SeqCst);
            }
        }
    }
}
