//! The executor's side.
//!
//! Invariant: the instances of a store are those of the modules, in order, so all ids are known;
//! nothing of the store that a snapshot was taken of is used after it.

use crate::{
    codes::{Code, Codes, Kind, text},
    seen::{Objects, Part, Seen, see},
    shared::{End, FUEL, FUEL_NAME, Given, HOST, HostLog, MAX_HEAP, MAX_MEMORY, MAX_TABLE, number},
};
use executor_model::{
    AnyRef, CallError, CompositeType, ExternKind, ExternRef, FuncRef, Hierarchy, ImportKind,
    InstanceId, Module, ObjectRef, Val, ValType,
};
use executor_runtime::{CaptureError, InstantiateError, Linker, Store, StoreConfig};
use executor_snapshot::{
    Capture, EntryKind, InstanceNames, Manifest, SnapshotError, SnapshotFile, image_untrusted,
};
use std::num::{NonZeroU32, NonZeroU64};
use tempfile::NamedTempFile;

/// A store, with the instance under test and that between it and the host, if there is one.
#[derive(Debug)]
pub struct Ours {
    pub store: Store,
    /// The last error as it is shown, with the functions of its backtrace. (Where in a function a trap
    /// is depends on the level: Cranelift makes one instruction of a branch to a trap.)
    pub shown: String,
    log: HostLog,
    config: StoreConfig,
}

/// The instance of the module at a place among the modules.
pub fn instance(at: usize) -> InstanceId {
    InstanceId::from_position(at)
}

/// The limits of a store, and at every how manieth allocation it collects.
pub fn config(collect_every: u32) -> StoreConfig {
    StoreConfig {
        max_memory: MAX_MEMORY,
        max_heap: MAX_HEAP,
        max_table: MAX_TABLE,
        collect_every: NonZeroU32::new(collect_every),
        ..StoreConfig::default()
    }
}

/// The host's functions that modules import.
fn linker(modules: &[Module], log: &HostLog) -> Linker {
    let mut linker = Linker::new();
    for module in modules {
        for import in &module.info.imports {
            let ImportKind::Func(ty) = import.kind else { continue };
            let ty = module.info.func_type_at(ty).clone();
            let (log, name, function) = (log.clone(), import.name.clone(), ty.clone());
            linker.func_raw(&import.module, &import.name, ty, move |caller, values| {
                let types = &function.params;
                let params = values.iter().zip(types).map(|(raw, ty)| caller.value(*raw, *ty));
                let params: Vec<Val> = params.collect();
                let mixed = log.call(&name, params.iter().copied());
                for (to, ty) in values.iter_mut().zip(&function.results) {
                    let passed = params.iter().find(|value| value.ty() == *ty);
                    let result = match (ty, passed) {
                        (ValType::Ref(_), Some(value)) => *value,
                        (ValType::Ref(_), None) => Val::default_of(*ty),
                        _ => number(mixed, *ty),
                    };
                    *to = caller.raw(&result).expect("what was given is good until the return");
                }
                Ok(())
            });
        }
    }
    linker
}

impl Ours {
    /// The instances, or how instantiation ended.
    pub fn new(
        codes: &mut Codes,
        kind: Kind,
        config: StoreConfig,
        log: &HostLog,
    ) -> Result<Result<Self, End>, String> {
        let (engine, compiled) = codes.code(kind)?;
        let mut store =
            Store::new(&engine, linker(&codes.modules, log), config.clone()).map_err(text)?;
        for (at, code) in compiled.iter().enumerate() {
            match store.instantiate(code) {
                Ok(id) => assert_eq!(id, instance(at)),
                Err(InstantiateError::Call(error)) => return Ok(Err(error.into())),
                Err(other) => return Err(text(other)),
            }
            // The last links to those before.
            if at + 1 < compiled.len() {
                store.linker_mut().instance(HOST, instance(at));
            }
        }
        Ok(Ok(Self { store, shown: String::new(), log: log.clone(), config }))
    }

    /// The same instances, and the call that is suspended in them, restored from a file with this
    /// code; or, where a value of the host or an exception is live, which cannot be kept, false. Objects that
    /// nothing refers to go with them unless it is prepared.
    pub fn through_a_file(
        &mut self,
        prepare: bool,
        code: impl FnOnce() -> Result<Code, String>,
    ) -> Result<bool, String> {
        if prepare {
            self.store.prepare_capture();
        }
        if let Err(CaptureError::HostReference { hierarchy, .. }) = self.store.capture() {
            assert_ne!(hierarchy, Hierarchy::Func, "functions can be kept");
            return Ok(false);
        }
        let file = self.snapshot()?;
        let linker = self.store.linker().clone();
        let (engine, compiled) = code()?;
        let file = SnapshotFile::open(file.path()).map_err(text)?;
        let module = |hash| {
            let found = compiled.iter().find(|module| module.hash() == hash);
            Ok::<_, SnapshotError>(found.expect("one of the modules").clone())
        };
        let image =
            image_untrusted(&engine, linker, self.config.clone(), &file, module).map_err(text)?;
        self.use_and_drop(image.acquire().map_err(text)?);
        // The same slot, which was reset.
        self.store = image.acquire().map_err(text)?;
        Ok(true)
    }

    /// Does something in a kept store before it is reset: each function is called once, with zeroes.
    fn use_and_drop(&self, store: Store) {
        let known = self.log.count();
        let (shown, log) = (String::new(), self.log.clone());
        let mut other = Self { store, shown, log, config: self.config.clone() };
        let module = other.store.module(other.main()).expect("an instance").clone();
        for (name, kind, index) in module.code().exports() {
            let ty = other.store.func(other.main(), index).and_then(|f| other.store.func_type(f));
            let (ExternKind::Func, Some(ty)) = (kind, ty) else { continue };
            let params = ty.params.iter().map(|ty| Given::Val(Val::default_of(*ty)));
            let params: Vec<Given> = params.collect();
            other.refuel(FUEL);
            let _ = other.call(name, &params, None);
        }
        drop(other);
        self.log.truncate(known);
    }

    fn snapshot(&self) -> Result<NamedTempFile, String> {
        let state = self.store.capture().map_err(text)?;
        let names = vec![InstanceNames::default(); self.store.instance_count()];
        let manifest = Manifest::new(self.main(), EntryKind::Reactor, names);
        let mut file = NamedTempFile::new().map_err(text)?;
        let capture = Capture::new(&state, manifest, &|_, _| {}).map_err(text)?;
        capture.write_to(&mut file, &|_, _| {}).map_err(text)?;
        Ok(file)
    }

    /// The instance under test.
    fn main(&self) -> InstanceId {
        instance(self.store.instance_count() - 1)
    }

    /// An exported function.
    fn exported(&self, name: &str) -> FuncRef {
        self.store.exported_func(self.main(), name).expect("an exported function")
    }

    /// Calls an exported function; what a result is to be kept in is assigned it.
    pub fn call(
        &mut self,
        name: &str,
        params: &[Given],
        keep: Option<Keep>,
    ) -> Result<Vec<Seen>, End> {
        let ended = self
            .scoped(name, params, keep, |store, func, params| store.call(func, &params).map(Some));
        self.ended(ended.map(|seen| seen.expect("a call that is not suspended")))
    }

    /// Calls an exported function in one way or another, and looks at its results while their handles are good;
    /// `None` where there are none yet.
    pub fn scoped<E>(
        &mut self,
        name: &str,
        params: &[Given],
        keep: Option<Keep>,
        call: impl FnOnce(&mut Store, FuncRef, Vec<Val>) -> Result<Option<Vec<Val>>, E>,
    ) -> Result<Option<Vec<Seen>>, E> {
        let (func, main) = (self.exported(name), self.main());
        self.store.object_scope(|store| {
            let params = params.iter().map(|given| own(store, main, *given)).collect();
            let results = call(store, func, params)?;
            Ok(results.map(|results| results_seen(store, main, results, keep)))
        })
    }

    /// As [`Self::scoped`], of a call that goes on.
    pub fn scoped_again<E>(
        &mut self,
        keep: Option<Keep>,
        call: impl FnOnce(&mut Store) -> Result<Option<Vec<Val>>, E>,
    ) -> Result<Option<Vec<Seen>>, E> {
        let main = self.main();
        self.store.object_scope(|store| {
            Ok(call(store)?.map(|results| results_seen(store, main, results, keep)))
        })
    }

    /// How a call ended, in words that both engines have.
    pub fn ended(&mut self, ended: Result<Vec<Seen>, CallError>) -> Result<Vec<Seen>, End> {
        let shown = ended.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let words = shown.split_whitespace().filter(|word| !word.starts_with("0x"));
        self.shown = words.collect::<Vec<_>>().join(" ");
        Ok(ended?)
    }

    /// The reference to a function of an instance.
    pub fn func(&self, at: usize, index: u32) -> FuncRef {
        self.store.func(instance(at), index).expect("a function of a linked instance")
    }

    /// Gives the guest fuel, if it uses any.
    pub fn refuel(&mut self, fuel: i32) {
        if let Some((_, index)) = self.store.export(self.main(), FUEL_NAME) {
            assert!(self.store.set_global(self.main(), index, Val::I32(fuel)));
        }
    }

    /// The value of a global.
    pub fn global(&mut self, at: usize, index: u32) -> Vec<Seen> {
        self.store.object_scope(|store| {
            let value = store.global(instance(at), index).expect("a global");
            see_all(store, vec![value])
        })
    }

    /// Whether a global holds null.
    pub fn is_null(&mut self, at: usize, index: u32) -> bool {
        self.store.object_scope(|store| {
            let global = store.global(instance(at), index).expect("a global");
            global == Val::default_of(global.ty())
        })
    }

    /// The elements of a table.
    pub fn table(&mut self, at: usize, index: u32) -> Vec<Seen> {
        self.store.object_scope(|store| {
            let size = store.table_size(instance(at), index).expect("a table");
            let element = |i| store.table_get(instance(at), index, i).expect("an element");
            let elements = (0..size).map(element).collect();
            see_all(store, elements)
        })
    }

    /// The bytes of a memory.
    pub fn memory(&self, at: usize, index: u32) -> &[u8] {
        self.store.memory(instance(at), index).expect("a memory")
    }
}

/// A result of a call, by its position, and the global of the module that it is kept in.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    pub result: usize,
    pub global: u32,
}

fn results_seen(
    store: &mut Store,
    main: InstanceId,
    results: Vec<Val>,
    keep: Option<Keep>,
) -> Vec<Seen> {
    if let Some(Keep { result, global }) = keep {
        assert!(store.set_global(main, global, results[result]), "a result of its type");
    }
    see_all(store, results)
}

fn see_all(store: &mut Store, values: Vec<Val>) -> Vec<Seen> {
    let parts: Vec<_> = values.into_iter().map(|value| part(store, value)).collect();
    see(store, parts)
}

/// The number that a host value is.
fn host_number(store: &Store, handle: NonZeroU64) -> NonZeroU64 {
    let known = store.extern_value(handle).and_then(|value| value.downcast_ref());
    *known.expect("the host makes only numbers")
}

/// A value as both engines have it.
fn part(store: &Store, value: Val) -> Part<ObjectRef> {
    Part::Val(match value {
        Val::AnyRef(Some(AnyRef::Object(object)))
        | Val::ExternRef(Some(ExternRef::Object(object))) => return Part::Object(object),
        Val::ExternRef(Some(ExternRef::Host(handle))) => {
            Val::ExternRef(Some(ExternRef::Host(host_number(store, handle))))
        }
        Val::AnyRef(Some(AnyRef::Host(handle))) => {
            Val::AnyRef(Some(AnyRef::Host(host_number(store, handle))))
        }
        Val::ExnRef(to) => Val::ExnRef(to.map(|_| NonZeroU64::MIN)),
        other => other,
    })
}

/// A parameter: the host's values are numbers, to which this store has handles.
fn own(store: &mut Store, main: InstanceId, given: Given) -> Val {
    let value = match given {
        Given::Val(value) => value,
        Given::Global(index) => return store.global(main, index).expect("a global"),
    };
    match value {
        Val::ExternRef(Some(ExternRef::Host(number))) => {
            Val::ExternRef(Some(ExternRef::Host(store.new_extern(number))))
        }
        Val::AnyRef(Some(AnyRef::Host(number))) => {
            Val::AnyRef(Some(AnyRef::Host(store.new_extern(number))))
        }
        // That of another store names the same function here.
        Val::FuncRef(func) => {
            Val::FuncRef(func.and_then(|func| FuncRef::from_bits(func.to_bits())))
        }
        other => other,
    }
}

impl Objects for Store {
    type Object = ObjectRef;

    fn is_same(&self, a: ObjectRef, b: ObjectRef) -> bool {
        self.is_same_object(a, b)
    }

    fn len(&self, object: ObjectRef) -> (bool, u32) {
        let ty = self.object_type(object).expect("an object of this store").ty;
        let len = self.object_len(object).expect("an object of this store");
        (matches!(ty, CompositeType::Array(_)), len)
    }

    fn field(&mut self, object: ObjectRef, index: u32) -> Part<ObjectRef> {
        part(self, Store::field(self, object, index).expect("a field of the object"))
    }
}
