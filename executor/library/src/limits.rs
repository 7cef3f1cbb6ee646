//! What an instance may use at most.

use executor_runtime::StoreConfig;

/// What an instance may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes that the memories, the tables (8 bytes an element), objects, the exceptions that are referred to,
    /// captured output that is not yet taken and lists of directories take together. The default is no limit: what a module declares, and 64 GiB for each memory, of which a
    /// 32-bit one can use 4. What the host needs for its own work is not counted.
    pub memory: u64,
    /// The largest size of each table, in elements. The default is 10 million.
    pub table: u64,
    /// The most bytes that objects (structures and arrays of garbage-collected languages) take. They count in
    /// [`Self::memory`] too. The default is 4 GiB, which is what references can name.
    pub heap: u64,
    /// The size of the stack that guests run on, in bytes, at most 1 TiB. The default is 8 MiB.
    pub stack: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let StoreConfig { max_memory, max_table, max_heap, max_stack, .. } = StoreConfig::default();
        Self { memory: max_memory, table: max_table, heap: max_heap, stack: max_stack }
    }
}

impl From<Limits> for StoreConfig {
    fn from(Limits { memory, table, heap, stack }: Limits) -> Self {
        Self {
            max_memory: memory,
            max_table: table,
            max_heap: heap,
            max_stack: stack,
            ..Self::default()
        }
    }
}
