//! Figures of a function: counted where they arise, read by whoever asks.
//!
//! Invariant: counting takes no lock and allocates nothing.

use super::{failures::Failures, pages::Pages};
use crate::wire::{End, Origin, Reset};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The upper bounds of the classes of a histogram; one more class has the rest.
type Bounds = [u64; 16];

/// Those of times, in nanoseconds.
pub(crate) const TIMES: Bounds = {
    let us = [
        10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000,
        1_000_000, 10_000_000,
    ];
    let mut ns = us;
    let mut i = 0;
    while i < us.len() {
        ns[i] = us[i] * 1000;
        i += 1;
    }
    ns
};

/// Those of numbers of pages.
pub(crate) const PAGES: Bounds =
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 65_536];

/// How often something took how much.
#[derive(Debug)]
pub(crate) struct Histogram {
    pub(crate) bounds: &'static Bounds,
    classes: [AtomicU64; TIMES.len() + 1],
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static Bounds) -> Self {
        Self { bounds, classes: Default::default(), sum: AtomicU64::new(0) }
    }

    /// Counts one.
    pub(crate) fn record(&self, value: u64) {
        let class = self.bounds.partition_point(|bound| *bound < value);
        self.classes[class].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// Counts a time.
    pub(crate) fn time(&self, time: Duration) {
        self.record(time.as_nanos() as u64);
    }

    /// How many there were up to each bound, all of them at the end.
    pub(crate) fn cumulative(&self) -> [u64; TIMES.len() + 1] {
        let mut sum = 0;
        std::array::from_fn(|class| {
            sum += self.classes[class].load(Relaxed);
            sum
        })
    }

    /// All of them together.
    pub(crate) fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }
}

/// The figures of a function.
#[derive(Debug)]
pub(crate) struct Stats {
    /// Responses by the first digit of their status: 2, 3, 4, 5.
    responses: [AtomicU64; 4],
    pub(crate) queue: Histogram,
    pub(crate) acquire: Histogram,
    pub(crate) run: Histogram,
    pub(crate) release: Histogram,
    /// From the request's head to the end of its response.
    pub(crate) total: Histogram,
    faults: AtomicU64,
    restores: AtomicU64,
    acquires: AtomicU64,
    write_faults: AtomicU64,
    /// The pages that each reset put back. There are as many as there were resets.
    pub(crate) written: Histogram,
    /// Which pages they were, lately.
    pub(crate) pages: Pages,
    pub(crate) failures: Failures,
}

impl Default for Stats {
    fn default() -> Self {
        let times = || Histogram::new(&TIMES);
        Self {
            responses: Default::default(),
            queue: times(),
            acquire: times(),
            run: times(),
            release: times(),
            total: times(),
            faults: Default::default(),
            restores: Default::default(),
            acquires: Default::default(),
            write_faults: Default::default(),
            written: Histogram::new(&PAGES),
            pages: Pages::default(),
            failures: Failures::default(),
        }
    }
}

impl Stats {
    /// Counts a response.
    pub(crate) fn response(&self, status: u16, time: Duration) {
        if let Some(class) = (status / 100).checked_sub(2)
            && let Some(count) = self.responses.get(usize::from(class))
        {
            count.fetch_add(1, Relaxed);
        }
        self.total.time(time);
    }

    /// Counts a call that has ended. `sampled` names its snapshot where its pages were asked for.
    pub(crate) fn call(&self, end: &End, sampled: Option<[u8; 32]>) {
        let End { phases, usage, .. } = end;
        self.acquire.time(phases.acquire);
        self.run.time(phases.run);
        self.release.time(phases.release);
        self.faults.fetch_add(phases.faults, Relaxed);
        match usage.origin {
            Some(Origin::Restored) => _ = self.restores.fetch_add(1, Relaxed),
            Some(Origin::Acquired) => _ = self.acquires.fetch_add(1, Relaxed),
            None => {}
        }
        if let Some(Reset { pages, write_faults }) = usage.reset {
            self.written.record(pages);
            self.write_faults.fetch_add(write_faults, Relaxed);
        }
        match (sampled, &usage.map) {
            (Some(snapshot), Some(map)) => self.pages.see(map, snapshot),
            (Some(_), None) => self.pages.missed(),
            (None, _) => {}
        }
    }

    /// Responses by the first digit of their status: 2, 3, 4, 5.
    pub(crate) fn responses(&self) -> [u64; 4] {
        std::array::from_fn(|class| self.responses[class].load(Relaxed))
    }

    /// Page faults of its calls.
    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Relaxed)
    }

    /// Those that opened a page for writes, as far as that is known.
    pub(crate) fn write_faults(&self) -> u64 {
        self.write_faults.load(Relaxed)
    }

    /// Calls whose instance was mapped for them.
    pub(crate) fn restores(&self) -> u64 {
        self.restores.load(Relaxed)
    }

    /// Calls whose instance was in a slot that an earlier call had.
    pub(crate) fn acquires(&self) -> u64 {
        self.acquires.load(Relaxed)
    }

    /// Slots that were reset after a call.
    pub(crate) fn resets(&self) -> u64 {
        self.written.cumulative()[PAGES.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_each_time_once() {
        let histogram = Histogram::new(&TIMES);
        for us in [1, 10, 11, 20_000_000] {
            histogram.time(Duration::from_micros(us));
        }
        let cumulative = histogram.cumulative();
        assert_eq!(cumulative[..3], [2, 3, 3]);
        assert_eq!(cumulative[TIMES.len() - 1..], [3, 4]);
        assert_eq!(histogram.sum(), 20_000_022_000);
    }
}
