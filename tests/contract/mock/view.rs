//! The mock's view of one instance.

use super::store::{MockStore, usage};
use executor_model::{
    CallError, FuncRef, FuncType, Function, Import, ImportKind, InstanceId, LinkError,
    ModuleEngine, RawValue, Trap, Val, ValType, WASM_PAGE_SIZE,
};

pub struct MockView<'s> {
    pub store: &'s mut MockStore,
    pub id: InstanceId,
}

struct MockFunction<'s> {
    store: &'s mut MockStore,
    func: FuncRef,
}

impl Function for MockFunction<'_> {
    fn ty(&self) -> FuncType {
        self.store.func_type(self.func).clone()
    }

    fn call(&mut self, params: &[Val]) -> Result<Vec<Val>, CallError> {
        let Self { store, func } = self;
        if !store.instance(func.instance()).instantiated {
            return Err(usage("it is not instantiated"));
        }
        let given: Vec<ValType> = params.iter().map(Val::ty).collect();
        if given != store.func_type(*func).params {
            return Err(usage("the arguments do not fit"));
        }
        store.invoke(func.instance(), func.func(), params.to_vec(), 0)
    }
}

fn bad_index() -> LinkError {
    LinkError::Index("no such index or instance".to_owned())
}

/// Sizes (now, and at most) against what an import asks for.
fn fits(now: u64, most: Option<u64>, min: u64, max: Option<u64>) -> bool {
    now >= min && max.is_none_or(|max| most.is_some_and(|most| most <= max))
}

impl MockView<'_> {
    /// Import `index` among those of one kind, to be resolved.
    fn import<T>(
        &self,
        index: u32,
        of_kind: impl Fn(&ImportKind) -> Option<T>,
    ) -> Result<(Import, T), LinkError> {
        let instance = self.store.instance(self.id);
        if instance.instantiated {
            return Err(bad_index());
        }
        let imports = instance.code.module.info.imports.iter();
        let mut same = imports.filter_map(|import| Some((import, of_kind(&import.kind)?)));
        let (import, ty) = same.nth(index as usize).ok_or_else(bad_index)?;
        Ok((import.clone(), ty))
    }

    /// The position that another instance has an item at.
    fn position(
        &self,
        imported: InstanceId,
        positions: impl Fn(&super::store::Instance) -> Option<usize>,
    ) -> Result<usize, LinkError> {
        let instance = self.store.instances.get(imported.position());
        instance.and_then(positions).ok_or_else(bad_index)
    }
}

fn check(import: Import, matches: bool) -> Result<(), LinkError> {
    let Import { module, name, .. } = import;
    let reason = "the types differ".to_owned();
    if matches { Ok(()) } else { Err(LinkError::Incompatible { module, name, reason }) }
}

impl ModuleEngine for MockView<'_> {
    fn instance(&self) -> InstanceId {
        self.id
    }

    fn done_instantiation(&mut self) -> Result<(), CallError> {
        self.store.done_instantiation(self.id)
    }

    fn new_function(&mut self, index: u32) -> Option<Box<dyn Function + '_>> {
        let func = self.store.func(self.id, index)?;
        Some(Box::new(MockFunction { store: self.store, func }))
    }

    fn resolve_imported_function(
        &mut self,
        index: u32,
        desc_func: u32,
        index_in_imported_module: u32,
        imported: InstanceId,
    ) -> Result<(), LinkError> {
        let func = |kind: &ImportKind| match kind {
            ImportKind::Func(ty) => Some(*ty),
            _ => None,
        };
        let (import, ty) = self.import(index, func)?;
        let to = self.store.reference(imported, index_in_imported_module).ok_or_else(bad_index)?;
        if ty != desc_func {
            return Err(bad_index());
        }
        let wanted = self.store.instance(self.id).code.module.info.func_type_at(ty);
        check(import, self.store.func_type(to) == wanted)?;
        self.store.instances[self.id.position()].funcs[index as usize] = Some(to);
        Ok(())
    }

    fn resolve_imported_memory(
        &mut self,
        index: u32,
        index_in_imported_module: u32,
        imported: InstanceId,
    ) -> Result<(), LinkError> {
        let memory = |kind: &ImportKind| match kind {
            ImportKind::Memory(ty) => Some(*ty),
            _ => None,
        };
        let (import, wanted) = self.import(index, memory)?;
        let at = index_in_imported_module as usize;
        let position = self.position(imported, |i| i.memories.get(at).copied().flatten())?;
        let found = &self.store.memories[position];
        let size = found.bytes.len() as u64 / WASM_PAGE_SIZE;
        check(import, fits(size, found.ty.max, wanted.min, wanted.max))?;
        self.store.instances[self.id.position()].memories[index as usize] = Some(position);
        Ok(())
    }

    fn resolve_imported_table(
        &mut self,
        index: u32,
        index_in_imported_module: u32,
        imported: InstanceId,
    ) -> Result<(), LinkError> {
        let table = |kind: &ImportKind| match kind {
            ImportKind::Table(ty) => Some(*ty),
            _ => None,
        };
        let (import, wanted) = self.import(index, table)?;
        let at = index_in_imported_module as usize;
        let position = self.position(imported, |i| i.tables.get(at).copied().flatten())?;
        let found = &self.store.tables[position];
        let size = found.elements.len() as u64;
        let fits = fits(size, found.ty.max, wanted.min, wanted.max);
        check(import, fits && found.ty.element == wanted.element)?;
        self.store.instances[self.id.position()].tables[index as usize] = Some(position);
        Ok(())
    }

    fn resolve_imported_global(
        &mut self,
        index: u32,
        index_in_imported_module: u32,
        imported: InstanceId,
    ) -> Result<(), LinkError> {
        let global = |kind: &ImportKind| match kind {
            ImportKind::Global(ty) => Some(*ty),
            _ => None,
        };
        let (import, wanted) = self.import(index, global)?;
        let at = index_in_imported_module as usize;
        let position = self.position(imported, |i| i.globals.get(at).copied().flatten())?;
        check(import, self.store.globals[position].ty == wanted)?;
        self.store.instances[self.id.position()].globals[index as usize] = Some(position);
        Ok(())
    }

    fn resolve_imported_tag(
        &mut self,
        _index: u32,
        _index_in_imported_module: u32,
        _imported: InstanceId,
    ) -> Result<(), LinkError> {
        Err(LinkError::Index("the mock knows no tags".to_owned()))
    }

    fn lookup_function(&self, table: u32, ty: u32, offset: u32) -> Result<(InstanceId, u32), Trap> {
        let func = self.store.lookup(self.id, table, ty, offset)?;
        Ok((func.instance(), func.func()))
    }

    fn get_global_value(&self, index: u32) -> Option<(u64, u64)> {
        let raw = self.store.global(self.id, index)?.value.to_raw(|_| None)?.0;
        Some((raw as u64, (raw >> 64) as u64))
    }

    fn set_global_value(&mut self, index: u32, lo: u64, hi: u64) -> bool {
        let Some(global) = self.store.global(self.id, index) else { return false };
        let ty = global.ty;
        if !ty.mutable || matches!(ty.value, ValType::Ref(_)) {
            return false;
        }
        let raw = RawValue(u128::from(hi) << 64 | u128::from(lo));
        self.store.set_global(
            self.id,
            index,
            Val::from_raw(raw, ty.value, |_| unreachable!("a number")),
        );
        true
    }

    fn owns_globals(&self) -> bool {
        true
    }

    fn function_instance_reference(&self, index: u32) -> Option<Val> {
        Some(Val::FuncRef(Some(self.store.reference(self.id, index)?)))
    }

    fn memory_grown(&mut self, index: u32, pages: u64) -> Option<u64> {
        let memory = self.store.memory(self.id, index)?;
        let now = memory.bytes.len() as u64 / WASM_PAGE_SIZE;
        memory.grow(pages.checked_sub(now)?)
    }
}
