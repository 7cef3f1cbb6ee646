//! Slots: the addresses that the instances of a store lie in, and which pages of them were written to.
//!
//! Invariant: in a watched slot a page of a part that is not in its set of open pages is as in the
//! image, and cannot be written to. A write of machine code to such a page faults, and the signal
//! handler opens it; host code opens what it is about to write to, since the kernel answers a fault of its own
//! with an error instead of a signal. So a reset has to look at open pages only, and once the set has settled it makes no
//! system call.
//!
//! The set is kept from call to call, because calls of a function write to the same pages again:
//! these stay resident and writable, and a reset copies them back.

use super::{
    activation::Calls,
    part::{Part, PartKind},
    writers::Writers,
};
use crate::sys::{Access, Reservation};
use executor_code::layout::PAGE;
use std::{
    fs::File,
    io,
    ops::{Deref, Range},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// How many faults since the last reset open one page each. Later ones open more and more.
const SINGLE_FAULTS: u32 = 16;
/// The most pages that a fault opens.
const WIDEST: u64 = 64;
/// After how many resets the pages that were not written to leave the set.
const PERIOD: u32 = 64;

/// Reserved addresses, watched or not.
#[derive(Debug)]
pub(crate) struct Slot {
    addresses: Reservation,
    watch: Option<Watch>,
    /// Who writes to its memories, if that is noted. A slot is not watched then.
    writers: Option<Box<Writers>>,
}

impl From<Reservation> for Slot {
    /// A slot that nobody watches: it is used once.
    fn from(addresses: Reservation) -> Self {
        Self { addresses, watch: None, writers: None }
    }
}

impl Deref for Slot {
    type Target = Reservation;
    fn deref(&self) -> &Reservation {
        &self.addresses
    }
}

/// What a watched slot knows of its pages.
#[derive(Debug)]
struct Watch {
    /// The image, mapped to be read only, at the same offsets.
    image: Arc<Reservation>,
    /// Ascending, apart from each other.
    parts: Vec<Part>,
    /// How many faults opened pages since the last reset.
    faults: AtomicU32,
    resets: AtomicU32,
}

/// The open pages of each part of a slot, as ranges of offsets in it: what the slots of an image learn from each other.
pub(crate) type OpenPages = Vec<Vec<Range<u64>>>;

/// What a reset did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reset {
    /// How many pages were open, copied back or not.
    pub(crate) open: u64,
    /// How many pages were copied back.
    pub(crate) copied: u64,
    /// How many faults had opened pages.
    pub(crate) faults: u32,
    /// The set of open pages is another than after the last reset.
    pub(crate) changed: bool,
}

impl Slot {
    /// A slot with the parts of an image that is mapped at the same offsets, to be read only. Parts are
    /// ascending and not empty.
    pub(crate) fn watched(
        addresses: Reservation,
        image: Arc<Reservation>,
        parts: impl IntoIterator<Item = (Range<u64>, PartKind)>,
    ) -> io::Result<Self> {
        let parts: Vec<Part> = parts.into_iter().map(Part::new).collect();
        let (faults, resets) = (AtomicU32::new(0), AtomicU32::new(0));
        let watch = Some(Watch { image, parts, faults, resets });
        let slot = Self { addresses, watch, writers: None };
        for part in slot.watch.iter().flat_map(|watch| &watch.parts) {
            if part.always {
                part.open(&slot.addresses, 0..part.pages())?;
            }
        }
        Ok(slot)
    }

    /// A slot of memories that can grow to these offsets, of which it is noted who writes to them.
    pub(crate) fn attributed(
        addresses: Reservation,
        memories: impl IntoIterator<Item = Range<u64>>,
    ) -> Self {
        Self { addresses, watch: None, writers: Some(Box::new(Writers::new(memories))) }
    }

    /// Who writes to its memories, if that is noted.
    pub(crate) fn writers(&self) -> Option<&Writers> {
        self.writers.as_deref()
    }

    /// Makes a range readable and writable; it is zero unless it was accessible before. Pages of an attributed
    /// memory are opened by the first write to each.
    pub(crate) fn commit(&self, offset: u64, len: u64) -> io::Result<()> {
        match &self.writers {
            Some(writers) => writers.commit(&self.addresses, offset, len),
            None => self.addresses.commit(offset, len),
        }
    }

    /// Notes whose write faulted, and opens its page; false when the fault is none of ours.
    /// Async-signal-safe.
    pub(super) fn attribute(&self, address: usize, calls: Calls<'_>) -> bool {
        let offset = self.addresses.offset_of(address);
        let (Some(writers), Some(offset)) = (&self.writers, offset) else { return false };
        writers.open(&self.addresses, offset..offset + 1, calls)
    }

    /// Makes an accessible state block what part of a file is: copies it if it is always open, or else maps
    /// it.
    pub(crate) fn fill(&self, state: Range<u64>, file: (&File, u64)) -> io::Result<()> {
        let always = |watch: &Watch| watch.part(state.start).is_some_and(|part| part.always);
        match &self.watch {
            Some(watch) if always(watch) => self.copy_back(watch, &state),
            _ => {
                let len = state.end - state.start;
                self.addresses.map_file(state.start, len, file, Access::Read)?;
            }
        }
        Ok(())
    }

    /// Whether a page of the image was lost, as far as slots are made from it and reset to it.
    pub(crate) fn image_lost(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.image.lost())
    }

    /// Prepares `len` bytes at an address for writes of the host.
    pub(crate) fn open(&self, address: usize, len: usize) {
        if let Some(writers) = &self.writers
            && let Some(start) = self.addresses.offset_of(address)
        {
            writers.open(&self.addresses, start..start + len as u64, Calls::of_host());
        }
        let Some(watch) = &self.watch else { return };
        let Some(start) = self.addresses.offset_of(address).filter(|_| len > 0) else { return };
        let Some(part) = watch.part(start) else { return };
        let end = (start + len as u64).min(part.range.end);
        let pages = (start - part.range.start) / PAGE..(end - part.range.start).div_ceil(PAGE);
        // It fails only where even one mapping less is too much for the kernel; the write then
        // faults as it would without us.
        let _ = part.open(&self.addresses, pages);
    }

    /// Prepares the whole part that an address lies in for writes of the host.
    pub(crate) fn open_part(&self, address: usize) {
        if let Some(writers) = &self.writers
            && let Some(start) = self.addresses.offset_of(address)
        {
            writers.open(&self.addresses, start..u64::MAX, Calls::of_host());
        }
        let offset = self.addresses.offset_of(address);
        let part = self.watch.as_ref().and_then(|watch| watch.part(offset?));
        if let Some(part) = part {
            let _ = part.open_whole(&self.addresses);
        }
    }

    /// Prepares all parts for writes, by whom and wherever.
    pub(crate) fn open_all(&self) {
        for part in self.watch.iter().flat_map(|watch| &watch.parts) {
            let _ = part.open_whole(&self.addresses);
        }
    }

    /// Opens the page of a write that faulted, and some around it if there were many; false when the
    /// fault is none of ours. Async-signal-safe.
    pub(super) fn open_faulted(&self, address: usize) -> bool {
        let Some(watch) = &self.watch else { return false };
        let Some(offset) = self.addresses.offset_of(address) else { return false };
        let Some(part) = watch.part(offset) else { return false };
        let page = (offset - part.range.start) / PAGE;
        if part.is_open(page) || part.whole.load(Relaxed) {
            return false;
        }
        let faults = watch.faults.load(Relaxed);
        watch.faults.store(faults.saturating_add(1), Relaxed);
        let width = match faults / SINGLE_FAULTS {
            0 => 1,
            n => (u64::from(n).next_power_of_two() * 4).min(WIDEST),
        };
        let first = page & !(width - 1);
        let end = (first + width).min(part.pages());
        part.open(&self.addresses, first..end).is_ok()
    }

    /// Opens pages that calls are known to write to, and makes them resident.
    pub(crate) fn warm(&self, pages: &OpenPages) {
        for (part, runs) in self.watch.iter().flat_map(|watch| &watch.parts).zip(pages) {
            for run in runs {
                let pages =
                    (run.start - part.range.start) / PAGE..(run.end - part.range.start) / PAGE;
                if part.open(&self.addresses, pages).is_ok() {
                    self.addresses.populate(run.start, run.end - run.start);
                }
            }
        }
    }

    /// The open pages of each part.
    pub(crate) fn open_pages(&self) -> OpenPages {
        let parts = self.watch.iter().flat_map(|watch| &watch.parts);
        parts.map(|part| part.runs().clone()).collect()
    }

    /// Makes every part what the image has. Sizes have been taken back already. At most `keep` bytes
    /// of each part stay resident.
    pub(crate) fn reset(&self, keep: u64) -> io::Result<Reset> {
        let Some(watch) = &self.watch else {
            return Err(io::Error::other("a slot that nobody watched"));
        };
        let mut reset = Reset { faults: watch.faults.load(Relaxed), ..Reset::default() };
        watch.faults.store(0, Relaxed);
        let resets = watch.resets.load(Relaxed).wrapping_add(1);
        watch.resets.store(resets, Relaxed);
        for part in &watch.parts {
            reset.open += part.open_count();
            if !part.always
                && (part.whole.load(Relaxed) || part.count.load(Relaxed) as u64 * PAGE > keep)
            {
                part.discard(&self.addresses)?;
            }
            if part.changed.load(Relaxed) {
                part.changed.store(false, Relaxed);
                part.find_runs();
                reset.changed = true;
            }
            if resets % PERIOD == 0 && !part.always {
                self.close_unwritten(watch, part)?;
            }
            for run in part.runs().iter() {
                self.copy_back(watch, run);
                reset.copied += (run.end - run.start) / PAGE;
            }
        }
        Ok(reset)
    }

    /// Closes the open pages that are as in the image.
    fn close_unwritten(&self, watch: &Watch, part: &Part) -> io::Result<()> {
        let runs = part.runs().clone();
        let page_runs = runs.into_iter().flat_map(|run| run.step_by(PAGE as usize));
        let mut closed = false;
        for at in page_runs {
            if self.bytes(at..at + PAGE) == bytes_of(&watch.image, at..at + PAGE) {
                self.addresses.protect(at, PAGE, Access::Read)?;
                self.addresses.discard(at, PAGE)?;
                let page = (at - part.range.start) / PAGE;
                part.set(page..page + 1, false);
                closed = true;
            }
        }
        if closed {
            part.changed.store(false, Relaxed);
            part.find_runs();
        }
        Ok(())
    }

    fn copy_back(&self, watch: &Watch, run: &Range<u64>) {
        let len = (run.end - run.start) as usize;
        // SAFETY: the run lies within a part, whose pages are readable in the image and, being open,
        // writable here. No call is in progress and the store is borrowed exclusively, so nothing
        // refers to them.
        unsafe {
            std::ptr::copy_nonoverlapping(
                watch.image.at(run.start),
                self.addresses.at(run.start),
                len,
            );
        }
    }

    /// What of the part that begins at an address is not as in the image, as ranges of bytes from there on, and the length
    /// of the part; `None` where nobody knows. Compares open pages, while nothing changes them.
    pub(crate) fn written(&self, address: usize) -> Option<(Vec<Range<u64>>, u64)> {
        let watch = self.watch.as_ref()?;
        let start = self.addresses.offset_of(address)?;
        // What is empty in the image is no part.
        let Some(part) = watch.part(start) else { return Some((Vec::new(), 0)) };
        if part.whole.load(Relaxed) {
            return None;
        }
        let mut runs = Vec::new();
        part.open_runs(&mut runs);
        let pages = runs.into_iter().flat_map(|run| run.step_by(PAGE as usize));
        let pages = pages.map(|at| at..at + PAGE);
        let unlike =
            |page: &Range<u64>| self.bytes(page.clone()) != bytes_of(&watch.image, page.clone());
        let mut written: Vec<Range<u64>> = Vec::new();
        for page in pages.filter(unlike) {
            let page = page.start - start..page.end - start;
            match written.last_mut() {
                Some(last) if last.end == page.start => last.end = page.end,
                _ => written.push(page),
            }
        }
        Some((written, part.range.end - start))
    }

    /// The bytes of a range within a part, while nothing changes them.
    fn bytes(&self, range: Range<u64>) -> &[u8] {
        bytes_of(&self.addresses, range)
    }

    /// A word that the image has at an address of the slot, within a part and aligned.
    pub(crate) fn image_word(&self, address: usize) -> Option<u64> {
        let watch = self.watch.as_ref()?;
        let offset = self.addresses.offset_of(address).filter(|at| at.is_multiple_of(8))?;
        watch.part(offset)?;
        let bytes = bytes_of(&watch.image, offset..offset + 8);
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }

    /// What the image has: offsets in the slot.
    pub(crate) fn parts(&self) -> Vec<Range<u64>> {
        let parts = self.watch.iter().flat_map(|watch| &watch.parts);
        parts.map(|part| part.range.clone()).collect()
    }

    /// Where the slot differs from the image first, as a distance from the beginning of the slot.
    pub(crate) fn difference(&self) -> Option<u64> {
        let watch = self.watch.as_ref()?;
        let pages = |range: &Range<u64>| range.clone().step_by(PAGE as usize);
        watch.parts.iter().flat_map(|part| pages(&part.range)).find(|at| {
            let page = *at..at + PAGE;
            self.bytes(page.clone()) != bytes_of(&watch.image, page)
        })
    }
}

impl Watch {
    fn part(&self, offset: u64) -> Option<&Part> {
        let at = self.parts.partition_point(|part| part.range.end <= offset);
        self.parts.get(at).filter(|part| part.range.contains(&offset))
    }
}

/// Bytes of a part, which is readable in the image and in every slot of it.
fn bytes_of(addresses: &Reservation, range: Range<u64>) -> &[u8] {
    let len = (range.end - range.start) as usize;
    // SAFETY: callers name ranges within a part only, and the end of the reservation is checked by
    // `at`. Nothing writes there meanwhile: an image is never written to, and a slot is looked at
    // while its store is borrowed exclusively and no call is in progress.
    unsafe {
        addresses.at(range.end);
        std::slice::from_raw_parts(addresses.at(range.start), len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    const PAGES: u64 = 300;

    /// A slot of a state block and a memory, over an image in which page `n` begins with `n`.
    fn slot() -> Slot {
        let file = crate::sys::anonymous_file(c"image").unwrap();
        let len = (8 + PAGES) * PAGE;
        file.set_len(len).unwrap();
        for page in 0..8 + PAGES {
            file.write_all_at(&page.to_ne_bytes(), page * PAGE).unwrap();
        }
        let parts = [(0..2 * PAGE, PartKind::State), (8 * PAGE..len, PartKind::Item)];
        let map = |access| {
            let addresses = Reservation::new(len + PAGE).unwrap();
            for (part, _) in &parts {
                let size = part.end - part.start;
                addresses.map_file(part.start, size, (&file, part.start), access).unwrap();
            }
            addresses
        };
        Slot::watched(map(Access::Read), Arc::new(map(Access::Read)), parts.clone()).unwrap()
    }

    /// Writes a word to a page as the host does.
    fn write(slot: &Slot, page: u64) {
        let at = slot.at(page * PAGE + 16);
        slot.open(at as usize, 8);
        // SAFETY: the page is open.
        unsafe { at.cast::<u64>().write(7) };
    }

    fn open_pages(slot: &Slot) -> Vec<(u64, u64)> {
        slot.watch.iter().for_each(|watch| watch.parts.iter().for_each(Part::find_runs));
        let runs = slot.open_pages().concat();
        runs.into_iter().map(|run| (run.start / PAGE, run.end / PAGE)).collect()
    }

    #[test]
    fn a_reset_takes_back_every_write_also_of_pages_that_were_swapped_out() {
        let slot = slot();
        let pages = [0, 1, 8, 9, 10, 71, 72, 73, 200, 7 + PAGES];
        for _ in 0..2 {
            pages.iter().for_each(|page| write(&slot, *page));
            assert_eq!(slot.difference(), Some(0));
            // SAFETY: the range is the slot's; pages that are swapped out come back by themselves.
            unsafe {
                let len = (8 + PAGES) * PAGE;
                libc::madvise(slot.at(0).cast(), len as usize, libc::MADV_PAGEOUT);
            }
            let reset = slot.reset(1 << 30).unwrap();
            assert_eq!((reset.copied, slot.difference()), (pages.len() as u64, None));
        }
        assert_eq!(
            open_pages(&slot),
            [(0, 2), (8, 11), (71, 74), (200, 201), (7 + PAGES, 8 + PAGES)]
        );
    }

    #[test]
    fn faults_open_one_page_and_then_more_and_more() {
        let slot = slot();
        let fault = |page: u64| slot.open_faulted(slot.at(page * PAGE) as usize + 5);
        assert!(!fault(1), "it is open");
        assert!(!fault(5) && !fault(8 + PAGES), "no part of the image");
        for i in 0..u64::from(SINGLE_FAULTS) {
            assert!(fault(8 + 2 * i));
        }
        assert_eq!(open_pages(&slot).len(), 1 + SINGLE_FAULTS as usize);
        assert!(fault(8 + 100) && !fault(8 + 101), "four at once");
        assert_eq!(slot.reset(1 << 30).unwrap().faults, SINGLE_FAULTS + 1);
        assert!(fault(8 + 200));
        assert_eq!(open_pages(&slot).last(), Some(&(208, 209)), "it begins anew");
    }

    #[test]
    fn more_than_is_kept_is_given_back() {
        let slot = slot();
        (8..50).for_each(|page| write(&slot, page));
        let reset = slot.reset(41 * PAGE).unwrap();
        assert_eq!((reset.copied, slot.difference()), (2, None));
        assert_eq!(open_pages(&slot), [(0, 2)]);
        slot.open_all();
        // SAFETY: all pages are writable now.
        unsafe { slot.at(99 * PAGE).write(1) };
        slot.reset(1 << 30).unwrap();
        assert_eq!((slot.difference(), open_pages(&slot)), (None, vec![(0, 2)]));
    }

    #[test]
    fn a_slot_that_learned_opens_before_it_is_written_to() {
        let (one, two) = (slot(), slot());
        [20, 21, 90].iter().for_each(|page| write(&one, *page));
        one.reset(1 << 30).unwrap();
        two.warm(&one.open_pages());
        assert_eq!(open_pages(&two), open_pages(&one));
        assert_eq!(two.difference(), None);
    }
}
