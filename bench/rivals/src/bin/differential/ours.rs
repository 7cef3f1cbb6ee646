//! The executor's side.
//!
//! Invariant: the instances of a store are those of the modules, in order, so all ids are known;
//! nothing of the store that a snapshot was taken of is used after it.

use crate::{
    codes::{Code, Codes, Kind, text},
    shared::{End, FUEL, FUEL_NAME, HOST, HostLog, MAX_MEMORY, MAX_TABLE, number},
};
use executor_model::{
    CallError, ExternKind, FuncRef, Hierarchy, ImportKind, InstanceId, Module, Val, ValType,
};
use executor_runtime::{CaptureError, InstantiateError, Linker, Store, StoreConfig};
use executor_snapshot::{
    Capture, EntryKind, InstanceNames, Manifest, SnapshotError, SnapshotFile, image_untrusted,
};
use std::num::NonZeroU64;
use tempfile::NamedTempFile;

/// A store, with the instance under test and that between it and the host, if there is one.
#[derive(Debug)]
pub struct Ours {
    pub store: Store,
    /// The last error as it is shown, with the functions of its backtrace. (Where in a function a trap
    /// is depends on the level: Cranelift makes one instruction of a branch to a trap.)
    pub shown: String,
    log: HostLog,
}

/// The instance of the module at a place among the modules.
pub fn instance(at: usize) -> InstanceId {
    InstanceId::from_position(at)
}

fn config() -> StoreConfig {
    StoreConfig { max_memory: MAX_MEMORY, max_table: MAX_TABLE, ..StoreConfig::default() }
}

/// The host's functions that modules import.
fn linker(modules: &[Module], log: &HostLog) -> Linker {
    let mut linker = Linker::new();
    for module in modules {
        for import in &module.info.imports {
            let ImportKind::Func(ty) = import.kind else { continue };
            let ty = module.info.types[ty as usize].clone();
            let (log, name, function) = (log.clone(), import.name.clone(), ty.clone());
            linker.func_raw(&import.module, &import.name, ty, move |_, values| {
                let of_raw =
                    |(v, ty): (&executor_model::RawValue, &ValType)| Val::from_raw(*v, *ty);
                let params: Vec<Val> = values.iter().zip(&function.params).map(of_raw).collect();
                let mixed = log.call(&name, params.iter().copied());
                for (to, ty) in values.iter_mut().zip(&function.results) {
                    let passed = params.iter().find(|value| value.ty() == *ty);
                    *to = match (ty, passed) {
                        (ValType::Ref(_), Some(value)) => value.to_raw(),
                        (ValType::Ref(_), None) => Val::default_of(*ty).to_raw(),
                        _ => number(mixed, *ty).to_raw(),
                    };
                }
                Ok(())
            });
        }
    }
    linker
}

impl Ours {
    /// The instances, or how instantiation ended.
    pub fn new(codes: &mut Codes, kind: Kind, log: &HostLog) -> Result<Result<Self, End>, String> {
        let (engine, compiled) = codes.code(kind)?;
        let mut store = Store::new(&engine, linker(&codes.modules, log), config()).map_err(text)?;
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
        Ok(Ok(Self { store, shown: String::new(), log: log.clone() }))
    }

    /// The same instances, and the call that is suspended in them, restored from a file with this
    /// code; or, where a value of the host or an exception is live, which cannot be kept, false.
    pub fn through_a_file(
        &mut self,
        code: impl FnOnce() -> Result<Code, String>,
    ) -> Result<bool, String> {
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
        let image = image_untrusted(&engine, linker, config(), &file, module).map_err(text)?;
        self.use_and_drop(image.acquire().map_err(text)?);
        // The same slot, which was reset.
        self.store = image.acquire().map_err(text)?;
        Ok(true)
    }

    /// Does something in a kept store before it is reset: each function is called once, with zeroes.
    fn use_and_drop(&self, store: Store) {
        let known = self.log.count();
        let mut other = Self { store, shown: String::new(), log: self.log.clone() };
        let module = other.store.module(other.main()).expect("an instance").clone();
        for (name, kind, index) in module.code().exports() {
            let ty = other.store.func(other.main(), index).and_then(|f| other.store.func_type(f));
            let (ExternKind::Func, Some(ty)) = (kind, ty) else { continue };
            let params: Vec<Val> = ty.params.iter().map(|ty| Val::default_of(*ty)).collect();
            other.refuel(FUEL);
            let _ = other.call(name, &params);
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

    /// A value as both engines have it: what each numbers in its own way is made comparable.
    fn comparable(&self, value: Val) -> Val {
        match value {
            Val::ExternRef(Some(handle)) => {
                let known = self.store.extern_value(handle).and_then(|value| value.downcast_ref());
                Val::ExternRef(Some(*known.expect("the host makes only numbers")))
            }
            Val::ExnRef(to) => Val::ExnRef(to.map(|_| NonZeroU64::MIN)),
            other => other,
        }
    }

    /// An exported function, and parameters with which this store can call it.
    pub fn prepare(&mut self, name: &str, params: &[Val]) -> (FuncRef, Vec<Val>) {
        let func = self.store.exported_func(self.main(), name).expect("an exported function");
        (func, params.iter().map(|value| self.own(*value)).collect())
    }

    /// Calls an exported function.
    pub fn call(&mut self, name: &str, params: &[Val]) -> Result<Vec<Val>, End> {
        let (func, params) = self.prepare(name, params);
        let ended = self.store.call(func, &params);
        self.ended(ended)
    }

    /// How a call ended, in words that both engines have.
    pub fn ended(&mut self, ended: Result<Vec<Val>, CallError>) -> Result<Vec<Val>, End> {
        let shown = ended.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let words = shown.split_whitespace().filter(|word| !word.starts_with("0x"));
        self.shown = words.collect::<Vec<_>>().join(" ");
        Ok(ended?.into_iter().map(|value| self.comparable(value)).collect())
    }

    /// A parameter: the host's values are numbers, to which this store has handles.
    fn own(&mut self, value: Val) -> Val {
        match value {
            Val::ExternRef(number) => {
                Val::ExternRef(number.map(|number| self.store.new_extern(number)))
            }
            // That of another store names the same function here.
            Val::FuncRef(func) => {
                Val::FuncRef(func.and_then(|func| FuncRef::from_bits(func.to_bits())))
            }
            other => other,
        }
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
    pub fn global(&self, at: usize, index: u32) -> Val {
        self.comparable(self.store.global(instance(at), index).expect("a global"))
    }

    /// The elements of a table.
    pub fn table(&self, at: usize, index: u32) -> Vec<Val> {
        let size = self.store.table_size(instance(at), index).expect("a table");
        let element =
            |i| self.comparable(self.store.table_get(instance(at), index, i).expect("an element"));
        (0..size).map(element).collect()
    }

    /// The bytes of a memory.
    pub fn memory(&self, at: usize, index: u32) -> &[u8] {
        self.store.memory(instance(at), index).expect("a memory")
    }
}
