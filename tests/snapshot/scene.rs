//! What the tests stand on: a store of named instances, pictures of its state, and the comparison
//! of an original with what was restored from its snapshot.

use executor_code::{CodeCache, Compiler};
use executor_compiler::NativeCompiler;
use executor_model::{
    CallError, EngineError, Features, InstanceId, Listeners, Module, ModuleHash, TrapCode, Val,
};
use executor_runtime::{
    Caller, CompiledModule, EngineConfig, InstantiateError, Linker, NativeEngine, Store,
    StoreConfig,
};
use executor_snapshot::{
    Capture, EntryKind, InstanceNames, Layers, Manifest, SnapshotError, SnapshotFile, SnapshotId,
};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};
use tempfile::TempDir;

/// A failure to restore, of the file or of the engine.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// How a call ended.
pub type Answer = Result<Vec<Val>, TrapCode>;

/// A call and how it has to end.
pub struct Probe<'a> {
    instance: &'a str,
    export: &'a str,
    params: Vec<Val>,
    expected: Answer,
}

/// A call of `i32` arguments that returns.
pub fn gives<'a>(
    instance: &'a str,
    export: &'a str,
    params: &[i32],
    results: impl Into<Vec<Val>>,
) -> Probe<'a> {
    let params = params.iter().map(|n| Val::I32(*n)).collect();
    Probe { instance, export, params, expected: Ok(results.into()) }
}

/// A call of `i32` arguments that traps.
pub fn traps<'a>(instance: &'a str, export: &'a str, params: &[i32], code: TrapCode) -> Probe<'a> {
    let params = params.iter().map(|n| Val::I32(*n)).collect();
    Probe { instance, export, params, expected: Err(code) }
}

/// One `i32` result.
pub fn int(value: i32) -> [Val; 1] {
    [Val::I32(value)]
}

/// A memory's size, and its bytes but for lines of zeroes.
#[derive(Debug, PartialEq)]
struct Memory {
    size: usize,
    lines: Vec<(usize, Vec<u8>)>,
}

/// All that the host can see of an instance.
#[derive(Debug, PartialEq)]
pub struct Picture {
    module: ModuleHash,
    memories: Vec<Memory>,
    tables: Vec<Vec<Val>>,
    globals: Vec<Val>,
}

/// A store, the names of its instances, and the host functions that it was given.
pub struct Guest {
    pub store: Store,
    names: Vec<String>,
    ticks: Arc<AtomicU32>,
}

/// The host: `tick` counts its calls, `times_ten` is pure.
pub fn host() -> (Linker, Arc<AtomicU32>) {
    let ticks = Arc::new(AtomicU32::new(0));
    let mut linker = Linker::new();
    let counter = Arc::clone(&ticks);
    linker.func("host", "tick", move |_: &mut Caller<'_>| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    linker.func("host", "times_ten", |_: &mut Caller<'_>, n: i32| Ok(n.wrapping_mul(10)));
    (linker, ticks)
}

impl Guest {
    pub fn id(&self, name: &str) -> InstanceId {
        InstanceId::from_position(self.names.iter().position(|n| n == name).unwrap())
    }

    pub fn call(
        &mut self,
        name: &str,
        export: &str,
        params: &[Val],
    ) -> Result<Vec<Val>, CallError> {
        let func = self.store.exported_func(self.id(name), export).unwrap();
        self.store.call(func, params)
    }

    /// How often the guest called `tick`.
    pub fn ticks(&self) -> u32 {
        self.ticks.load(Ordering::Relaxed)
    }

    fn answer(&mut self, probe: &Probe<'_>) -> Answer {
        match self.call(probe.instance, probe.export, &probe.params) {
            Ok(results) => Ok(results),
            Err(CallError::Trap(trap)) => Err(trap.code),
            Err(other) => panic!("{} of {}: {other}", probe.export, probe.instance),
        }
    }

    /// Makes the calls and compares how they end.
    pub fn expect(&mut self, probes: &[Probe<'_>], who: &str) {
        for (i, probe) in probes.iter().enumerate() {
            let Probe { instance, export, params, expected } = probe;
            let answer = self.answer(probe);
            assert_eq!(&answer, expected, "{who}: call {i}, {instance}.{export}({params:?})");
        }
    }

    pub fn pictures(&self) -> Vec<Picture> {
        let ids = (0..self.store.instance_count()).map(InstanceId::from_position);
        ids.map(|id| self.picture(id)).collect()
    }

    fn picture(&self, id: InstanceId) -> Picture {
        let module = self.store.module(id).unwrap();
        let info = module.info().unwrap();
        let nonzero = |bytes: &[u8]| {
            let lines = bytes.chunks(64).enumerate();
            let lines = lines.filter(|(_, line)| line.iter().any(|byte| *byte != 0));
            lines.map(|(i, line)| (i * 64, line.to_vec())).collect()
        };
        let memory = |i: usize| {
            let bytes = self.store.memory(id, i as u32).unwrap();
            Memory { size: bytes.len(), lines: nonzero(bytes) }
        };
        let table = |i: usize| {
            let size = self.store.table_size(id, i as u32).unwrap();
            (0..size).map(|at| self.store.table_get(id, i as u32, at).unwrap()).collect()
        };
        Picture {
            module: module.hash(),
            memories: (0..info.memories.len()).map(memory).collect(),
            tables: (0..info.tables.len()).map(table).collect(),
            globals: (0..info.globals.len() as u32)
                .map(|i| self.store.global(id, i).unwrap())
                .collect(),
        }
    }

    fn manifest(&self) -> Manifest {
        let named = |name: &String| InstanceNames { registered: Some(name.clone()), module: None };
        let last = InstanceId::from_position(self.names.len() - 1);
        Manifest::new(last, EntryKind::Reactor, self.names.iter().map(named).collect())
    }

    /// Captures the store into a file.
    pub fn write(&self, path: &Path) -> SnapshotId {
        let state = self.store.capture().unwrap();
        let capture = Capture::new(&state, self.manifest(), &|_, _| ()).unwrap();
        capture.publish(path, &|_, _| ()).unwrap();
        capture.id()
    }

    /// Captures the store into a file, without the pages that are in another.
    pub fn write_over(&self, path: &Path, base: &Path) -> SnapshotFile {
        let state = self.store.capture().unwrap();
        let layers = Layers::find(&state, &SnapshotFile::open(base).unwrap()).unwrap();
        let manifest = self.manifest();
        let capture = Capture::layered(&state, manifest, &[], &layers, &|_, _| ()).unwrap();
        capture.publish(path, &|_, _| ()).unwrap();
        SnapshotFile::open(path).unwrap()
    }

    /// The identity of what a capture would write.
    pub fn snapshot_id(&self) -> SnapshotId {
        let state = self.store.capture().unwrap();
        Capture::new(&state, self.manifest(), &|_, _| ()).unwrap().id()
    }
}

/// How much a restore believes of its file.
#[derive(Clone, Copy)]
pub enum Trust {
    Own,
    Elsewhere,
}

/// Restores a snapshot with the host's functions and the names it was captured with.
pub fn restore(
    engine: &NativeEngine,
    path: &Path,
    trust: Trust,
    config: StoreConfig,
    code: impl FnMut(ModuleHash) -> Result<Arc<CompiledModule>, Failure>,
) -> Result<Guest, Failure> {
    let file = SnapshotFile::open(path)?;
    let names: Vec<String> =
        file.manifest().instances.iter().map(|i| i.registered.clone().unwrap()).collect();
    let (mut linker, ticks) = host();
    for (position, name) in names.iter().enumerate() {
        linker.instance(name, InstanceId::from_position(position));
    }
    let store = match trust {
        Trust::Own => executor_snapshot::restore(engine, linker, config, &file, code)?,
        Trust::Elsewhere => {
            executor_snapshot::restore_untrusted(engine, linker, config, &file, code)?
        }
    };
    Ok(Guest { store, names, ticks })
}

/// The code of a module that an engine can find without compiling.
pub fn load(engine: &NativeEngine, hash: ModuleHash) -> Result<Arc<CompiledModule>, Failure> {
    let (code, _) = engine.load(&hash)?.ok_or(EngineError::NotCompiled(hash))?;
    Ok(code)
}

/// Decodes a module in the text format.
pub fn decode(text: &str) -> Module {
    let wasm = wat::parse_str(text).unwrap();
    compiler().decode(&wasm, ModuleHash::of(&wasm), Features::ALL).unwrap()
}

pub fn compiler() -> Arc<dyn Compiler> {
    static COMPILER: LazyLock<Arc<NativeCompiler>> =
        LazyLock::new(|| Arc::new(NativeCompiler::new().unwrap()));
    Arc::clone(&*COMPILER) as Arc<dyn Compiler>
}

/// An original and the directory that its code and snapshots lie in.
pub struct Scene {
    pub dir: TempDir,
    pub engine: NativeEngine,
    pub guest: Guest,
}

impl Scene {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = Some(CodeCache::new(dir.path().join("code")));
        let engine = NativeEngine::new(EngineConfig {
            compiler: Some(compiler()),
            cache,
            features: Features::ALL,
            ..EngineConfig::default()
        })
        .unwrap();
        let (linker, ticks) = host();
        let store = Store::new(&engine, linker, StoreConfig::default()).unwrap();
        Self { dir, engine, guest: Guest { store, names: Vec::new(), ticks } }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Compiles a module, so that its code is in the cache.
    pub fn compile(&self, text: &str) -> Arc<CompiledModule> {
        self.engine.compile(&decode(text), &Listeners::none(), true, &|_| ()).unwrap().0
    }

    /// Instantiates a module and registers it under a name that later ones import from.
    pub fn add(&mut self, name: &str, text: &str) -> InstanceId {
        self.try_add(name, text).unwrap()
    }

    /// As [`Self::add`] for a module whose instantiation may fail and still leave an instance.
    pub fn try_add(&mut self, name: &str, text: &str) -> Result<InstanceId, InstantiateError> {
        let module = self.compile(text);
        let made = self.guest.store.instantiate(&module);
        self.guest.names.push(name.to_owned());
        assert_eq!(self.guest.store.instance_count(), self.guest.names.len());
        let id = self.guest.id(name);
        self.guest.store.linker_mut().instance(name, id);
        made
    }

    /// An engine as another process has it: the same code cache, and no compiler.
    pub fn other_engine(&self) -> NativeEngine {
        let cache = Some(CodeCache::new(self.path("code")));
        let features = Features::ALL;
        NativeEngine::new(EngineConfig { cache, features, ..EngineConfig::default() }).unwrap()
    }

    /// Restores a snapshot as another process does.
    pub fn restore(&self, path: &Path, trust: Trust) -> Guest {
        let engine = self.other_engine();
        let code = |hash| load(&engine, hash);
        restore(&engine, path, trust, StoreConfig::default(), code).unwrap()
    }

    /// Captures the original, restores it, and holds that the two cannot be told apart: not by
    /// looking, not by another capture, and not by calls, whose ends are given.
    pub fn assert_indistinguishable(mut self, probes: &[Probe<'_>]) {
        let (first, second) = (self.path("first.snap"), self.path("second.snap"));
        let before = self.guest.pictures();
        let id = self.guest.write(&first);
        assert_eq!(self.guest.pictures(), before, "capturing changes nothing");

        let mut restored = self.restore(&first, Trust::Own);
        assert_eq!(restored.pictures(), before);
        assert_eq!(restored.ticks(), 0, "nothing of the guest ran again");
        assert_eq!(restored.write(&second), id, "captured again, it is the same snapshot");
        let mut twice = self.restore(&second, Trust::Elsewhere);
        assert_eq!(twice.pictures(), before);

        let ticks = self.guest.ticks();
        self.guest.expect(probes, "the original");
        let ticks = self.guest.ticks() - ticks;
        let (after, after_id) = (self.guest.pictures(), self.guest.snapshot_id());
        for (guest, who) in [(&mut restored, "restored"), (&mut twice, "restored twice")] {
            guest.expect(probes, who);
            assert_eq!(guest.ticks(), ticks, "{who}");
            assert_eq!(guest.pictures(), after, "{who}");
            assert_eq!(guest.snapshot_id(), after_id, "{who}");
        }
        // Over the state before them, the state after the calls is the same.
        let layered = self.path("layered.snap");
        self.guest.write_over(&layered, &first);
        for trust in [Trust::Own, Trust::Elsewhere] {
            let restored = self.restore(&layered, trust);
            assert_eq!(restored.pictures(), after);
            assert_eq!(restored.snapshot_id(), after_id);
        }
        // What the restored stores did, they did to copies.
        let again = self.restore(&first, Trust::Elsewhere);
        assert_eq!(again.pictures(), before);
    }
}
