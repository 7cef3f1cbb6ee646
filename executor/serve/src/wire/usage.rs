//! What a call did to the memory of its instance.
//!
//! Invariant: a map of pages has at most [`CELLS`] cells, however large the memory is.

use executor::{Released, WrittenPages};
use serde::{Deserialize, Serialize};

/// The most cells of a map.
const CELLS: u64 = 1024;
/// The bytes of a page.
const PAGE: u64 = 4096;

/// What a call did to the memory of its instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Where its instance came from; none if it had none.
    pub(crate) origin: Option<Origin>,
    /// What resetting its slot took; none where that was not kept.
    pub(crate) reset: Option<Reset>,
    /// The pages that it wrote to, where it was asked for them and they are known.
    pub(crate) map: Option<PageMap>,
}

/// Where an instance comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// It was mapped for the call.
    Restored,
    /// It is in a slot that an earlier call had.
    Acquired,
}

/// What resetting a slot took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reset {
    /// The pages that were open for writes.
    pub(crate) pages: u64,
    /// The faults that opened pages.
    pub(crate) write_faults: u64,
}

impl Usage {
    /// That of an instance which was given back.
    pub(crate) fn new(released: Released, map: Option<PageMap>) -> Self {
        let origin = if released.reused { Origin::Acquired } else { Origin::Restored };
        let reset = released
            .reset
            .map(|reset| Reset { pages: reset.pages, write_faults: u64::from(reset.write_faults) });
        Self { origin: Some(origin), reset, map }
    }
}

/// The pages of a memory that a call wrote to, in cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PageMap {
    /// How many pages the memory has.
    pages: u64,
    /// A bit for each cell, the lowest bit of a byte first: whether one of its pages was written to.
    #[serde(with = "serde_bytes")]
    bits: Vec<u8>,
}

/// How many pages are one cell of the map of a memory of so many.
pub(crate) fn pages_per_cell(pages: u64) -> u64 {
    pages.div_ceil(CELLS).next_power_of_two()
}

/// How many cells the map of a memory of so many pages has.
pub(crate) fn cells(pages: u64) -> usize {
    // At most `CELLS`.
    pages.div_ceil(pages_per_cell(pages)) as usize
}

impl PageMap {
    /// The map of what was written.
    pub(crate) fn new(written: &WrittenPages) -> Self {
        let pages = written.len.div_ceil(PAGE);
        let size = pages_per_cell(pages) * PAGE;
        let mut bits = vec![0; cells(pages).div_ceil(8)];
        for range in written.ranges.iter().filter(|range| !range.is_empty()) {
            for cell in range.start / size..=(range.end - 1) / size {
                bits[cell as usize / 8] |= 1 << (cell % 8);
            }
        }
        Self { pages, bits }
    }

    /// How many pages the memory has.
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    /// Whether a page of a cell was written to. What a map does not have was not.
    pub(crate) fn is_written(&self, cell: usize) -> bool {
        self.bits.get(cell / 8).is_some_and(|bits| bits >> (cell % 8) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_small_whatever_the_memory_is() {
        for pages in [0, 1, 1023, 1024, 1025, 1 << 20, (1 << 20) + 1, u64::MAX] {
            assert!(cells(pages) as u64 <= CELLS.min(pages), "{pages}");
            assert!(pages_per_cell(pages).is_power_of_two());
        }
        let ranges = vec![0..PAGE, 3 * PAGE..5 * PAGE, 1024 * PAGE..1025 * PAGE];
        let written = WrittenPages { len: 1025 * PAGE, ranges };
        let map = PageMap::new(&written);
        let of_map: Vec<usize> = (0..2000).filter(|cell| map.is_written(*cell)).collect();
        assert_eq!((of_map, map.pages()), (vec![0, 1, 2, 512], 1025), "two pages a cell");
        // A memory of one-byte pages may end within a page.
        let odd = WrittenPages { len: 10, ranges: std::iter::once(0..10).collect() };
        assert!(PageMap::new(&odd).is_written(0));
    }
}
