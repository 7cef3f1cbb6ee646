//! Where everything an instance owns lies, relative to `vmctx`.
//!
//! Invariant: the layout is a pure function of the module's declarations, so compiled code has
//! every distance as a constant, and state captured from one process fits any other.
//!
//! One *slot* of reserved addresses per instance, from low to high:
//!
//! ```text
//! [table n .. table 0] [state block] | vmctx: [VmHeader, import slots] [memory 0, guard] .. [heap, guard]
//!        captured         captured   |            never captured             captured
//! ```
//!
//! The state block holds, in this order, as little-endian words:
//! sizes of owned memories in bytes (u64), sizes of owned tables in elements (u64), links of
//! imported globals (i64), of imported tables (base i64, size i64) and of imported memories (base
//! i64, size i64), identities of imported tags (u64), bindings of imported functions (u64), dropped
//! data segments (bits), dropped element segments (bits), and the owned globals (16 bytes each,
//! 16-byte aligned), and references to the items of element
//! segments that are made at instantiation (u64).
//!
//! A *link* is a distance from this instance's `vmctx` to what is imported, so it holds no address.
//! What is imported lies in a slot of the same store, or is a memory that stores share, wherever
//! that lies (a store with such a link is not captured).
//! A *binding* is the `FuncRef` of the function of another instance that the import resolved to,
//! or 0 for a host function, which is bound by name.
//! The *identity* of a tag is its owner's instance id (high 32 bits) and its tag index there.

use crate::abi::{ImportSlot, VmHeader};
use executor_model::{Hierarchy, MemoryType, ModuleInfo};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The version of what a snapshot keeps of an instance: the state block below and the form of
/// references (`executor_model::FuncRef`). Not [`crate::abi::VERSION`]: state outlives changes of
/// the interface to machine code.
pub const STATE_VERSION: u32 = 2;

/// The host's page size; code files and snapshots are laid out for it.
pub const PAGE: u64 = 4096;
/// Addresses reserved for a memory that is [`checked_by_hardware`]: all that an index can name.
pub const MEMORY_RESERVATION: u64 = 1 << 32;
/// Inaccessible addresses after every memory: an access whose constant offset plus width does not
/// exceed this needs no check of its own end.
pub const MEMORY_GUARD: u64 = 32 << 20;
/// The most addresses reserved for any other memory, guard not included: what a 64-bit memory can
/// grow to.
pub const MAX_MEMORY: u64 = 64 << 30;
/// The largest heap of objects, in bytes: what 32-bit references can name.
pub const MAX_HEAP: u64 = 1 << 32;
/// The size that tables can grow to, in elements, if they are not larger from the beginning.
pub const MAX_TABLE: u64 = 10_000_000;
/// The largest size that a table can have at the beginning, in elements.
pub const MAX_TABLE_MIN: u64 = u32::MAX as u64;

/// Rounds up to a multiple of `align`, a power of two.
#[must_use]
pub const fn align_up(n: u64, align: u64) -> u64 {
    (n + align - 1) & !(align - 1)
}

/// Whether pages of a memory are whole pages of the host, so that nothing beyond its size is ever
/// accessible.
#[must_use]
pub const fn whole_pages(ty: &MemoryType) -> bool {
    ty.page_size().is_multiple_of(PAGE)
}

/// Whether accesses to a memory need no comparison with its size (unless their constant offset is
/// large): no index leads out of the reservation, and only the memory itself is accessible there.
#[must_use]
pub const fn checked_by_hardware(ty: &MemoryType) -> bool {
    !ty.memory64 && whole_pages(ty)
}

/// How many of each kind of item a module has: what the state block's layout follows from.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub imported_functions: u32,
    pub imported_tables: u32,
    pub imported_memories: u32,
    pub imported_globals: u32,
    pub imported_tags: u32,
    pub owned_tables: u32,
    pub owned_memories: u32,
    pub owned_globals: u32,
    pub data_segments: u32,
    pub element_segments: u32,
    /// 1 when the last owned memory is for the store's heap of objects, which no index names.
    pub heap: u32,
    /// Element segments whose items are made at instantiation.
    pub item_segments: u32,
}

impl Counts {
    /// The counts of a module.
    #[must_use]
    pub fn of(info: &ModuleInfo) -> Self {
        let heap = u32::from(info.has_objects());
        let items = info.elements.iter().filter(|segment| segment.makes_objects());
        Self {
            imported_functions: info.imported_functions,
            imported_tables: info.imported_tables,
            imported_memories: info.imported_memories,
            imported_globals: info.imported_globals,
            imported_tags: info.imported_tags,
            owned_tables: info.tables.len() as u32 - info.imported_tables,
            owned_memories: info.memories.len() as u32 - info.imported_memories + heap,
            owned_globals: info.globals.len() as u32 - info.imported_globals,
            data_segments: info.data.len() as u32,
            element_segments: info.elements.len() as u32,
            heap,
            item_segments: items.count() as u32,
        }
    }

    /// How many memories have an index.
    #[must_use]
    pub const fn memories(&self) -> u32 {
        // A damaged file may say anything.
        self.imported_memories.saturating_add(self.owned_memories.saturating_sub(self.heap))
    }

    /// Offset in the state block of the size (bytes, u64) of owned memory `i`.
    #[must_use]
    pub const fn memory_size(&self, i: u32) -> u64 {
        i as u64 * 8
    }

    /// Offset in the state block of the size (elements, u64) of owned table `i`.
    #[must_use]
    pub const fn table_size(&self, i: u32) -> u64 {
        self.memory_size(self.owned_memories) + i as u64 * 8
    }

    /// Offset of the link of imported global `i`.
    #[must_use]
    pub const fn global_link(&self, i: u32) -> u64 {
        self.table_size(self.owned_tables) + i as u64 * 8
    }

    /// Offset of the two links of imported table `i`: to its first element, to its size.
    #[must_use]
    pub const fn table_link(&self, i: u32) -> u64 {
        self.global_link(self.imported_globals) + i as u64 * 16
    }

    /// Offset of the two links of imported memory `i`: to its first byte, to its size.
    #[must_use]
    pub const fn memory_link(&self, i: u32) -> u64 {
        self.table_link(self.imported_tables) + i as u64 * 16
    }

    /// Offset of the identity of imported tag `i`.
    #[must_use]
    pub const fn tag_identity(&self, i: u32) -> u64 {
        self.memory_link(self.imported_memories) + i as u64 * 8
    }

    /// Offset of the binding of imported function `i`.
    #[must_use]
    pub const fn binding(&self, i: u32) -> u64 {
        self.tag_identity(self.imported_tags) + i as u64 * 8
    }

    /// Offset of the 64-bit word that holds the dropped bit of data segment `i` (bit `i % 64`).
    #[must_use]
    pub const fn dropped_data(&self, i: u32) -> u64 {
        self.binding(self.imported_functions) + i as u64 / 64 * 8
    }

    /// Offset of the 64-bit word that holds the dropped bit of element segment `i` (bit `i % 64`).
    #[must_use]
    pub const fn dropped_element(&self, i: u32) -> u64 {
        self.binding(self.imported_functions)
            + (self.data_segments as u64).div_ceil(64) * 8
            + i as u64 / 64 * 8
    }

    /// Offset of the 16 bytes of owned global `i`.
    #[must_use]
    pub const fn global(&self, i: u32) -> u64 {
        let words_end = self.binding(self.imported_functions)
            + (self.data_segments as u64).div_ceil(64) * 8
            + (self.element_segments as u64).div_ceil(64) * 8;
        align_up(words_end, 16) + i as u64 * 16
    }

    /// Offset of the word that refers to the items of a segment, by its place among those whose items are made
    /// at instantiation.
    #[must_use]
    pub const fn items(&self, i: u32) -> u64 {
        self.global(self.owned_globals) + i as u64 * 8
    }

    /// The state block's size, a multiple of [`PAGE`], at least one page.
    #[must_use]
    pub const fn state_len(&self) -> u64 {
        let len = align_up(self.items(self.item_segments), PAGE);
        if len == 0 { PAGE } else { len }
    }

    /// The distance from `vmctx` to offset `offset` of the state block (negative).
    #[must_use]
    pub const fn from_vmctx(&self, offset: u64) -> i64 {
        offset as i64 - self.state_len() as i64
    }

    /// The distance from `vmctx` to import slot `i`.
    #[must_use]
    pub const fn import_slot(&self, i: u32) -> u64 {
        align_up(size_of::<VmHeader>() as u64, 16) + i as u64 * size_of::<ImportSlot>() as u64
    }

    /// The size of what lies at `vmctx` and is never captured, a multiple of [`PAGE`].
    #[must_use]
    pub const fn header_len(&self) -> u64 {
        align_up(self.import_slot(self.imported_functions), PAGE)
    }
}

/// Where an owned table lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TablePlan {
    /// How far before `vmctx` its first element lies; a multiple of [`PAGE`].
    pub before: u64,
    /// The reserved bytes, a multiple of [`PAGE`].
    pub reservation: u64,
    /// Initial elements.
    pub min: u64,
    /// The largest size in elements, never more than the reservation holds.
    pub max: u64,
    /// What elements are: [`Self::FUNCTIONS`], [`Self::EXCEPTIONS`] or [`Self::OBJECTS`].
    pub elements: u64,
}

impl TablePlan {
    /// References to functions.
    pub const FUNCTIONS: u64 = 0;
    /// Checks that the table can be made: its module is valid also where it cannot.
    ///
    /// # Errors
    /// When its initial size is above what is reserved.
    pub fn check(&self, index: u32) -> Result<(), TooLarge> {
        let min = self.min;
        if min > self.max { Err(TooLarge::Table { index, min }) } else { Ok(()) }
    }

    /// References to exceptions.
    pub const EXCEPTIONS: u64 = 1;
    /// References to objects and host values.
    pub const OBJECTS: u64 = 2;
}

/// Where an owned memory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryPlan {
    /// How far after `vmctx` its first byte lies; a multiple of [`PAGE`].
    pub after: u64,
    /// The reserved bytes, guard included; a multiple of [`PAGE`].
    pub reservation: u64,
    /// Initial bytes.
    pub min: u64,
    /// The largest size in bytes, never more than the reservation less its guard.
    pub max: u64,
    /// The size of a WebAssembly page of it in bytes.
    pub page_size: u64,
}

impl MemoryPlan {
    /// The plan of a memory that lies `after` bytes after `vmctx`.
    #[must_use]
    pub fn of(ty: &MemoryType, after: u64) -> Self {
        let page_size = ty.page_size();
        // What indices can name, in pages whose number `memory.size` can give.
        let limit = match ty.memory64 {
            true => MAX_MEMORY / page_size,
            false => (MEMORY_RESERVATION / page_size).min(u32::MAX as u64),
        };
        let max = ty.max.map_or(limit, |max| max.min(limit)) * page_size;
        let reservation = match checked_by_hardware(ty) {
            true => MEMORY_RESERVATION,
            false => align_up(max, PAGE),
        };
        let reservation = reservation + MEMORY_GUARD;
        let min = ty.min.saturating_mul(page_size);
        Self { after, reservation, min, max, page_size }
    }

    /// Checks that the memory can be made: its module is valid also where it cannot.
    ///
    /// # Errors
    /// When its initial size is above what is reserved.
    pub fn check(&self, index: u32) -> Result<(), TooLarge> {
        let (min, page_size) = (self.min / self.page_size, self.page_size);
        let limit = self.reservation.saturating_sub(MEMORY_GUARD) / page_size;
        match min > limit {
            true => Err(TooLarge::Memory { index, min, page_size, limit }),
            false => Ok(()),
        }
    }

    /// The size in bytes of such a memory of `old` bytes once it has grown by `delta` pages, if it
    /// may have that size, `limit` being a limit from elsewhere.
    #[must_use]
    pub fn grown(&self, old: u64, delta: u64, limit: u64) -> Option<u64> {
        let new = old.checked_add(delta.checked_mul(self.page_size)?)?;
        (new <= self.max.min(limit)).then_some(new)
    }
}

/// The layout of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceLayout {
    /// The counts that the state block follows from.
    pub counts: Counts,
    /// The owned tables.
    pub tables: Vec<TablePlan>,
    /// The owned memories.
    pub memories: Vec<MemoryPlan>,
    /// The bytes of the slot before `vmctx`, a multiple of [`PAGE`].
    pub before: u64,
    /// The bytes of the slot from `vmctx` on, a multiple of [`PAGE`].
    pub after: u64,
}

/// A declaration that no slot can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// A table.
    #[error("table {index} begins with {min} elements; at most {MAX_TABLE_MIN} are supported")]
    Table {
        /// Which table.
        index: u32,
        /// Its declared size.
        min: u64,
    },
    /// A memory.
    #[error(
        "memory {index} begins with {min} pages of {page_size} bytes or more; \
         at most {limit} such pages are supported"
    )]
    Memory {
        /// Which memory.
        index: u32,
        /// Its declared size in pages.
        min: u64,
        /// The size of a page.
        page_size: u64,
        /// The most pages.
        limit: u64,
    },
}

impl InstanceLayout {
    /// The layout of a module's instances.
    #[must_use]
    pub fn of(info: &ModuleInfo) -> Self {
        let counts = Counts::of(info);
        let mut before = counts.state_len();
        let mut tables = Vec::new();
        for table in info.tables.iter().skip(info.imported_tables as usize) {
            let min = table.ty.min;
            // What is larger from the beginning is never made.
            let least = if min > MAX_TABLE_MIN { 0 } else { min };
            let max = table.ty.max.unwrap_or(MAX_TABLE).clamp(least, MAX_TABLE.max(least));
            let reservation = align_up((max * 8).max(1), PAGE);
            before += reservation;
            let elements = match table.ty.element.heap.hierarchy() {
                Hierarchy::Func => TablePlan::FUNCTIONS,
                Hierarchy::Exn => TablePlan::EXCEPTIONS,
                Hierarchy::Any | Hierarchy::Extern => TablePlan::OBJECTS,
            };
            tables.push(TablePlan { before, reservation, min, max, elements });
        }
        let mut after = counts.header_len();
        let mut memories = Vec::new();
        for ty in info.memories.iter().skip(info.imported_memories as usize) {
            let plan = MemoryPlan::of(ty, after);
            after += plan.reservation;
            memories.push(plan);
        }
        if counts.heap != 0 {
            let reservation = MAX_HEAP + MEMORY_GUARD;
            memories.push(MemoryPlan {
                after,
                reservation,
                min: 0,
                max: MAX_HEAP,
                page_size: PAGE,
            });
            after += reservation;
        }
        Self { counts, tables, memories, before, after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ty(min: u64, max: Option<u64>, memory64: bool, page_size_log2: u32) -> MemoryType {
        MemoryType { min, max, memory64, shared: false, page_size_log2 }
    }

    fn plan(ty: &MemoryType) -> MemoryPlan {
        let plan = MemoryPlan::of(ty, PAGE);
        plan.check(0).expect("not too large");
        assert!(plan.min <= plan.max && plan.max <= plan.reservation - MEMORY_GUARD);
        assert!(plan.reservation.is_multiple_of(PAGE));
        plan
    }

    #[test]
    fn what_the_hardware_checks_has_all_that_an_index_can_name() {
        for max in [Some(0), Some(1), None] {
            let plan = plan(&ty(0, max, false, 16));
            assert_eq!(plan.reservation, MEMORY_RESERVATION + MEMORY_GUARD);
        }
    }

    #[test]
    fn other_memories_reserve_what_they_can_grow_to() {
        assert_eq!(plan(&ty(1, Some(3), true, 16)).reservation, (3 << 16) + MEMORY_GUARD);
        assert_eq!(plan(&ty(1, Some(5000), false, 0)).reservation, 8192 + MEMORY_GUARD);
        let unbounded = plan(&ty(1, None, true, 16));
        assert_eq!((unbounded.max, unbounded.min), (MAX_MEMORY, 1 << 16));
        assert_eq!(plan(&ty(1, Some(1 << 48), true, 16)).max, MAX_MEMORY);
        assert_eq!(plan(&ty(0, Some(0), true, 0)).reservation, MEMORY_GUARD);
        // `memory.size` must be able to say it.
        assert_eq!(plan(&ty(0, None, false, 0)).max, u64::from(u32::MAX));
    }

    #[test]
    fn what_begins_larger_than_that_is_refused() {
        for (min, page_size_log2) in [(1 << 48, 16), (u64::MAX, 0), (MAX_MEMORY + 1, 0)] {
            let ty = ty(min, None, true, page_size_log2);
            assert!(MemoryPlan::of(&ty, 0).check(3).is_err(), "{min} pages");
        }
        plan(&ty(MAX_MEMORY >> 16, None, true, 16));
    }

    #[test]
    fn growth_stops_at_the_maximum_and_never_wraps() {
        let plan = plan(&ty(1, Some(3), true, 16));
        assert_eq!(plan.grown(1 << 16, 2, u64::MAX), Some(3 << 16));
        assert_eq!(plan.grown(1 << 16, 3, u64::MAX), None);
        assert_eq!(plan.grown(1 << 16, 2, 2 << 16), None);
        assert_eq!(plan.grown(1 << 16, u64::MAX, u64::MAX), None);
        assert_eq!(plan.grown(1 << 16, 1 << 48, u64::MAX), None);
    }
}
