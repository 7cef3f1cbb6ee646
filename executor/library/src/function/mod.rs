//! Functions: a module, or a snapshot of its instances, and how it is called.
//!
//! Invariant: a function holds all that its instances share, found, decoded and linked once: an instance
//! looks up no path, hashes nothing and decodes nothing.

pub(crate) mod acquire;
mod capture;
mod create;
mod images;
mod modules;
mod record;
mod repeat;

pub use capture::Created;
pub(crate) use capture::{Place, keep as keep_capture, manifest, write};
pub use create::{Base, Creation};
pub(crate) use create::{Plan, plan_methods};
pub(crate) use modules::{
    Modules, WasmModules, check_init, exported_functions, exported_type, kind,
};

use self::images::Images;
use crate::{
    Error, ExternType, Instance, InstanceBuilder, Report, Snapshot, Source,
    given::environment,
    report::ModuleCode,
    runtime::{Check, Code, Runtime, WasmModule},
    settings::Directory,
};
use executor_code::file::CallSite;
use executor_model::{FuncType, InstanceId, ModuleHash};
use executor_runtime::{CompiledModule, Idle, Image};
use executor_snapshot::{Defaults, EntryKind, InstanceNames, Manifest, SnapshotFile};
use executor_wasi::{Environment, WasiState};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// A module, or a snapshot of its instances, ready to make instances. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Function(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runtime: Runtime,
    name: String,
    state: State,
    /// Where its code came from.
    code: Vec<ModuleCode>,
    /// Why its instances are as they are.
    why: String,
}

/// What instances begin with.
#[derive(Debug)]
pub(crate) enum State {
    /// They are instantiated.
    Fresh(Modules),
    /// They are restored.
    Kept(Box<Kept>),
}

/// A snapshot, with all that restoring it needs.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) snapshot: Snapshot,
    pub(crate) trust: Trust,
    /// Whether no code of the guest has run in it: its instances are initialised.
    pub(crate) uninitialised: bool,
    /// What its instances are given where nothing else is said.
    pub(crate) defaults: Defaults,
    /// The modules of the instances, in the order of their ids.
    pub(crate) modules: Vec<Arc<CompiledModule>>,
    pub(crate) main: InstanceId,
    pub(crate) wasi: Option<WasiState>,
    /// What a suspended call goes on with.
    pub(crate) continuations: Vec<Arc<CompiledModule>>,
    pub(crate) images: Images,
}

/// Who may have written a snapshot file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// This user's store: its checked header is enough.
    Own,
    /// Anyone: every byte and every reference is checked.
    Nobody,
}

impl Trust {
    /// What instances of a snapshot are given where nothing else is said. Whoever made another's file does
    /// not say what this user's guests have of the host, or how much.
    pub(crate) fn defaults(self, manifest: &Manifest) -> Defaults {
        let Defaults { invoke, arg0, args, .. } = manifest.defaults.clone();
        match self {
            Self::Own => manifest.defaults.clone(),
            Self::Nobody => Defaults { invoke, arg0, args, ..Defaults::default() },
        }
    }
}

impl Kept {
    /// Finds the code of a snapshot, and decodes what else its instances need.
    pub(crate) fn open(
        runtime: &Runtime,
        code: Code,
        snapshot: Snapshot,
        trust: Trust,
        at_hand: &[WasmModule],
        report: &mut Report,
    ) -> Result<Self, Error> {
        let file = snapshot.file();
        let manifest = file.manifest();
        let main = InstanceId::new(manifest.main).ok_or(Error::NoMainInstance)?;
        let wasi = manifest.wasi.as_deref().map(WasiState::decode).transpose()?;
        let shared = &runtime.shared;
        // The image of another's file is checked whole in any case.
        if shared.verify_snapshots && trust == Trust::Own {
            snapshot.verify()?;
        }
        let mut modules = Vec::with_capacity(file.instances().len());
        for hash in file.modules() {
            modules.push(shared.code_of_hash(code, hash, at_hand, report)?);
        }
        if main.position() >= modules.len() {
            return Err(Error::NoMainInstance);
        }
        let continuations = match file.call() {
            Some(_) => shared.continuations(code, sites(file), at_hand, report)?,
            None => Vec::new(),
        };
        let defaults = trust.defaults(manifest);
        let images = Images::default();
        let uninitialised = false;
        Ok(Self {
            snapshot,
            trust,
            uninitialised,
            defaults,
            modules,
            main,
            wasi,
            continuations,
            images,
        })
    }

    /// The module of the main instance.
    pub(crate) fn main_module(&self) -> &Arc<CompiledModule> {
        &self.modules[self.main.position()]
    }
}

/// The calls that the suspended call of a snapshot goes on from, by module; ascending, each once.
pub(crate) fn sites(file: &SnapshotFile) -> BTreeMap<ModuleHash, Vec<CallSite>> {
    let mut sites: BTreeMap<ModuleHash, BTreeSet<CallSite>> = BTreeMap::new();
    for frame in file.call().iter().flat_map(|call| &call.frames) {
        if let Some(instance) = file.instances().get(frame.instance.position()) {
            sites.entry(instance.module).or_default().insert(frame.site);
        }
    }
    sites.into_iter().map(|(hash, sites)| (hash, sites.into_iter().collect())).collect()
}

impl State {
    /// The names of the instances, in order of their ids.
    pub(crate) fn names(&self) -> Vec<InstanceNames> {
        match self {
            Self::Fresh(modules) => modules.names(),
            Self::Kept(kept) => kept.snapshot.file().manifest().instances.clone(),
        }
    }

    /// All its modules.
    fn modules(&self) -> impl Iterator<Item = &Arc<CompiledModule>> {
        let (kept, preloaded, main) = match self {
            Self::Kept(kept) => (&kept.modules[..], &[][..], None),
            Self::Fresh(modules) => (&[][..], &modules.preload[..], Some(&modules.main)),
        };
        kept.iter().chain(preloaded.iter().map(|(_, module)| module)).chain(main)
    }

    pub(crate) fn main_module(&self) -> &Arc<CompiledModule> {
        match self {
            Self::Fresh(modules) => &modules.main,
            Self::Kept(kept) => kept.main_module(),
        }
    }
}

impl Function {
    /// A function of a module without a snapshot.
    pub(crate) fn of_module(
        runtime: &Runtime,
        source: &Source,
        check: Check,
        report: &mut Report,
    ) -> Result<Self, Error> {
        let shared = &runtime.shared;
        let module = WasmModule::open(source, shared)?;
        let main = shared.code_of(Code::Plain, &module, check, report)?;
        let state = State::Fresh(Modules::new(Vec::new(), main));
        let why = "it has no snapshot".to_owned();
        Ok(Self::new(runtime, source.file_name(), state, why, report))
    }

    /// A function that the runtime keeps.
    pub(crate) fn of_store(
        runtime: &Runtime,
        name: &str,
        snapshot: Snapshot,
        at_hand: &[WasmModule],
        report: &mut Report,
    ) -> Result<Self, Error> {
        let kept = Kept::open(runtime, Code::Plain, snapshot, Trust::Own, at_hand, report)?;
        let why = format!("function `{name}`");
        Ok(Self::new(
            runtime,
            create::plain(name).to_owned(),
            State::Kept(Box::new(kept)),
            why,
            report,
        ))
    }

    /// A function of a snapshot file from elsewhere.
    pub(crate) fn of_file(
        runtime: &Runtime,
        snapshot: Snapshot,
        at_hand: &[WasmModule],
        report: &mut Report,
    ) -> Result<Self, Error> {
        let path = snapshot.path();
        let why = format!("snapshot file {}", path.display());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kept = Kept::open(runtime, Code::Plain, snapshot, Trust::Nobody, at_hand, report)?;
        Ok(Self::new(runtime, name, State::Kept(Box::new(kept)), why, report))
    }

    fn new(runtime: &Runtime, name: String, state: State, why: String, report: &Report) -> Self {
        let code = report.code.clone();
        Self(Arc::new(Inner { runtime: runtime.clone(), name, state, code, why }))
    }

    /// An instance that is given nothing: no arguments, environment, directories or input, and its output
    /// is thrown away.
    ///
    /// # Errors
    /// As [`InstanceBuilder::start`].
    pub fn instantiate(&self) -> Result<Instance, Error> {
        self.instance().start()
    }

    /// Says what an instance is given, and makes it.
    pub fn instance(&self) -> InstanceBuilder {
        InstanceBuilder::new(self.clone())
    }

    /// Its name: the one that it is kept under, or else that of its file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The snapshot that its instances are restored from; none of a module.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Snapshot> {
        match &self.0.state {
            State::Kept(kept) => Some(&kept.snapshot),
            State::Fresh(_) => None,
        }
    }

    /// What [`Instance::run`] does.
    #[must_use]
    pub fn kind(&self) -> EntryKind {
        match &self.0.state {
            State::Kept(kept) if kept.snapshot.file().call().is_some() => EntryKind::Call,
            state => kind(state.main_module()),
        }
    }

    /// Where the machine code of its modules came from when it was opened.
    #[must_use]
    pub fn code(&self) -> &[ModuleCode] {
        &self.0.code
    }

    /// The hash of the bytes of its main module.
    #[must_use]
    pub fn module(&self) -> ModuleHash {
        self.0.state.main_module().hash()
    }

    /// How many functions its main module has, imported ones too.
    #[must_use]
    pub fn function_count(&self) -> u32 {
        self.0.state.main_module().code().function_count()
    }

    /// The length in bytes of the code file of its main module.
    #[must_use]
    pub fn code_len(&self) -> u64 {
        self.0.state.main_module().code().header().file_len
    }

    /// What its main module exports, in the order of the names.
    ///
    /// # Errors
    /// When the code file is damaged.
    pub fn exports(&self) -> Result<Vec<(String, ExternType)>, Error> {
        modules::exports(self.0.state.main_module())
    }

    /// The type of a function that its main module exports.
    ///
    /// # Errors
    /// When there is no such export, or it is not a function.
    pub fn function_type(&self, export: &str) -> Result<FuncType, Error> {
        exported_type(self.0.state.main_module(), export)
    }

    /// Argument 0 of its instances where nothing else is said.
    #[must_use]
    pub fn arg0(&self) -> &str {
        self.defaults().and_then(|defaults| defaults.arg0.as_deref()).unwrap_or(self.name())
    }

    /// The directories that its instances are given where nothing else is said.
    #[must_use]
    pub fn directories(&self) -> Vec<Directory> {
        self.defaults().map_or_else(Vec::new, |defaults| {
            defaults.directories.iter().map(Directory::from).collect()
        })
    }

    /// How much time its instances have where nothing else is said.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.defaults()?.timeout
    }

    /// How much memory its instances may have ([`Limits::memory`](crate::Limits::memory)) where nothing else is said.
    #[must_use]
    pub fn max_memory(&self) -> Option<u64> {
        self.defaults()?.max_memory
    }

    /// Lets the runtime go of the machine code of its modules, which is unmapped once the last function and instance
    /// that use it are gone. A function that is opened later finds it in the store again.
    pub fn forget_code(&self) {
        // An engine that cannot be made has nothing to let go of.
        let Ok(engine) = self.runtime().shared.engine(Code::Plain) else { return };
        self.state().modules().for_each(|module| engine.forget(&module.hash()));
    }

    /// Its instances' stores that wait to be used again.
    #[must_use]
    pub fn idle(&self) -> Idle {
        let image = match &self.0.state {
            State::Fresh(modules) => modules.image.get(),
            State::Kept(kept) => kept.images.get(),
        };
        image.map(Image::idle).unwrap_or_default()
    }

    /// The variables of this process's environment that its instances are given where nothing else is said: for
    /// whoever makes them in another process.
    ///
    /// # Errors
    /// When one is not set, or not UTF-8.
    pub fn variables_of_process(&self) -> Result<Environment, Error> {
        let none = Defaults::default();
        let Defaults { env, inherit_env, .. } = self.defaults().unwrap_or(&none);
        let named = env.iter().filter(|(_, value)| value.is_none()).cloned();
        environment(
            Environment::new(),
            named.collect(),
            *inherit_env,
            &self.runtime().shared.listener,
        )
    }

    /// What its instances are given where nothing else is said.
    pub(crate) fn defaults(&self) -> Option<&Defaults> {
        match &self.0.state {
            State::Kept(kept) => Some(&kept.defaults),
            State::Fresh(_) => None,
        }
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    pub(crate) fn state(&self) -> &State {
        &self.0.state
    }

    pub(crate) fn why(&self) -> &str {
        &self.0.why
    }
}
