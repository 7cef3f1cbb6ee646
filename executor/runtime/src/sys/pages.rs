//! What the system knows of pages: which have been written to since they were mapped, and which can be
//! read.
//!
//! Invariant: looking changes nothing.

use executor_code::layout::PAGE;
use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

/// In an entry of the page map: the page is in memory, or on a swap device.
const PRESENT: u64 = 1 << 63 | 1 << 62;
/// It is a file's own page, or memory that is shared.
const OF_A_FILE: u64 = 1 << 61;
/// How many entries are read at once.
const ENTRIES: usize = 8192;

/// The ranges of pages that belong to this process alone: of memory that a file is mapped to
/// privately those that were written to, of other memory those that were touched. As distances from the
/// start of `addresses`, which begins and ends at a page.
pub(crate) fn written(addresses: Range<usize>) -> io::Result<Vec<Range<u64>>> {
    let map = File::open("/proc/self/pagemap")?;
    let pages = (addresses.len() as u64).div_ceil(PAGE);
    let first = addresses.start as u64 / PAGE;
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut buffer = vec![0; ENTRIES * 8];
    let mut at = 0;
    while at < pages {
        let count = (pages - at).min(ENTRIES as u64) as usize;
        let entries = &mut buffer[..count * 8];
        map.read_exact_at(entries, (first + at) * 8)?;
        let (entries, _) = entries.as_chunks::<8>();
        for (page, entry) in (at..).zip(entries) {
            let entry = u64::from_ne_bytes(*entry);
            if entry & PRESENT == 0 || entry & OF_A_FILE != 0 {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.end == page * PAGE => last.end += PAGE,
                _ => ranges.push(page * PAGE..(page + 1) * PAGE),
            }
        }
        at += count as u64;
    }
    Ok(ranges)
}

/// The ranges of addresses that can be read, ascending; ranges that meet are one.
pub(crate) fn readable(addresses: Range<usize>) -> io::Result<Vec<Range<usize>>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for line in std::fs::read_to_string("/proc/self/maps")?.lines() {
        // `START-END PERMISSIONS ...`
        let fields = line.split_once(' ').and_then(|(range, rest)| {
            let (start, end) = range.split_once('-')?;
            let address = |text| usize::from_str_radix(text, 16).ok();
            Some((address(start)?..address(end)?, rest.starts_with('r')))
        });
        let (range, readable) =
            fields.ok_or_else(|| io::Error::other("/proc/self/maps is not as expected"))?;
        let part = range.start.max(addresses.start)..range.end.min(addresses.end);
        if !readable || part.is_empty() {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if last.end == part.start => last.end = part.end,
            _ => ranges.push(part),
        }
    }
    Ok(ranges)
}
