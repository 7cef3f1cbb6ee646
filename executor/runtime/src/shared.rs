//! Memories that several stores share, which is what threads are here: a store is used by one
//! thread at a time, and a thread is a store of its own that imports the memory.
//!
//! Invariant: a memory that anyone else holds is never seen as a slice. While the store's own
//! record of it is the only [`SharedMemory`], nobody else can reach it, and it is treated (also by
//! a capture) like any memory; as long as there is another, only copies are made in and out.

use crate::{
    store::{Store, StoreInner},
    sys::Reservation,
    vm::{MemoryMut, Region, Slot},
};
use executor_code::layout::{MemoryPlan, PAGE, align_up};
use executor_model::{EngineError, InstanceId, MemoryType};
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{Ordering::Acquire, fence},
    },
};

/// A shared memory, for [`crate::Linker::memory`]. Clones are the same memory.
#[derive(Clone)]
pub struct SharedMemory(Arc<Inner>);

struct Inner {
    region: Region,
    ty: MemoryType,
    plan: MemoryPlan,
    /// What the memory and its size word lie in.
    slot: Arc<Slot>,
    /// Where in it the memory begins.
    start: u64,
    /// Held while the memory grows.
    growing: Mutex<()>,
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory").field("ty", &self.0.ty).finish_non_exhaustive()
    }
}

/// Bytes outside a memory were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes from {at} to {at} + {len} are not all in the memory")]
pub struct OutOfBounds {
    /// Where they begin.
    pub at: u64,
    /// How many they are.
    pub len: u64,
}

impl SharedMemory {
    /// A memory of the host, of its initial size and zero.
    ///
    /// # Errors
    /// When `ty` is not shared, has no maximum, is too large, or the system refuses addresses.
    pub fn new(ty: MemoryType) -> Result<Self, EngineError> {
        if !ty.shared || ty.max.is_none_or(|max| max < ty.min) {
            let message =
                "a shared memory is declared shared, with a maximum not below its minimum";
            return Err(EngineError::Unsupported(message.to_owned()));
        }
        let plan = MemoryPlan::of(&ty, 0);
        plan.check(0).map_err(|e| EngineError::Unsupported(e.to_string()))?;
        let failed = |source| EngineError::Resource { what: "make a shared memory", source };
        // The size word has the page before the memory to itself.
        let slot = Reservation::new(PAGE + plan.reservation).map_err(failed)?;
        slot.commit(0, PAGE + align_up(plan.min, PAGE)).map_err(failed)?;
        let region = Region { base: slot.at(PAGE) as usize, size: slot.at(0) as usize };
        region.set_len(plan.min);
        let (slot, growing) = (Arc::new(Slot::from(slot)), Mutex::default());
        Ok(Self(Arc::new(Inner { region, ty, plan, slot, start: PAGE, growing })))
    }

    /// Its type.
    #[must_use]
    pub fn ty(&self) -> MemoryType {
        self.0.ty
    }

    /// Its present size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.region.len() as u64
    }

    /// Grows it by pages; the size before, in pages, or `None` when it cannot grow so far.
    pub fn grow(&self, delta: u64) -> Option<u64> {
        self.grow_within(delta, u64::MAX)
    }

    /// As [`Self::grow`], to `limit` bytes at most.
    pub(crate) fn grow_within(&self, delta: u64, limit: u64) -> Option<u64> {
        let Inner { region, plan, slot, start, growing, .. } = &*self.0;
        let _growing = growing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = region.len() as u64;
        let new = plan.grown(old, delta, limit)?;
        let committed = align_up(old, PAGE);
        slot.commit(start + committed, align_up(new, PAGE) - committed).ok()?;
        region.set_len(new);
        Some(old / plan.page_size)
    }

    /// Copies bytes out. Other threads may change them meanwhile, byte by byte.
    ///
    /// # Errors
    /// When they are not all inside.
    pub fn read(&self, at: u64, to: &mut [u8]) -> Result<(), OutOfBounds> {
        let len = to.len() as u64;
        self.0.region.read(at, to).ok_or(OutOfBounds { at, len })
    }

    /// Copies bytes in. Other threads see them arrive byte by byte, in no certain order.
    ///
    /// # Errors
    /// When they do not fit; nothing is written then.
    pub fn write(&self, at: u64, from: &[u8]) -> Result<(), OutOfBounds> {
        let len = from.len() as u64;
        self.0.region.write(at, from).ok_or(OutOfBounds { at, len })
    }

    pub(crate) fn region(&self) -> Region {
        self.0.region
    }

    /// Whether this is the only handle. Handles are made from handles, so as long as the caller's
    /// borrow of this one lasts nobody can make another.
    fn is_only(&self) -> bool {
        let only = Arc::strong_count(&self.0) == 1;
        // What other threads did before they dropped theirs is visible from here on.
        fence(Acquire);
        only
    }
}

/// A store's own records of the memories that it uses and for which there is or was another
/// [`SharedMemory`]. Each is there once.
#[derive(Debug, Default)]
pub(crate) struct SharedMemories(Vec<SharedMemory>);

impl SharedMemories {
    /// Whether there are none. Then no memory of the store can be in use by another thread.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets those that were added after the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Adds one, if it is not there yet.
    pub(crate) fn add(&mut self, memory: &SharedMemory) {
        if self.find(memory.region()).is_none() {
            self.0.push(memory.clone());
        }
    }

    /// The record of a memory.
    pub(crate) fn find(&self, region: Region) -> Option<&SharedMemory> {
        self.0.iter().find(|memory| memory.region() == region)
    }

    /// What those take that no instance of the store owns.
    pub(crate) fn foreign(&self, store: &StoreInner) -> u64 {
        let foreign = self.0.iter().filter(|m| store.owner_of(m.region().size).is_none());
        foreign.map(SharedMemory::size).sum()
    }

    /// Whether anyone but the store can reach a memory.
    fn is_lent(&self, region: Region) -> bool {
        self.find(region).is_some_and(|memory| !memory.is_only())
    }
}

impl StoreInner {
    /// Whether anyone but this store can reach a memory.
    pub(crate) fn is_shared(&self, region: Region) -> bool {
        self.shared_memories.is_lent(region)
    }

    /// As [`Self::is_shared`], of a memory of an instance. Nearly always nothing was ever shared, and
    /// the question costs a host call nothing.
    pub(crate) fn is_lent(&self, id: InstanceId, index: u32) -> bool {
        let region = || self.instance(id)?.vm.memory_region(index);
        !self.shared_memories.is_empty() && region().is_some_and(|region| self.is_shared(region))
    }

    /// The bytes of a memory that only this store can reach.
    pub(crate) fn memory(&self, id: InstanceId, index: u32) -> Option<&[u8]> {
        // The heap of objects lies behind those that have an index.
        let vm = &self.instance(id)?.vm;
        if index >= vm.counts().memories() || self.is_lent(id, index) {
            return None;
        }
        vm.memory(index)
    }

    /// The bytes of a memory that only this store can reach, to change.
    pub(crate) fn memory_mut(&mut self, id: InstanceId, index: u32) -> Option<MemoryMut<'_>> {
        if index >= self.instance(id)?.vm.counts().memories() || self.is_lent(id, index) {
            return None;
        }
        self.instances[id.position()].vm.memory_mut(index)
    }
}

impl Store {
    /// A memory of an instance, to be shared with other stores; `None` when there is no such memory
    /// or it is not declared shared. As long as the handle or a clone of it exists,
    /// [`Self::memory`] does not show the memory and the store cannot be captured.
    pub fn shared_memory(&mut self, instance: InstanceId, index: u32) -> Option<SharedMemory> {
        let store = &mut *self.inner;
        let region = store.instance(instance)?.vm.memory_region(index)?;
        if let Some(known) = store.shared_memories.find(region) {
            return Some(known.clone());
        }
        let ty = store.memory_type(region).filter(|ty| ty.shared)?;
        let (owner, owned) = store.owned_memory(region)?;
        let vm = &store.instance(owner)?.vm;
        let plan = vm.memory_plan(owned)?;
        let start = vm.origin() + plan.after;
        let (slot, growing) = (Arc::clone(vm.slot()), Mutex::default());
        let memory = SharedMemory(Arc::new(Inner { region, ty, plan, slot, start, growing }));
        store.shared_memories.add(&memory);
        Some(memory)
    }
}
