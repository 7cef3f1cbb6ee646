//! What a store takes of the host's memory, and the limit on it.
//!
//! Invariant: memories, tables, kept exceptions and what host functions hold for the guest of a store take no
//! more together than its configuration allows. Sizes are added up when one is to change, which is seldom; nothing is counted on the way.

use crate::{
    data::HostData,
    store::{StoreConfig, StoreInner},
};
use executor_model::LimitError;

/// How much one element of a table takes.
pub(crate) const ELEMENT: u64 = 8;

/// Checks the sizes of the memories (in bytes) and tables (in elements) that an instance is to begin with,
/// in a store that takes `used` bytes already. Returns what it takes then.
pub(crate) fn check(
    memories: impl IntoIterator<Item = u64>,
    tables: impl IntoIterator<Item = u64>,
    mut used: u64,
    config: &StoreConfig,
) -> Result<u64, LimitError> {
    let limit = config.max_memory;
    for (index, elements) in (0..).zip(tables) {
        if elements > config.max_table {
            return Err(LimitError::Table { index, elements, limit: config.max_table });
        }
        used = used.saturating_add(elements.saturating_mul(ELEMENT));
    }
    for (index, bytes) in (0..).zip(memories) {
        if bytes > limit {
            return Err(LimitError::Memory { index, bytes, limit });
        }
        used = used.saturating_add(bytes);
    }
    if used > limit {
        return Err(LimitError::Store { bytes: used, limit });
    }
    Ok(used)
}

impl StoreInner {
    /// What memories and tables take.
    pub(crate) fn items(&self) -> u64 {
        let mut bytes = self.shared_memories.foreign(self);
        for instance in &self.instances {
            let (vm, counts) = (&instance.vm, instance.vm.counts());
            let len = |region: Option<crate::vm::Region>| region.map_or(0, |r| r.len() as u64);
            for i in 0..counts.owned_memories {
                bytes += len(vm.memory_region(counts.imported_memories + i));
            }
            for i in 0..counts.owned_tables {
                bytes += len(vm.table_region(counts.imported_tables + i)) * ELEMENT;
            }
        }
        bytes
    }

    /// How much more may be taken, as things stand.
    pub(crate) fn room(&self) -> u64 {
        let limit = self.config.max_memory;
        if limit == u64::MAX {
            return limit;
        }
        let held = self.data.as_ref().map_or(0, HostData::held);
        let used = self.items().saturating_add(self.exceptions.bytes()).saturating_add(held);
        limit.saturating_sub(used)
    }
}
