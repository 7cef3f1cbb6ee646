//! Which pages of a function's memory its calls write to: a picture of the last ones that were looked at.
//!
//! Invariant: at most one call a second is looked at, and the picture is of a bounded size.

use crate::wire::{PageMap, cells, pages_per_cell};
use std::{
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How long no call is looked at after another.
const PAUSE: Duration = Duration::from_secs(1);
/// A call that was looked at is one part in so many of the picture, and fades with those that follow.
const FADE: f32 = 8.0;
/// What has faded to less is gone.
const FAINT: f32 = 0.01;

/// The pages that a function's calls write to.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// When a call was last chosen, in milliseconds; 0 if none was.
    chosen: AtomicU64,
    heat: Mutex<Heat>,
}

/// How often pages were written to, lately.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Heat {
    snapshot: [u8; 32],
    /// How many calls were looked at.
    pub(crate) calls: u64,
    /// How many pages the memory has, or had when it was largest.
    pub(crate) pages: u64,
    /// The part of calls, from 0 to 1, that wrote to a page of each cell.
    pub(crate) cells: Vec<f32>,
}

impl Pages {
    /// Whether the next call is to be looked at. Who is told so makes that call.
    pub(crate) fn is_wanted(&self) -> bool {
        static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
        // Later than any pause from the beginning on.
        let now = (BEGUN.elapsed() + PAUSE).as_millis() as u64;
        let chosen = self.chosen.load(Relaxed);
        now - chosen >= PAUSE.as_millis() as u64
            && self.chosen.compare_exchange(chosen, now, Relaxed, Relaxed).is_ok()
    }

    /// Takes what was seen of a call of a snapshot.
    pub(crate) fn see(&self, map: &PageMap, snapshot: [u8; 32]) {
        let mut heat = self.heat();
        if heat.snapshot != snapshot {
            *heat = Heat { snapshot, ..Heat::default() };
        }
        heat.see(map);
    }

    /// What was chosen could not be seen: another call is.
    pub(crate) fn missed(&self) {
        self.chosen.store(0, Relaxed);
    }

    /// The picture as it is now.
    pub(crate) fn latest(&self) -> Heat {
        self.heat().clone()
    }

    fn heat(&self) -> MutexGuard<'_, Heat> {
        self.heat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heat {
    /// How many pages a cell has.
    pub(crate) fn pages_per_cell(&self) -> u64 {
        pages_per_cell(self.pages)
    }

    fn see(&mut self, map: &PageMap) {
        self.grow(map.pages());
        self.calls += 1;
        // The first ones count as much as they are of all.
        let part = 1.0 / FADE.min(self.calls as f32);
        let (own, theirs) = (self.pages_per_cell(), pages_per_cell(map.pages()));
        for (at, cell) in self.cells.iter_mut().enumerate() {
            // Powers of two; a memory that was larger once has cells that are no smaller.
            let per_cell = (own / theirs) as usize;
            let first = at.saturating_mul(per_cell);
            let end = first.saturating_add(per_cell).min(cells(map.pages()));
            let written = (first..end).any(|cell| map.is_written(cell));
            *cell += (f32::from(u8::from(written)) - *cell) * part;
            if *cell < FAINT {
                *cell = 0.0;
            }
        }
    }

    /// Makes room for a memory of so many pages.
    fn grow(&mut self, pages: u64) {
        if pages <= self.pages {
            return;
        }
        let times = pages_per_cell(pages) / self.pages_per_cell();
        let mut joined: Vec<f32> = self
            .cells
            .chunks(times as usize)
            .map(|few| few.iter().copied().fold(0.0, f32::max))
            .collect();
        joined.resize(cells(pages), 0.0);
        (self.pages, self.cells) = (pages, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor::WrittenPages;

    fn map(pages: u64, written: &[u64]) -> PageMap {
        let ranges = written.iter().map(|page| page * 4096..(page + 1) * 4096).collect();
        PageMap::new(&WrittenPages { len: pages * 4096, ranges })
    }

    #[test]
    fn the_picture_is_of_the_last_calls_and_of_one_snapshot() {
        let pages = Pages::default();
        (0..100).for_each(|_| pages.see(&map(4, &[0, 1]), [1; 32]));
        (0..FADE as usize).for_each(|_| pages.see(&map(4, &[1, 2]), [1; 32]));
        let heat = pages.latest();
        assert_eq!((heat.calls, heat.pages, heat.pages_per_cell()), (108, 4, 1));
        assert!(heat.cells[0] < 0.4 && heat.cells[0] > 0.0, "it fades: {heat:?}");
        assert!(heat.cells[1] > 0.99 && heat.cells[2] > 0.6 && heat.cells[3] == 0.0, "{heat:?}");
        pages.see(&map(2, &[0]), [2; 32]);
        assert_eq!(pages.latest().cells, [1.0, 0.0], "it begins anew");
    }

    #[test]
    fn a_memory_that_has_grown_keeps_its_picture() {
        let mut heat = Heat::default();
        heat.see(&map(1000, &[5, 999]));
        heat.see(&map(2000, &[5, 999, 1999]));
        assert_eq!((heat.pages, heat.pages_per_cell(), heat.cells.len()), (2000, 2, 1000));
        let of_heat = |heat: &Heat| -> Vec<usize> {
            (0..heat.cells.len()).filter(|at| heat.cells[*at] > 0.9).collect()
        };
        assert_eq!(of_heat(&heat), [2, 499]);
        (0..100).for_each(|_| heat.see(&map(1000, &[4, 999])));
        assert_eq!(heat.cells[999], 0.0, "it has faded");
        assert_eq!((heat.pages, of_heat(&heat)), (2000, vec![2, 499]), "of a smaller one too");
        // As a worker that was taken over may say it.
        heat.see(&map(0, &[]));
        heat.grow(u64::MAX);
        (0..100).for_each(|_| heat.see(&map(1, &[0])));
        assert_eq!(heat.cells.len(), 1024);
        assert!(heat.cells[0] > 0.9 && heat.cells[1..].iter().all(|cell| *cell == 0.0));
    }

    #[test]
    fn one_call_at_a_time_is_looked_at() {
        let pages = Pages::default();
        assert!(pages.is_wanted() && !pages.is_wanted());
        pages.missed();
        assert!(pages.is_wanted() && !pages.is_wanted());
    }
}
