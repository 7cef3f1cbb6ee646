//! What lies in an instance's slot, reached through `vmctx`.
//!
//! Invariant: a [`VmInstance`] owns a share of its reservation, whose state block and header are
//! accessible and whose size words never exceed what is committed, so every method checks against
//! those words and then may touch memory. Links point into slots of the same store, which are
//! kept as long as any instance of it.

use super::{
    module::CompiledModule,
    region::{self, Region},
    slot::Slot,
};
use executor_code::{
    abi::{ImportSlot, StoreHeader, VmHeader},
    file::Section,
    layout::{Counts, MemoryPlan, TablePlan},
};
use executor_model::{InstanceId, RawValue, TrapCode};
use std::{
    io,
    ops::{Deref, DerefMut, Range},
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// An instance's slot.
#[derive(Debug)]
pub(crate) struct VmInstance {
    vmctx: NonNull<VmHeader>,
    module: Arc<CompiledModule>,
    slot: Arc<Slot>,
    /// Where `vmctx` lies in the reservation.
    origin: u64,
    /// The length of the state block, which ends at `vmctx`.
    state_len: u64,
    id: InstanceId,
}

// SAFETY: everything behind the pointer belongs to the store that owns this instance, and a store
// is used by one thread at a time.
unsafe impl Send for VmInstance {}

impl VmInstance {
    /// Takes a part of a reservation, at `start` bytes from its beginning, as the slot of an
    /// instance: makes the state block and header accessible and writes the header. `heap` is the heap of objects
    /// of the store, if there is one already.
    pub(crate) fn new(
        slot: Arc<Slot>,
        start: u64,
        module: Arc<CompiledModule>,
        id: InstanceId,
        store: *mut StoreHeader,
        heap: Option<*mut u8>,
    ) -> io::Result<Self> {
        let counts = *module.code().counts();
        let origin = start + module.code().header().before;
        slot.commit(origin - counts.state_len(), counts.state_len() + counts.header_len())?;
        let vmctx = NonNull::new(slot.at(origin).cast::<VmHeader>())
            .ok_or_else(|| io::Error::other("slot at address 0"))?;
        let memory = match module.code().memories().first() {
            Some(plan) => slot.at(origin + plan.after),
            None => std::ptr::null_mut(),
        };
        let header = VmHeader {
            store,
            builtins: super::builtin_table().as_ptr(),
            instance_key: id.key(),
            memory,
            functions: module.code().section(Section::Functions).as_ptr().cast(),
            heap: match (heap, module.code().memories().last()) {
                (Some(heap), _) => heap,
                // The first that has room for it has it.
                (None, Some(plan)) if counts.heap != 0 => slot.at(origin + plan.after),
                (None, _) => std::ptr::null_mut(),
            },
        };
        // SAFETY: the header's pages were just made writable, and `origin` is page-aligned.
        unsafe { vmctx.write(header) };
        Ok(Self { vmctx, module, slot, origin, state_len: counts.state_len(), id })
    }

    /// The instance's id.
    pub(crate) fn id(&self) -> InstanceId {
        self.id
    }

    pub(crate) fn vmctx(&self) -> *mut VmHeader {
        self.vmctx.as_ptr()
    }

    /// The address of the heap of objects of the store.
    pub(crate) fn heap(&self) -> *mut u8 {
        // SAFETY: the header was written when this was made, and stays.
        unsafe { (*self.vmctx.as_ptr()).heap }
    }

    pub(crate) fn module(&self) -> &Arc<CompiledModule> {
        &self.module
    }

    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Where `vmctx` lies in the reservation.
    pub(crate) fn origin(&self) -> u64 {
        self.origin
    }

    pub(crate) fn counts(&self) -> &Counts {
        self.module.code().counts()
    }

    /// The address at a distance from `vmctx`.
    fn at(&self, distance: i64) -> *mut u8 {
        self.vmctx.as_ptr().cast::<u8>().wrapping_offset(distance as isize)
    }

    fn state(&self, offset: u64) -> *mut u8 {
        assert!(offset < self.state_len);
        self.at(offset as i64 - self.state_len as i64)
    }

    /// Whether a page of its slot or its code was lost.
    pub(crate) fn lost(&self) -> bool {
        self.slot.lost() || self.module.code().bytes().lost()
    }

    /// A word of the state block.
    pub(crate) fn word(&self, offset: u64) -> u64 {
        assert!(offset.is_multiple_of(8));
        // SAFETY: inside the state block and aligned (asserted); the block is accessible, and what
        // other threads change of it, the sizes of shared memories, they change atomically.
        unsafe { AtomicU64::from_ptr(self.state(offset).cast()).load(Relaxed) }
    }

    /// Changes a word of the state block.
    pub(crate) fn set_word(&mut self, offset: u64, value: u64) {
        assert!(offset.is_multiple_of(8));
        let at = self.state(offset).cast::<u64>();
        self.slot.open(at as usize, 8);
        // SAFETY: as in `word`; the page is writable now.
        unsafe { AtomicU64::from_ptr(at).store(value, Relaxed) }
    }

    /// The word of the state block as the image of a watched slot has it.
    pub(crate) fn image_word(&self, offset: u64) -> Option<u64> {
        self.slot.image_word(self.state(offset) as usize)
    }

    /// The words of the state block, one by one.
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> {
        (0..self.counts().state_len() / 8).map(|i| self.word(i * 8))
    }

    /// The bytes of the state block.
    pub(crate) fn block(&self) -> &[u8] {
        let len = self.counts().state_len() as usize;
        // SAFETY: the whole block is accessible, the store is not running while this is borrowed, and
        // callers have made sure that no other store can grow a memory of it.
        unsafe { std::slice::from_raw_parts(self.state(0), len) }
    }

    /// The memory plan of an owned memory.
    pub(crate) fn memory_plan(&self, owned: u32) -> Option<MemoryPlan> {
        self.module.code().memories().get(owned as usize).copied()
    }

    /// The table plan of an owned table.
    pub(crate) fn table_plan(&self, owned: u32) -> Option<TablePlan> {
        self.module.code().tables().get(owned as usize).copied()
    }

    /// Where a memory and its size lie; `None` when out of range or unresolved.
    pub(crate) fn memory_region(&self, index: u32) -> Option<Region> {
        let counts = self.counts();
        match index.checked_sub(counts.imported_memories) {
            None => self.linked(counts.memory_link(index)),
            Some(owned) => {
                let plan = self.memory_plan(owned)?;
                Some(Region {
                    base: self.at(plan.after as i64) as usize,
                    size: self.state(counts.memory_size(owned)) as usize,
                })
            }
        }
    }

    /// Where a table and its size lie; `None` when out of range or unresolved.
    pub(crate) fn table_region(&self, index: u32) -> Option<Region> {
        let counts = self.counts();
        match index.checked_sub(counts.imported_tables) {
            None => self.linked(counts.table_link(index)),
            Some(owned) => {
                let plan = self.table_plan(owned)?;
                Some(Region {
                    base: self.at(-(plan.before as i64)) as usize,
                    size: self.state(counts.table_size(owned)) as usize,
                })
            }
        }
    }

    /// The address of a global's 16 bytes; `None` when out of range or unresolved.
    pub(crate) fn global_address(&self, index: u32) -> Option<usize> {
        let counts = self.counts();
        match index.checked_sub(counts.imported_globals) {
            None => {
                let link = self.word(counts.global_link(index)) as i64;
                (link != 0).then(|| self.at(link) as usize)
            }
            Some(owned) if owned < counts.owned_globals => {
                Some(self.state(counts.global(owned)) as usize)
            }
            Some(_) => None,
        }
    }

    fn linked(&self, offset: u64) -> Option<Region> {
        let (base, size) = (self.word(offset) as i64, self.word(offset + 8) as i64);
        (base != 0).then(|| Region { base: self.at(base) as usize, size: self.at(size) as usize })
    }

    /// The distance from `vmctx` to an address of the store.
    pub(crate) fn distance_to(&self, address: usize) -> i64 {
        (address as i64).wrapping_sub(self.vmctx.as_ptr() as i64)
    }

    /// Resolves an imported global.
    pub(crate) fn link_global(&mut self, index: u32, address: usize) {
        let link = self.distance_to(address) as u64;
        self.set_word(self.counts().global_link(index), link);
    }

    /// Resolves an imported table.
    pub(crate) fn link_table(&mut self, index: u32, to: Region) {
        let offset = self.counts().table_link(index);
        self.link(offset, to);
    }

    /// Resolves an imported memory.
    pub(crate) fn link_memory(&mut self, index: u32, to: Region) {
        let offset = self.counts().memory_link(index);
        self.link(offset, to);
    }

    fn link(&mut self, offset: u64, to: Region) {
        self.set_word(offset, self.distance_to(to.base) as u64);
        self.set_word(offset + 8, self.distance_to(to.size) as u64);
    }

    /// Binds an imported function's slot.
    pub(crate) fn bind(&mut self, import: u32, slot: ImportSlot) {
        assert!(import < self.counts().imported_functions);
        let at = self.at(self.counts().import_slot(import) as i64).cast::<ImportSlot>();
        // SAFETY: the slot lies in the header's pages (asserted), which are writable, and is
        // 16-byte aligned by the layout.
        unsafe { at.write(slot) };
    }

    /// The bytes of a memory.
    pub(crate) fn memory(&self, index: u32) -> Option<&[u8]> {
        let region = self.memory_region(index)?;
        // SAFETY: the size word never exceeds what is committed from the base on. Guest code does
        // not run while the store is borrowed, and callers have made sure that no other store can
        // reach the memory.
        unsafe { Some(std::slice::from_raw_parts(region.base as *const u8, region.len())) }
    }

    /// The bytes of a memory, to change.
    pub(crate) fn memory_mut(&mut self, index: u32) -> Option<MemoryMut<'_>> {
        let region = self.memory_region(index)?;
        // SAFETY: as in `memory`; the exclusive borrow of the store makes it the only one.
        let bytes = unsafe { std::slice::from_raw_parts_mut(region.base as *mut u8, region.len()) };
        Some(MemoryMut { bytes, slot: Some(&self.slot) })
    }

    /// The elements of a table, as references' bits.
    pub(crate) fn table(&self, index: u32) -> Option<&[u64]> {
        let region = self.table_region(index)?;
        // SAFETY: as in `memory`; elements are 8 bytes and the base page-aligned.
        unsafe { Some(std::slice::from_raw_parts(region.base as *const u64, region.len())) }
    }

    /// The elements of a table, as bytes.
    pub(crate) fn table_bytes(&self, index: u32) -> Option<&[u8]> {
        let region = self.table_region(index)?;
        // SAFETY: as in `table`, seen as bytes.
        unsafe { Some(std::slice::from_raw_parts(region.base as *const u8, region.len() * 8)) }
    }

    /// The elements of a table, of which those in a range are to change.
    pub(crate) fn table_mut(&mut self, index: u32, range: Range<usize>) -> Option<&mut [u64]> {
        let region = self.table_region(index)?;
        let (start, end) = (range.start.min(region.len()), range.end.min(region.len()));
        self.slot.open(region.base + start * 8, (end - start.min(end)) * 8);
        // SAFETY: as in `table`; the exclusive borrow of the store makes it the only one.
        unsafe { Some(std::slice::from_raw_parts_mut(region.base as *mut u64, region.len())) }
    }

    /// The value of a global.
    pub(crate) fn global(&self, index: u32) -> Option<RawValue> {
        let at = self.global_address(index)? as *const RawValue;
        // SAFETY: 16 accessible, aligned bytes of a state block of the store.
        Some(unsafe { at.read() })
    }

    /// Changes the value of a global; false when out of range or unresolved.
    pub(crate) fn set_global(&mut self, index: u32, value: RawValue) -> bool {
        let Some(at) = self.global_address(index) else { return false };
        self.slot.open(at, size_of::<RawValue>());
        // SAFETY: as in `global`; the page is writable now.
        unsafe { (at as *mut RawValue).write(value) };
        true
    }

    /// `memory.copy`, between memories that may be one, and of which `shared` says whether either
    /// may be shared.
    pub(crate) fn copy_memory(
        &mut self,
        (to, from): (u32, u32),
        range: (u64, u64, u64),
        shared: bool,
    ) -> Result<(), TrapCode> {
        let (to, from) = (self.memory_region(to), self.memory_region(from));
        self.open_in(to, 1, (range.0, range.2));
        let copied = match shared {
            true => region::copy_bytes_shared(to, from, range),
            false => region::copy::<u8>(to, from, range),
        };
        copied.ok_or(TrapCode::MemoryOutOfBounds)
    }

    /// `table.copy`, between tables that may be one.
    pub(crate) fn copy_table(
        &mut self,
        (to, from): (u32, u32),
        (dst, src, len): (u64, u64, u64),
    ) -> Result<(), TrapCode> {
        let (to, from) = (self.table_region(to), self.table_region(from));
        self.open_in(to, 8, (dst, len));
        region::copy::<u64>(to, from, (dst, src, len)).ok_or(TrapCode::TableOutOfBounds)
    }

    /// Changes the size of a memory or table of the slot; what it adds must be committed already.
    pub(crate) fn set_len(&self, region: Region, len: u64) {
        self.slot.open(region.size, 8);
        region.set_len(len);
    }

    /// Prepares `len` elements of `size` bytes for a write, if all are inside.
    pub(crate) fn open_in(&self, region: Option<Region>, size: u64, (at, len): (u64, u64)) {
        let Some(region) = region else { return };
        if at.checked_add(len).is_some_and(|end| end <= region.len() as u64) {
            self.slot.open(region.base + (at * size) as usize, (len * size) as usize);
        }
    }
}

/// The bytes of a memory, to read and to change.
#[derive(Debug, Default)]
pub struct MemoryMut<'a> {
    bytes: &'a mut [u8],
    /// What they lie in, if anyone watches it.
    slot: Option<&'a Slot>,
}

impl<'a> From<&'a mut [u8]> for MemoryMut<'a> {
    /// Bytes that are no guest's.
    fn from(bytes: &'a mut [u8]) -> Self {
        Self { bytes, slot: None }
    }
}

impl Deref for MemoryMut<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl MemoryMut<'_> {
    fn open(&self, range: &Range<usize>) {
        if let (Some(slot), Some(bytes)) = (self.slot, self.bytes.get(range.clone())) {
            slot.open(bytes.as_ptr() as usize, bytes.len());
        }
    }

    /// The bytes of a range, to change; `None` when they are not all inside.
    pub fn get_mut(&mut self, range: Range<usize>) -> Option<&mut [u8]> {
        self.open(&range);
        self.bytes.get_mut(range)
    }

    /// The bytes of several ranges, to change; `None` when they are not all inside, or two overlap.
    pub fn get_disjoint_mut<const N: usize>(
        &mut self,
        ranges: [Range<usize>; N],
    ) -> Option<[&mut [u8]; N]> {
        ranges.iter().for_each(|range| self.open(range));
        self.bytes.get_disjoint_mut(ranges).ok()
    }
}

impl DerefMut for MemoryMut<'_> {
    /// All bytes, to change. A slot that is kept is then reset at greater cost, since nobody knows
    /// which of them were changed: where that matters, name the range ([`Self::get_mut`]).
    fn deref_mut(&mut self) -> &mut [u8] {
        if let Some(slot) = self.slot {
            slot.open_part(self.bytes.as_ptr() as usize);
        }
        self.bytes
    }
}
