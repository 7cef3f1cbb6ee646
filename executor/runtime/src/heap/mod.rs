//! The heap of objects of a store: where it lies, and how room is made in it.
//!
//! Invariant: the heap is the last memory, which no index names, of the first instance whose module has types of
//! objects; so it is captured, mapped, reset and counted like every other. What it holds is numbers, its own state
//! included ([`HeapHeader`]). Objects lie one behind another from its beginning on, and everything behind them is zero
//! or about to be made zero. Objects move in [`collect`] only, and a collection happens only where an object is
//! about to be made or the host asks for one.

mod access;
mod check;
mod collect;
mod handles;
mod roots;
mod types;

pub use access::ObjectType;
pub use collect::Collections;
pub use handles::KeptObject;

pub(crate) use check::KnownObjects;
pub(crate) use handles::Handles;

use crate::{
    store::StoreInner,
    vm::{MemoryMut, VmInstance},
};
use executor_code::{
    abi::HeapHeader,
    layout::{MAX_HEAP, PAGE, align_up},
};
use executor_model::{EngineError, InstanceId, TrapCode};
use std::num::NonZeroU32;
use zerocopy::{FromBytes, IntoBytes};

/// What a heap begins with, in bytes.
const FIRST_SIZE: u64 = 64 << 10;
/// At most so much is made zero before machine code goes on: what is stored to next is in a cache then.
const CHUNK: u64 = 64 << 10;
/// A heap grows by so much at least.
const GROWTH: u64 = 1 << 20;
/// So many bytes are allocated, or as many as were found alive, before the next collection.
const NURSERY: u64 = 4 << 20;
/// Free pages are given back where there are so many, in bytes.
const GIVE_BACK: u64 = 8 << 20;

/// An instance whose heap it is.
fn index(vm: &VmInstance) -> u32 {
    vm.counts().memories()
}

impl StoreInner {
    /// The instance that the heap lies in.
    fn heap_owner(&self) -> Option<&VmInstance> {
        Some(&self.instances[self.heap?.position()].vm)
    }

    /// The bytes of the heap; none where there is no heap.
    pub(crate) fn heap_bytes(&self) -> &[u8] {
        self.heap_owner().and_then(|vm| vm.memory(index(vm))).unwrap_or_default()
    }

    /// The bytes of the heap, to change.
    pub(crate) fn heap_mut(&mut self) -> MemoryMut<'_> {
        let Some(owner) = self.heap else { return MemoryMut::default() };
        let vm = &mut self.instances[owner.position()].vm;
        vm.memory_mut(index(vm)).unwrap_or_default()
    }

    /// What the heap says of itself. Its numbers are within it.
    pub(crate) fn heap_header(&self) -> Option<HeapHeader> {
        HeapHeader::read_from_prefix(self.heap_bytes()).ok().map(|(header, _)| header)
    }

    fn set_heap_header(&mut self, header: &HeapHeader) {
        let mut heap = self.heap_mut();
        if let Some(bytes) = heap.get_mut(0..size_of::<HeapHeader>()) {
            bytes.copy_from_slice(header.as_bytes());
        }
    }

    /// Makes the heap of a new instance, if it is to hold that of the store.
    pub(crate) fn make_heap(&mut self, id: InstanceId) -> Result<(), EngineError> {
        if self.heap != Some(id) {
            return Ok(());
        }
        if !self.grow_heap(FIRST_SIZE) {
            let limit = self.config.max_memory;
            return Err(executor_model::LimitError::Store { bytes: FIRST_SIZE, limit }.into());
        }
        let first = HeapHeader::FIRST;
        let due = first + NURSERY;
        let header =
            HeapHeader { null: 0, next: first, end: first, dirty: first, due, reserved: [0; 3] };
        self.set_heap_header(&header);
        Ok(())
    }

    /// Makes the heap `len` bytes long, or a little longer; false when it may not be.
    fn grow_heap(&mut self, len: u64) -> bool {
        let old = self.heap_bytes().len() as u64;
        if len <= old {
            return true;
        }
        let limit = self.config.max_heap.min(MAX_HEAP);
        let Some((owner, vm)) = self.heap.zip(self.heap_owner()) else { return false };
        let index = index(vm);
        // As much as is asked for if it can't be more.
        let more = len.max(old + GROWTH.max(old / 8)).min(limit);
        [more, len].into_iter().any(|to| {
            let pages = (align_up(to, PAGE).saturating_sub(old)) / PAGE;
            let fits = to >= len && align_up(to, PAGE) <= limit;
            fits && self.grow_memory(owner, index, pages).is_some()
        })
    }

    /// Makes room for an object of `size` bytes, a multiple of 8, and returns where it lies. All of it is zero. What
    /// `extra` yields is used beside the roots of the store.
    pub(crate) fn allocate_object(
        &mut self,
        size: u64,
        extra: &mut [u64],
    ) -> Result<u32, TrapCode> {
        let full = TrapCode::HeapExhausted;
        let mut header = self.heap_header().ok_or(full)?;
        let end =
            |header: &HeapHeader| header.next.checked_add(size).filter(|end| *end <= MAX_HEAP);
        self.allocations = self.allocations.wrapping_add(1);
        let every = self.config.collect_every.map(NonZeroU32::get);
        let forced = every.is_some_and(|every| self.allocations.is_multiple_of(every));
        let mut collected = false;
        if forced || end(&header).is_none_or(|end| end > header.due) {
            self.collect_with(extra);
            collected = true;
            header = self.heap_header().ok_or(full)?;
            // Whatever it needs, and as much again as is alive.
            header.due = header.due.max(end(&header).ok_or(full)?);
            self.set_heap_header(&header);
        }
        if !end(&header).is_some_and(|end| self.grow_heap(end)) {
            if !collected {
                self.collect_with(extra);
                header = self.heap_header().ok_or(full)?;
            }
            if !end(&header).is_some_and(|end| self.grow_heap(end)) {
                return Err(full);
            }
        }
        let (object, after) = (header.next, end(&header).ok_or(full)?);
        let len = self.heap_bytes().len() as u64;
        // Machine code must not go on beyond where a collection is due.
        let chunk =
            align_up(after.max(object + CHUNK), PAGE).min(header.due & !7).min(len).max(after);
        let unclean = header.end.max(object)..chunk.min(header.dirty);
        let mut heap = self.heap_mut();
        if let Some(bytes) =
            heap.get_mut(unclean.start as usize..unclean.end.max(unclean.start) as usize)
        {
            bytes.fill(0);
        }
        header.next = after;
        // Where collections are forced, machine code asks for every object.
        header.end = if every.is_some() { after } else { chunk };
        header.dirty = header.dirty.max(chunk);
        self.set_heap_header(&header);
        Ok(object as u32)
    }
}
