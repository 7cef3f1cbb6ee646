//! The engine as commands use it: code from the cache, compiled on a miss.
//!
//! Invariant: the compiler is not started, and no module is read, before the cache has been asked.

use crate::{
    code_args::CodeArgs,
    error::Failure,
    progress::Progress,
    report::{Code, Phases},
    source::{Source, Sources},
    units, warn,
};
use executor_code::{CompileEvent, Compiler};
use executor_model::{EngineError, Features, Listeners, ModuleHash};
use executor_runtime::{CodeOrigin, CompiledModule, EngineConfig, NativeEngine, PoolConfig, Store};
use executor_snapshot::Catalogue;
use std::{
    borrow::Cow,
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
};

/// The engine, the store it keeps its code in, and what it did.
pub struct Host {
    /// The engine.
    pub engine: NativeEngine,
    config: EngineConfig,
    /// The store, if it is used and can be.
    pub catalogue: Option<Catalogue>,
    /// Where code came from.
    pub code: Code,
    /// The time of each phase.
    pub phases: Phases,
    verbose: bool,
}

impl Host {
    /// An engine over a store or none.
    ///
    /// # Errors
    /// When the machine lacks something the engine needs.
    pub fn new(
        catalogue: Option<Catalogue>,
        code: &CodeArgs,
        verbose: bool,
        mut phases: Phases,
    ) -> Result<Self, Failure> {
        let cache = catalogue.as_ref().map(Catalogue::code);
        let config = EngineConfig {
            compiler: compiler_if_any(),
            cache,
            features: code.features(Features::default()),
            opt_level: code.opt_level,
            frame_maps: false,
            // Each store of a process is used once.
            pool: PoolConfig::default(),
        };
        let engine = NativeEngine::new(config.clone()).map_err(Failure::new)?;
        phases.end("engine");
        Ok(Self { engine, config, catalogue, code: Code::default(), phases, verbose })
    }

    /// The same with frame maps in its code, so that calls can be suspended.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_frame_maps(&self) -> Result<Self, Failure> {
        let config =
            EngineConfig { pool: PoolConfig::default(), frame_maps: true, ..self.config.clone() };
        let engine = NativeEngine::new(config.clone()).map_err(Failure::new)?;
        let (catalogue, verbose) = (self.catalogue.clone(), self.verbose);
        let (code, phases) = (Code::default(), Phases::begin());
        Ok(Self { engine, config, catalogue, code, phases, verbose })
    }

    /// The code that the suspended call of a store goes on with.
    ///
    /// # Errors
    /// When it is not in the store, and the module is not either, or has no such calls.
    pub fn continuations(&mut self, store: &Store) -> Result<Vec<Arc<CompiledModule>>, Failure> {
        self.make_continuations(store, |host, hash| host.module_bytes(hash))
    }

    /// The same, of modules whose files are at hand.
    ///
    /// # Errors
    /// When a module has no such calls.
    pub fn continuations_of(
        &mut self,
        store: &Store,
        sources: &Sources,
    ) -> Result<Vec<Arc<CompiledModule>>, Failure> {
        self.make_continuations(store, |host, hash| {
            match sources.all().find(|source| source.hash() == hash) {
                Some(source) => source.bytes().map(Cow::into_owned),
                None => host.module_bytes(hash),
            }
        })
    }

    fn make_continuations(
        &mut self,
        store: &Store,
        bytes: impl Fn(&Self, ModuleHash) -> Result<Vec<u8>, Failure>,
    ) -> Result<Vec<Arc<CompiledModule>>, Failure> {
        let mut continuations = Vec::new();
        for (hash, sites) in store.suspended_sites() {
            let found = self.engine.load_continuations(&hash, &sites, &Listeners::none());
            let found = found.unwrap_or_else(|error| {
                warn(format_args!("{error}; compiling again"));
                None
            });
            continuations.push(match found {
                Some(found) => found,
                None => {
                    let bytes = bytes(self, hash)?;
                    let fail =
                        |error: &dyn Display| Failure::new(format_args!("module {hash}: {error}"));
                    let none = Listeners::none();
                    self.engine
                        .compile_continuations(&bytes, hash, &sites, &none)
                        .map_err(|e| fail(&e))?
                }
            });
        }
        self.phases.end("continuations");
        Ok(continuations)
    }

    /// The bytes of a module that the store has.
    fn module_bytes(&self, hash: ModuleHash) -> Result<Vec<u8>, Failure> {
        let bytes = match &self.catalogue {
            Some(catalogue) => catalogue.module(hash).map_err(Failure::new)?,
            None => None,
        };
        bytes.ok_or_else(|| {
            Failure::new(format_args!(
                "the code of module {hash} is not in the store; give the module to \
                 `executor compile` first"
            ))
        })
    }

    /// Says what happened, with `-v`.
    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("executor: {}", what());
        }
    }

    /// The code of a module's file.
    ///
    /// # Errors
    /// When the file is not a valid module, or cannot be compiled.
    pub fn code_of(&mut self, source: &Source) -> Result<Arc<CompiledModule>, Failure> {
        match self.load(source.hash()) {
            Some(module) => Ok(module),
            None => self.compile(source.hash(), &source.bytes()?, source.path().display()),
        }
    }

    /// The code of a module that a snapshot names: the store may have the module itself.
    ///
    /// # Errors
    /// When neither its code nor the module is there.
    pub fn code_of_hash(&mut self, hash: ModuleHash) -> Result<Arc<CompiledModule>, Failure> {
        if let Some(module) = self.load(hash) {
            return Ok(module);
        }
        let bytes = self.module_bytes(hash)?;
        self.compile(hash, &bytes, format_args!("module {hash}"))
    }

    fn load(&mut self, hash: ModuleHash) -> Option<Arc<CompiledModule>> {
        let found = self.engine.load(&hash);
        self.phases.end("load");
        match found {
            Ok(Some((module, origin))) => {
                self.code.add(hash, origin);
                Some(module)
            }
            Ok(None) => None,
            Err(error) => {
                warn(format_args!("{error}; compiling again"));
                None
            }
        }
    }

    /// Goes on without a store that cannot be written, which is no reason not to run.
    fn give_up_store(&mut self, error: &dyn Display) -> Result<(), Failure> {
        warn(format_args!("{error}; nothing is kept"));
        self.catalogue = None;
        self.config.cache = None;
        self.engine = NativeEngine::new(self.config.clone()).map_err(Failure::new)?;
        Ok(())
    }

    fn compile(
        &mut self,
        hash: ModuleHash,
        bytes: &[u8],
        name: impl Display,
    ) -> Result<Arc<CompiledModule>, Failure> {
        if self.config.compiler.is_none() {
            return Err(Failure::new(format_args!(
                "{name} is not compiled yet, and this build has no compiler"
            )));
        }
        let fail = |error: &dyn Display| Failure::new(format_args!("{name}: {error}"));
        let module = self.engine.decode(bytes, hash).map_err(|e| fail(&e))?;
        self.phases.end("decode");
        // Known before the work: a long compilation is not to be done twice.
        if let Some(Err(error)) = self.catalogue.as_ref().map(|c| c.add().map(drop)) {
            self.give_up_store(&error)?;
        }
        let progress = Progress::new(match self.config.frame_maps {
            true => "compiling with frame maps",
            false => "compiling",
        });
        let simplified = Mutex::new(Vec::new());
        let report = |event: CompileEvent| match event {
            CompileEvent::Progress { done, total } => progress.report(done as u64, total as u64),
            CompileEvent::Simplified { func, len } => {
                simplified.lock().unwrap_or_else(PoisonError::into_inner).push((func, len));
            }
            _ => {}
        };
        let compiled = match self.engine.compile(&module, &Listeners::none(), true, &report) {
            Err(EngineError::Cache(message)) => {
                self.give_up_store(&message)?;
                self.engine.compile(&module, &Listeners::none(), true, &report)
            }
            compiled => compiled,
        };
        let (compiled, origin) = compiled.map_err(|e| fail(&e))?;
        drop(progress);
        let mut simplified = simplified.into_inner().unwrap_or_else(PoisonError::into_inner);
        simplified.sort_unstable();
        if let Some((func, len)) = simplified.first() {
            let named = compiled.code().function_name(*func).map(|name| format!(" ({name})"));
            let others = match simplified.len() - 1 {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            warn(format_args!(
                "{name}: function {func}{}, {} of WebAssembly,{others} too large to optimise; \
                 compiled without",
                named.unwrap_or_default(),
                units::show_size(*len as u64)
            ));
        }
        self.phases.end("compile");
        self.code.add(hash, origin);
        if origin == CodeOrigin::Compiled {
            self.say(|| {
                format!("compiled {name} ({} functions)", compiled.code().function_count())
            });
        }
        Ok(compiled)
    }
}

#[cfg(not(feature = "compiler"))]
fn compiler_if_any() -> Option<Arc<dyn Compiler>> {
    None
}

#[cfg(feature = "compiler")]
fn compiler_if_any() -> Option<Arc<dyn Compiler>> {
    Some(compiler())
}

/// The compiler, which starts when it is first used.
#[cfg(feature = "compiler")]
pub fn compiler() -> Arc<dyn Compiler> {
    Arc::new(lazy::LazyCompiler::default())
}

#[cfg(feature = "compiler")]
mod lazy {
    use executor_code::{CompileError, CompileOptions, Compiler, Progress, file::CallSite};
    use executor_compiler::NativeCompiler;
    use executor_model::{Features, Module, ModuleHash};
    use std::sync::OnceLock;

    /// Cranelift looks at the processor and builds its tables when it starts; a run whose code is
    /// cached does not wait for that.
    #[derive(Default)]
    pub struct LazyCompiler(OnceLock<NativeCompiler>);

    impl LazyCompiler {
        fn get(&self) -> Result<&NativeCompiler, CompileError> {
            if let Some(compiler) = self.0.get() {
                return Ok(compiler);
            }
            let compiler = NativeCompiler::new()?;
            Ok(self.0.get_or_init(|| compiler))
        }
    }

    impl Compiler for LazyCompiler {
        fn decode(
            &self,
            wasm: &[u8],
            hash: ModuleHash,
            features: Features,
        ) -> Result<Module, CompileError> {
            self.get()?.decode(wasm, hash, features)
        }

        fn compile(
            &self,
            module: &Module,
            options: CompileOptions,
            progress: Progress<'_>,
        ) -> Result<Vec<u8>, CompileError> {
            self.get()?.compile(module, options, progress)
        }

        fn compile_continuations(
            &self,
            wasm: &[u8],
            hash: ModuleHash,
            sites: &[CallSite],
            options: CompileOptions,
        ) -> Result<Vec<u8>, CompileError> {
            self.get()?.compile_continuations(wasm, hash, sites, options)
        }
    }
}
