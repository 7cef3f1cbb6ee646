//! A part of a slot, which the image has too, and which pages of it are open for writes.
//!
//! Invariant: a page whose bit is not set cannot be written to, unless the whole part is open. Bits are changed by
//! the one thread that uses the store, also in its signal handler.

use crate::sys::{Access, Reservation};
use executor_code::layout::PAGE;
use std::{
    io,
    ops::Range,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

/// A state block of at most so many pages is always open: most calls write to it, and copying it is
/// quicker than mapping and watching it.
const SMALL: u64 = 4;

/// What the image holds of a state block, a table or a memory.
#[derive(Debug)]
pub(super) struct Part {
    /// Offsets in the slot, multiples of the page size.
    pub(super) range: Range<u64>,
    /// It is always open.
    pub(super) always: bool,
    /// A bit for each page: whether it is open.
    pub(super) open: Box<[AtomicU64]>,
    /// How many are.
    pub(super) count: AtomicUsize,
    /// All are, whatever the bits say, and nobody knows which were written to.
    pub(super) whole: AtomicBool,
    /// Pages were opened or closed since `runs` was made.
    pub(super) changed: AtomicBool,
    /// The open pages, as ranges of offsets in the slot.
    pub(super) runs: Mutex<Vec<Range<u64>>>,
}

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// A state block.
    State,
    /// A table or a memory.
    Item,
}

impl Part {
    pub(super) fn new((range, kind): (Range<u64>, PartKind)) -> Self {
        let pages = (range.end - range.start) / PAGE;
        let always = kind == PartKind::State && pages <= SMALL;
        let words = pages.div_ceil(64) as usize;
        Self {
            range,
            always,
            open: (0..words).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicUsize::new(0),
            whole: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            runs: Mutex::default(),
        }
    }

    pub(super) fn pages(&self) -> u64 {
        (self.range.end - self.range.start) / PAGE
    }

    /// How many pages are open.
    pub(super) fn open_count(&self) -> u64 {
        match self.whole.load(Relaxed) {
            true => self.pages(),
            false => self.count.load(Relaxed) as u64,
        }
    }

    pub(super) fn is_open(&self, page: u64) -> bool {
        self.open[page as usize / 64].load(Relaxed) >> (page % 64) & 1 == 1
    }

    /// Changes the bits of pages that all are the other way.
    pub(super) fn set(&self, pages: Range<u64>, open: bool) {
        for page in pages.clone() {
            let word = &self.open[page as usize / 64];
            // Only the thread that uses the store changes them.
            let bits = word.load(Relaxed);
            let bit = 1 << (page % 64);
            word.store(if open { bits | bit } else { bits & !bit }, Relaxed);
        }
        let len = (pages.end - pages.start) as usize;
        let count = self.count.load(Relaxed);
        self.count.store(if open { count + len } else { count - len }, Relaxed);
        self.changed.store(true, Relaxed);
    }

    /// Makes pages writable. Async-signal-safe.
    pub(super) fn open(&self, slot: &Reservation, pages: Range<u64>) -> io::Result<()> {
        if self.whole.load(Relaxed) {
            return Ok(());
        }
        let mut at = pages.start;
        while at < pages.end {
            if self.is_open(at) {
                at += 1;
                continue;
            }
            let mut end = at + 1;
            while end < pages.end && !self.is_open(end) {
                end += 1;
            }
            let offset = self.range.start + at * PAGE;
            match slot.protect(offset, (end - at) * PAGE, Access::Write) {
                Ok(()) => self.set(at..end, true),
                // Each run of open pages is a mapping of the kernel's, which has no room for more:
                // as one they need fewer.
                Err(_) => return self.open_whole(slot),
            }
            at = end;
        }
        Ok(())
    }

    /// Makes all pages writable and gives up watching them until the next reset.
    pub(super) fn open_whole(&self, slot: &Reservation) -> io::Result<()> {
        if !self.whole.load(Relaxed) {
            slot.protect(self.range.start, self.range.end - self.range.start, Access::Write)?;
            self.whole.store(true, Relaxed);
        }
        Ok(())
    }

    /// Drops all that was written and closes every page.
    pub(super) fn discard(&self, slot: &Reservation) -> io::Result<()> {
        let len = self.range.end - self.range.start;
        slot.discard(self.range.start, len)?;
        slot.protect(self.range.start, len, Access::Read)?;
        self.open.iter().for_each(|word| word.store(0, Relaxed));
        self.count.store(0, Relaxed);
        self.whole.store(false, Relaxed);
        self.changed.store(true, Relaxed);
        Ok(())
    }

    pub(super) fn runs(&self) -> MutexGuard<'_, Vec<Range<u64>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `runs` what the bits say.
    pub(super) fn find_runs(&self) {
        self.open_runs(&mut self.runs());
    }

    /// The open pages as the bits say, as ranges of offsets in the slot.
    pub(super) fn open_runs(&self, runs: &mut Vec<Range<u64>>) {
        runs.clear();
        for (at, word) in self.open.iter().enumerate() {
            let mut bits = word.load(Relaxed);
            while bits != 0 {
                let first = u64::from(bits.trailing_zeros());
                let len = u64::from((bits >> first).trailing_ones());
                let start = self.range.start + (at as u64 * 64 + first) * PAGE;
                match runs.last_mut() {
                    Some(last) if last.end == start => last.end += len * PAGE,
                    _ => runs.push(start..start + len * PAGE),
                }
                bits &= (u64::MAX << first).checked_shl(len as u32).unwrap_or(0);
            }
        }
    }
}
