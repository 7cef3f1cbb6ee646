//! Who owns a memory or table, and how it grows.
//!
//! Invariant: what a size word promises is committed before the word says so, and no size exceeds
//! what its plan and the store's limits allow; all sizes together neither.

use crate::{
    budget::ELEMENT,
    store::{Instance, StoreInner},
    vm::Region,
};
use executor_code::layout::{PAGE, align_up};
use executor_model::InstanceId;

impl StoreInner {
    /// The instance that owns what lies at an address, with its position.
    pub(crate) fn owner_of(&self, address: usize) -> Option<(InstanceId, &Instance)> {
        let at = self.instances.iter().position(|instance| {
            let vm = &instance.vm;
            let header = vm.module().code().header();
            let start = vm.vmctx() as usize - header.before as usize;
            address.wrapping_sub(start) < (header.before + header.after) as usize
        })?;
        Some((InstanceId::from_position(at), &self.instances[at]))
    }

    /// The owner and owned index of the memory or table whose size word is at `region.size`.
    fn owned(
        &self,
        region: Region,
        count: impl Fn(&Instance) -> u32,
        find: impl Fn(&Instance, u32) -> Option<Region>,
    ) -> Option<(InstanceId, u32)> {
        let (id, instance) = self.owner_of(region.size)?;
        let owned = (0..count(instance)).find(|i| find(instance, *i) == Some(region))?;
        Some((id, owned))
    }

    /// The owner and owned index of a memory.
    pub(crate) fn owned_memory(&self, region: Region) -> Option<(InstanceId, u32)> {
        self.owned(
            region,
            |i| i.vm.counts().owned_memories,
            |i, owned| i.vm.memory_region(i.vm.counts().imported_memories + owned),
        )
    }

    /// `memory.grow`, by pages; the size before, in pages.
    pub(crate) fn grow_memory(&mut self, id: InstanceId, index: u32, delta: u64) -> Option<u64> {
        let region = self.instances[id.position()].vm.memory_region(index)?;
        let old = region.len() as u64;
        let limit = old.saturating_add(self.room());
        if let Some(shared) = self.shared_memories.find(region) {
            let old = shared.grow_within(delta, limit)?;
            self.room_shrank();
            return Some(old);
        }
        let (owner, owned) = self.owned_memory(region)?;
        let vm = &self.instances[owner.position()].vm;
        let plan = vm.memory_plan(owned)?;
        let new = plan.grown(old, delta, limit)?;
        let committed = align_up(old, PAGE);
        let needed = align_up(new, PAGE) - committed;
        vm.slot().commit(vm.origin() + plan.after + committed, needed).ok()?;
        vm.set_len(region, new);
        self.room_shrank();
        Some(old / plan.page_size)
    }

    /// `table.grow`; the size before.
    pub(crate) fn grow_table(
        &mut self,
        id: InstanceId,
        index: u32,
        delta: u64,
        init: u64,
    ) -> Option<u64> {
        let region = self.instances[id.position()].vm.table_region(index)?;
        let (owner, owned) = self.owned(
            region,
            |i| i.vm.counts().owned_tables,
            |i, owned| i.vm.table_region(i.vm.counts().imported_tables + owned),
        )?;
        let vm = &self.instances[owner.position()].vm;
        let plan = vm.table_plan(owned)?;
        let old = region.len() as u64;
        let new = old.checked_add(delta)?;
        let room = || self.room() / ELEMENT;
        if new > plan.max.min(self.config.max_table) || delta > room() {
            return None;
        }
        let committed = align_up(old * 8, PAGE);
        let needed = align_up(new * 8, PAGE);
        vm.slot().commit(vm.origin() - plan.before + committed, needed - committed).ok()?;
        vm.set_len(region, new);
        let added = old as usize..new as usize;
        let table = self.instances[id.position()].vm.table_mut(index, added.clone())?;
        table[added].fill(init);
        self.room_shrank();
        Some(old)
    }
}
