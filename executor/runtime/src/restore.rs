//! Restoring a store from a file.
//!
//! Invariant: the number of system calls depends on the number of instances and extents only, and
//! no work on the size of code, memories, tables or globals. Sizes and ranges are checked before
//! anything is mapped, so a file can at worst give a guest a strange state of its own; references
//! and links, which could lead outside, are trusted in files of our own store and checked by
//! [`Store::validate`] in any other.

use crate::{
    engine::NativeEngine,
    linker::Linker,
    state::{Extent, InstancePlan, RestorePlan, dense_placement},
    store::{Store, StoreConfig, StoreInner},
    sys::Reservation,
    types::Scoped,
    vm::VmInstance,
};
use executor_code::layout::{PAGE, align_up};
use executor_files::ensure_private;
use executor_model::{
    EngineError, FuncRef, Hierarchy, InstanceId, MemoryType, RefType, Val, ValType,
};
use std::{fs::File, io, sync::Arc};

/// Why a store cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Someone else could have written the file.
    #[error("the snapshot is not used, because {0}")]
    Untrusted(io::Error),
    /// The file contradicts itself or the module.
    #[error("the snapshot does not fit its module: {0}")]
    Mismatch(String),
    /// The system refused.
    #[error("cannot map the snapshot: {0}")]
    Io(#[from] io::Error),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

fn mismatch<T>(what: impl Into<String>) -> Result<T, RestoreError> {
    Err(RestoreError::Mismatch(what.into()))
}

impl Store {
    /// Restores a captured store: maps its state copy-on-write and links the code. Nothing of the
    /// guest runs.
    ///
    /// # Errors
    /// When the file is not private to this user, contradicts itself or the modules, or the
    /// system refuses memory.
    pub fn restore(
        engine: &NativeEngine,
        linker: Linker,
        config: StoreConfig,
        plan: &RestorePlan<'_>,
    ) -> Result<Self, RestoreError> {
        let file_len = ensure_private(plan.file).map_err(RestoreError::Untrusted)?.len();
        let mut store = Self::new(engine, linker, config)?;
        let (origins, len) = dense_placement(plan.instances.iter().map(|i| &i.module));
        let slots = Arc::new(Reservation::new(len.max(PAGE))?);
        for (instance, origin) in plan.instances.iter().zip(origins) {
            store.inner.restore_instance(&slots, origin, plan.file, file_len, instance)?;
        }
        store.inner.suspension.call = plan.call.cloned();
        store.inner.restored = true;
        Ok(store)
    }

    /// Checks every reference, link and size of a restored store, for a file that comes from
    /// elsewhere. Its cost grows with tables and globals.
    ///
    /// # Errors
    /// When a reference or link leads to anything but what it may.
    pub fn validate(&self) -> Result<(), RestoreError> {
        let inner = &*self.inner;
        for (at, instance) in inner.instances.iter().enumerate() {
            let id = InstanceId::from_position(at);
            inner.validate_links(id, &instance.vm)?;
            inner.validate_references(id, &instance.vm)?;
        }
        Ok(())
    }
}

/// Checks the extents of an item of `size` bytes against the item and the file.
fn check_extents(
    extents: &[Extent],
    size: u64,
    file_len: u64,
    what: &str,
) -> Result<(), RestoreError> {
    let mut end = 0;
    for extent in extents {
        let Extent { at, offset, len } = *extent;
        let aligned = [at, offset, len].iter().all(|n| n % PAGE == 0);
        let inside = |start: u64, limit: u64| start.checked_add(len).is_some_and(|e| e <= limit);
        if !aligned || at < end || !inside(at, size) || !inside(offset, file_len) {
            return mismatch(format!("an extent of {what} is out of place"));
        }
        end = at + len;
    }
    Ok(())
}

/// Whether extents leave no part of `size` bytes uncovered.
fn covers(extents: &[Extent], size: u64) -> bool {
    extents.iter().map(|e| e.len).sum::<u64>() == size
}

impl StoreInner {
    fn restore_instance(
        &mut self,
        slots: &Arc<Reservation>,
        origin: u64,
        file: &File,
        file_len: u64,
        plan: &InstancePlan,
    ) -> Result<(), RestoreError> {
        let code = plan.module.code();
        let counts = *code.counts();
        let start = origin - code.header().before;
        let id = self.add(Arc::clone(slots), start, &plan.module)?;
        let block_end = plan.block.checked_add(counts.state_len());
        if !plan.block.is_multiple_of(PAGE) || block_end.is_none_or(|end| end > file_len) {
            return mismatch("the state block lies outside the file");
        }
        if plan.tables.len() != code.tables().len() || plan.memories.len() != code.memories().len()
        {
            return mismatch("another number of tables or memories");
        }
        slots.map_file(origin - counts.state_len(), counts.state_len(), file, plan.block)?;
        let vm = &self.instances[id.position()].vm;
        for (i, (table, extents)) in code.tables().iter().zip(&plan.tables).enumerate() {
            let len = vm.word(counts.table_size(i as u32));
            if len > table.max || len < table.min {
                return mismatch(format!("table {i} has {len} elements"));
            }
            if len > self.config.max_table {
                return mismatch(format!("table {i} has {len} elements, more than the limit"));
            }
            let size = align_up(len * 8, PAGE);
            check_extents(extents, size, file_len, "a table")?;
            map(slots, origin - table.before, size, file, extents)?;
        }
        for (i, (memory, extents)) in code.memories().iter().zip(&plan.memories).enumerate() {
            let size = vm.word(counts.memory_size(i as u32));
            if size > memory.max || size < memory.min || !size.is_multiple_of(memory.page_size) {
                return mismatch(format!("memory {i} has {size} bytes"));
            }
            if size > self.config.max_memory {
                return mismatch(format!(
                    "memory {i} has {size} bytes, more than the limit of {}",
                    self.config.max_memory
                ));
            }
            let size = align_up(size, PAGE);
            check_extents(extents, size, file_len, "a memory")?;
            map(slots, origin + memory.after, size, file, extents)?;
            for range in plan.working_set.get(i).into_iter().flatten() {
                if range.start < range.end && range.end <= size {
                    slots.populate(origin + memory.after + range.start, range.end - range.start);
                }
            }
        }
        // Only linked instances are captured.
        self.instances[id.position()].linked = true;
        self.instances[id.position()].instantiated = plan.instantiated;
        Ok(())
    }

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
            let same = (first..first + owner.vm.counts().owned_memories).any(|m| {
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

    fn validate_references(&self, id: InstanceId, vm: &VmInstance) -> Result<(), RestoreError> {
        let info = vm.module().info()?;
        let check = |bits: u64, ty: RefType, what: String| {
            let func = FuncRef::from_bits(bits).filter(|func| self.is_own(*func));
            let value = match (bits, ty.heap.hierarchy()) {
                (0, _) => Some(Val::default_of(ValType::Ref(ty))),
                (_, Hierarchy::Func) => func.map(|func| Val::FuncRef(Some(func))),
                // Handles are not captured.
                (_, Hierarchy::Extern | Hierarchy::Exn) => None,
            };
            match value.map(|value| self.check_value(&value, ValType::Ref(ty), id)) {
                Some(Ok(())) => Ok(()),
                _ => mismatch(format!("{what} of instance {id} holds an invalid reference")),
            }
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
        Ok(())
    }
}

/// Makes `size` bytes accessible, zero but for the extents, which are mapped from the file.
fn map(
    slots: &Reservation,
    start: u64,
    size: u64,
    file: &File,
    extents: &[Extent],
) -> io::Result<()> {
    if !covers(extents, size) {
        slots.commit(start, size)?;
    }
    for extent in extents {
        slots.map_file(start + extent.at, extent.len, file, extent.offset)?;
    }
    Ok(())
}
