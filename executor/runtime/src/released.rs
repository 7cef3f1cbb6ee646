//! What a store did to its slot, for whoever wants to know when it is over.
//!
//! Invariant: it tells what the reset knows anyhow, and costs a store nothing; only [`Store::written_pages`], which looks
//! at pages, does.

use crate::store::Store;
use executor_model::InstanceId;
use std::ops::Range;

/// What became of a store that was given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Released {
    /// Its slot had been used before, and reset. If not, it was mapped for this store.
    pub reused: bool,
    /// What resetting its slot took; none where the store was only dropped.
    pub reset: Option<SlotReset>,
}

/// What resetting a slot took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotReset {
    /// How many pages of state blocks, tables and memories were open for writes, so that the reset put them back: those
    /// that were written to, and those that the slot's earlier stores wrote to lately. What memories and tables had
    /// grown by is not among them.
    pub pages: u64,
    /// How many faults of machine code opened pages.
    pub write_faults: u32,
}

/// Which pages of a memory a store has written to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WrittenPages {
    /// The length of the memory, in bytes.
    pub len: u64,
    /// Ascending ranges of bytes, whole pages of 4 KiB each, that are not as in the image; what the memory has grown by is
    /// one of them.
    pub ranges: Vec<Range<u64>>,
}

impl Store {
    /// Drops the store, and tells what became of it.
    pub fn release(self) -> Released {
        self.inner.release()
    }

    /// Which pages of a memory of an instance are not as in the image that the store was acquired from, compared byte by
    /// byte. `None` where there is no such memory, or nobody has watched it: the store is used once, it has
    /// changed beyond what a reset takes back, or the host has written to it without saying where.
    pub fn written_pages(&mut self, instance: InstanceId, memory: u32) -> Option<WrittenPages> {
        let vm = &self.inner.instance(instance)?.vm;
        let region = vm.memory_region(memory)?;
        let (mut ranges, of_image) = self.inner.header.slot.as_ref()?.written(region.base)?;
        let len = region.len() as u64;
        if len > of_image {
            ranges.push(of_image..len);
        }
        Some(WrittenPages { len, ranges })
    }
}
