//! Where the instances of an image lie in a slot, and whether what their file says of them can be.
//!
//! Invariant: a [`Placement`] has been checked against the module, the file and the limits of the store, so that a
//! range in it may be mapped as it is.

use crate::{
    budget,
    image::RestoreError,
    state::{Extent, InstancePlan},
    store::StoreConfig,
    vm::PartKind,
};
use executor_code::{
    file::CodeFile,
    layout::{PAGE, align_up},
};
use executor_model::EngineError;
use std::{fs::File, ops::Range, os::unix::fs::FileExt};

fn mismatch<T>(what: impl Into<String>) -> Result<T, RestoreError> {
    Err(RestoreError::Mismatch(what.into()))
}

/// Where an instance lies in a slot: offsets and sizes in bytes.
#[derive(Debug)]
pub(crate) struct Placement {
    /// `vmctx`.
    pub(crate) origin: u64,
    pub(crate) state: Range<u64>,
    /// The accessible part of each owned table and memory: whole pages.
    pub(crate) tables: Vec<Range<u64>>,
    pub(crate) memories: Vec<Range<u64>>,
}

impl Placement {
    /// Checks what a file says of an instance, in a store whose others take `used` bytes, to which its own are
    /// added. `lens` are the lengths of all files, the first included.
    pub(crate) fn check(
        instance: &InstancePlan,
        origin: u64,
        (first, lens): (&File, &[u64]),
        config: &StoreConfig,
        used: &mut u64,
    ) -> Result<Self, RestoreError> {
        let code = instance.module.code();
        let counts = code.counts();
        let block_end = instance.block.checked_add(counts.state_len());
        if !instance.block.is_multiple_of(PAGE) || block_end.is_none_or(|end| end > lens[0]) {
            return mismatch("the state block lies outside the file");
        }
        let items = (instance.tables.len(), instance.memories.len());
        if items != (code.tables().len(), code.memories().len()) {
            return mismatch("another number of tables or memories");
        }
        let (tables, memories) = sizes(code, first, instance.block)?;
        let (memory_sizes, table_sizes) = (memories.clone(), tables.clone());
        let mut place = Self {
            origin,
            state: origin - counts.state_len()..origin,
            tables: Vec::with_capacity(tables.len()),
            memories: Vec::with_capacity(memories.len()),
        };
        for (i, (table, len)) in code.tables().iter().zip(tables).enumerate() {
            if len > table.max || len < table.min {
                return mismatch(format!("table {i} has {len} elements"));
            }
            let (start, size) = (origin - table.before, align_up(len * 8, PAGE));
            check_extents(&instance.tables[i], size, lens, "a table")?;
            place.tables.push(start..start + size);
        }
        for (i, (memory, len)) in code.memories().iter().zip(memories).enumerate() {
            if len > memory.max || len < memory.min || !len.is_multiple_of(memory.page_size) {
                return mismatch(format!("memory {i} has {len} bytes"));
            }
            let (start, size) = (origin + memory.after, align_up(len, PAGE));
            check_extents(&instance.memories[i], size, lens, "a memory")?;
            place.memories.push(start..start + size);
        }
        // Of sizes that could be: others are a damaged file, and not a large one.
        *used =
            budget::check(memory_sizes, table_sizes, *used, config).map_err(EngineError::from)?;
        Ok(place)
    }

    /// What is not empty, ascending: later tables lie lower.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (Range<u64>, PartKind)> {
        let item = |range: &Range<u64>| (range.clone(), PartKind::Item);
        let tables = self.tables.iter().rev().map(item);
        let state = std::iter::once((self.state.clone(), PartKind::State));
        let all = tables.chain(state).chain(self.memories.iter().map(item));
        all.filter(|(range, _)| !range.is_empty())
    }
}

/// The sizes of the tables (in elements) and memories (in bytes) that a state block in a file has.
fn sizes<M: AsRef<[u8]>>(
    code: &CodeFile<M>,
    file: &File,
    block: u64,
) -> Result<(Vec<u64>, Vec<u64>), RestoreError> {
    let counts = code.counts();
    let (tables, memories) = (counts.owned_tables, counts.owned_memories);
    // They come first in the block (`executor_code::layout`).
    let mut words = vec![0; (tables + memories) as usize * 8];
    file.read_exact_at(&mut words, block)?;
    let word = |offset: u64| {
        let at = offset as usize;
        u64::from_le_bytes(std::array::from_fn(|i| words[at + i]))
    };
    let tables = (0..tables).map(|i| word(counts.table_size(i))).collect();
    Ok((tables, (0..memories).map(|i| word(counts.memory_size(i))).collect()))
}

/// Checks the extents of an item of `size` bytes against the item and the files.
fn check_extents(
    extents: &[Extent],
    size: u64,
    file_lens: &[u64],
    what: &str,
) -> Result<(), RestoreError> {
    let mut end = 0;
    for extent in extents {
        let Extent { source, at, offset, len } = *extent;
        let Some(&file_len) = file_lens.get(source as usize) else {
            return mismatch(format!("an extent of {what} is in no file"));
        };
        let aligned = [at, offset, len].iter().all(|n| n % PAGE == 0);
        let inside = |start: u64, limit: u64| start.checked_add(len).is_some_and(|e| e <= limit);
        if !aligned || at < end || !inside(at, size) || !inside(offset, file_len) {
            return mismatch(format!("an extent of {what} is out of place"));
        }
        end = at + len;
    }
    Ok(())
}
