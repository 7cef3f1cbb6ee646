//! Wasmtime's side, in our words.
//!
//! Invariant: a function is what our store calls it, found by the name under which it is exported,
//! and a host value is its number; so values of both engines can be compared.

use crate::{
    ours::{Keep, Ours},
    seen::{Objects, Part, Seen, see},
    shared::{End, FUEL_NAME, Given, HOST, HostLog, MAX_MEMORY, MAX_TABLE, number},
};
use executor_model::{ExternKind, FuncRef, ImportKind, InstanceId, Module, TrapCode, Val, ValType};
use std::{collections::HashMap, num::NonZeroU64};
use wasmtime::{
    AnyRef, AsContext, Config, Engine, ExternRef, Func, GcHeapOutOfMemory, Global, I31, Instance,
    Linker, RootScope, Rooted, Store, StoreLimits, StoreLimitsBuilder, ThrownException, Trap,
};

/// What objects may take: several times as much as ours, since they are never collected. What is never moved either
/// is not what differs.
const HEAP: u64 = 48 << 20;

/// An engine with the features of ours.
pub fn engine() -> Engine {
    let mut config = Config::new();
    config.wasm_relaxed_simd(false);
    config.wasm_exceptions(true);
    config.wasm_function_references(true);
    config.wasm_gc(true);
    config.gc_heap_initial_size(HEAP);
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
    names: Names,
    functions: HashMap<FuncRef, Func>,
    /// The names of the module's globals.
    globals: HashMap<u32, String>,
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
    if error.is::<GcHeapOutOfMemory<()>>() {
        return End::trap(TrapCode::HeapExhausted);
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
        Trap::ArrayOutOfBounds => TrapCode::ArrayOutOfBounds,
        Trap::CastFailure => TrapCode::CastFailure,
        Trap::AllocationTooLarge => TrapCode::HeapExhausted,
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
        let types =
            ours.info.types[index as usize].as_func().expect("of functions").results.clone();
        linker.func_new(import.module(), import.name(), ty, move |caller, params, results| {
            let mixed = log.call(&name, params.iter().map(|value| opaque(&caller, value)));
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

/// A value with which any other reference stands for a reference that is not null, but for small integers.
fn opaque(store: impl AsContext, value: &wasmtime::Val) -> Val {
    match value {
        wasmtime::Val::ExternRef(to) => {
            Val::ExternRef(to.map(|_| executor_model::ExternRef::Host(NonZeroU64::MIN)))
        }
        wasmtime::Val::AnyRef(to) => {
            Val::AnyRef(to.map(|to| match to.as_i31(store).expect("a rooted reference") {
                Some(n) => executor_model::AnyRef::I31(n.get_i32()),
                None => executor_model::AnyRef::Host(NonZeroU64::MIN),
            }))
        }
        wasmtime::Val::FuncRef(to) => {
            let any = FuncRef::new(InstanceId::from_position(0), 0, 0);
            Val::FuncRef(to.map(|_| any))
        }
        number => plain(number).expect("the host is given no other reference"),
    }
}

/// The first parameter of a type.
fn passed(params: &[wasmtime::Val], ty: ValType) -> wasmtime::Val {
    let of_type = |value: &&wasmtime::Val| match value {
        wasmtime::Val::ExternRef(_) => ty == ValType::EXTERNREF,
        wasmtime::Val::AnyRef(_) => ty == ValType::ANYREF,
        wasmtime::Val::FuncRef(_) => ty == ValType::FUNCREF,
        _ => false,
    };
    *params.iter().find(of_type).expect("only what is passed is returned")
}

fn from_number(value: Val) -> wasmtime::Val {
    match value {
        Val::I32(n) => wasmtime::Val::I32(n),
        Val::I64(n) => wasmtime::Val::I64(n),
        Val::F32(bits) => wasmtime::Val::F32(bits),
        Val::F64(bits) => wasmtime::Val::F64(bits),
        Val::V128(bits) => wasmtime::Val::V128(bits.into()),
        Val::FuncRef(_) | Val::ExternRef(_) | Val::ExnRef(_) | Val::AnyRef(_) => {
            unreachable!("a reference is not a number")
        }
    }
}

/// A function by Wasmtime's own pointer, as our store calls it.
type Names = HashMap<usize, FuncRef>;

/// Values of a store, while they are looked at.
struct View<'a> {
    store: RootScope<&'a mut Store<StoreLimits>>,
    names: &'a Names,
}

impl View<'_> {
    fn see(&mut self, values: &[wasmtime::Val]) -> Vec<Seen> {
        let parts: Vec<_> = values.iter().map(|value| self.part(value)).collect();
        see(self, parts)
    }

    /// A value as both engines have it.
    fn part(&mut self, value: &wasmtime::Val) -> Part<Rooted<AnyRef>> {
        use executor_model::{AnyRef as Any, ExternRef as Extern};
        Part::Val(match value {
            wasmtime::Val::FuncRef(func) => Val::FuncRef(func.map(|func| {
                let raw = func.to_raw(&mut self.store) as usize;
                *self.names.get(&raw).expect("every function is exported")
            })),
            wasmtime::Val::ExternRef(None) => Val::ExternRef(None),
            wasmtime::Val::ExternRef(Some(to)) => {
                let any = AnyRef::convert_extern(&mut self.store, *to).expect("rooted");
                match self.any(any) {
                    Part::Object(object) => return Part::Object(object),
                    Part::Val(Val::AnyRef(any)) => Val::ExternRef(any.map(Extern::from)),
                    Part::Val(_) => unreachable!("it is of that hierarchy"),
                }
            }
            wasmtime::Val::AnyRef(None) => Val::AnyRef(None::<Any>),
            wasmtime::Val::AnyRef(Some(to)) => return self.any(*to),
            wasmtime::Val::ExnRef(to) => Val::ExnRef(to.map(|_| NonZeroU64::MIN)),
            number => plain(number).expect("no other reference type is enabled"),
        })
    }

    fn any(&mut self, to: Rooted<AnyRef>) -> Part<Rooted<AnyRef>> {
        let rooted = "a rooted reference";
        if let Some(n) = to.as_i31(&self.store).expect(rooted) {
            return Part::Val(Val::AnyRef(Some(executor_model::AnyRef::I31(n.get_i32()))));
        }
        if to.is_eqref(&self.store).expect(rooted) {
            return Part::Object(to);
        }
        let host = ExternRef::convert_any(&mut self.store, to).expect(rooted);
        let data = host.data(&self.store).expect(rooted);
        let number = data.and_then(|data| data.downcast_ref::<NonZeroU64>());
        let number = *number.expect("the host makes only numbers");
        Part::Val(Val::AnyRef(Some(executor_model::AnyRef::Host(number))))
    }
}

impl Objects for View<'_> {
    type Object = Rooted<AnyRef>;

    fn is_same(&self, a: Rooted<AnyRef>, b: Rooted<AnyRef>) -> bool {
        Rooted::ref_eq(&self.store, &a, &b).expect("rooted references")
    }

    fn len(&self, object: Rooted<AnyRef>) -> (bool, u32) {
        let rooted = "a rooted reference";
        match object.as_array(&self.store).expect(rooted) {
            Some(array) => (true, array.len(&self.store).expect(rooted)),
            None => {
                let of = object.unwrap_struct(&self.store).expect(rooted);
                (false, of.ty(&self.store).expect(rooted).fields().len() as u32)
            }
        }
    }

    fn field(&mut self, object: Rooted<AnyRef>, index: u32) -> Part<Rooted<AnyRef>> {
        let rooted = "a rooted reference";
        let value = match object.as_array(&self.store).expect(rooted) {
            Some(array) => array.get(&mut self.store, index),
            None => {
                let of = object.unwrap_struct(&self.store).expect(rooted);
                of.field(&mut self.store, index as usize)
            }
        };
        self.part(&value.expect("a field of the object"))
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
        let exports = modules.last().into_iter().flat_map(|module| &module.info.exports);
        let globals = exports.filter(|export| export.kind == ExternKind::Global);
        let globals = globals.map(|export| (export.index, export.name.clone())).collect();
        Ok(Ok(Self { store, instances, names, functions, globals }))
    }

    /// The instance under test.
    fn main(&self) -> Instance {
        *self.instances.last().expect("there is one")
    }

    fn view(&mut self) -> View<'_> {
        View { store: RootScope::new(&mut self.store), names: &self.names }
    }

    fn see(&mut self, values: &[wasmtime::Val]) -> Vec<Seen> {
        self.view().see(values)
    }

    fn theirs(&mut self, given: Given) -> wasmtime::Val {
        use executor_model::{AnyRef as Any, ExternRef as Extern};
        let value = match given {
            Given::Val(value) => value,
            Given::Global(index) => return self.global_at(index).get(&mut self.store),
        };
        let mut host =
            |number| ExternRef::new(&mut self.store, number).expect("room for a host value");
        match value {
            Val::FuncRef(func) => wasmtime::Val::FuncRef(func.map(|func| self.functions[&func])),
            Val::ExternRef(None) => wasmtime::Val::ExternRef(None),
            Val::ExternRef(Some(Extern::Host(number))) => {
                wasmtime::Val::ExternRef(Some(host(number)))
            }
            Val::AnyRef(None) => wasmtime::Val::AnyRef(None),
            Val::AnyRef(Some(Any::I31(n))) => {
                let any = AnyRef::from_i31(&mut self.store, I31::wrapping_i32(n));
                wasmtime::Val::AnyRef(Some(any))
            }
            Val::AnyRef(Some(Any::Host(number))) => {
                let host = host(number);
                let any = AnyRef::convert_extern(&mut self.store, host).expect("just made");
                wasmtime::Val::AnyRef(Some(any))
            }
            Val::ExternRef(Some(_)) | Val::AnyRef(Some(Any::Object(_))) => {
                unreachable!("objects are given as what globals hold")
            }
            Val::ExnRef(_) => wasmtime::Val::ExnRef(None),
            number => from_number(number),
        }
    }

    /// A global of the module, by its index.
    fn global_at(&mut self, index: u32) -> Global {
        let name = self.globals[&index].clone();
        self.main().get_global(&mut self.store, &name).expect("a global")
    }

    /// Calls an exported function; a result may be kept in a global.
    pub fn call(
        &mut self,
        name: &str,
        params: &[Given],
        keep: Option<Keep>,
    ) -> Result<Vec<Seen>, End> {
        let func = self.main().get_func(&mut self.store, name).expect("an exported function");
        let params: Vec<_> = params.iter().map(|given| self.theirs(*given)).collect();
        let mut results = vec![wasmtime::Val::I32(0); func.ty(&self.store).results().len()];
        let called = func.call(&mut self.store, &params, &mut results);
        // It waits to be looked at.
        self.store.take_pending_exception();
        called.map_err(|error| end(&error))?;
        if let Some(Keep { result, global }) = keep {
            let global = self.global_at(global);
            global.set(&mut self.store, results[result]).expect("a result of its type");
        }
        Ok(self.see(&results))
    }

    /// Gives the guest fuel, if it uses any.
    pub fn refuel(&mut self, fuel: i32) {
        if let Some(global) = self.main().get_global(&mut self.store, FUEL_NAME) {
            global.set(&mut self.store, wasmtime::Val::I32(fuel)).expect("a mutable i32");
        }
    }

    /// The value of a global.
    pub fn global(&mut self, at: usize, name: &str) -> Vec<Seen> {
        let global = self.instances[at].get_global(&mut self.store, name).expect("a global");
        let mut view = self.view();
        let value = global.get(&mut view.store);
        view.see(&[value])
    }

    /// The elements of a table.
    pub fn table(&mut self, at: usize, name: &str) -> Vec<Seen> {
        let table = self.instances[at].get_table(&mut self.store, name).expect("a table");
        let mut view = self.view();
        let size = table.size(&view.store);
        let element = |i| table.get(&mut view.store, i).expect("an element").into();
        let elements: Vec<wasmtime::Val> = (0..size).map(element).collect();
        view.see(&elements)
    }

    /// The bytes of a memory.
    pub fn memory(&mut self, at: usize, name: &str) -> &[u8] {
        let memory = self.instances[at].get_memory(&mut self.store, name).expect("a memory");
        memory.data(&self.store)
    }
}
