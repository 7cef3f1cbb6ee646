//! Making functions: an instance is initialised, or called up to a point, and kept.
//!
//! Invariant: nothing is written before the instance is where it is to be kept; one that does not get
//! there is an error that says what it did instead.

use super::{
    Function, Kept, Place, State, Trust,
    acquire::{Request, acquire},
    capture::{self, Created},
    kind,
    modules::{WasmModules, exported_type},
    record::Recorder,
};
use crate::{
    Error, Instance, Report, Snapshot, Source,
    given::{Given, GivenOptions, given_methods},
    instance::Call,
    runtime::{Check, Code, Runtime, WasmModule, failed, file_name},
    versions::Deployment,
};
use executor_files::check_output;
use executor_runtime::Reached;
use executor_snapshot::{
    Catalogue, CatalogueError, Defaults, EntryKind, Hook, InstanceNames, Manifest,
    catalogue::Switched, check_after_restore, format::MAGIC as SNAPSHOT_MAGIC,
};
use executor_wasi::{CHECKPOINT, CaptureOptions, Point};
use std::{
    ffi::OsStr,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// What a function is made from.
#[derive(Debug, Clone)]
pub enum Base {
    /// A module.
    Module(Source),
    /// A function that the runtime keeps: what is made goes on from its snapshot.
    Function(String),
    /// A snapshot file that anyone may have made, as in [`Runtime::open_snapshot`].
    Snapshot(PathBuf),
}

impl Base {
    /// Whether a word of a command line is a path, and not the name of a function: it has a slash, or
    /// ends as modules and snapshots do (`.wasm`, `.wat`, `.snap`).
    #[must_use]
    pub fn is_path(word: &OsStr) -> bool {
        let end = Path::new(word).extension().and_then(OsStr::to_str);
        let ends = end.is_some_and(|end| {
            ["wasm", "wat", "snap"].iter().any(|known| end.eq_ignore_ascii_case(known))
        });
        ends || word.as_encoded_bytes().contains(&b'/')
    }

    /// What a file holds: a snapshot, or else a module. All of a pipe or a device is read now.
    ///
    /// # Errors
    /// When it cannot be read, or a snapshot is not in a regular file.
    pub fn file(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let file = File::open(&path).map_err(failed(&path))?;
        let regular = file.metadata().map_err(failed(&path))?.is_file();
        if !regular {
            let source = Source::read(file_name(&path), file).map_err(failed(&path))?;
            return match source.begins_with(&SNAPSHOT_MAGIC) {
                true => Err(Error::SnapshotInPipe { path }),
                false => Ok(Self::Module(source)),
            };
        }
        let mut begin = [0; SNAPSHOT_MAGIC.len()];
        match file.read_exact_at(&mut begin, 0) {
            Ok(()) if begin == SNAPSHOT_MAGIC => Ok(Self::Snapshot(path)),
            _ => Ok(Self::Module(Source::file(path))),
        }
    }

    /// What a guest finds as its argument 0 where it is given none.
    fn guest_name(&self) -> String {
        match self {
            Self::Module(source) => source.file_name(),
            Self::Function(name) => plain(name).to_owned(),
            Self::Snapshot(path) => {
                path.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
        }
    }
}

impl<T: Into<Source>> From<T> for Base {
    fn from(source: T) -> Self {
        Self::Module(source.into())
    }
}

/// How an instance is initialised, and what of it is captured.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The modules to instantiate first, with the names their exports are imported under.
    pub(crate) preload: Vec<(String, Source)>,
    /// The exports that are called to initialise it.
    pub(crate) init: Vec<String>,
    /// The exports that are called after each restore.
    pub(crate) after_restore: Vec<String>,
    /// What is called up to the point.
    pub(crate) call: Option<Call>,
    pub(crate) at: Option<Point>,
    pub(crate) options: CaptureOptions,
}

impl Plan {
    /// Looks at the files of a module and of those that it is linked to.
    pub(crate) fn open(&self, runtime: &Runtime, main: &Source) -> Result<WasmModules, Error> {
        let names = self.preload.iter().map(|(name, _)| name.clone()).collect();
        let sources = self.preload.iter().map(|(_, source)| source).chain([main]);
        let modules = sources.map(|source| WasmModule::open(source, &runtime.shared));
        Ok(WasmModules { names, modules: modules.collect::<Result<_, _>>()? })
    }
}

/// The methods by which a builder with a field `plan` is told how an instance is initialised.
macro_rules! plan_methods {
    () => {
        /// Instantiates another module first, whose exports are imported under `name`.
        pub fn preload(
            mut self,
            name: impl Into<String>,
            module: impl Into<$crate::Source>,
        ) -> Self {
            self.plan.preload.push((name.into(), module.into()));
            self
        }

        /// Calls an export, without arguments, to initialise the instance.
        pub fn init(mut self, export: impl Into<String>) -> Self {
            self.plan.init.push(export.into());
            self
        }

        /// Calls an export, without arguments, after each restore and before anything else of the guest,
        /// as its own export `executor_after_restore` is, to make unique what must be. Several are called in order.
        pub fn after_restore(mut self, export: impl Into<String>) -> Self {
            self.plan.after_restore.push(export.into());
            self
        }

        /// Keeps the state inside the call of `_start`, or of the export that is to be called, just
        /// before it gets to a point.
        pub fn at(mut self, point: $crate::Point) -> Self {
            self.plan.at = Some(point);
            self
        }

        /// Sets what is called instead of `_start`.
        pub fn call(mut self, export: impl Into<String>, params: &[$crate::Val]) -> Self {
            let args = $crate::instance::Args::Values(params.to_vec());
            self.plan.call = Some($crate::instance::Call { export: export.into(), args });
            self
        }

        /// As [`Self::call`], with arguments as text, which is read by the types of the parameters.
        pub fn call_text(
            mut self,
            export: impl Into<String>,
            args: impl IntoIterator<Item = impl Into<String>>,
        ) -> Self {
            self.plan.call = Some($crate::instance::Call::text(export, args));
            self
        }

        /// Refuses to capture open files.
        pub fn strict(mut self) -> Self {
            self.plan.options.strict = true;
            self
        }

        /// Sets what becomes of random bytes that the initialisation drew.
        pub fn entropy(mut self, entropy: $crate::Entropy) -> Self {
            self.plan.options.entropy = entropy;
            self
        }
    };
}

pub(crate) use plan_methods;

/// Makes a function, or a snapshot file: see [`Runtime::create`].
///
/// A reactor is initialised by `_initialize` and the exports that [`Self::init`] names. A command's state
/// is kept before `_start`, or inside it at a point: the one given ([`Self::at`]), or where a command that
/// imports `executor.checkpoint` calls it.
#[derive(Debug)]
#[must_use]
pub struct Creation {
    pub(crate) runtime: Runtime,
    pub(crate) name: Option<String>,
    base: Base,
    /// What it is laid over.
    over: Option<Base>,
    output: Option<PathBuf>,
    record: Option<Vec<u8>>,
    given: GivenOptions,
    plan: Plan,
    /// It becomes a version.
    pub(crate) deploys: bool,
    pub(crate) deployment: Deployment,
}

/// What an instance that is to be kept begins as.
pub(super) enum Origin {
    /// A module, with those that it is linked to.
    Modules(WasmModules),
    /// What was kept before.
    Snapshot(Snapshot, Trust),
}

/// A creation that has begun.
pub(super) struct Creating {
    pub(super) runtime: Runtime,
    pub(super) name: Option<String>,
    pub(super) over: Option<Snapshot>,
    pub(super) output: Option<PathBuf>,
    pub(super) record: Option<Vec<u8>>,
    pub(super) given: Given,
    pub(super) plan: Plan,
    /// What instances of the function are to be given.
    pub(super) defaults: Defaults,
    /// As a version of what it becomes.
    pub(super) deployment: Option<Deployment>,
}

/// An instance that is where it is to be kept.
pub(super) struct Made {
    pub(super) instance: Instance,
    /// What its snapshot is to say about itself.
    pub(super) manifest: Manifest,
    /// The files of its modules, where they are not in the store already.
    pub(super) modules: Vec<WasmModule>,
}

/// An instance that can be kept.
struct Ready {
    instance: Instance,
    /// The names of its instances.
    names: Vec<InstanceNames>,
    /// The exports that initialised what it goes on from.
    inits: Vec<String>,
    /// The exports that what it goes on from has called after each restore.
    after_restore: Vec<String>,
    /// The files of its modules, where they are not in the store already.
    modules: Vec<WasmModule>,
}

impl Creation {
    pub(crate) fn new(runtime: Runtime, name: Option<String>, base: Base) -> Self {
        let (given, plan) = (GivenOptions::default(), Plan::default());
        let (over, output, record) = (None, None, None);
        let (deploys, deployment) = (false, Deployment::default());
        Self { runtime, name, base, over, output, record, given, plan, deploys, deployment }
    }

    given_methods!();
    plan_methods!();

    /// Writes the snapshot to a file too: a new one, or in place of a regular file.
    pub fn output(mut self, path: impl Into<PathBuf>) -> Self {
        self.output = Some(path.into());
        self
    }

    /// Stores only the pages that are not in this snapshot, of the same instances in the same places. The others
    /// are mapped from its file, which is kept as long as a stored function needs it; a file that
    /// [`Self::output`] writes needs it in the store, or beside it. What the snapshot is stays the same.
    pub fn over(mut self, base: impl Into<Base>) -> Self {
        self.over = Some(base.into());
        self
    }

    /// Of a snapshot inside a call: goes on with a copy once, with these bytes as its standard input, and
    /// keeps with the snapshot which pages that wrote to, which later instances have at once.
    pub fn record(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.record = Some(input.into());
        self
    }

    /// Makes the function, and opens it.
    ///
    /// # Errors
    /// [`Error::NoName`] where the function has none; otherwise as [`Self::save`].
    pub fn build(self) -> Result<Function, Error> {
        let (runtime, name) = (self.runtime.clone(), self.name.clone());
        let name = name.ok_or(Error::NoName)?;
        self.save()?;
        runtime.function(&name)
    }

    /// Makes the function, and tells what its snapshot is.
    ///
    /// # Errors
    /// [`Error::NotReady`] and [`Error::PointNotReached`] when the guest does not get to where it is to be
    /// kept; [`Error::Output`] when the output cannot be a file; [`Error::Capture`] and [`Error::WasiCapture`] when it has what cannot be kept; those of
    /// modules, snapshots and the store.
    pub fn save(self) -> Result<Created, Error> {
        Ok(self.save_or_deploy()?.0)
    }

    pub(crate) fn save_or_deploy(self) -> Result<(Created, Option<Switched>), Error> {
        let report = &mut Report::default();
        let (creating, origin) = self.begin(report)?;
        let made = creating.make(origin, report)?;
        creating.keep(made, report)
    }

    /// Looks at all that is to be used.
    pub(super) fn begin(self, report: &mut Report) -> Result<(Creating, Origin), Error> {
        let Self { runtime, name, base, over, output, record, given, mut plan, .. } = self;
        let deployment = self.deploys.then_some(self.deployment);
        let shared = &runtime.shared;
        if let (Some(name), Some(catalogue)) = (&name, shared.catalogue()) {
            Catalogue::check_name(name)?;
            if deployment.is_none() && catalogue.is_deployed(name)? {
                return Err(CatalogueError::Deployed { name: name.clone() }.into());
            }
        }
        if let Some(path) = &output {
            check_output(path).map_err(|source| Error::Output { path: path.clone(), source })?;
        }
        let guest = base.guest_name();
        let origin = match base {
            Base::Module(source) => Origin::Modules(plan.open(&runtime, &source)?),
            Base::Function(_) | Base::Snapshot(_) if !plan.preload.is_empty() => {
                return Err(Error::Linked);
            }
            Base::Function(name) => Origin::Snapshot(runtime.snapshot_of(&name)?, Trust::Own),
            Base::Snapshot(path) => Origin::Snapshot(runtime.snapshot_at(path)?, Trust::Nobody),
        };
        let over = match over {
            None => None,
            Some(Base::Function(name)) => Some(runtime.snapshot_of(&name)?),
            Some(Base::Snapshot(path)) => Some(runtime.snapshot_at(path)?),
            Some(Base::Module(module)) => return Err(Error::BaseIsModule(module.file_name())),
        };
        if let (Origin::Modules(modules), None) = (&origin, &plan.at) {
            plan.at = checkpoint(&runtime, modules, report)?;
        }
        let base = match &origin {
            Origin::Modules(_) => Defaults::default(),
            Origin::Snapshot(snapshot, trust) => trust.defaults(snapshot.file().manifest()),
        };
        let mut defaults = given.defaults(&base)?;
        let given = given.settle(&guest, &base, shared.limits, &shared.listener)?;
        match (&plan.at, plan.call.take()) {
            // The call that the snapshot is inside of.
            (Some(_), call) => {
                let entry = defaults.invoke.take();
                plan.call = call.or_else(|| Some(Call::text(entry?, &given.args[1..])));
            }
            // A call that is for later.
            (None, Some(Call { export, args })) => {
                defaults.args = defaults.args.or_else(|| Some(args.to_text()));
                defaults.invoke = Some(export);
            }
            (None, None) => {}
        }
        Ok((
            Creating { runtime, name, over, output, record, given, plan, defaults, deployment },
            origin,
        ))
    }
}

impl Creating {
    /// Makes the instance.
    pub(super) fn make(&self, origin: Origin, report: &mut Report) -> Result<Made, Error> {
        let code = match self.plan.at {
            Some(_) => Code::WithFrameMaps,
            None => Code::Plain,
        };
        let Ready { mut instance, names, mut inits, mut after_restore, modules } = match origin {
            Origin::Modules(modules) => self.fresh(code, modules, report),
            Origin::Snapshot(base, trust) => self.go_on(code, &base, trust, report),
        }
        .map_err(|error| not_ready("the initialisation", error))?;
        if let Some(export) = &self.defaults.invoke {
            exported_type(instance.module()?, export)?;
        }
        if let Some(point) = &self.plan.at {
            let reached = instance.run_until(point.clone());
            let during = format!("the call that was to reach {point}");
            report.phases.end("call");
            match reached.map_err(|error| not_ready(&during, error))? {
                Reached::Point => {}
                Reached::End(_) => return Err(Error::PointNotReached(point.clone())),
            }
        }

        instance.run_hook(Hook::BeforeSnapshot)?;
        let observations = instance.take_observations();
        let Plan { init, at, options, .. } = &self.plan;
        inits.extend_from_slice(init);
        after_restore.extend_from_slice(&self.plan.after_restore);
        let read_env = observations.env;
        let mut manifest =
            capture::manifest(&instance, names, &inits, options, at.as_ref(), observations)?;
        manifest.warnings.extend(read_env.then(|| secrets(&self.defaults)).flatten());
        manifest.defaults = self.defaults.clone();
        manifest.after_restore = after_restore;
        let phases = report.phases.iter();
        manifest.timeline = phases.map(|(phase, time)| (phase.to_owned(), time)).collect();
        Ok(Made { instance, manifest, modules })
    }

    /// Writes the snapshot to where it goes.
    fn keep(
        &self,
        mut made: Made,
        report: &mut Report,
    ) -> Result<(Created, Option<Switched>), Error> {
        let Made { instance, manifest, modules } = &mut made;
        let modules = &*modules;
        let (runtime, shared) = (&self.runtime, &self.runtime.shared);
        let inside_call = self.name.is_some() && self.plan.at.is_some();
        if inside_call {
            // The code that every run needs, so that the first is as quick as the others.
            for module in modules {
                shared.code_of(Code::Plain, module, Check::Once, report)?;
            }
        }
        let working_set = match &self.record {
            None => Vec::new(),
            Some(input) => {
                let recorder = Recorder { runtime, given: &self.given, modules };
                recorder.record(instance, manifest.clone(), input, report)?
            }
        };
        let manifest = manifest.clone();
        // A store that could not be written is an error here, though not while compiling.
        let adding = match (&self.name, shared.directory()) {
            (Some(_), Some(catalogue)) => Some(catalogue.add()?),
            _ => None,
        };
        let mut memory = None;
        let mut places = Vec::new();
        places.extend(self.output.as_deref().map(Place::File));
        match (&self.name, &adding) {
            (Some(_), Some(adding)) => places.push(Place::Store(adding, modules)),
            (Some(_), None) => places.push(Place::Memory(&mut memory)),
            (None, _) => {}
        }
        let (over, listener) = (self.over.as_ref(), &shared.listener);
        let created =
            capture::write(instance, manifest, &working_set, over, &mut places, listener)?;
        drop(places);
        let mut switched = None;
        if let (Some(name), Some(adding)) = (&self.name, &adding) {
            match &self.deployment {
                Some(deployment) => switched = Some(deployment.switch(adding, name, created.id)?),
                None => adding.set_function(name, created.id)?,
            }
        }
        drop(adding);
        if let (Some(name), Some(file)) = (&self.name, memory) {
            shared.remember(modules)?;
            let snapshot = Snapshot::new(file);
            let function = Function::of_store(runtime, name, snapshot, modules, report)?;
            runtime.kept().insert(name.clone(), function);
        } else if inside_call {
            shared.continuations(Code::Plain, instance.store.suspended_sites(), modules, report)?;
        }
        Ok((created, switched))
    }

    /// An instance of a module.
    fn fresh(&self, code: Code, opened: WasmModules, report: &mut Report) -> Result<Ready, Error> {
        let runtime = &self.runtime;
        let modules = opened.compile(runtime, code, report)?;
        modules.check_hooks(&self.plan.after_restore)?;
        let names = modules.names();
        let state = State::Fresh(modules);
        let request = Request {
            runtime,
            state: &state,
            given: &self.given,
            init: &self.plan.init,
            call: self.plan.call.as_ref(),
            why: "it is to be kept",
        };
        let instance = acquire(request, report)?;
        let (inits, after_restore) = (Vec::new(), Vec::new());
        Ok(Ready { instance, names, inits, after_restore, modules: opened.modules })
    }

    /// An instance that goes on from a snapshot.
    fn go_on(
        &self,
        code: Code,
        base: &Snapshot,
        trust: Trust,
        report: &mut Report,
    ) -> Result<Ready, Error> {
        let runtime = &self.runtime;
        let inside_call = base.file().call().is_some();
        if inside_call && self.plan.at.is_none() {
            return Err(Error::NoPoint);
        }
        let kept = Kept::open(runtime, code, base.clone(), trust, &[], report)?;
        let manifest = base.file().manifest();
        let (names, inits) = (manifest.instances.clone(), manifest.inits.clone());
        let after_restore = manifest.after_restore.clone();
        check_after_restore(kept.main_module(), &self.plan.after_restore)?;
        let state = State::Kept(Box::new(kept));
        let call = self.plan.call.as_ref().filter(|_| !inside_call);
        let request = Request {
            runtime,
            state: &state,
            given: &self.given,
            init: &[],
            call,
            why: "it is to go on from there",
        };
        let mut instance = acquire(request, report)?;
        instance.initialise(&self.plan.init)?;
        Ok(Ready { instance, names, inits, after_restore, modules: Vec::new() })
    }
}

/// The function that `NAME[@TAG]` is of.
pub(super) fn plain(name: &str) -> &str {
    name.split_once('@').map_or(name, |(function, _)| function)
}

/// Where the snapshot is to be taken of a command that says so itself, by importing the checkpoint.
fn checkpoint(
    runtime: &Runtime,
    modules: &WasmModules,
    report: &mut Report,
) -> Result<Option<Point>, Error> {
    let main = modules.compile_main(runtime, Code::Plain, report)?;
    let code = main.code();
    let mut imports = (0..code.counts().imported_functions).map(|func| code.import(func));
    let found = imports.any(|import| import == Some(CHECKPOINT));
    Ok((found && kind(&main) == EntryKind::Command).then_some(Point::Checkpoint))
}

/// That variables whose values were not to be kept are in the state of a guest that has read them.
fn secrets(defaults: &Defaults) -> Option<String> {
    let names = defaults.env.iter().filter(|(_, value)| value.is_none());
    let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "the initialisation read the environment: the value that it had of {} is in the snapshot",
            names.join(", ")
        )
    })
}

/// Says what the guest was doing when it ended, where that is why there is nothing to keep.
fn not_ready(during: &str, error: Error) -> Error {
    match error {
        error @ (Error::Call(_) | Error::TimedOut { .. }) if error.ends_guest() => {
            Error::NotReady { during: during.to_owned(), source: Box::new(error) }
        }
        error => error,
    }
}
