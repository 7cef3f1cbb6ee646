//! Wasmtime's side, in our words.
//!
//! Invariant: a function is what our store calls it, found by the name under which it is exported,
//! and a host value is its number; so values of both engines can be compared.

use crate::{
    ours::Ours,
    shared::{End, FUEL_NAME, HOST, HostLog, MAX_MEMORY, MAX_TABLE, number},
};
use executor_model::{ExternKind, FuncRef, ImportKind, InstanceId, Module, TrapCode, Val, ValType};
use std::{collections::HashMap, num::NonZeroU64};
use wasmtime::{
    Config, Engine, ExternRef, Func, Instance, Linker, Store, StoreLimits, StoreLimitsBuilder,
    ThrownException, Trap,
};

/// An engine with the features of ours.
pub fn engine() -> Engine {
    let mut config = Config::new();
    config.wasm_relaxed_simd(false);
    config.wasm_exceptions(true);
    config.wasm_function_references(true);
    config.wasm_custom_page_sizes(true);
    config.wasm_wide_arithmetic(true);
    config.parallel_compilation(false);
    config.max_wasm_stack(1 << 20);
    Engine::new(&config).expect("an engine")
}

/// A store, with the instance under test and that between it and the host, if there is one.
pub struct Theirs {
    store: Store<StoreLimits>,
    /// The last is under test.
    instances: Vec<Instance>,
    /// By Wasmtime's own pointer.
    names: HashMap<usize, FuncRef>,
    functions: HashMap<FuncRef, Func>,
}

/// A value that is not a reference.
fn plain(value: &wasmtime::Val) -> Option<Val> {
    Some(match value {
        wasmtime::Val::I32(n) => Val::I32(*n),
        wasmtime::Val::I64(n) => Val::I64(*n),
        wasmtime::Val::F32(bits) => Val::F32(*bits),
        wasmtime::Val::F64(bits) => Val::F64(*bits),
        wasmtime::Val::V128(bits) => Val::V128(bits.as_u128()),
        _ => return None,
    })
}

fn end(error: &wasmtime::Error) -> End {
    if error.is::<ThrownException>() {
        return End::Exception;
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        return End::Other(format!("{error:?}"));
    };
    End::trap(match trap {
        Trap::UnreachableCodeReached => TrapCode::Unreachable,
        Trap::MemoryOutOfBounds => TrapCode::MemoryOutOfBounds,
        Trap::TableOutOfBounds => TrapCode::TableOutOfBounds,
        Trap::IndirectCallToNull => TrapCode::IndirectCallToNull,
        Trap::BadSignature => TrapCode::IndirectCallTypeMismatch,
        Trap::IntegerOverflow => TrapCode::IntegerOverflow,
        Trap::IntegerDivisionByZero => TrapCode::IntegerDivideByZero,
        Trap::BadConversionToInteger => TrapCode::InvalidConversionToInteger,
        Trap::StackOverflow => TrapCode::StackOverflow,
        Trap::NullReference => TrapCode::NullReference,
        other => return End::Other(other.to_string()),
    })
}

/// Defines the host's functions that a module imports.
fn define(
    linker: &mut Linker<StoreLimits>,
    module: &wasmtime::Module,
    ours: &Module,
    log: &HostLog,
) -> wasmtime::Result<()> {
    for (import, ours_import) in module.imports().zip(&ours.info.imports) {
        let (Some(ty), ImportKind::Func(index)) = (import.ty().func().cloned(), ours_import.kind)
        else {
            continue;
        };
        let (log, name) = (log.clone(), import.name().to_owned());
        let types = ours.info.types[index as usize].results.clone();
        linker.func_new(import.module(), import.name(), ty, move |_, params, results| {
            let mixed = log.call(&name, params.iter().map(opaque));
            for (result, ty) in results.iter_mut().zip(&types) {
                *result = match ty {
                    ValType::Ref(_) => passed(params, *ty),
                    _ => from_number(number(mixed, *ty)),
                };
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A value with which any other reference stands for a reference that is not null.
fn opaque(value: &wasmtime::Val) -> Val {
    match value {
        wasmtime::Val::ExternRef(to) => Val::ExternRef(to.map(|_| NonZeroU64::MIN)),
        wasmtime::Val::FuncRef(to) => {
            let any = FuncRef::new(InstanceId::from_position(0), 0, 0);
            Val::FuncRef(to.map(|_| any))
        }
        number => plain(number).expect("no other reference type is enabled"),
    }
}

/// The first parameter of a type.
fn passed(params: &[wasmtime::Val], ty: ValType) -> wasmtime::Val {
    let found = params.iter().find(|value| opaque(value).ty() == ty);
    *found.expect("only what is passed is returned")
}

fn from_number(value: Val) -> wasmtime::Val {
    match value {
        Val::I32(n) => wasmtime::Val::I32(n),
        Val::I64(n) => wasmtime::Val::I64(n),
        Val::F32(bits) => wasmtime::Val::F32(bits),
        Val::F64(bits) => wasmtime::Val::F64(bits),
        Val::V128(bits) => wasmtime::Val::V128(bits.into()),
        Val::FuncRef(_) | Val::ExternRef(_) | Val::ExnRef(_) => {
            unreachable!("a reference is not a number")
        }
    }
}

impl Theirs {
    /// The instances, or how instantiation ended; functions have the names that `ours` gives them.
    pub fn new(
        engine: &Engine,
        modules: &[Module],
        ours: Option<&Ours>,
        log: &HostLog,
    ) -> Result<Result<Self, End>, String> {
        let text = |error: wasmtime::Error| format!("Wasmtime's: {error:?}");
        let limits = StoreLimitsBuilder::new()
            .memory_size(MAX_MEMORY as usize)
            .table_elements(MAX_TABLE as usize)
            .build();
        let mut store = Store::new(engine, limits);
        store.limiter(|limits| limits);
        let mut linker = Linker::new(engine);
        linker.allow_shadowing(true);
        let mut instances = Vec::new();
        for described in modules {
            let module = wasmtime::Module::new(engine, &described.bytes).map_err(text)?;
            if instances.is_empty() {
                define(&mut linker, &module, described, log).map_err(text)?;
            }
            let instance = match linker.instantiate(&mut store, &module) {
                Ok(instance) => instance,
                Err(error) => {
                    store.take_pending_exception();
                    return Ok(Err(end(&error)));
                }
            };
            linker.instance(&mut store, HOST, instance).map_err(text)?;
            instances.push(instance);
        }
        let (mut names, mut functions) = (HashMap::new(), HashMap::new());
        for (at, (module, instance)) in modules.iter().zip(&instances).enumerate() {
            for export in module.info.exports.iter().filter(|e| e.kind == ExternKind::Func) {
                let func = instance.get_func(&mut store, &export.name);
                let func = func.expect("an exported function");
                if let Some(ours) = ours.map(|ours| ours.func(at, export.index)) {
                    names.insert(func.to_raw(&mut store) as usize, ours);
                    functions.insert(ours, func);
                }
            }
        }
        Ok(Ok(Self { store, instances, names, functions }))
    }

    /// The instance under test.
    fn main(&self) -> Instance {
        *self.instances.last().expect("there is one")
    }

    /// Our value of one of Wasmtime's.
    fn ours(&mut self, value: &wasmtime::Val) -> Val {
        match value {
            wasmtime::Val::FuncRef(func) => Val::FuncRef(func.map(|func| {
                let raw = func.to_raw(&mut self.store) as usize;
                *self.names.get(&raw).expect("every function is exported")
            })),
            wasmtime::Val::ExternRef(to) => Val::ExternRef(to.map(|to| {
                let data = to.data(&self.store).expect("a rooted reference");
                let handle = data.and_then(|data| data.downcast_ref::<NonZeroU64>());
                *handle.expect("the host makes only numbers")
            })),
            wasmtime::Val::ExnRef(to) => Val::ExnRef(to.map(|_| NonZeroU64::MIN)),
            number => plain(number).expect("no other reference type is enabled"),
        }
    }

    fn theirs(&mut self, value: Val) -> wasmtime::Val {
        match value {
            Val::FuncRef(func) => wasmtime::Val::FuncRef(func.map(|func| self.functions[&func])),
            Val::ExternRef(number) => wasmtime::Val::ExternRef(number.map(|number| {
                ExternRef::new(&mut self.store, number).expect("room for a host value")
            })),
            Val::ExnRef(_) => wasmtime::Val::ExnRef(None),
            number => from_number(number),
        }
    }

    /// Calls an exported function.
    pub fn call(&mut self, name: &str, params: &[Val]) -> Result<Vec<Val>, End> {
        let func = self.main().get_func(&mut self.store, name).expect("an exported function");
        let params: Vec<_> = params.iter().map(|value| self.theirs(*value)).collect();
        let mut results = vec![wasmtime::Val::I32(0); func.ty(&self.store).results().len()];
        let called = func.call(&mut self.store, &params, &mut results);
        // It waits to be looked at.
        self.store.take_pending_exception();
        called.map_err(|error| end(&error))?;
        Ok(results.iter().map(|value| self.ours(value)).collect())
    }

    /// Gives the guest fuel, if it uses any.
    pub fn refuel(&mut self, fuel: i32) {
        if let Some(global) = self.main().get_global(&mut self.store, FUEL_NAME) {
            global.set(&mut self.store, wasmtime::Val::I32(fuel)).expect("a mutable i32");
        }
    }

    /// The value of a global.
    pub fn global(&mut self, at: usize, name: &str) -> Val {
        let global = self.instances[at].get_global(&mut self.store, name).expect("a global");
        let value = global.get(&mut self.store);
        self.ours(&value)
    }

    /// The elements of a table.
    pub fn table(&mut self, at: usize, name: &str) -> Vec<Val> {
        let table = self.instances[at].get_table(&mut self.store, name).expect("a table");
        let size = table.size(&self.store);
        let element = |i| {
            let element = table.get(&mut self.store, i).expect("an element");
            self.ours(&element.into())
        };
        (0..size).map(element).collect()
    }

    /// The bytes of a memory.
    pub fn memory(&mut self, at: usize, name: &str) -> &[u8] {
        let memory = self.instances[at].get_memory(&mut self.store, name).expect("a memory");
        memory.data(&self.store)
    }
}
