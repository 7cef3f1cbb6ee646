//! The state in a snapshot file, read to be looked at.
//!
//! Invariant: nothing is mapped and nothing is believed beyond what the metadata was checked for: pages
//! are read by their position, and whether they are as they were written only
//! [`SnapshotFile::verify`] knows.

use crate::{
    SnapshotError, SnapshotFile,
    format::{Area, Instance},
};
use executor_code::layout::PAGE;
use std::ops::Range;

/// The bytes of a page.
pub type PageBuffer = [u8; PAGE as usize];

/// A memory or a table of an instance, by its place among those that the instance owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A memory.
    Memory(usize),
    /// A table.
    Table(usize),
}

impl Item {
    /// What the file holds of it, if the instance has it.
    #[must_use]
    pub fn of(self, instance: &Instance) -> Option<&Area> {
        match self {
            Self::Memory(at) => instance.memories.get(at),
            Self::Table(at) => instance.tables.get(at),
        }
    }
}

impl Area {
    /// The pages that are in the file or a base of it, as runs of page numbers, ascending. All others are zero.
    pub fn stored(&self) -> impl Iterator<Item = Range<u64>> {
        self.extents.iter().map(|extent| extent.at / PAGE..(extent.at + extent.len) / PAGE)
    }
}

impl SnapshotFile {
    /// The state block of the instance at a position, which is one of [`Self::instances`].
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn block(&self, instance: &Instance) -> Result<Vec<u8>, SnapshotError> {
        // At most the length of the file.
        let mut block = vec![0; instance.block.len as usize];
        self.source(0)?.read(&mut block, instance.block.offset)?;
        Ok(block)
    }

    /// Reads a page of a memory or table of this file, zeroes where neither the file nor a base of it holds it.
    /// Whether one of them does.
    ///
    /// # Errors
    /// When it cannot be read, or its base is missing.
    pub fn page(
        &self,
        area: &Area,
        page: u64,
        buffer: &mut PageBuffer,
    ) -> Result<bool, SnapshotError> {
        let after = area.extents.partition_point(|extent| extent.at / PAGE <= page);
        let extent = after.checked_sub(1).and_then(|at| area.extents.get(at));
        match extent.filter(|extent| page < (extent.at + extent.len) / PAGE) {
            None => {
                buffer.fill(0);
                Ok(false)
            }
            Some(extent) => {
                self.source(extent.source)?
                    .read(buffer, extent.offset + page * PAGE - extent.at)?;
                Ok(true)
            }
        }
    }
}
