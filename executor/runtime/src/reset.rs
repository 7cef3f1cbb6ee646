//! Resetting a store in place: from whatever a call left to what its image is.
//!
//! Invariant: after a reset nothing tells the store from one just made, and what can't be brought to
//! that is not kept. So nothing of one call is ever seen by the next.

use crate::{
    calls::Calls,
    heap::Collections,
    image::Inner as Image,
    pool::PoolConfig,
    store::StoreInner,
    sys,
    vm::{OpenPages, Reset, Slot},
};
use executor_code::layout::{PAGE, align_up};
use executor_model::StoreId;
use std::{io, sync::Arc};

/// What the slot of a store that can be kept is.
///
/// ```text
///            acquire            drop of the store           reset
///   Clean ------------> InUse -------------------> Dirty ---------> Clean
///                         |                          |
///                         | altered                  | reset failed
///                         v                          v
///                      Poisoned                   Poisoned
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// It equals its image, and waits in the pool or has just been made.
    Clean,
    /// Somebody has the store: anything may differ.
    InUse,
    /// Nobody has the store any more, and anything may differ.
    Dirty,
    /// It will never equal its image: instances were added or names defined, a call never ended, or
    /// the system refused to reset it, or a page of the image was lost. It is only dropped.
    Poisoned,
}

/// What a store knows of its slot (that of its header), if that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    state: SlotState,
    /// The pages that other slots of the image were written to, until the first call.
    cold: Option<Arc<OpenPages>>,
    /// Somebody had the store before who has it now.
    reused: bool,
}

impl Watched {
    /// A slot that was just made.
    pub(crate) fn new(cold: Arc<OpenPages>) -> Self {
        let cold = Some(cold).filter(|pages| !pages.is_empty());
        Self { state: SlotState::Clean, cold, reused: false }
    }

    /// Notes that somebody has the store, and whether somebody had it before.
    pub(crate) fn hand_out(&mut self, reused: bool) {
        debug_assert_eq!(self.state, SlotState::Clean);
        self.state = SlotState::InUse;
        self.reused = reused;
    }

    /// Whether somebody had the store before.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }
}

impl StoreInner {
    /// Prepares the slot for a call. Not before: a store that is only made costs nothing.
    #[inline]
    pub(crate) fn warm(&mut self) {
        if let (Some(watched), Some(slot)) = (&mut self.watched, &self.header.slot)
            && let Some(pages) = watched.cold.take()
        {
            slot.warm(&pages);
        }
    }

    /// Notes that the store changes in a way that no reset takes back. From then on its slot is written to
    /// without being watched.
    pub(crate) fn poison(&mut self) {
        if let (Some(watched), Some(slot)) = (&mut self.watched, &self.header.slot) {
            watched.state = SlotState::Poisoned;
            slot.open_all();
        }
    }

    /// Makes the store what its image is; `None`, when it must not be kept.
    pub(crate) fn reset(&mut self, image: &Image, config: &PoolConfig) -> Option<Reset> {
        let watched = self.watched.as_mut()?;
        if watched.state == SlotState::Poisoned || self.header.running() {
            return None;
        }
        debug_assert_eq!(watched.state, SlotState::InUse);
        watched.state = SlotState::Dirty;
        let slot = self.header.slot.clone()?;
        self.reset_host_side(image);
        // What is lost in the image would be copied to the slot, and a size that is lost is none.
        let intact = || !slot.lost() && !slot.image_lost();
        let reset = self.take_back_growth().ok().filter(|()| intact());
        let reset = reset.and_then(|()| slot.reset(config.keep_resident).ok());
        let reset = reset.filter(|_| intact());
        let watched = self.watched.as_mut()?;
        watched.state = match &reset {
            Some(_) => SlotState::Clean,
            None => SlotState::Poisoned,
        };
        if config.verify && reset.is_some() {
            self.verify(&slot);
        }
        reset
    }

    /// Everything but the slot. Destructured, so that a new field can't be forgotten.
    fn reset_host_side(&mut self, image: &Image) {
        let Self {
            // Null between calls; the code that calls can be in and the slot stay.
            header: _,
            id,
            instances,
            // Names are added to by poisoning only.
            linker: _,
            config: _,
            data,
            externs,
            exceptions,
            // It is of the first instance that can have it, and that stays.
            heap: _,
            objects,
            collections,
            allocations,
            shared,
            // Images have none, and instances with others come by poisoning only.
            shared_memories: _,
            calls,
            suspension,
            continuations,
            restored: _,
            watched: _,
        } = self;
        for (instance, instantiated) in instances.iter_mut().zip(image.instantiated()) {
            // Their code, their links and the host functions bound to them stay as they are.
            instance.instantiated = instantiated;
        }
        *data = None;
        externs.clear();
        *exceptions = Default::default();
        *objects = Default::default();
        (*collections, *allocations) = (Collections::default(), 0);
        *calls = Calls::default();
        suspension.reset(image.call());
        continuations.clear();
        *id = StoreId::unique();
        // Whoever could interrupt the last call can't interrupt the next.
        let anew = shared.anew(*id);
        match Arc::get_mut(shared) {
            Some(shared) => *shared = anew,
            None => *shared = Arc::new(anew),
        }
    }

    /// Compares a slot that was reset with its image, and what can be reached in it with what should be.
    ///
    /// # Panics
    /// When they differ.
    fn verify(&self, slot: &Slot) {
        if let Some(at) = slot.difference() {
            panic!("the page at {at:#x} of a slot differs from its image after a reset");
        }
        let mut parts = slot.parts();
        for instance in &self.instances {
            let start = instance.vm.origin();
            parts.push(start..start + instance.vm.counts().header_len());
        }
        let base = slot.at(0) as usize;
        for range in sys::readable(slot.addresses()).expect("the mappings of the process") {
            let (mut at, end) = ((range.start - base) as u64, (range.end - base) as u64);
            while at < end {
                let part = parts.iter().find(|part| part.contains(&at));
                at = part
                    .unwrap_or_else(|| panic!("a slot is accessible at {at:#x} after a reset"))
                    .end;
            }
        }
    }

    /// Takes away what memories and tables have beyond the image, and its pages.
    fn take_back_growth(&self) -> io::Result<()> {
        for instance in &self.instances {
            let vm = &instance.vm;
            let counts = vm.counts();
            let take_back = |start: u64, size: u64, unit: u64| {
                let of_image = vm.image_word(size).unwrap_or_default();
                let from = align_up(of_image * unit, PAGE);
                let to = align_up(vm.word(size) * unit, PAGE);
                if to <= from {
                    return Ok(());
                }
                vm.slot().discard(start + from, to - from)?;
                vm.slot().protect(start + from, to - from, sys::Access::None)
            };
            for i in 0..counts.owned_tables {
                if let Some(plan) = vm.table_plan(i) {
                    take_back(vm.origin() - plan.before, counts.table_size(i), 8)?;
                }
            }
            for i in 0..counts.owned_memories {
                if let Some(plan) = vm.memory_plan(i) {
                    take_back(vm.origin() + plan.after, counts.memory_size(i), 1)?;
                }
            }
        }
        Ok(())
    }
}
