//! Progress of long work: a bar on a terminal, nothing when standard error is not one.
//!
//! Invariant: nothing is written, and no bar is made, before there is progress to show.

use indicatif::{ProgressBar, ProgressStyle};
use std::{io::IsTerminal, sync::OnceLock, time::Duration};

/// A bar that appears with the first report of progress.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    bar: OnceLock<Option<ProgressBar>>,
}

impl Progress {
    /// Progress of `what`, such as `compiling`.
    pub fn new(what: &'static str) -> Self {
        Self { what, bar: OnceLock::new() }
    }

    /// `done` of `total` units are done; from any thread.
    pub fn report(&self, done: u64, total: u64) {
        let bar = self.bar.get_or_init(|| {
            std::io::stderr().is_terminal().then(|| {
                let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
                let bar = ProgressBar::new(total).with_style(style).with_message(self.what);
                bar.enable_steady_tick(Duration::from_millis(200));
                bar
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
