//! The executor's side.
//!
//! Invariant: a store has one instance, so all ids are known; nothing of the store that a snapshot
//! was taken of is used after it.

use crate::shared::{End, FUEL_NAME, HostLog, MAX_MEMORY, MAX_TABLE, comparable, number};
use executor_code::Compiler;
use executor_compiler::NativeCompiler;
use executor_model::{
    Features, Hierarchy, ImportKind, InstanceId, Listeners, Module, ModuleHash, Val, ValType,
};
use executor_runtime::{
    CaptureError, CompiledModule, EngineConfig, InstantiateError, Linker, NativeEngine, Store,
    StoreConfig,
};
use executor_snapshot::{
    Capture, EntryKind, InstanceNames, Manifest, SnapshotError, SnapshotFile, restore_untrusted,
};
use std::{fmt::Display, num::NonZeroU64, sync::Arc};
use tempfile::NamedTempFile;

/// An instance.
#[derive(Debug)]
pub struct Ours {
    store: Store,
}

fn text(error: impl Display) -> String {
    format!("ours: {error}")
}

fn instance() -> InstanceId {
    InstanceId::from_position(0)
}

fn config() -> StoreConfig {
    StoreConfig { max_memory: MAX_MEMORY, max_table: MAX_TABLE, ..StoreConfig::default() }
}

/// Compiles a module in an engine of its own.
fn compile(
    wasm: &[u8],
    ensure_termination: bool,
) -> Result<(NativeEngine, Module, Arc<CompiledModule>), String> {
    let compiler: Arc<dyn Compiler> = Arc::new(NativeCompiler::new().map_err(text)?);
    let module = compiler.decode(wasm, ModuleHash::of(wasm), Features::ALL).map_err(text)?;
    let features = Features::ALL;
    let config = EngineConfig { compiler: Some(compiler), features, ..EngineConfig::default() };
    let engine = NativeEngine::new(config).map_err(text)?;
    let compiled = engine.compile(&module, &Listeners::none(), ensure_termination, &|_| {});
    let (compiled, _) = compiled.map_err(text)?;
    Ok((engine, module, compiled))
}

/// The host's functions that a module imports.
fn linker(module: &Module, log: &HostLog) -> Linker {
    let mut linker = Linker::new();
    for import in &module.info.imports {
        let ImportKind::Func(ty) = import.kind else { continue };
        let ty = module.info.types[ty as usize].clone();
        let (log, name, function) = (log.clone(), import.name.clone(), ty.clone());
        linker.func_raw(&import.module, &import.name, ty, move |_, values| {
            let params: Vec<Val> =
                values.iter().zip(&function.params).map(|(v, ty)| Val::from_raw(*v, *ty)).collect();
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
    linker
}

impl Ours {
    /// The module, and its instance or how instantiation ended.
    pub fn new(
        wasm: &[u8],
        ensure_termination: bool,
        log: &HostLog,
    ) -> Result<(Module, Result<Self, End>), String> {
        let (engine, module, compiled) = compile(wasm, ensure_termination)?;
        let mut store = Store::new(&engine, linker(&module, log), config()).map_err(text)?;
        let outcome = match store.instantiate(&compiled) {
            Ok(_) => Ok(Self { store }),
            Err(InstantiateError::Call(error)) => Err(error.into()),
            Err(other) => return Err(text(other)),
        };
        Ok((module, outcome))
    }

    /// The same instance, restored from a file in another engine, and true; or, where an exception
    /// is in a global or table, which cannot be kept, as it is.
    pub fn through_a_snapshot(
        self,
        wasm: &[u8],
        ensure_termination: bool,
    ) -> Result<(Self, bool), String> {
        let file = match self.store.capture() {
            Err(CaptureError::HostReference { hierarchy: Hierarchy::Exn, .. }) => {
                return Ok((self, false));
            }
            _ => self.snapshot()?,
        };
        let linker = self.store.linker().clone();
        drop(self);
        let (engine, _, compiled) = compile(wasm, ensure_termination)?;
        let file = SnapshotFile::open(file.path()).map_err(text)?;
        let module = |_| Ok::<_, SnapshotError>(compiled.clone());
        let store = restore_untrusted(&engine, linker, config(), &file, module).map_err(text)?;
        Ok((Self { store }, true))
    }

    fn snapshot(&self) -> Result<NamedTempFile, String> {
        let state = self.store.capture().map_err(text)?;
        let names = vec![InstanceNames::default()];
        let manifest = Manifest::new(instance(), EntryKind::Reactor, names);
        let mut file = NamedTempFile::new().map_err(text)?;
        let capture = Capture::new(&state, manifest, &|_, _| {}).map_err(text)?;
        capture.write_to(&mut file, &|_, _| {}).map_err(text)?;
        Ok(file)
    }

    /// A host value.
    pub fn new_extern(&mut self) -> NonZeroU64 {
        self.store.new_extern(())
    }

    /// Calls an exported function.
    pub fn call(&mut self, name: &str, params: &[Val]) -> Result<Vec<Val>, End> {
        let func = self.store.exported_func(instance(), name).expect("an exported function");
        let results = self.store.call(func, params)?;
        Ok(results.into_iter().map(comparable).collect())
    }

    /// Gives the guest fuel, if it uses any.
    pub fn refuel(&mut self, fuel: i32) {
        if let Some((_, index)) = self.store.export(instance(), FUEL_NAME) {
            assert!(self.store.set_global(instance(), index, Val::I32(fuel)));
        }
    }

    /// The value of a global.
    pub fn global(&self, index: u32) -> Val {
        comparable(self.store.global(instance(), index).expect("a global"))
    }

    /// The elements of a table.
    pub fn table(&self, index: u32) -> Vec<Val> {
        let size = self.store.table_size(instance(), index).expect("a table");
        let element =
            |i| comparable(self.store.table_get(instance(), index, i).expect("an element"));
        (0..size).map(element).collect()
    }

    /// The bytes of a memory.
    pub fn memory(&self, index: u32) -> &[u8] {
        self.store.memory(instance(), index).expect("a memory")
    }
}
