//! The native engine: compiled modules by hash, through memory, the code cache and the compiler.
//!
//! Invariant: an instance holds its module's code itself, so deleting a module here, or closing
//! the engine, never takes code away from calls.

use crate::{
    linker::Linker,
    module_engine::NativeModuleEngine,
    pool::{Pool, PoolConfig, PoolStats},
    store::{Store, StoreConfig},
    sys::{self, Mapping},
    vm::{CompiledModule, LoadError},
};
use executor_code::{
    Check, CodeCache, CodeKey, CodeKind, CompileError, CompileOptions, Compiler, CpuFeatures,
    OptLevel, Progress, StoredCode,
    file::{CallSite, CodeFile, CodeFileError},
};
use executor_files::Lock;
use executor_model::{Engine, EngineError, Features, InstanceId, Listeners, Module, ModuleHash};
use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
};

/// What an engine is made of.
#[derive(Clone, Default)]
pub struct EngineConfig {
    /// Compiles what is not cached; without one, only cached code runs.
    pub compiler: Option<Arc<dyn Compiler>>,
    /// Keeps code files between processes; without one, code is kept in memory.
    pub cache: Option<CodeCache>,
    /// What modules may use.
    pub features: Features,
    /// How much work goes into machine code; `None` takes what is cached as it is.
    pub opt_level: Option<OptLevel>,
    /// Whether code has frame maps, so that its calls can be suspended ([`Store::call_until`]). Such
    /// code is slower, and kept apart from code without.
    pub frame_maps: bool,
    /// How many stores are kept between calls ([`crate::Image::acquire`]), and how much of each.
    pub pool: PoolConfig,
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig")
            .field("compiler", &self.compiler.is_some())
            .field("cache", &self.cache)
            .field("features", &self.features)
            .field("opt_level", &self.opt_level)
            .field("frame_maps", &self.frame_maps)
            .field("pool", &self.pool)
            .finish()
    }
}

/// Where a module's code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeOrigin {
    /// The engine had it already.
    Memory,
    /// The code cache had it.
    Cache,
    /// It was compiled now.
    Compiled,
}

#[derive(Debug)]
struct Inner {
    config: EngineConfig,
    /// `None` once the engine is closed.
    modules: Mutex<Option<HashMap<ModuleHash, Arc<CompiledModule>>>>,
    /// It is closed: what `modules` says, to be asked without a lock.
    closed: AtomicBool,
    pool: Pool,
}

/// Runs modules as native code. Cloning shares the engine.
#[derive(Debug, Clone)]
pub struct NativeEngine {
    inner: Arc<Inner>,
}

type Modules = Option<HashMap<ModuleHash, Arc<CompiledModule>>>;

impl NativeEngine {
    /// Makes an engine, and installs the process's signal handlers the first time.
    ///
    /// # Errors
    /// None today; reserved for systems that refuse what an engine needs.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        sys::install();
        let modules = Mutex::new(Some(HashMap::new()));
        let pool = Pool::new(config.pool);
        let closed = AtomicBool::new(false);
        Ok(Self { inner: Arc::new(Inner { config, modules, closed, pool }) })
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    /// What the stores that are kept between calls have done so far.
    #[must_use]
    pub fn pool_stats(&self) -> PoolStats {
        self.pool().stats()
    }

    /// Drops stores that wait between calls until so many bytes are free, or none waits any more.
    pub fn give_up_idle(&self, bytes: u64) {
        self.pool().give_up(bytes);
    }

    /// The compiler, if there is one.
    #[must_use]
    pub fn compiler(&self) -> Option<&dyn Compiler> {
        self.inner.config.compiler.as_deref()
    }

    /// Decodes and validates a module, with the engine's features.
    ///
    /// # Errors
    /// When the module is invalid, or there is no compiler.
    pub fn decode(&self, wasm: &[u8], hash: ModuleHash) -> Result<Module, CompileError> {
        let no_compiler = || CompileError::Unsupported("this build has no compiler".to_owned());
        let compiler = self.compiler().ok_or_else(no_compiler)?;
        compiler.decode(wasm, hash, self.inner.config.features)
    }

    /// Whether code was made with as much work as is asked for.
    fn is_as_asked(&self, code: &CompiledModule) -> bool {
        let wanted = self.inner.config.opt_level;
        wanted.is_none_or(|level| code.code().header().opt_level == level as u32)
    }

    /// Whether a module that was compiled needs no feature that is off.
    fn is_allowed(&self, code: &CompiledModule) -> bool {
        let features = Features::from_bits(code.code().header().features);
        features.is_some_and(|features| self.inner.config.features.contains(features))
    }

    /// Refuses a module that was decoded with features that are off here, and needs them.
    fn check_features(&self, module: &Module) -> Result<(), EngineError> {
        let extra = module.features.without(self.inner.config.features);
        match self.compiler() {
            _ if extra == Features::NONE => Ok(()),
            Some(_) => self.decode(&module.bytes, module.hash).map(drop).map_err(compile_error),
            None => Err(EngineError::Unsupported(format!(
                "the module was decoded with features that are off: {extra}"
            ))),
        }
    }

    fn modules(&self) -> MutexGuard<'_, Modules> {
        self.inner.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses when the engine is closed.
    pub(crate) fn ensure_open(&self) -> Result<(), EngineError> {
        match self.inner.closed.load(Acquire) {
            true => Err(EngineError::Closed),
            false => Ok(()),
        }
    }

    fn remember(&self, module: CompiledModule) -> Result<Arc<CompiledModule>, EngineError> {
        let module = Arc::new(module);
        self.adopt(&module)?;
        Ok(module)
    }

    /// Finds a module's code in memory or in the cache, without compiling and without the
    /// module's bytes. What is found has no listeners and can be interrupted; code that has been
    /// compiled otherwise counts as absent, and so does code that was compiled with features that are
    /// off now: [`Self::decode`] tells whether the module needs them.
    ///
    /// # Errors
    /// When the engine is closed, or the cache holds a file that cannot be trusted or mapped;
    /// [`EngineError::DamagedCode`] when it is not what was compiled, and [`Self::compile`] will replace
    /// it.
    pub fn load(
        &self,
        module: &ModuleHash,
    ) -> Result<Option<(Arc<CompiledModule>, CodeOrigin)>, EngineError> {
        self.load_checked(module, Check::Once)
    }

    /// As [`Self::load`], having read so much of what the cache holds.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_checked(
        &self,
        module: &ModuleHash,
        check: Check,
    ) -> Result<Option<(Arc<CompiledModule>, CodeOrigin)>, EngineError> {
        let known = self.modules().as_ref().ok_or(EngineError::Closed)?.get(module).cloned();
        let replaces = known.is_none();
        let none = Listeners::none();
        if let Some(known) = known.filter(|known| is_plain(known, true)) {
            if check == Check::Whole
                && let Err(error) =
                    self.open_kind(module, self.kind(&none, None), &none, true, check)
            {
                // It may be mapped from the same file.
                self.forget(module);
                return Err(error);
            }
            return Ok(Some((known, CodeOrigin::Memory)));
        }
        let found = self.open_cached(module, &none, true, check)?;
        let Some(found) = found.filter(|found| self.is_allowed(found)) else { return Ok(None) };
        // What the module was compiled with, with listeners perhaps, is what it stays compiled as.
        let found = if replaces { self.remember(found)? } else { Arc::new(found) };
        Ok(Some((found, CodeOrigin::Cache)))
    }

    /// Takes over a module that another engine compiled for the same use.
    ///
    /// # Errors
    /// When the engine is closed.
    pub fn adopt(&self, module: &Arc<CompiledModule>) -> Result<(), EngineError> {
        let mut modules = self.modules();
        let modules = modules.as_mut().ok_or(EngineError::Closed)?;
        modules.insert(module.hash(), Arc::clone(module));
        Ok(())
    }

    /// Lets go of a module's code in memory. Who has it keeps it.
    pub fn forget(&self, module: &ModuleHash) {
        if let Some(modules) = self.modules().as_mut() {
            modules.remove(module);
        }
    }

    /// Where the cache keeps the code of a module, or the code that goes on from `sites`, without listeners; `None`
    /// without a cache.
    #[must_use]
    pub fn code_path(&self, module: &ModuleHash, sites: Option<&[CallSite]>) -> Option<PathBuf> {
        let key = CodeKey::new(module, self.kind(&Listeners::none(), sites), CpuFeatures::host());
        Some(self.inner.config.cache.as_ref()?.path(&key))
    }

    /// As [`Engine::compile_module`], and returns what it found or made; `progress` is called
    /// while functions are compiled.
    ///
    /// # Errors
    /// When the engine is closed, the module cannot be compiled, or its code cannot be mapped. That a cache
    /// cannot be written is none: [`CompiledModule::not_kept`] says so.
    pub fn compile(
        &self,
        module: &Module,
        listeners: &Listeners,
        ensure_termination: bool,
        progress: Progress<'_>,
    ) -> Result<(Arc<CompiledModule>, CodeOrigin), EngineError> {
        self.check_features(module)?;
        if let Some(known) = self.modules().as_ref().ok_or(EngineError::Closed)?.get(&module.hash)
            && is_plain(known, ensure_termination)
            && listeners.get().is_none()
        {
            return Ok((Arc::clone(known), CodeOrigin::Memory));
        }
        let _lock = self.lock(&module.hash, self.kind(listeners, None));
        // Code of a module that was allowed more is replaced, so that later runs find it at once.
        let found = absent_if_damaged(self.open_cached(
            &module.hash,
            listeners,
            ensure_termination,
            Check::Whole,
        ))?;
        if let Some(found) = found.filter(|found| self.is_allowed(found)) {
            return Ok((self.remember(found)?, CodeOrigin::Cache));
        }
        let Some(compiler) = self.compiler() else {
            return Err(EngineError::Unsupported(format!(
                "module {} is not in the code cache, and this build has no compiler",
                module.hash
            )));
        };
        let bytes = compiler.compile(module, self.options(listeners), progress);
        let bytes = bytes.map_err(compile_error)?;
        let kind = self.kind(listeners, None);
        let compiled = self.keep(&module.hash, kind, &bytes, listeners, ensure_termination)?;
        Ok((self.remember(compiled)?, CodeOrigin::Compiled))
    }

    /// Finds in the cache the code that goes on from `sites`, calls of the functions of a module
    /// (`Store::suspended_sites`), without compiling and without the module's bytes, having read so much of it.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_continuations(
        &self,
        module: &ModuleHash,
        sites: &[CallSite],
        listeners: &Listeners,
        check: Check,
    ) -> Result<Option<Arc<CompiledModule>>, EngineError> {
        self.ensure_open()?;
        let kind = self.kind(listeners, Some(sites));
        // How much work went into them matters little: they are left soon.
        Ok(self.open_kind(module, kind, listeners, true, check)?.map(Arc::new))
    }

    /// Compiles the code that goes on from `sites`, which are ascending, of a module that has been
    /// compiled before, and keeps it in the cache.
    ///
    /// # Errors
    /// When the engine is closed, a function has no such call, or the code cannot be made, kept or
    /// mapped.
    pub fn compile_continuations(
        &self,
        wasm: &[u8],
        hash: ModuleHash,
        sites: &[CallSite],
        listeners: &Listeners,
    ) -> Result<Arc<CompiledModule>, EngineError> {
        self.ensure_open()?;
        let Some(compiler) = self.compiler() else {
            return Err(EngineError::Unsupported(
                "code to go on with is not in the code cache, and this build has no compiler"
                    .to_owned(),
            ));
        };
        let kind = self.kind(listeners, Some(sites));
        let _lock = self.lock(&hash, kind);
        let found = self.open_kind(&hash, kind, listeners, true, Check::Whole);
        if let Some(found) = absent_if_damaged(found)? {
            return Ok(Arc::new(found));
        }
        let bytes = compiler.compile_continuations(wasm, hash, sites, self.options(listeners));
        let bytes = bytes.map_err(compile_error)?;
        self.keep(&hash, kind, &bytes, listeners, true).map(Arc::new)
    }

    fn options(&self, listeners: &Listeners) -> CompileOptions {
        let EngineConfig { features, opt_level, frame_maps, .. } = self.inner.config;
        // Code with frame maps runs once, so what is quickly made is soonest done.
        let usual = if frame_maps { OptLevel::Less } else { OptLevel::default() };
        CompileOptions {
            listeners: listeners.get().is_some(),
            frame_maps,
            opt_level: opt_level.unwrap_or(usual),
            features,
        }
    }

    fn kind<'a>(&self, listeners: &Listeners, sites: Option<&'a [CallSite]>) -> CodeKind<'a> {
        CodeKind {
            listeners: listeners.get().is_some(),
            frame_maps: self.inner.config.frame_maps,
            continuations: sites,
        }
    }

    /// Waits until nobody else compiles the same, in any process that has the cache, so that all but the
    /// first find it made. Where the cache cannot be locked nobody waits, and the same is made twice.
    fn lock(&self, module: &ModuleHash, kind: CodeKind<'_>) -> Option<Lock> {
        let cache = self.inner.config.cache.as_ref()?;
        cache.lock(&CodeKey::new(module, kind, CpuFeatures::host())).ok()
    }

    /// Keeps code in the cache, if there is one, and takes it into use.
    fn keep(
        &self,
        module: &ModuleHash,
        kind: CodeKind<'_>,
        bytes: &[u8],
        listeners: &Listeners,
        ensure_termination: bool,
    ) -> Result<CompiledModule, EngineError> {
        let mut not_kept = None;
        let mapping = match self.inner.config.cache.as_ref().filter(|cache| !cache.is_read_only()) {
            None => Mapping::anonymous(bytes),
            Some(cache) => {
                let key = CodeKey::new(module, kind, CpuFeatures::host());
                match cache.insert(&key, bytes) {
                    Ok(file) => Mapping::new(&file),
                    // It was long work, and is not to be done again.
                    Err(error) => {
                        not_kept = Some(error.to_string());
                        Mapping::anonymous(bytes)
                    }
                }
            }
        };
        let mapping =
            mapping.map_err(|source| EngineError::Resource { what: "map the code", source })?;
        let file = CodeFile::new(mapping).map_err(LoadError::from);
        // What was just compiled is not read again.
        let module =
            file.and_then(|file| CompiledModule::new(file, listeners.clone(), ensure_termination));
        let module = module.map_err(|e| EngineError::Cache(e.to_string()))?;
        Ok(module.not_kept_because(not_kept))
    }

    fn open_cached(
        &self,
        module: &ModuleHash,
        listeners: &Listeners,
        ensure_termination: bool,
        check: Check,
    ) -> Result<Option<CompiledModule>, EngineError> {
        let kind = self.kind(listeners, None);
        let found = self.open_kind(module, kind, listeners, ensure_termination, check)?;
        Ok(found.filter(|found| self.is_as_asked(found)))
    }

    fn open_kind(
        &self,
        module: &ModuleHash,
        kind: CodeKind<'_>,
        listeners: &Listeners,
        ensure_termination: bool,
        check: Check,
    ) -> Result<Option<CompiledModule>, EngineError> {
        let Some(cache) = &self.inner.config.cache else { return Ok(None) };
        let key = CodeKey::new(module, kind, CpuFeatures::host());
        let open = |stored: StoredCode| {
            let file = CodeFile::new(Mapping::new(stored.file())?)?;
            stored.check(&file, check)?;
            CompiledModule::new(file, listeners.clone(), ensure_termination)
        };
        let stored = cache.open(&key).map_err(|e| EngineError::Cache(e.to_string()))?;
        match stored.map(open).transpose() {
            Ok(found) => Ok(found),
            // Made for something else: compiled again and replaced.
            Err(LoadError::File(CodeFileError::Version { .. } | CodeFileError::Features)) => {
                Ok(None)
            }
            Err(LoadError::File(error)) => {
                Err(EngineError::DamagedCode { module: *module, reason: error.to_string() })
            }
            Err(LoadError::Io(source)) => {
                Err(EngineError::Resource { what: "map the code", source })
            }
        }
    }
}

/// What is damaged is replaced, as if it were not there.
fn absent_if_damaged<T>(found: Result<Option<T>, EngineError>) -> Result<Option<T>, EngineError> {
    match found {
        Err(EngineError::DamagedCode { .. }) => Ok(None),
        found => found,
    }
}

/// Whether code tells no listener, and can be interrupted as is asked.
fn is_plain(code: &CompiledModule, ensure_termination: bool) -> bool {
    code.listener().is_none() && code.ensure_termination() == ensure_termination
}

fn compile_error(error: CompileError) -> EngineError {
    match error {
        CompileError::Unsupported(message) => EngineError::Unsupported(message),
        other => EngineError::Compile(other.to_string()),
    }
}

impl Engine for NativeEngine {
    type Store = Store;
    type ModuleEngine<'s> = NativeModuleEngine<'s>;

    fn new_store(&self) -> Result<Store, EngineError> {
        Store::new(self, Linker::new(), StoreConfig::default())
    }

    fn close(&self) -> Result<(), EngineError> {
        *self.modules() = None;
        self.inner.closed.store(true, Release);
        Ok(())
    }

    fn compile_module(
        &self,
        module: &Module,
        listeners: &Listeners,
        ensure_termination: bool,
    ) -> Result<(), EngineError> {
        self.compile(module, listeners, ensure_termination, &|_| {}).map(|_| ())
    }

    fn compiled_module_count(&self) -> u32 {
        self.modules().as_ref().map_or(0, |modules| modules.len() as u32)
    }

    fn delete_compiled_module(&self, module: &Module) {
        self.forget(&module.hash);
        if let Some(cache) = &self.inner.config.cache {
            for (listeners, frame_maps) in
                [(false, false), (false, true), (true, false), (true, true)]
            {
                let kind = CodeKind { listeners, frame_maps, continuations: None };
                let key = CodeKey::new(&module.hash, kind, CpuFeatures::host());
                // Deleting what cannot be deleted leaves a file that is only a cache.
                let _ = cache.remove(&key);
            }
        }
    }

    fn new_module_engine<'s>(
        &self,
        module: &Module,
        store: &'s mut Store,
    ) -> Result<NativeModuleEngine<'s>, EngineError> {
        let known = self.modules().as_ref().ok_or(EngineError::Closed)?.get(&module.hash).cloned();
        let compiled = known.ok_or(EngineError::NotCompiled(module.hash))?;
        let id = store.inner.attempt(|store| store.allocate(&compiled))?;
        Ok(NativeModuleEngine::new(&mut store.inner, id))
    }

    fn module_engine<'s>(
        &self,
        store: &'s mut Store,
        instance: InstanceId,
    ) -> Option<NativeModuleEngine<'s>> {
        store.inner.instance(instance)?;
        Some(NativeModuleEngine::new(&mut store.inner, instance.of_any()))
    }
}
