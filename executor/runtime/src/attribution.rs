//! Attribution: which code of a store wrote to each page of its memories first.
//!
//! Invariant: a store whose memories are attributed runs as any other, but slower: it takes a fault for
//! each page that it writes to. Memories that threads share are not attributed, since another store's
//! threads write to them.

use crate::{
    backtrace,
    store::{Store, StoreInner},
    sys::Reservation,
    vm::{CompiledModule, Slot},
};
use executor_code::layout::MEMORY_GUARD;
use executor_model::{EngineError, Frame, InstanceId};
use std::{collections::HashMap, sync::Arc};

/// Who wrote to the pages of an instance's memories first.
#[derive(Debug, Clone, Default)]
pub struct FirstWrites {
    /// For each owned memory the pages of 4096 bytes that were written to, ascending.
    pub memories: Vec<Vec<FirstWrite>>,
    /// The calls that they came from.
    pub stacks: Vec<Vec<Frame>>,
}

/// A page, and who wrote to it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstWrite {
    /// The number of the page.
    pub page: u64,
    /// Which of [`FirstWrites::stacks`] it came from, at most 64 frames, innermost first; an imported function
    /// is the innermost where the host wrote for it. Empty where instantiation did. None where there was no
    /// room to note it.
    pub stack: Option<usize>,
}

impl Store {
    /// Attributes the memories of instances that are made from now on.
    pub fn attribute_writes(&mut self) {
        self.inner.header.attributed.get_or_insert_default();
    }

    /// Who wrote to the memories of an instance first; nothing where that is not attributed.
    #[must_use]
    pub fn first_writes(&self, instance: InstanceId) -> FirstWrites {
        let mut found = FirstWrites::default();
        let Some(vm) = self.inner.instance(instance).map(|instance| &instance.vm) else {
            return found;
        };
        let Some(writers) = vm.slot().writers() else { return found };
        let code = &self.inner.header.code;
        let mut by_note: HashMap<u32, usize> = HashMap::new();
        let mut by_calls: HashMap<Vec<usize>, usize> = HashMap::new();
        for memory in 0..vm.counts().owned_memories as usize {
            let mut pages = Vec::new();
            for (page, note) in writers.pages(memory) {
                let stack = note.map(|note| {
                    *by_note.entry(note).or_insert_with(|| {
                        let calls = writers.calls(note);
                        *by_calls.entry(calls).or_insert_with_key(|calls| {
                            let frames = calls.iter().enumerate();
                            let frames = frames
                                .filter_map(|(i, call)| backtrace::frame(code, *call, i == 0));
                            found.stacks.push(frames.collect());
                            found.stacks.len() - 1
                        })
                    })
                });
                pages.push(FirstWrite { page, stack });
            }
            found.memories.push(pages);
        }
        found
    }
}

impl StoreInner {
    /// The slot of a new instance of a module in reserved addresses.
    pub(crate) fn slot_of(
        &mut self,
        addresses: Reservation,
        module: &CompiledModule,
    ) -> Result<Arc<Slot>, EngineError> {
        let Some(attributed) = &mut self.header.attributed else {
            return Ok(Arc::new(addresses.into()));
        };
        let (code, info) = (module.code(), module.info()?);
        let mut own = info.memories.iter().skip(info.imported_memories as usize);
        let ranges = code.memories().iter().map(|plan| {
            let start = code.header().before + plan.after;
            // Of a shared memory nothing. What comes after the module's own is for objects.
            let shared = own.next().is_some_and(|ty| ty.shared);
            let len = if shared { 0 } else { plan.reservation - MEMORY_GUARD };
            start..start + len
        });
        let slot = Arc::new(Slot::attributed(addresses, ranges));
        attributed.push(Arc::clone(&slot));
        Ok(slot)
    }
}
