//! Which code wrote to each page of a memory first.
//!
//! Invariant: a page of an attributed memory that nobody has written to cannot be written to. The first
//! write faults, or the host announces it, and who it was is noted before the page is opened. Noting
//! takes no lock and allocates nothing: it fills arrays that were made before.

use crate::sys::{Access, Reservation};
use executor_code::layout::PAGE;
use std::{
    io,
    ops::Range,
    sync::atomic::{
        AtomicBool, AtomicU32, AtomicU64, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
};

/// How many calls are noted of those that a write comes from, innermost first.
const MOST_CALLS: usize = 64;
/// How many words the notes of a slot can take. They are addresses until they are written to.
const LOG: usize = 8 << 20;
/// Somebody wrote to the page, and there was no room to say who.
const UNKNOWN: u32 = u32::MAX;

/// Who wrote to the memories of a slot.
#[derive(Debug)]
pub(crate) struct Writers {
    memories: Vec<Memory>,
    /// Notes, one after the other: how many addresses of machine code follow, and these.
    log: Box<[AtomicU64]>,
    used: AtomicUsize,
}

#[derive(Debug)]
struct Memory {
    /// What it can grow to, as offsets in the slot.
    range: Range<u64>,
    /// The offset in the slot at which it ends now.
    end: AtomicU64,
    /// For each page 0 while nobody has written to it, or else one more than where the note is.
    first: Box<[AtomicU32]>,
    /// All pages are open: the system had no room for more mappings.
    whole: AtomicBool,
}

impl Writers {
    /// Nobody has written to memories that can grow to these offsets in a slot, whole pages.
    pub(super) fn new(memories: impl IntoIterator<Item = Range<u64>>) -> Self {
        Self::with_room(memories, LOG)
    }

    /// As [`Self::new`], with room for notes of so many words.
    fn with_room(memories: impl IntoIterator<Item = Range<u64>>, words: usize) -> Self {
        let memory = |range: Range<u64>| {
            let pages = (range.end - range.start) / PAGE;
            let (end, whole) = (AtomicU64::new(range.start), AtomicBool::new(false));
            Memory { range, end, first: zeroes::<u32>(pages as usize), whole }
        };
        let memories = memories.into_iter().map(memory).collect();
        Self { memories, log: zeroes::<u64>(words), used: AtomicUsize::new(0) }
    }

    fn memory(&self, offset: u64) -> Option<&Memory> {
        self.memories.iter().find(|memory| memory.range.contains(&offset))
    }

    /// Makes a range readable and writable as far as it is not attributed, and readable where it is.
    pub(super) fn commit(&self, slot: &Reservation, offset: u64, len: u64) -> io::Result<()> {
        let Some(memory) = self.memory(offset) else { return slot.commit(offset, len) };
        let access = if memory.whole.load(Relaxed) { Access::Write } else { Access::Read };
        slot.protect(offset, len, access)?;
        memory.end.fetch_max(offset + len, SeqCst);
        Ok(())
    }

    /// Notes who is about to write to a range, and opens the pages of it that nobody has written to; false
    /// when there are none. Async-signal-safe, if the calls are.
    pub(super) fn open(
        &self,
        slot: &Reservation,
        range: Range<u64>,
        calls: impl Iterator<Item = usize>,
    ) -> bool {
        let Some(memory) = self.memory(range.start) else { return false };
        let end = range.end.min(memory.end.load(SeqCst));
        if end <= range.start || memory.whole.load(Relaxed) {
            return false;
        }
        let first = (range.start - memory.range.start) / PAGE;
        let pages = first..(end - memory.range.start).div_ceil(PAGE);
        let of = |page: u64| &memory.first[page as usize];
        if pages.clone().all(|page| of(page).load(Relaxed) != 0) {
            return false;
        }
        let note = self.note(calls);
        for page in pages.clone() {
            let _ = of(page).compare_exchange(0, note, Relaxed, Relaxed);
        }
        let at = memory.range.start + pages.start * PAGE;
        if slot.protect(at, (pages.end - pages.start) * PAGE, Access::Write).is_err() {
            // Each run of open pages is a mapping of the kernel's, which has no room for more.
            let start = memory.range.start;
            memory.whole.store(true, Relaxed);
            return slot.protect(start, memory.end.load(SeqCst) - start, Access::Write).is_ok();
        }
        true
    }

    /// Adds a note; one more than where it is.
    fn note(&self, calls: impl Iterator<Item = usize>) -> u32 {
        let at = self.used.load(Relaxed);
        let Some(room) = self.log.get(at..at + 1 + MOST_CALLS) else { return UNKNOWN };
        let (count, room) = (&room[0], &room[1..]);
        let noted =
            room.iter().zip(calls).map(|(word, address)| word.store(address as u64, Relaxed));
        let noted = noted.count();
        count.store(noted as u64, Relaxed);
        self.used.store(at + 1 + noted, Relaxed);
        at as u32 + 1
    }

    /// The pages of a memory that were written to, ascending, and the notes of who did; none where there was no
    /// room for one.
    pub(crate) fn pages(&self, memory: usize) -> impl Iterator<Item = (u64, Option<u32>)> {
        let pages = self.memories.get(memory).into_iter().flat_map(|memory| memory.first.iter());
        pages.zip(0..).filter_map(|(note, page)| match note.load(Relaxed) {
            0 => None,
            UNKNOWN => Some((page, None)),
            note => Some((page, Some(note))),
        })
    }

    /// The addresses of machine code of a note, innermost first; none where the host did it of its own accord.
    pub(crate) fn calls(&self, note: u32) -> Vec<usize> {
        let at = note as usize - 1;
        let count = self.log[at].load(Relaxed) as usize;
        self.log[at + 1..][..count].iter().map(|word| word.load(Relaxed) as usize).collect()
    }
}

/// Zeroes, which the system does not bring in before they are used.
fn zeroes<T: Word>(count: usize) -> Box<[T::Atomic]> {
    let words = vec![T::default(); count].into_boxed_slice();
    // SAFETY: an atomic integer has the size and the bits of the integer, and on the targets of this crate,
    // which are 64-bit, its alignment.
    unsafe { Box::from_raw(Box::into_raw(words) as *mut [T::Atomic]) }
}

/// An integer that there is an atomic one of.
trait Word: Clone + Default {
    type Atomic;
}

impl Word for u32 {
    type Atomic = AtomicU32;
}

impl Word for u64 {
    type Atomic = AtomicU64;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory from page 1 on of a slot of 12 pages, of which 10 are accessible.
    fn slot(words: usize) -> (Reservation, Writers) {
        let slot = Reservation::new(12 * PAGE).unwrap();
        let writers = Writers::with_room(std::iter::once(PAGE..12 * PAGE), words);
        writers.commit(&slot, 0, PAGE).unwrap();
        writers.commit(&slot, PAGE, 10 * PAGE).unwrap();
        (slot, writers)
    }

    fn open(slot: &Reservation, writers: &Writers, pages: Range<u64>, calls: &[usize]) -> bool {
        let range = (pages.start + 1) * PAGE + 7..(pages.end + 1) * PAGE - 7;
        writers.open(slot, range, calls.iter().copied())
    }

    #[test]
    fn a_page_is_its_first_writers_and_open_from_then_on() {
        let (slot, writers) = slot(LOG);
        assert!(open(&slot, &writers, 2..3, &[7, 8]));
        assert!(!open(&slot, &writers, 2..3, &[9]), "that fault is not of a first write");
        assert!(open(&slot, &writers, 1..4, &[]));
        assert!(!open(&slot, &writers, 10..11, &[9]), "it is beyond the end");
        assert!(!writers.open(&slot, 8..9, std::iter::empty()), "it is no memory");
        let pages: Vec<(u64, Vec<usize>)> =
            writers.pages(0).map(|(page, note)| (page, writers.calls(note.unwrap()))).collect();
        assert_eq!(pages, [(1, vec![]), (2, vec![7, 8]), (3, vec![])]);
        // SAFETY: the pages are open.
        (1..4).for_each(|page| unsafe { slot.at((page + 1) * PAGE).write(1) });
    }

    #[test]
    fn where_there_is_no_room_for_a_note_the_page_is_opened_without() {
        let (slot, writers) = slot(2 * (1 + MOST_CALLS));
        let long: Vec<usize> = (0..100).collect();
        assert!((0..3).all(|page| open(&slot, &writers, page..page + 1, &long)));
        let notes: Vec<Option<u32>> = writers.pages(0).map(|(_, note)| note).collect();
        assert_eq!(notes[0].map(|note| writers.calls(note)), Some(long[..MOST_CALLS].to_vec()));
        assert!(notes[1].is_some() && notes[2].is_none(), "{notes:?}");
        // SAFETY: the page is open.
        unsafe { slot.at(3 * PAGE).write(1) };
    }
}
