//! The mock's store, as the specification has it: lists of memories, tables and globals, and
//! instances that hold positions in them.

use super::code::Code;
use executor_model::{
    CallError, ConstOp, DataMode, ElementItems, ElementMode, FuncRef, FuncType, GlobalType,
    ImportKind, InstanceId, MemoryType, TableType, Trap, TrapCode, Val, ValType, WASM_PAGE_SIZE,
    WasmBacktrace,
};
use std::sync::Arc;

pub struct Memory {
    pub ty: MemoryType,
    pub bytes: Vec<u8>,
}

pub struct Table {
    pub ty: TableType,
    pub elements: Vec<Val>,
}

pub struct Global {
    pub ty: GlobalType,
    pub value: Val,
}

pub struct Instance {
    pub code: Arc<Code>,
    /// Where each imported function leads.
    pub funcs: Vec<Option<FuncRef>>,
    /// Positions in the store; `None` is an import that is not resolved yet.
    pub memories: Vec<Option<usize>>,
    pub tables: Vec<Option<usize>>,
    pub globals: Vec<Option<usize>>,
    pub instantiated: bool,
}

#[derive(Default)]
pub struct MockStore {
    pub instances: Vec<Instance>,
    pub memories: Vec<Memory>,
    pub tables: Vec<Table>,
    pub globals: Vec<Global>,
}

pub fn trap(code: TrapCode) -> Trap {
    Trap { code, backtrace: WasmBacktrace::default() }
}

pub fn usage(message: impl Into<String>) -> CallError {
    CallError::Usage(message.into())
}

impl Memory {
    /// Grows by pages; the size before.
    pub fn grow(&mut self, delta: u64) -> Option<u64> {
        let old = self.bytes.len() as u64 / WASM_PAGE_SIZE;
        let new = old.checked_add(delta)?;
        if new > self.ty.max.unwrap_or(65536) {
            return None;
        }
        self.bytes.resize((new * WASM_PAGE_SIZE) as usize, 0);
        Some(old)
    }

    /// The bytes that an access names.
    pub fn at(&mut self, start: u64, len: u64) -> Result<&mut [u8], Trap> {
        let (start, end) = (start as usize, (start + len) as usize);
        self.bytes.get_mut(start..end).ok_or_else(|| trap(TrapCode::MemoryOutOfBounds))
    }
}

/// `None` for each import, then a new position for each item that `make` makes.
fn positions<T, Item>(
    items: &[T],
    imported: u32,
    all: &mut Vec<Item>,
    make: impl Fn(&T) -> Item,
) -> Vec<Option<usize>> {
    let imported = imported as usize;
    let mut positions = vec![None; imported];
    for item in &items[imported..] {
        positions.push(Some(all.len()));
        all.push(make(item));
    }
    positions
}

impl MockStore {
    /// Makes an instance with nothing resolved or filled.
    pub fn allocate(&mut self, code: &Arc<Code>) -> InstanceId {
        let info = &code.module.info;
        let memory = |ty: &MemoryType| Memory {
            ty: *ty,
            bytes: vec![0; (ty.min * WASM_PAGE_SIZE) as usize],
        };
        let table = |table: &executor_model::Table| Table {
            ty: table.ty,
            elements: vec![null(table.ty); table.ty.min as usize],
        };
        let global = |global: &executor_model::Global| Global {
            ty: global.ty,
            value: Val::default_of(global.ty.value),
        };
        self.instances.push(Instance {
            code: Arc::clone(code),
            funcs: vec![None; info.imported_functions as usize],
            memories: positions(&info.memories, info.imported_memories, &mut self.memories, memory),
            tables: positions(&info.tables, info.imported_tables, &mut self.tables, table),
            globals: positions(&info.globals, info.imported_globals, &mut self.globals, global),
            instantiated: false,
        });
        InstanceId::from_position(self.instances.len() - 1)
    }

    pub fn instance(&self, id: InstanceId) -> &Instance {
        &self.instances[id.position()]
    }

    /// The reference to a function; `None` when there is no such instance or function.
    pub fn func(&self, id: InstanceId, index: u32) -> Option<FuncRef> {
        let info = &self.instances.get(id.position())?.code.module.info;
        Some(FuncRef::new(id, *info.functions.get(index as usize)?, index))
    }

    /// As [`Self::func`], for those who could call it: not before every import is resolved.
    pub fn reference(&self, id: InstanceId, index: u32) -> Option<FuncRef> {
        let func = self.func(id, index)?;
        self.unresolved(id).is_none().then_some(func)
    }

    pub fn func_type(&self, func: FuncRef) -> &FuncType {
        self.instance(func.instance()).code.module.info.func_type(func.func())
    }

    pub fn memory(&mut self, id: InstanceId, index: u32) -> Option<&mut Memory> {
        let position = (*self.instance(id).memories.get(index as usize)?)?;
        self.memories.get_mut(position)
    }

    pub fn table(&self, id: InstanceId, index: u32) -> Option<&Table> {
        self.tables.get((*self.instance(id).tables.get(index as usize)?)?)
    }

    pub fn set_element(
        &mut self,
        id: InstanceId,
        table: u32,
        at: usize,
        value: Val,
    ) -> Result<(), Trap> {
        let position = self.instance(id).tables[table as usize];
        let elements = position.map(|position| &mut self.tables[position].elements);
        let element = elements.and_then(|elements| elements.get_mut(at));
        *element.ok_or_else(|| trap(TrapCode::TableOutOfBounds))? = value;
        Ok(())
    }

    pub fn global(&self, id: InstanceId, index: u32) -> Option<&Global> {
        self.globals.get((*self.instance(id).globals.get(index as usize)?)?)
    }

    pub fn set_global(&mut self, id: InstanceId, index: u32, value: Val) {
        if let Some(position) = self.instance(id).globals[index as usize] {
            self.globals[position].value = value;
        }
    }

    /// What `call_indirect` calls.
    pub fn lookup(
        &self,
        id: InstanceId,
        table: u32,
        ty: u32,
        offset: u32,
    ) -> Result<FuncRef, Trap> {
        let element = self.table(id, table).and_then(|table| table.elements.get(offset as usize));
        match element {
            None => Err(trap(TrapCode::UndefinedElement)),
            Some(Val::FuncRef(Some(func))) => {
                let wanted = self.instance(id).code.module.info.func_type_at(ty);
                let fits = self.func_type(*func) == wanted;
                fits.then_some(*func).ok_or_else(|| trap(TrapCode::IndirectCallTypeMismatch))
            }
            Some(_) => Err(trap(TrapCode::IndirectCallToNull)),
        }
    }

    /// The name of an import that is not resolved.
    fn unresolved(&self, id: InstanceId) -> Option<String> {
        let instance = self.instance(id);
        let (mut funcs, mut tables) = (instance.funcs.iter(), instance.tables.iter());
        let (mut memories, mut globals) = (instance.memories.iter(), instance.globals.iter());
        let missing =
            instance.code.module.info.imports.iter().find(|import| match import.kind {
                ImportKind::Func(_) => funcs.next().is_some_and(Option::is_none),
                ImportKind::Table(_) => tables.next().is_some_and(Option::is_none),
                ImportKind::Memory(_) => memories.next().is_some_and(Option::is_none),
                ImportKind::Global(_) => globals.next().is_some_and(Option::is_none),
                // The mock knows no tags, so none is ever resolved.
                ImportKind::Tag(_) => true,
            })?;
        Some(missing.name.clone())
    }

    /// Fills an instance whose imports are resolved and runs its start function.
    pub fn done_instantiation(&mut self, id: InstanceId) -> Result<(), CallError> {
        if self.instance(id).instantiated {
            return Err(usage("it is instantiated already"));
        }
        if let Some(name) = self.unresolved(id) {
            return Err(usage(format!("`{name}` is not resolved")));
        }
        let code = Arc::clone(&self.instance(id).code);
        let info = &code.module.info;
        for (index, global) in (0..).zip(&info.globals) {
            if let Some(init) = &global.init {
                let value = self.evaluate(id, init)?;
                self.set_global(id, index, value);
            }
        }
        for segment in &info.elements {
            let ElementMode::Active { table, offset } = &segment.mode else { continue };
            let at = self.offset(id, offset)?;
            let size = self.table(id, *table).map_or(0, |table| table.elements.len());
            if at + segment.items.len() > size {
                return Err(trap(TrapCode::TableOutOfBounds).into());
            }
            for item in 0..segment.items.len() {
                let value = match &segment.items {
                    ElementItems::Functions(funcs) => Val::FuncRef(self.func(id, funcs[item])),
                    ElementItems::Expressions(exprs) => self.evaluate(id, &exprs[item])?,
                };
                self.set_element(id, *table, at + item, value)?;
            }
        }
        for segment in &info.data {
            let DataMode::Active { memory, offset } = &segment.mode else { continue };
            let at = self.offset(id, offset)? as u64;
            let bytes =
                &code.module.bytes[segment.range.start as usize..segment.range.end as usize];
            let memory = self.memory(id, *memory).ok_or_else(|| usage("no memory"))?;
            memory.at(at, bytes.len() as u64)?.copy_from_slice(bytes);
        }
        if let Some(start) = info.start {
            self.invoke(id, start, Vec::new(), 0)?;
        }
        self.instances[id.position()].instantiated = true;
        Ok(())
    }

    fn offset(&self, id: InstanceId, expr: &[ConstOp]) -> Result<usize, CallError> {
        match self.evaluate(id, expr)? {
            Val::I32(offset) => Ok(offset as u32 as usize),
            other => Err(usage(format!("{other:?} is no offset"))),
        }
    }

    fn evaluate(&self, id: InstanceId, expr: &[ConstOp]) -> Result<Val, CallError> {
        let [op] = expr else { return Err(usage("long expressions are beyond the mock")) };
        match *op {
            ConstOp::I32Const(v) => Ok(Val::I32(v)),
            ConstOp::I64Const(v) => Ok(Val::I64(v)),
            ConstOp::F32Const(v) => Ok(Val::F32(v)),
            ConstOp::F64Const(v) => Ok(Val::F64(v)),
            ConstOp::RefNull(ty) => Ok(Val::default_of(ValType::Ref(ty))),
            ConstOp::RefFunc(func) => Ok(Val::FuncRef(self.func(id, func))),
            ConstOp::GlobalGet(index) => {
                let global = self.global(id, index).ok_or_else(|| usage("no such global"))?;
                Ok(global.value)
            }
            other => Err(usage(format!("{other:?} is beyond the mock"))),
        }
    }
}

fn null(ty: TableType) -> Val {
    Val::default_of(ValType::Ref(ty.element))
}
