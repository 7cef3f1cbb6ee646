//! Checking a restored store whose file comes from elsewhere.
//!
//! Invariant: what passes has only references, links and sizes that this store could have given out, so a forged file can at worst
//! give a guest a strange state of its own.

use crate::{
    heap::KnownObjects,
    image::RestoreError,
    store::{Store, StoreInner},
    types::Scoped,
    vm::VmInstance,
};
use executor_model::{FuncRef, InstanceId, MemoryType, RefType, ValType};

fn mismatch<T>(what: impl Into<String>) -> Result<T, RestoreError> {
    Err(RestoreError::Mismatch(what.into()))
}

impl Store {
    /// Checks every reference, link and size of a restored store, for a file that comes from
    /// elsewhere. Its cost grows with tables and globals.
    ///
    /// # Errors
    /// When a reference or link leads to anything but what it may.
    pub fn validate(&self) -> Result<(), RestoreError> {
        let inner = &*self.inner;
        let objects = inner.validate_heap()?;
        for (at, instance) in inner.instances.iter().enumerate() {
            let id = InstanceId::from_position(at);
            inner.validate_links(id, &instance.vm)?;
            inner.validate_references(id, &instance.vm, &objects)?;
        }
        inner.validate_suspended(&objects)
    }
}

impl StoreInner {
    fn validate_links(&self, id: InstanceId, vm: &VmInstance) -> Result<(), RestoreError> {
        let counts = vm.counts();
        let info = vm.module().info()?;
        let broken = |what: &str, i: u32| {
            RestoreError::Mismatch(format!("imported {what} {i} of instance {id} leads nowhere"))
        };
        for i in 0..counts.imported_globals {
            let wanted = info.globals[i as usize].ty;
            let address = vm.global_address(i).ok_or_else(|| broken("global", i))?;
            let (_, owner) = self.owner_of(address).ok_or_else(|| broken("global", i))?;
            let owner_info = owner.vm.module().info()?;
            let wanted_value = Scoped::new(vm.module().code(), wanted.value);
            let first = owner.vm.counts().imported_globals;
            let same = (first..first + owner.vm.counts().owned_globals).any(|g| {
                owner.vm.global_address(g) == Some(address)
                    && owner_info.globals[g as usize].ty.mutable == wanted.mutable
                    && Scoped::new(
                        owner.vm.module().code(),
                        owner_info.globals[g as usize].ty.value,
                    )
                    .fits(&wanted_value, wanted.mutable)
            });
            if !same {
                return Err(broken("global", i));
            }
        }
        for i in 0..counts.imported_tables {
            let region = vm.table_region(i).ok_or_else(|| broken("table", i))?;
            let (_, owner) = self.owner_of(region.size).ok_or_else(|| broken("table", i))?;
            let first = owner.vm.counts().imported_tables;
            let element = Scoped::new(vm.module().code(), info.tables[i as usize].ty.element);
            let owner_info = owner.vm.module().info()?;
            let same = (first..first + owner.vm.counts().owned_tables).any(|t| {
                owner.vm.table_region(t) == Some(region)
                    && owner_info.tables[t as usize].ty.table64
                        == info.tables[i as usize].ty.table64
                    && Scoped::new(
                        owner.vm.module().code(),
                        owner_info.tables[t as usize].ty.element,
                    )
                    .equals(&element)
            });
            if !same || (region.len() as u64) < info.tables[i as usize].ty.min {
                return Err(broken("table", i));
            }
        }
        for i in 0..counts.imported_memories {
            let region = vm.memory_region(i).ok_or_else(|| broken("memory", i))?;
            let (_, owner) = self.owner_of(region.size).ok_or_else(|| broken("memory", i))?;
            let first = owner.vm.counts().imported_memories;
            // Code is compiled for these, so the bounds of the memory depend on them.
            let kind = |ty: MemoryType| (ty.memory64, ty.page_size_log2, ty.shared);
            let wanted = kind(info.memories[i as usize]);
            let owner_info = owner.vm.module().info()?;
            let same = (first..owner.vm.counts().memories()).any(|m| {
                owner.vm.memory_region(m) == Some(region)
                    && kind(owner_info.memories[m as usize]) == wanted
            });
            if !same {
                return Err(broken("memory", i));
            }
        }
        for i in 0..counts.imported_tags {
            let identity = self.tag(id, i).ok_or_else(|| broken("tag", i))?;
            if !self.tag_has_type(identity, id, info.tags[i as usize]) {
                return Err(broken("tag", i));
            }
        }
        for i in 0..counts.imported_functions {
            let Some(to) = FuncRef::from_bits(vm.word(counts.binding(i))) else { continue };
            let wanted = info.functions[i as usize];
            if !self.is_own(to) || !self.has_type(to, id, wanted) || self.is_circular(to) {
                return Err(broken("function", i));
            }
        }
        Ok(())
    }

    /// Whether imports lead from one to the next without end: a call would never arrive, nor see
    /// an interrupt. Each import is of an instance linked before, so no way is longer than there
    /// are instances.
    fn is_circular(&self, mut func: FuncRef) -> bool {
        for _ in &self.instances {
            let Some(instance) = self.instance(func.instance()) else { return false };
            let counts = instance.vm.counts();
            if func.func() >= counts.imported_functions {
                return false;
            }
            match FuncRef::from_bits(instance.vm.word(counts.binding(func.func()))) {
                Some(next) => func = next,
                None => return false,
            }
        }
        true
    }

    /// Whether a reference is one that this store could have given out.
    fn is_own(&self, func: FuncRef) -> bool {
        self.func(func.instance(), func.func()) == Some(func)
    }

    fn validate_references(
        &self,
        id: InstanceId,
        vm: &VmInstance,
        objects: &KnownObjects,
    ) -> Result<(), RestoreError> {
        let info = vm.module().info()?;
        let check =
            |bits: u64, ty: RefType, what: String| match objects.reference_is(self, bits, ty, id) {
                true => Ok(()),
                false => mismatch(format!("{what} of instance {id} holds an invalid reference")),
            };
        for (i, global) in info.globals.iter().enumerate().skip(info.imported_globals as usize) {
            if let (ValType::Ref(ty), Some(value)) = (global.ty.value, vm.global(i as u32)) {
                check(value.0 as u64, ty, format!("global {i}"))?;
            }
        }
        for (i, table) in info.tables.iter().enumerate().skip(info.imported_tables as usize) {
            for bits in vm.table(i as u32).unwrap_or_default() {
                check(*bits, table.ty.element, format!("table {i}"))?;
            }
        }
        let counts = vm.counts();
        let made = info.elements.iter().filter(|segment| segment.makes_objects());
        for (place, segment) in (0..).zip(made) {
            if !objects.are_items(self, vm.word(counts.items(place)), id, segment) {
                return mismatch(format!("an element segment of instance {id} has other items"));
            }
        }
        Ok(())
    }

    /// Objects in the frames of a suspended call. All else in them is checked when it goes on.
    fn validate_suspended(&self, objects: &KnownObjects) -> Result<(), RestoreError> {
        let frames = self.suspension.call.iter().flat_map(|call| &call.frames);
        for frame in frames {
            for value in &frame.values {
                let ValType::Ref(ty) = value.ty else { continue };
                let ty = RefType { nullable: true, ..ty };
                let known = objects.is_one(value.value.0 as u64);
                if ty.heap.hierarchy().holds_objects() && !known {
                    return mismatch("a frame of the suspended call holds an invalid reference");
                }
            }
        }
        Ok(())
    }
}
