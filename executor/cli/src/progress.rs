//! Progress of long work: a bar on a terminal, nothing when standard error is not one.
//!
//! Invariant: work that is quick shows nothing, and no bar is made for it.

use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::IsTerminal,
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Work that takes less shows no bar.
const PATIENCE: Duration = Duration::from_millis(200);

/// A bar that appears once the work has taken a while.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    begun: Instant,
    bar: OnceLock<Option<ProgressBar>>,
}

impl Progress {
    /// Progress of `what`, such as `compiling`.
    pub fn new(what: &'static str) -> Self {
        Self { what, begun: Instant::now(), bar: OnceLock::new() }
    }

    /// `done` of `total` units are done; from any thread.
    pub fn report(&self, done: u64, total: u64) {
        if self.begun.elapsed() < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            std::io::stderr().is_terminal().then(|| {
                let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
                ProgressBar::new(total).with_style(style).with_message(self.what)
            })
        });
        if let Some(bar) = bar {
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(Some(bar)) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
