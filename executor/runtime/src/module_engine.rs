//! The view of one instance that [`executor_model::ModuleEngine`] asks for.

use crate::store::{Instance, StoreInner};
use executor_model::{
    CallError, FuncIndex, FuncRef, FuncType, Function, GlobalIndex, InstanceId, LinkError,
    MemoryIndex, ModuleEngine, RawValue, TableIndex, TagIndex, Trap, TrapCode, TypeIndex, Val,
    ValType, WasmBacktrace,
};

/// A view of one instance of a store.
#[derive(Debug)]
pub struct NativeModuleEngine<'s> {
    store: &'s mut StoreInner,
    id: InstanceId,
}

/// A function of an instance, ready to be called.
#[derive(Debug)]
pub struct NativeFunction<'s> {
    store: &'s mut StoreInner,
    func: FuncRef,
}

impl Function for NativeFunction<'_> {
    fn ty(&self) -> FuncType {
        let instance = &self.store.instances[self.func.instance().position()];
        instance.func_type(self.func.func()).unwrap_or_default()
    }

    fn call(&mut self, params: &[Val]) -> Result<Vec<Val>, CallError> {
        self.store.call(self.func, params)
    }
}

impl<'s> NativeModuleEngine<'s> {
    pub(crate) fn new(store: &'s mut StoreInner, id: InstanceId) -> Self {
        Self { store, id }
    }

    fn this(&self) -> &Instance {
        &self.store.instances[self.id.position()]
    }

    fn global_type(&self, index: GlobalIndex) -> Option<executor_model::GlobalType> {
        Some(self.this().vm.module().info().ok()?.globals.get(index as usize)?.ty)
    }

    /// Whether an import can be resolved to an item of `imported` now. Not once all are: others
    /// may have been linked to this instance by then.
    fn ensure_linkable(&self, imported: InstanceId) -> Result<(), LinkError> {
        if self.this().linked {
            let id = self.id;
            return Err(LinkError::Index(format!("instance {id} is instantiated already")));
        }
        match self.store.instance(imported) {
            Some(_) => Ok(()),
            None => Err(LinkError::Index(format!("the store has no instance {imported}"))),
        }
    }
}

impl ModuleEngine for NativeModuleEngine<'_> {
    fn instance(&self) -> InstanceId {
        self.id.of(self.store.id)
    }

    fn done_instantiation(&mut self) -> Result<(), CallError> {
        self.store.done_instantiation(self.id)
    }

    fn new_function(&mut self, index: FuncIndex) -> Option<Box<dyn Function + '_>> {
        let ty = self.this().vm.module().code().function_type(index)?;
        // Before every import is resolved, the call is refused.
        let func = FuncRef::new(self.id, ty, index);
        Some(Box::new(NativeFunction { store: self.store, func }))
    }

    fn resolve_imported_function(
        &mut self,
        index: FuncIndex,
        desc_func: TypeIndex,
        index_in_imported_module: FuncIndex,
        imported: InstanceId,
    ) -> Result<(), LinkError> {
        self.ensure_linkable(imported)?;
        if self.this().vm.module().code().function_type(index) != Some(desc_func) {
            return Err(LinkError::Index(format!(
                "imported function {index} is not of type {desc_func}"
            )));
        }
        let to = self.store.func(imported, index_in_imported_module).ok_or_else(|| {
            LinkError::Index(format!(
                "instance {imported} has no function {index_in_imported_module}"
            ))
        })?;
        self.store.link_func(self.id, index, to)
    }

    fn resolve_imported_memory(
        &mut self,
        index: MemoryIndex,
        index_in_imported_module: MemoryIndex,
        imported: InstanceId,
    ) -> Result<(), LinkError> {
        self.ensure_linkable(imported)?;
        self.store.link_memory(self.id, index, (imported, index_in_imported_module))
    }

    fn resolve_imported_table(
        &mut self,
        index: TableIndex,
        index_in_imported_module: TableIndex,
        imported: InstanceId,
    ) -> Result<(), LinkError> {
        self.ensure_linkable(imported)?;
        self.store.link_table(self.id, index, (imported, index_in_imported_module))
    }

    fn resolve_imported_global(
        &mut self,
        index: GlobalIndex,
        index_in_imported_module: GlobalIndex,
        imported: InstanceId,
    ) -> Result<(), LinkError> {
        self.ensure_linkable(imported)?;
        self.store.link_global(self.id, index, (imported, index_in_imported_module))
    }

    fn resolve_imported_tag(
        &mut self,
        index: TagIndex,
        index_in_imported_module: TagIndex,
        imported: InstanceId,
    ) -> Result<(), LinkError> {
        self.ensure_linkable(imported)?;
        self.store.link_tag(self.id, index, (imported, index_in_imported_module))
    }

    fn lookup_function(
        &self,
        table: TableIndex,
        ty: TypeIndex,
        offset: u32,
    ) -> Result<(InstanceId, FuncIndex), Trap> {
        let trap = |code| Trap { code, backtrace: WasmBacktrace::default() };
        let bits = self.this().vm.table(table).and_then(|t| t.get(offset as usize)).copied();
        let bits = bits.ok_or_else(|| trap(TrapCode::UndefinedElement))?;
        let func = FuncRef::from_bits(bits).ok_or_else(|| trap(TrapCode::IndirectCallToNull))?;
        match self.store.has_type(func, self.id, ty) {
            true => Ok((func.instance().of(self.store.id), func.func())),
            false => Err(trap(TrapCode::IndirectCallTypeMismatch)),
        }
    }

    fn get_global_value(&self, index: GlobalIndex) -> Option<(u64, u64)> {
        let value = self.this().vm.global(index)?.0;
        // The bytes beyond the type's own are unspecified; a caller sees zeroes.
        Some(match self.global_type(index)?.value {
            ValType::I32 | ValType::F32 => (value as u64 & 0xffff_ffff, 0),
            ValType::I64 | ValType::F64 | ValType::Ref(_) => (value as u64, 0),
            ValType::V128 => (value as u64, (value >> 64) as u64),
        })
    }

    fn set_global_value(&mut self, index: GlobalIndex, lo: u64, hi: u64) -> bool {
        match self.global_type(index) {
            Some(ty) if ty.mutable && !matches!(ty.value, ValType::Ref(_)) => {}
            _ => return false,
        }
        let value = RawValue(u128::from(hi) << 64 | u128::from(lo));
        self.store.instances[self.id.position()].vm.set_global(index, value)
    }

    fn owns_globals(&self) -> bool {
        true
    }

    fn function_instance_reference(&self, index: FuncIndex) -> Option<Val> {
        Some(Val::FuncRef(Some(self.store.func(self.id, index)?)).of(self.store.id))
    }

    fn memory_grown(&mut self, index: MemoryIndex, pages: u64) -> Option<u64> {
        let region = self.this().vm.memory_region(index)?;
        let size = region.len() as u64 / self.store.memory_type(region)?.page_size();
        self.store.grow_memory(self.id, index, pages.checked_sub(size)?)
    }
}
