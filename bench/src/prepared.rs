//! A guest made ready: compiled, initialised, captured, and found to answer the same restored.
//!
//! Invariant: all that a benchmark does again and again is one method here, so that every
//! benchmark means the same by it.

use crate::{Call, Guest};
use executor_code::Compiler;
use executor_compiler::NativeCompiler;
use executor_model::{InstanceId, Listeners, ModuleHash, Val};
use executor_runtime::{
    CompiledModule, EngineConfig, Image, Linker, NativeEngine, PoolStats, Store, StoreConfig,
};
use executor_snapshot::{
    Capture, EntryKind, InstanceNames, Manifest, SnapshotError, SnapshotFile, image, restore,
};
use executor_wasi::{Input, Output, WasiCtx, WasiCtxBuilder};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::TempDir;

/// A guest with its code and its snapshot.
#[derive(Debug)]
pub struct Prepared {
    /// The guest.
    pub guest: Guest,
    /// The length of the snapshot file.
    pub snapshot_len: u64,
    engine: NativeEngine,
    module: Arc<CompiledModule>,
    linker: Linker,
    snapshot: SnapshotFile,
    /// The snapshot's image.
    image: Image,
    /// The image of the module before its initialisation.
    fresh: Image,
    stdout: Arc<Mutex<Vec<u8>>>,
    /// Where the snapshot is.
    _dir: TempDir,
}

fn engine() -> NativeEngine {
    let compiler: Arc<dyn Compiler> =
        Arc::new(NativeCompiler::new().expect("this machine can run compiled code"));
    NativeEngine::new(EngineConfig { compiler: Some(compiler), ..EngineConfig::default() })
        .expect("an engine")
}

fn compile(engine: &NativeEngine, guest: &Guest) -> Arc<CompiledModule> {
    let hash = ModuleHash::of(&guest.wasm);
    let module = engine.decode(&guest.wasm, hash).expect("a valid module");
    let compiled = engine.compile(&module, &Listeners::none(), true, &|_| {});
    compiled.expect("a module that compiles").0
}

fn main_instance() -> InstanceId {
    InstanceId::from_position(0)
}

impl Prepared {
    /// Compiles a guest, initialises it, takes its snapshot, and checks that it answers the same
    /// restored.
    ///
    /// # Panics
    /// When any of that fails, or the guest answers wrongly.
    #[must_use]
    pub fn new(guest: Guest) -> Self {
        let engine = engine();
        let module = compile(&engine, &guest);
        let mut linker = Linker::new();
        executor_wasi::add_to_linker(&mut linker);
        let stdout = Arc::default();
        let mut store = fresh(&engine, &linker, &module, &stdout);
        for name in guest.inits {
            call(&mut store, name, &[]);
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("guest.snap");
        let manifest =
            Manifest::new(main_instance(), EntryKind::Reactor, vec![InstanceNames::default()]);
        let state = store.capture().expect("state that can be captured");
        let capture = Capture::new(&state, manifest, &|_, _| {}).expect("state that fits the file");
        capture.publish(&path, &|_, _| {}).expect("a snapshot file");
        let snapshot = SnapshotFile::open(path).expect("the file just written");
        let snapshot_len = snapshot.file_len();
        let found = |_| Ok::<_, SnapshotError>(Arc::clone(&module));
        let config = StoreConfig::default();
        let image = image(&engine, linker.clone(), config.clone(), &snapshot, found);
        let image = image.expect("a snapshot that can be restored");
        let fresh = Image::of_module(&engine, linker.clone(), config, &module);
        let fresh = fresh.expect("a module that can be instantiated");
        let prepared = Self {
            guest,
            snapshot_len,
            engine,
            module,
            linker,
            snapshot,
            image,
            fresh,
            stdout,
            _dir: dir,
        };
        for question in prepared.guest.also.iter().chain([&prepared.guest.call]) {
            let before = prepared.ask(&mut store, question);
            // The second comes from a slot that was reset.
            for mut restored in [prepared.restore(), prepared.acquire(), prepared.acquire()] {
                let after = prepared.ask(&mut restored, question);
                let name = prepared.guest.name;
                assert_eq!(before, after, "{name}: the restored answers otherwise");
            }
        }
        prepared
    }

    /// Decodes and compiles the guest's module on all cores, as if for the first time.
    ///
    /// # Panics
    /// When it cannot be compiled.
    #[must_use]
    pub fn compile(&self) -> Arc<CompiledModule> {
        compile(&engine(), &self.guest)
    }

    /// A fresh instance in a store of its own, with nothing initialised.
    ///
    /// # Panics
    /// When it cannot be instantiated.
    #[must_use]
    pub fn instantiate(&self) -> Store {
        fresh(&self.engine, &self.linker, &self.module, &self.stdout)
    }

    /// Runs the guest's initialisation.
    ///
    /// # Panics
    /// When it traps.
    pub fn initialise(&self, store: &mut Store) {
        for name in self.guest.inits {
            call(store, name, &[]);
        }
    }

    /// An instance from the open snapshot, in a store of its own, ready to be called.
    ///
    /// # Panics
    /// When it cannot be restored.
    #[must_use]
    pub fn restore(&self) -> Store {
        let module = |_| Ok::<_, SnapshotError>(Arc::clone(&self.module));
        let linker = self.linker.clone();
        let mut store =
            restore(&self.engine, linker, StoreConfig::default(), &self.snapshot, module)
                .expect("a snapshot that can be restored");
        store.set_data(wasi(&self.stdout));
        store
    }

    /// As [`Self::restore`], in a slot that is kept: dropping the store resets it.
    ///
    /// # Panics
    /// When it cannot be restored.
    #[must_use]
    pub fn acquire(&self) -> Store {
        let mut store = self.image.acquire().expect("a snapshot that can be restored");
        store.set_data(wasi(&self.stdout));
        store
    }

    /// As [`Self::instantiate`], in a slot that is kept.
    ///
    /// # Panics
    /// When it cannot be instantiated.
    #[must_use]
    pub fn acquire_fresh(&self) -> Store {
        let mut store = self.fresh.acquire().expect("a module that can be instantiated");
        store.set_data(wasi(&self.stdout));
        store
    }

    /// What kept slots have done so far.
    #[must_use]
    pub fn pool_stats(&self) -> PoolStats {
        self.engine.pool_stats()
    }

    /// Makes the guest's call, and returns what it answers.
    ///
    /// # Panics
    /// When it traps.
    pub fn call(&self, store: &mut Store) -> Option<i32> {
        call(store, self.guest.call.export, &self.guest.call.values())
    }

    /// As [`Self::call`], with types that the host's compiler knows, as an embedder would.
    ///
    /// # Panics
    /// When it traps, or is of none of the types that guests' calls are of.
    pub fn call_typed(&self, store: &mut Store) -> Option<i32> {
        let Call { export, params, .. } = &self.guest.call;
        let func = store.exported_func(main_instance(), export).expect("an exported function");
        let result = match params[..] {
            [] => store.call_typed(func, ()).map(|()| None),
            [a] => store.call_typed(func, a).map(Some),
            [a, b] => store.call_typed(func, (a, b)).map(Some),
            _ => panic!("no guest's call has {} arguments", params.len()),
        };
        result.expect("a call that returns")
    }

    fn ask(&self, store: &mut Store, question: &Call) -> Option<i32> {
        let result = call(store, question.export, &question.values());
        let output = std::mem::take(&mut *self.output());
        let right = question.answer.accepts(result, &output);
        assert!(right, "{}: {question:?} answered {result:?}, {output:?}", self.guest.name);
        result
    }

    /// Forgets what the guest has written.
    pub fn clear_output(&self) {
        self.output().clear();
    }

    fn output(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wasi(stdout: &Arc<Mutex<Vec<u8>>>) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    builder.stdin(Input::Bytes(Default::default()));
    builder.stdout(Output::Capture(Arc::clone(stdout)));
    builder.build().expect("a context")
}

fn fresh(
    engine: &NativeEngine,
    linker: &Linker,
    module: &Arc<CompiledModule>,
    stdout: &Arc<Mutex<Vec<u8>>>,
) -> Store {
    let mut store =
        Store::new(engine, linker.clone(), StoreConfig::default()).expect("an empty store");
    store.set_data(wasi(stdout));
    store.instantiate(module).expect("a module that can be instantiated");
    store
}

fn call(store: &mut Store, export: &str, params: &[Val]) -> Option<i32> {
    let func = store.exported_func(main_instance(), export).expect("an exported function");
    let results = store.call(func, params).expect("a call that returns");
    results.first().map(|value| match value {
        Val::I32(n) => *n,
        other => panic!("{export} returned {other:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, Shape};
    use executor_model::{CallError, TrapCode};

    const SMALL: Shape = Shape { functions: 1_100, elements: 1_000, pages: 3 };

    #[test]
    fn a_generated_guest_answers_only_once_it_is_initialised() {
        let prepared = Prepared::new(Guest::generated("small", "", SMALL));
        let mut store = prepared.instantiate();
        let func = store.exported_func(main_instance(), "call").unwrap();
        let error = store.call(func, &prepared.guest.call.values()).unwrap_err();
        let CallError::Trap(trap) = error else { panic!("{error}") };
        assert_eq!(trap.code, TrapCode::IndirectCallToNull, "its table is empty");
        prepared.initialise(&mut store);
        let Answer::Number(answer) = prepared.guest.call.answer else { panic!("a number") };
        assert_eq!(prepared.call(&mut store), Some(answer));
    }

    #[test]
    fn hello_says_hello_each_time_it_is_restored() {
        let [hello, ..] = Guest::all();
        let prepared = Prepared::new(hello);
        for _ in 0..2 {
            prepared.call(&mut prepared.restore());
        }
        assert_eq!(*prepared.output(), b"hello\nhello\n");
    }
}
