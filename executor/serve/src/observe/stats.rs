//! Figures of a function: counted where they arise, read by whoever asks.
//!
//! Invariant: counting takes no lock and allocates nothing.

use super::failures::Failures;
use crate::wire::Phases;
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The upper bounds of the classes of a histogram, in microseconds; one more class has the rest.
pub(crate) const BOUNDS: [u64; 16] = [
    10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000,
    1_000_000, 10_000_000,
];

/// How often something took how long.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    classes: [AtomicU64; BOUNDS.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Counts one.
    pub(crate) fn record(&self, time: Duration) {
        let us = time.as_micros() as u64;
        let class = BOUNDS.partition_point(|bound| *bound < us);
        self.classes[class].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// How many there were up to each bound, all of them at the end.
    pub(crate) fn cumulative(&self) -> [u64; BOUNDS.len() + 1] {
        let mut sum = 0;
        std::array::from_fn(|class| {
            sum += self.classes[class].load(Relaxed);
            sum
        })
    }

    /// All the time together.
    pub(crate) fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns.load(Relaxed))
    }
}

/// The figures of a function.
#[derive(Debug, Default)]
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
    pub(crate) failures: Failures,
}

impl Stats {
    /// Counts a response.
    pub(crate) fn response(&self, status: u16, time: Duration) {
        if let Some(class) = (status / 100).checked_sub(2)
            && let Some(count) = self.responses.get(usize::from(class))
        {
            count.fetch_add(1, Relaxed);
        }
        self.total.record(time);
    }

    /// Counts the phases of a call.
    pub(crate) fn phases(&self, phases: &Phases) {
        self.acquire.record(phases.acquire);
        self.run.record(phases.run);
        self.release.record(phases.release);
        self.faults.fetch_add(phases.faults, Relaxed);
    }

    /// Responses by the first digit of their status: 2, 3, 4, 5.
    pub(crate) fn responses(&self) -> [u64; 4] {
        std::array::from_fn(|class| self.responses[class].load(Relaxed))
    }

    /// Page faults of its calls.
    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_each_time_once() {
        let histogram = Histogram::default();
        for us in [1, 10, 11, 20_000_000] {
            histogram.record(Duration::from_micros(us));
        }
        let cumulative = histogram.cumulative();
        assert_eq!(cumulative[..3], [2, 3, 3]);
        assert_eq!(cumulative[BOUNDS.len() - 1..], [3, 4]);
        assert_eq!(histogram.sum(), Duration::from_micros(20_000_022));
    }
}
