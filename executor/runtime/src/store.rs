//! The store (the specification's): instances that may be linked to each other, and what they share.
//! Calls of their functions are in `calls`.
//!
//! Invariant: an instance keeps its position, and so its id, for the life of the store; an
//! instance whose instantiation failed stays too, since others may hold references to its
//! functions.

use crate::{
    budget,
    calls::Calls,
    data::HostData,
    engine::NativeEngine,
    exception::Exceptions,
    heap::{Collections, Handles},
    host::HostFunc,
    interrupt::{Interrupter, Shared},
    linker::Linker,
    pool::Lease,
    reset::Watched,
    shared::SharedMemories,
    suspend::Suspension,
    sys::{self, Reservation},
    vm::{CompiledModule, Header, MemoryMut, Slot, VmInstance},
};
use executor_code::{
    abi::CallTarget,
    layout::{MAX_HEAP, MAX_TABLE, PAGE, align_up},
};
use executor_model::{
    AnyRef, CallError, EngineError, ExternKind, ExternRef, FuncRef, FuncType, FunctionListener,
    InstanceId, RawValue, StoreId, Trap, TrapCode, Val, ValType, WasmBacktrace,
};
use std::{
    any::Any,
    io,
    num::{NonZeroU32, NonZeroU64},
    sync::Arc,
};

/// Limits of a store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The most bytes that all memories, tables (8 bytes an element), the heap of objects, exceptions that are
    /// referred to, and what the store's data holds for the guest take together.
    pub max_memory: u64,
    /// The largest size of each table, in elements.
    pub max_table: u64,
    /// The most bytes that objects take; at most 4 GiB, which is what references can name.
    pub max_heap: u64,
    /// For tests: a collection is made at every so many allocations, and not only when one is due.
    pub collect_every: Option<NonZeroU32>,
    /// The size of the stack that machine code runs on, in bytes; at most 1 TiB.
    pub max_stack: usize,
}

impl Default for StoreConfig {
    /// No limit on memory (but a memory has at most 64 GiB, and a 32-bit one 4), tables of 10 million elements,
    /// 4 GiB of objects, 8 MiB of stack.
    fn default() -> Self {
        Self {
            max_memory: u64::MAX,
            max_table: MAX_TABLE,
            max_heap: MAX_HEAP,
            collect_every: None,
            max_stack: 8 << 20,
        }
    }
}

/// An instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) vm: VmInstance,
    /// Host functions bound to imports so far, by function index.
    pub(crate) host: Vec<Option<Arc<HostFunc>>>,
    /// Every import is resolved. Before, links lead nowhere and no function may be called.
    pub(crate) linked: bool,
    /// DoneInstantiation was reached.
    pub(crate) instantiated: bool,
}

impl Instance {
    pub(crate) fn listener(&self) -> Option<&Arc<dyn FunctionListener>> {
        self.vm.module().listener()
    }

    /// The type of a function of this instance.
    pub(crate) fn func_type(&self, func: u32) -> Option<FuncType> {
        let code = self.vm.module().code();
        code.func_type(code.function_type(func)?)
    }
}

/// What a [`Store`] owns, at a stable address that machine code knows.
#[repr(C)]
pub(crate) struct StoreInner {
    /// First, so that its address is the store's.
    pub(crate) header: Header,
    /// Which store it is: what it gives out says so.
    pub(crate) id: StoreId,
    pub(crate) instances: Vec<Instance>,
    pub(crate) linker: Linker,
    pub(crate) config: StoreConfig,
    pub(crate) data: Option<HostData>,
    pub(crate) externs: Vec<Box<dyn Any + Send>>,
    /// The calls in progress.
    pub(crate) calls: Calls,
    pub(crate) exceptions: Exceptions,
    /// The instance that the heap of objects lies in.
    pub(crate) heap: Option<InstanceId>,
    /// The objects that the host has handles of.
    pub(crate) objects: Handles,
    /// What its collections were.
    pub(crate) collections: Collections,
    /// How many objects builtins made room for.
    pub(crate) allocations: u32,
    pub(crate) shared: Arc<Shared>,
    /// Memories of this store, and used by it, that there are handles of.
    pub(crate) shared_memories: SharedMemories,
    /// The call that is suspended, and where calls are.
    pub(crate) suspension: Suspension,
    /// The code of the call that was resumed last.
    pub(crate) continuations: Vec<Arc<CompiledModule>>,
    /// Whether the store was made from a captured state.
    pub(crate) restored: bool,
    /// The slot, if it can be reset.
    pub(crate) watched: Option<Watched>,
}

impl std::fmt::Debug for StoreInner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("instances", &self.instances.len()).finish_non_exhaustive()
    }
}

/// Instances that may be linked to each other. Captured and restored as a whole.
#[derive(Debug)]
pub struct Store {
    pub(crate) inner: Lease,
}

// A store moves between threads with all that it owns.
const _: () = {
    const fn assert_send<T: Send>() {}
    assert_send::<Store>();
};

pub(crate) fn resource(what: &'static str) -> impl FnOnce(io::Error) -> EngineError {
    move |source| EngineError::Resource { what, source }
}

impl StoreInner {
    /// Makes the slot of a new instance, with nothing linked or initialised.
    pub(crate) fn allocate(
        &mut self,
        module: &Arc<CompiledModule>,
    ) -> Result<InstanceId, EngineError> {
        let code = module.code();
        for (plan, i) in code.memories().iter().zip(code.counts().imported_memories..) {
            plan.check(i).map_err(|e| EngineError::Unsupported(e.to_string()))?;
        }
        for (plan, i) in code.tables().iter().zip(code.counts().imported_tables..) {
            plan.check(i).map_err(|e| EngineError::Unsupported(e.to_string()))?;
        }
        let memories = code.memories().iter().map(|plan| plan.min);
        let tables = code.tables().iter().map(|plan| plan.min);
        let used = self.config.max_memory.saturating_sub(self.room());
        budget::check(memories, tables, used, &self.config)?;
        let header = code.header();
        let slot = Reservation::new(header.before + header.after)
            .map_err(resource("reserve addresses for an instance"))?;
        let slot = self.slot_of(slot, module)?;
        let id = self.add(slot, 0, module).map_err(resource("make an instance"))?;
        let vm = &mut self.instances[id.position()].vm;
        let counts = *vm.counts();
        for i in 0..counts.owned_tables {
            let Some(plan) = vm.table_plan(i) else { continue };
            vm.slot()
                .commit(vm.origin() - plan.before, align_up(plan.min * 8, PAGE))
                .map_err(resource("make a table"))?;
            vm.set_word(counts.table_size(i), plan.min);
        }
        for i in 0..counts.owned_memories {
            let Some(plan) = vm.memory_plan(i) else { continue };
            vm.slot()
                .commit(vm.origin() + plan.after, align_up(plan.min, PAGE))
                .map_err(resource("make a memory"))?;
            vm.set_word(counts.memory_size(i), plan.min);
        }
        self.make_heap(id)?;
        self.room_shrank();
        Ok(id)
    }

    /// Nothing of the store was lost: a page of its snapshot that cannot be read (the file was cut short, or
    /// the disk failed) reads as zeroes to the host.
    pub(crate) fn ensure_intact(&self) -> Result<(), Trap> {
        let lost = || {
            self.instances.iter().any(|instance| instance.vm.lost())
                || self.continuations.iter().any(|module| module.code().bytes().lost())
        };
        match sys::any_lost() && lost() {
            true => Err(Trap { code: TrapCode::PageLost, backtrace: WasmBacktrace::default() }),
            false => Ok(()),
        }
    }

    /// A result, unless something of the store was lost: then it is made of zeroes, and void.
    pub(crate) fn unless_lost<T>(&self, result: Result<T, CallError>) -> Result<T, CallError> {
        match (self.ensure_intact(), &result) {
            // With a backtrace.
            (Err(_), Err(CallError::Trap(trap))) if trap.code == TrapCode::PageLost => result,
            (Err(trap), _) => Err(CallError::Trap(trap)),
            (Ok(()), _) => result,
        }
    }

    /// Adds an instance over part of a reservation.
    pub(crate) fn add(
        &mut self,
        slot: Arc<Slot>,
        start: u64,
        module: &Arc<CompiledModule>,
    ) -> io::Result<InstanceId> {
        if self.instances.len() >= InstanceId::MAX as usize {
            return Err(io::Error::other("too many instances in one store"));
        }
        self.poison();
        let id = InstanceId::from_position(self.instances.len());
        let store = self.header.address();
        let heap = self.heap.map(|owner| self.instances[owner.position()].vm.heap());
        let vm = VmInstance::new(slot, start, Arc::clone(module), id, store, heap)?;
        if vm.counts().heap != 0 {
            self.heap.get_or_insert(id);
        }
        if !module.ensure_termination() {
            self.shared.allow_interrupts(false);
        }
        self.header.code.add(module.entry());
        self.instances.push(Instance { vm, host: Vec::new(), linked: false, instantiated: false });
        Ok(id)
    }

    /// Makes an instance, or undoes all that was begun for it.
    pub(crate) fn attempt<E>(
        &mut self,
        make: impl FnOnce(&mut Self) -> Result<InstanceId, E>,
    ) -> Result<InstanceId, E> {
        let (instances, memories) = (self.instances.len(), self.shared_memories.len());
        let result = make(self);
        if result.is_err() {
            self.instances.truncate(instances);
            self.heap = self.heap.filter(|owner| owner.position() < instances);
            self.shared_memories.truncate(memories);
            self.index_code();
            let modules = || self.instances.iter().map(|instance| instance.vm.module());
            self.shared.allow_interrupts(modules().all(|module| module.ensure_termination()));
        }
        result
    }

    /// Forgets the code that nothing of the store runs any more.
    pub(crate) fn index_code(&mut self) {
        let modules = self.instances.iter().map(|instance| instance.vm.module());
        self.header.code = modules.chain(&self.continuations).map(|m| m.entry()).collect();
    }

    /// The instance of an id that fits this store.
    pub(crate) fn instance(&self, id: InstanceId) -> Option<&Instance> {
        self.instances.get(id.position()).filter(|_| id.fits(self.id))
    }

    /// The reference to a function of an instance that is linked. Nobody gets one before.
    pub(crate) fn func(&self, id: InstanceId, index: u32) -> Option<FuncRef> {
        let instance = self.instance(id)?;
        let ty = instance.vm.module().code().function_type(index)?;
        instance.linked.then(|| FuncRef::new(id, ty, index))
    }

    pub(crate) fn exported_func(&self, id: InstanceId, name: &str) -> Option<FuncRef> {
        match self.instance(id)?.vm.module().code().export(name)? {
            (ExternKind::Func, index) => self.func(id, index),
            _ => None,
        }
    }

    /// Where a function's code is and what to call it with.
    pub(crate) fn target(&self, func: FuncRef) -> Option<CallTarget> {
        let vm = &self.instance(func.instance())?.vm;
        let offset = vm.module().code().function_offset(func.func())?;
        Some(CallTarget { code: vm.module().address(offset), vmctx: vm.vmctx() as usize })
    }

    /// Whether a function is of type `ty`, or a subtype, of the module of `instance`.
    pub(crate) fn has_type(&self, func: FuncRef, instance: InstanceId, ty: u32) -> bool {
        let (Some(callee), Some(caller)) =
            (self.instance(func.instance()), self.instance(instance))
        else {
            return false;
        };
        if Arc::ptr_eq(callee.vm.module(), caller.vm.module()) && func.ty() == ty {
            return true;
        }
        let wanted = caller.vm.module().code().type_digest(ty);
        wanted.is_some_and(|wanted| callee.vm.module().code().is_subtype(func.ty(), wanted))
    }

    /// Checks that a value that the host hands to a guest is one that the store gave out, and of
    /// type `ty` of the module of `instance`.
    pub(crate) fn check_value(
        &self,
        value: &Val,
        ty: ValType,
        instance: InstanceId,
    ) -> Result<(), String> {
        let ValType::Ref(ty) = ty else {
            return match value.ty() == ty {
                true => Ok(()),
                false => Err(format!("a value of type {ty} is needed, not of {}", value.ty())),
            };
        };
        match value {
            Val::FuncRef(Some(func)) if self.func(func.instance(), func.func()) != Some(*func) => {
                Err(format!("{func} is not a function of this store"))
            }
            Val::ExternRef(Some(ExternRef::Host(handle)))
            | Val::AnyRef(Some(AnyRef::Host(handle)))
                if handle.get() > self.externs.len() as u64 =>
            {
                Err(format!("{handle} is not the handle of a host value of this store"))
            }
            Val::ExnRef(Some(handle)) if self.exceptions.get(*handle).is_none() => {
                Err(format!("{handle} is not the handle of an exception of this store"))
            }
            value => {
                let same = value.ty() == Val::default_of(ValType::Ref(ty)).ty();
                let raw = same.then(|| self.raw(value)).flatten();
                match raw.is_some_and(|raw| self.reference_is(raw.0 as u64, ty, instance)) {
                    true => Ok(()),
                    false => Err(format!("{value:?} is not of type {ty}")),
                }
            }
        }
    }
}

impl Store {
    /// An empty store whose instances find their imports through `linker`.
    ///
    /// # Errors
    /// When the engine is closed.
    pub fn new(
        engine: &NativeEngine,
        linker: Linker,
        config: StoreConfig,
    ) -> Result<Self, EngineError> {
        engine.ensure_open()?;
        let id = StoreId::unique();
        Ok(Self {
            inner: Lease::once(StoreInner {
                header: Header::new(),
                id,
                instances: Vec::new(),
                linker,
                config,
                data: None,
                externs: Vec::new(),
                calls: Calls::default(),
                exceptions: Exceptions::default(),
                heap: None,
                objects: Handles::default(),
                collections: Collections::default(),
                allocations: 0,
                shared: Arc::new(Shared::new(id)),
                shared_memories: SharedMemories::default(),
                suspension: Suspension::default(),
                continuations: Vec::new(),
                restored: false,
                watched: None,
            }),
        })
    }

    /// The id of the instance at a place, counted from 0 in the order of creation.
    #[must_use]
    pub fn instance_at(&self, position: usize) -> Option<InstanceId> {
        let inner = &*self.inner;
        (position < inner.instances.len()).then(|| InstanceId::from_position(position).of(inner.id))
    }

    /// The names that imports are found by.
    #[must_use]
    pub fn linker(&self) -> &Linker {
        &self.inner.linker
    }

    /// The names, to add to.
    pub fn linker_mut(&mut self) -> &mut Linker {
        self.inner.poison();
        &mut self.inner.linker
    }

    /// Gives the store a value that host functions find through their [`crate::Caller`].
    pub fn set_data<T: Any + Send>(&mut self, data: T) {
        self.set_data_counted(data, |_| 0);
    }

    /// As [`Self::set_data`]; `held` tells how many bytes the data holds for the guest, such as output that
    /// nobody has taken yet. They count in [`StoreConfig::max_memory`]: see [`Caller::room`](crate::Caller::room).
    pub fn set_data_counted<T: Any + Send>(&mut self, data: T, held: fn(&T) -> u64) {
        self.inner.data = Some(HostData::new(data, held));
    }

    /// The store's data, if it is a `T`.
    #[must_use]
    pub fn data<T: Any>(&self) -> Option<&T> {
        self.inner.data.as_ref()?.get()
    }

    /// The store's data, to change.
    pub fn data_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.inner.data.as_mut()?.get_mut()
    }

    /// How many instances there are, failed ones included; their ids are 1 to this.
    #[must_use]
    pub fn instance_count(&self) -> usize {
        self.inner.instances.len()
    }

    /// The module of an instance.
    #[must_use]
    pub fn module(&self, instance: InstanceId) -> Option<&Arc<CompiledModule>> {
        Some(self.inner.instance(instance)?.vm.module())
    }

    /// What an instance exports under a name.
    #[must_use]
    pub fn export(&self, instance: InstanceId, name: &str) -> Option<(ExternKind, u32)> {
        self.module(instance)?.code().export(name)
    }

    /// The reference to a function of an instance, by its index; `None` when it has no such
    /// function, or not every import is resolved.
    #[must_use]
    pub fn func(&self, instance: InstanceId, index: u32) -> Option<FuncRef> {
        self.inner.func(instance, index).map(|func| func.of(self.inner.id))
    }

    /// The reference to an exported function.
    #[must_use]
    pub fn exported_func(&self, instance: InstanceId, name: &str) -> Option<FuncRef> {
        self.inner.exported_func(instance, name).map(|func| func.of(self.inner.id))
    }

    /// The type of a function.
    #[must_use]
    pub fn func_type(&self, func: FuncRef) -> Option<FuncType> {
        self.inner.instance(func.instance())?.func_type(func.func())
    }

    /// The bytes of a memory; `None` too while others hold it (see [`Self::shared_memory`]).
    #[must_use]
    pub fn memory(&self, instance: InstanceId, index: u32) -> Option<&[u8]> {
        self.inner.memory(instance, index)
    }

    /// The bytes of a memory, to read and to change; `None` too while others hold it.
    pub fn memory_mut(&mut self, instance: InstanceId, index: u32) -> Option<MemoryMut<'_>> {
        self.inner.memory_mut(instance, index)
    }

    /// Grows a memory by pages; the size before, or `None` when it cannot grow so far.
    pub fn memory_grow(&mut self, instance: InstanceId, index: u32, delta: u64) -> Option<u64> {
        let counts = self.inner.instance(instance)?.vm.counts();
        if index >= counts.memories() {
            return None;
        }
        self.inner.grow_memory(instance, index, delta)
    }

    /// Says whether all that the host has read of the store so far is what was there. A page of a snapshot
    /// that cannot be read any more, because the file was cut short or the disk failed, reads as zeroes to
    /// the host; the store knows of it from then on, and runs no call any more.
    ///
    /// # Errors
    /// A trap with [`TrapCode::PageLost`], when a page was lost.
    pub fn ensure_intact(&self) -> Result<(), Trap> {
        self.inner.ensure_intact()
    }

    /// The value of a global.
    #[must_use]
    pub fn global(&self, instance: InstanceId, index: u32) -> Option<Val> {
        let ty = self.module(instance)?.info().ok()?.globals.get(index as usize)?.ty;
        let value = self.inner.instance(instance)?.vm.global(index)?;
        Some(self.inner.val(value, ty.value))
    }

    /// Assigns a global; false when it is not there, not mutable, of another type, or the value is
    /// a reference that this store did not give out.
    pub fn set_global(&mut self, instance: InstanceId, index: u32, value: Val) -> bool {
        let ty = (|| Some(self.module(instance)?.info().ok()?.globals.get(index as usize)?.ty))();
        match ty {
            Some(ty) if ty.mutable => {
                if self.inner.check_value(&value, ty.value, instance).is_err() {
                    return false;
                }
            }
            _ => return false,
        }
        let Some(raw) = self.inner.raw(&value) else { return false };
        self.inner.instances[instance.position()].vm.set_global(index, raw)
    }

    /// The size of a table.
    #[must_use]
    pub fn table_size(&self, instance: InstanceId, index: u32) -> Option<u64> {
        Some(self.inner.instance(instance)?.vm.table(index)?.len() as u64)
    }

    /// An element of a table.
    #[must_use]
    pub fn table_get(&self, instance: InstanceId, index: u32, element: u64) -> Option<Val> {
        let ty = self.module(instance)?.info().ok()?.tables.get(index as usize)?.ty.element;
        let table = self.inner.instance(instance)?.vm.table(index)?;
        let bits = *table.get(usize::try_from(element).ok()?)?;
        Some(self.inner.val(RawValue(u128::from(bits)), ValType::Ref(ty)))
    }

    /// Keeps a host value and returns the handle that externrefs hold. It is kept as long as the
    /// store.
    pub fn new_extern<T: Any + Send>(&mut self, value: T) -> NonZeroU64 {
        let externs = &mut self.inner.externs;
        externs.push(Box::new(value));
        NonZeroU64::MIN.saturating_add(externs.len() as u64 - 1)
    }

    /// The host value of a handle.
    #[must_use]
    pub fn extern_value(&self, handle: NonZeroU64) -> Option<&(dyn Any + Send)> {
        let value = self.inner.externs.get(usize::try_from(handle.get() - 1).ok()?)?;
        Some(value.as_ref())
    }

    /// A handle with which other threads stop calls.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        Interrupter::new(&self.inner.shared)
    }
}
