//! A stored function that is inside a call, restored and run again and again in one process.
//!
//! Invariant: each run is of a store of its own; code and snapshot are opened once.

use executor_code::Check;
use executor_model::{Listeners, ModuleHash};
use executor_runtime::{CompiledModule, EngineConfig, Linker, NativeEngine, Store, StoreConfig};
use executor_snapshot::{Catalogue, SnapshotError, SnapshotFile, restore};
use executor_wasi::{Input, Output, WasiCtxBuilder, WasiState};
use nix::sys::resource::{UsageWho, getrusage};
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// The function.
#[derive(Debug)]
pub struct Suspended {
    engine: NativeEngine,
    linker: Linker,
    file: SnapshotFile,
    wasi: WasiState,
    continuations: Vec<Arc<CompiledModule>>,
}

impl Suspended {
    /// Opens a function of a store directory.
    ///
    /// # Panics
    /// When it is not there, not inside a call, or its code has not been made.
    #[must_use]
    pub fn open(store: &Path, name: &str) -> Self {
        let catalogue = Catalogue::open(store).expect("a store");
        let cache = Some(catalogue.code());
        let engine = NativeEngine::new(EngineConfig { cache, ..EngineConfig::default() });
        let file = catalogue.open_function(name).expect("a function");
        let wasi = file.manifest().wasi.as_deref().expect("a WASI state");
        let mut linker = Linker::new();
        executor_wasi::add_to_linker(&mut linker);
        executor_wasi::add_checkpoint_to_linker(&mut linker);
        let mut this = Self {
            engine: engine.expect("an engine"),
            linker,
            wasi: WasiState::decode(wasi).expect("a WASI state"),
            file,
            continuations: Vec::new(),
        };
        let (store, _) = this.restore(b"");
        for (hash, sites) in store.suspended_sites() {
            let found =
                this.engine.load_continuations(&hash, &sites, &Listeners::none(), Check::Once);
            let found = found.expect("a cache").expect("continuations: run the function once");
            this.continuations.push(found);
        }
        this
    }

    /// A store that is ready to go on with `input`, and where its output goes.
    ///
    /// # Panics
    /// When it cannot be restored.
    pub fn restore(&self, input: &[u8]) -> (Store, Arc<Mutex<Vec<u8>>>) {
        let code = |hash: ModuleHash| -> Result<_, SnapshotError> {
            let found = self.engine.load(&hash).expect("a cache");
            Ok(found.expect("code: run the function once").0)
        };
        let config = StoreConfig::default();
        let store = restore(&self.engine, self.linker.clone(), config, &self.file, code);
        let mut store = store.expect("a snapshot that can be restored");
        let output = Arc::new(Mutex::new(Vec::new()));
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdin(Input::Bytes(input.to_vec().into()));
        wasi.stdout(Output::Capture(Arc::clone(&output)));
        for given in &self.file.manifest().defaults.directories {
            wasi.preopen(&given.host, &given.guest).expect("a directory");
        }
        store.set_data(wasi.restore(&self.wasi).expect("a WASI state that fits"));
        (store, output)
    }

    /// Restores, goes on to the end, and releases; returns what was written to standard output.
    ///
    /// # Panics
    /// When it cannot be restored. How the guest ends is not looked at: programs exit.
    #[must_use]
    pub fn run(&self, input: &[u8]) -> Vec<u8> {
        let (mut store, output) = self.restore(input);
        let _ = store.resume(self.continuations.clone());
        drop(store);
        std::mem::take(&mut *output.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many minor page faults a run takes, once others have run.
    #[must_use]
    pub fn faults(&self, input: &[u8]) -> i64 {
        let faults =
            || getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.minor_page_faults());
        let before = faults();
        let _ = self.run(input);
        faults() - before
    }
}
