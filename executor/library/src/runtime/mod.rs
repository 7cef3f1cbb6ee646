//! The runtime: where functions are kept, how they are compiled, and what their imports are linked to.
//!
//! Invariant: what is here is shared by every function and instance, and none of it is a guest's.

mod code;
#[cfg(feature = "compiler")]
mod compiler;
mod source;

pub(crate) use code::{Code, Links};
pub(crate) use executor_code::Check;
pub use source::Source;
pub(crate) use source::{WasmModule, failed, file_name};

use crate::{
    Base, Creation, Error, Event, Function, Launch, Limits, Report, Snapshot, event::Listener,
    function::sites,
};
use executor_code::{Compiler, OptLevel};
use executor_files::Trust;
use executor_model::{Features, ModuleHash};
use executor_runtime::{EngineConfig, IntoHostFunc, Linker, NativeEngine, PoolConfig, PoolStats};
use executor_snapshot::{
    Catalogue, CatalogueError,
    catalogue::{AutoListed, FunctionInfo, Swept, default_dir},
};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicBool},
    time::Duration,
};

/// Keeps functions, compiles modules and says what their imports are linked to. Cloning shares it.
///
/// A runtime has a store, which is a directory that keeps modules, machine code, snapshots and functions
/// from one process to the next, or keeps functions in memory. A store directory can be used by any
/// number of runtimes and processes at a time.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
    /// WASI, and the host functions of the embedder.
    pub(crate) linker: Linker,
}

pub(crate) struct Shared {
    catalogue: Option<Catalogue>,
    /// The store turned out not to be writable.
    given_up: AtomicBool,
    /// It was said that code has to be copied out of the store.
    told_of_copies: AtomicBool,
    config: EngineConfig,
    /// By whether code is kept in the store, and whether it has frame maps.
    engines: [OnceLock<NativeEngine>; 4],
    /// The functions of a runtime without a store.
    functions: Mutex<BTreeMap<String, Function>>,
    /// The modules of those.
    modules: Mutex<HashMap<ModuleHash, WasmModule>>,
    pub(crate) limits: Limits,
    /// All of a snapshot is read and checked before it is used.
    pub(crate) verify_snapshots: bool,
    pub(crate) listener: Listener,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("catalogue", &self.catalogue)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// A stored function as [`Runtime::functions`] describes it: its name, and its description or why there
/// is none.
pub type Listed = (String, Result<FunctionInfo, Error>);

impl Runtime {
    /// A runtime over a store directory, which need not exist: the first write makes it.
    ///
    /// # Errors
    /// When someone else owns the directory or may write to it.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::builder().store(dir).build()
    }

    /// A runtime that keeps functions in memory, for as long as it lives.
    ///
    /// # Errors
    /// When the machine lacks something that the engine needs.
    pub fn in_memory() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// A runtime that is made to measure.
    #[must_use]
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// A function that [`Self::create`] has kept, or a version or an alias of one (`NAME@TAG`), ready to make
    /// instances.
    ///
    /// # Errors
    /// When there is no such function, or its snapshot or its code cannot be had.
    pub fn function(&self, name: &str) -> Result<Function, Error> {
        self.function_with(name, &mut Report::default())
    }

    /// As [`Self::function`], telling `report` what is done, also where it fails.
    ///
    /// # Errors
    /// As [`Self::function`].
    pub fn function_with(&self, name: &str, report: &mut Report) -> Result<Function, Error> {
        let Some(catalogue) = self.shared.directory() else {
            let unknown = || CatalogueError::UnknownFunction { name: name.to_owned() };
            return Ok(self.kept().get(name).cloned().ok_or_else(unknown)?);
        };
        let snapshot = Snapshot::new(catalogue.open_function(name)?);
        report.phases.end("open");
        Function::of_store(self, name, snapshot, &[], report)
    }

    /// A function of a module, without a snapshot: each instance is fresh.
    ///
    /// # Errors
    /// When the module cannot be read, is invalid, or cannot be compiled.
    pub fn compile(&self, module: impl Into<Source>) -> Result<Function, Error> {
        Function::of_module(self, &module.into(), Check::Once, &mut Report::default())
    }

    /// As [`Self::compile`], and reads all of the machine code that is kept already: what is damaged is
    /// compiled again, with a warning.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn compile_checked(&self, module: impl Into<Source>) -> Result<Function, Error> {
        Function::of_module(self, &module.into(), Check::Whole, &mut Report::default())
    }

    /// A function of a snapshot file that anyone may have made: all of it is checked before anything of
    /// it runs. `modules` are those of its instances that the store has not.
    ///
    /// # Errors
    /// When the file is no snapshot of this release, or a module is missing.
    pub fn open_snapshot(
        &self,
        path: impl AsRef<Path>,
        modules: &[Source],
    ) -> Result<Function, Error> {
        self.open_snapshot_with(path, modules, &mut Report::default())
    }

    /// As [`Self::open_snapshot`], telling `report` what is done, also where it fails.
    ///
    /// # Errors
    /// As [`Self::open_snapshot`].
    pub fn open_snapshot_with(
        &self,
        path: impl AsRef<Path>,
        modules: &[Source],
        report: &mut Report,
    ) -> Result<Function, Error> {
        let open = |source| WasmModule::open(source, &self.shared);
        let at_hand: Vec<WasmModule> = modules.iter().map(open).collect::<Result<_, _>>()?;
        let snapshot = self.snapshot_at(path.as_ref())?;
        report.phases.end("open");
        Function::of_file(self, snapshot, &at_hand, report)
    }

    /// Makes a function: a module's instance is initialised, or called up to a point, and its state is
    /// kept under a name. What is made from a function or a snapshot goes on from there.
    pub fn create(&self, name: impl Into<String>, base: impl Into<Base>) -> Creation {
        Creation::new(self.clone(), Some(name.into()), base.into())
    }

    /// As [`Self::create`], of a snapshot without a name, which goes to a file
    /// ([`Creation::output`]).
    pub fn snapshot(&self, base: impl Into<Base>) -> Creation {
        Creation::new(self.clone(), None, base.into())
    }

    /// Starts a module, and does so again from an *automatic* snapshot of its state after
    /// initialisation, which the store keeps where it cannot change what the guest does.
    pub fn launch(&self, module: impl Into<Source>) -> Launch {
        Launch::new(self.clone(), module.into())
    }

    /// The same runtime with one more function that modules can import, by a closure
    /// `|caller: &mut Caller<'_>, a: i32, ..| -> Result<.., HostError>`; an earlier one of that name is
    /// replaced. Functions that were made before do not have it.
    #[must_use]
    pub fn with_host_func<P, R>(
        &self,
        module: &str,
        name: &str,
        f: impl IntoHostFunc<P, R>,
    ) -> Self {
        let mut runtime = self.clone();
        runtime.linker.func(module, name, f);
        runtime
    }

    /// Every function that is kept, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn functions(&self) -> Result<Vec<Listed>, Error> {
        let Some(catalogue) = self.shared.directory() else {
            let info = |(name, function): (&String, &Function)| {
                Some((name.clone(), Ok(function.snapshot()?.info())))
            };
            return Ok(self.kept().iter().filter_map(info).collect());
        };
        let listed = catalogue.list()?.into_iter();
        Ok(listed.map(|(name, info)| (name, info.map_err(Error::from))).collect())
    }

    /// Whether a function of this name is kept, be it one that cannot be opened.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        use CatalogueError::{Name, Tag, UnknownFunction, UnknownTag};
        match self.shared.directory() {
            Some(catalogue) => {
                let absent = |error: &CatalogueError| {
                    matches!(
                        error,
                        UnknownFunction { .. } | UnknownTag { .. } | Name { .. } | Tag { .. }
                    )
                };
                !catalogue.open_function(name).is_err_and(|error| absent(&error))
            }
            None => self.kept().contains_key(name),
        }
    }

    /// The snapshot of a function that is kept, without its code.
    ///
    /// # Errors
    /// When there is no such function, or its snapshot cannot be read.
    pub fn snapshot_of(&self, name: &str) -> Result<Snapshot, Error> {
        match self.shared.directory() {
            Some(catalogue) => Ok(Snapshot::new(catalogue.open_function(name)?)),
            None => Ok(self.function(name)?.snapshot().cloned().ok_or(Error::NoMainInstance)?),
        }
    }

    /// Opens a snapshot file. The snapshots that it has pages of are looked for in the store, then beside it.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub fn snapshot_at(&self, path: impl Into<PathBuf>) -> Result<Snapshot, Error> {
        Snapshot::open_with(path.into(), self.shared.directory())
    }

    /// Removes a function with its versions, aliases and settings, or a version or an alias of one (`NAME@TAG`); and
    /// every file of the store that nothing refers to any more. Instances, and
    /// functions that are open, stay as they are.
    ///
    /// # Errors
    /// When there is no such function, something leads to the version, or a file cannot be removed.
    pub fn remove(&self, name: &str) -> Result<Swept, Error> {
        let Some(catalogue) = self.shared.directory() else {
            let unknown = || CatalogueError::UnknownFunction { name: name.to_owned() };
            self.kept().remove(name).ok_or_else(unknown)?;
            return Ok(Swept::default());
        };
        Ok(catalogue.remove(name)?)
    }

    /// Reads all that a function that is kept consists of, and checks it: its snapshot, the modules that
    /// it is compiled from where its code is not at hand, and the code that is.
    ///
    /// # Errors
    /// When there is no such function, or anything of it cannot be read or is damaged.
    pub fn verify(&self, name: &str) -> Result<(), Error> {
        match self.shared.directory() {
            Some(catalogue) => {
                catalogue.verify_function(name)?;
                let file = catalogue.open_function(name)?;
                self.shared.verify_code(file.modules(), &sites(&file))
            }
            None => self.snapshot_of(name)?.verify(),
        }
    }

    /// Every automatic snapshot that the store has ([`Self::launch`]), by key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn automatic(&self) -> Result<Vec<AutoListed>, Error> {
        let catalogue = self.shared.directory();
        Ok(catalogue.map_or_else(|| Ok(Vec::new()), Catalogue::list_auto)?)
    }

    /// Removes the automatic snapshots of the keys that begin so, or all where none is named, and every
    /// file of the store that nothing refers to any more.
    ///
    /// # Errors
    /// When there is no such key, or more than one; or a file cannot be removed.
    pub fn remove_automatic<K: AsRef<str>>(&self, keys: &[K]) -> Result<Swept, Error> {
        let Some(catalogue) = self.shared.directory() else { return Ok(Swept::default()) };
        let keys = keys.iter().map(|key| catalogue.auto_key(key.as_ref()));
        Ok(catalogue.remove_auto(&keys.collect::<Result<Vec<_>, _>>()?)?)
    }

    /// What the stores that are kept between instances have done so far.
    #[must_use]
    pub fn pool_stats(&self) -> PoolStats {
        self.shared.engine(Code::Plain).map(|engine| engine.pool_stats()).unwrap_or_default()
    }

    /// Drops stores that are kept between instances until so many bytes are free
    /// ([`idle_bytes`](PoolStats::idle_bytes)), or none is kept any more.
    pub fn give_up_idle(&self, bytes: u64) {
        // An engine that cannot be made keeps nothing.
        if let Ok(engine) = self.shared.engine(Code::Plain) {
            engine.give_up_idle(bytes);
        }
    }

    /// Whether what is made outlives the process: there is a store, and it could be written so far.
    #[must_use]
    pub fn has_store(&self) -> bool {
        self.shared.catalogue().is_some()
    }

    /// The functions of a runtime without a store.
    pub(crate) fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Function>> {
        self.shared.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store that is used where none is named: `executor` in the user's XDG data directory. `None` when
/// the environment names neither that nor a home.
#[must_use]
pub fn default_store() -> Option<PathBuf> {
    default_dir()
}

/// Makes a [`Runtime`].
#[derive(Debug)]
pub struct RuntimeBuilder {
    store: Option<PathBuf>,
    trust_store: bool,
    features: Features,
    opt_level: Option<OptLevel>,
    compiler: bool,
    threads: Option<usize>,
    max_compile_memory: Option<u64>,
    max_compile_time: Option<Duration>,
    limits: Limits,
    verify_snapshots: bool,
    pool: PoolConfig,
    linker: Linker,
    listener: Listener,
}

impl Default for RuntimeBuilder {
    fn default() -> Self {
        let mut linker = Linker::new();
        executor_wasi::add_to_linker(&mut linker);
        executor_wasi::add_checkpoint_to_linker(&mut linker);
        Self {
            store: None,
            trust_store: false,
            features: Features::default(),
            opt_level: None,
            compiler: true,
            threads: None,
            max_compile_memory: None,
            max_compile_time: None,
            limits: Limits::default(),
            verify_snapshots: false,
            pool: PoolConfig::default(),
            linker,
            listener: Listener::default(),
        }
    }
}

impl RuntimeBuilder {
    /// Keeps modules, code, snapshots and functions in a directory.
    #[must_use]
    pub fn store(mut self, dir: impl Into<PathBuf>) -> Self {
        self.store = Some(dir.into());
        self
    }

    /// Uses the store as it is, whoever owns it and whoever may write to it, and writes nothing to it: for one
    /// that lies in an image or on a file system that is mounted read-only. **Who can write to it can have any
    /// code run as this user.** Its code still has to be what it wrote, under its key, which has to be readable;
    /// that each code file is read whole once is left out.
    #[must_use]
    pub fn trust_store(mut self, on: bool) -> Self {
        self.trust_store = on;
        self
    }

    /// Sets what modules may use of WebAssembly.
    #[must_use]
    pub fn features(mut self, features: Features) -> Self {
        self.features = features;
        self
    }

    /// Sets how much work goes into machine code. Where nothing is said, code that the store has is
    /// taken as it is, and other code made with [`OptLevel::Speed`].
    #[must_use]
    pub fn opt_level(mut self, level: impl Into<Option<OptLevel>>) -> Self {
        self.opt_level = level.into();
        self
    }

    /// Sets how many threads compile a module; as many as there are processors where nothing is said.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets how many bytes of memory the functions that are being compiled may take together; 1 GiB where nothing
    /// is said. A module with a function that alone would take more is refused. It is an estimate, which does
    /// not count the module itself and the code that is made.
    #[must_use]
    pub fn max_compile_memory(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_compile_memory = bytes.into();
        self
    }

    /// Sets how long compiling a module may take, by the clock; 10 minutes where nothing is said. A module that
    /// takes longer is refused. Decoding it may take as long again, and a function whose machine code is being
    /// made may end some seconds later.
    #[must_use]
    pub fn max_compile_time(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.max_compile_time = time.into();
        self
    }

    /// Sets whether modules may be compiled. Without the feature `compiler` of this crate none are.
    #[must_use]
    pub fn compiler(mut self, on: bool) -> Self {
        self.compiler = on;
        self
    }

    /// Sets how much is kept between the instances of a function.
    #[must_use]
    pub fn pool(mut self, pool: PoolConfig) -> Self {
        self.pool = pool;
        self
    }

    /// Sets the limits of instances that are given none of their own.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets whether all of a snapshot is read and checked against its hashes when it is opened to be used, its
    /// bases too. Snapshot files from elsewhere always are; in the store, where only this user can write,
    /// this finds what a disk has damaged.
    #[must_use]
    pub fn verify_snapshots(mut self, on: bool) -> Self {
        self.verify_snapshots = on;
        self
    }

    /// Defines a function that modules can import; see [`Runtime::with_host_func`].
    #[must_use]
    pub fn host_func<P, R>(mut self, module: &str, name: &str, f: impl IntoHostFunc<P, R>) -> Self {
        self.linker.func(module, name, f);
        self
    }

    /// Tells a closure of progress and warnings. It is called on the thread that works, and of progress
    /// on any thread.
    #[must_use]
    pub fn on_event(mut self, listener: impl Fn(Event<'_>) + Send + Sync + 'static) -> Self {
        self.listener = Listener::new(listener);
        self
    }

    /// Makes the runtime.
    ///
    /// # Errors
    /// When the store is not this user's alone, or the machine lacks something that the engine needs.
    pub fn build(self) -> Result<Runtime, Error> {
        let Self {
            store,
            trust_store,
            features,
            opt_level,
            compiler,
            threads,
            max_compile_memory,
            max_compile_time,
            limits,
            verify_snapshots,
            pool,
            linker,
            listener,
        } = self;
        let compiler = match compiler {
            true => compiler_if_any(threads, max_compile_memory, max_compile_time),
            false => None,
        };
        let config =
            EngineConfig { compiler, features, opt_level, cache: None, frame_maps: false, pool };
        let trust = if trust_store { Trust::Vouched } else { Trust::Own };
        let shared = Shared {
            catalogue: store.map(|dir| Catalogue::open_with(dir, trust)).transpose()?,
            given_up: AtomicBool::new(trust_store),
            told_of_copies: AtomicBool::new(false),
            config,
            engines: Default::default(),
            functions: Mutex::default(),
            modules: Mutex::default(),
            limits,
            verify_snapshots,
            listener,
        };
        shared.engine(Code::Plain)?;
        Ok(Runtime { shared: Arc::new(shared), linker })
    }
}

#[cfg(feature = "compiler")]
fn compiler_if_any(
    threads: Option<usize>,
    max_memory: Option<u64>,
    max_time: Option<Duration>,
) -> Option<Arc<dyn Compiler>> {
    Some(Arc::new(compiler::LazyCompiler::new(threads, max_memory, max_time)))
}

#[cfg(not(feature = "compiler"))]
fn compiler_if_any(
    _: Option<usize>,
    _: Option<u64>,
    _: Option<Duration>,
) -> Option<Arc<dyn Compiler>> {
    None
}
