//! A guest: a store whose main instance is ready to be called, fresh or restored.
//!
//! Invariant: a fresh guest and a restored one are the same to [`Guest::call`]; initialisation has
//! run exactly once in the life of the state.

use crate::{
    args::GuestArgs,
    engine::Host,
    error::{EXIT_FAILURE, EXIT_TRAP, Failure},
    source::{Source, Sources},
    timeout::Timeout,
    values,
};
use executor_model::{CallError, ExternKind, FuncRef, FuncType, InstanceId, Val};
use executor_runtime::{
    CompiledModule, InstantiateError, Linker, NativeEngine, Reached, Store, StoreConfig,
    SuspendError,
};
use executor_snapshot::{EntryKind, Hook, HookError, InstanceNames};
use executor_wasi::{Observations, Point, WasiCtx};
use std::sync::Arc;

/// Why a guest did not get ready, or did not return.
pub enum Stop {
    /// The host's side failed.
    Failure(Failure),
    /// The guest trapped, exited or was interrupted.
    Ended(CallError),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Self {
        match error {
            error @ (CallError::Usage(_) | CallError::Resource { .. }) => {
                Self::Failure(Failure::new(error))
            }
            error => Self::Ended(error),
        }
    }
}

impl From<SuspendError> for Stop {
    fn from(error: SuspendError) -> Self {
        match error {
            SuspendError::Call(error) => error.into(),
            error => Self::Failure(Failure::new(error)),
        }
    }
}

/// The compiled modules of a guest.
pub struct Modules {
    /// Those to instantiate first, with the names their exports are imported under.
    pub preload: Vec<(String, Arc<CompiledModule>)>,
    /// The one that is run.
    pub main: Arc<CompiledModule>,
}

impl Modules {
    /// Finds or makes the code of each.
    ///
    /// # Errors
    /// When one is not a valid module, or cannot be compiled.
    pub fn compile(host: &mut Host, sources: &Sources) -> Result<Self, Failure> {
        let preload = |(name, source): &(String, Source)| Ok((name.clone(), host.code_of(source)?));
        let preload = sources.preload.iter().map(preload).collect::<Result<_, Failure>>()?;
        Ok(Self { preload, main: host.code_of(&sources.main)? })
    }

    /// Checks that what is to be run before a snapshot and after a restore can be, before any
    /// initialisation is run for a snapshot that cannot be used.
    ///
    /// # Errors
    /// When an export has the name of a hook and is none.
    pub fn check_hooks(&self) -> Result<(), Failure> {
        for module in self.preload.iter().map(|(_, module)| module).chain([&self.main]) {
            for hook in [Hook::BeforeSnapshot, Hook::AfterRestore] {
                hook.is_in(module).map_err(Failure::new)?;
            }
        }
        Ok(())
    }

    /// The names of the instances that [`Guest::instantiate`] makes, in order of their ids.
    pub fn names(&self) -> Vec<InstanceNames> {
        let module = |m: &CompiledModule| m.info().ok().and_then(|info| info.names.module.clone());
        let preload = self
            .preload
            .iter()
            .map(|(name, m)| InstanceNames { registered: Some(name.clone()), module: module(m) });
        let main = InstanceNames { registered: None, module: module(&self.main) };
        preload.chain([main]).collect()
    }
}

/// A store and the instance in it that calls go to.
pub struct Guest {
    /// The store.
    pub store: Store,
    /// The instance.
    pub main: InstanceId,
}

/// What is to be called.
pub enum Entry {
    /// `_start`, without arguments.
    Start,
    /// An export, with its arguments.
    Export(String, Vec<Val>),
    /// The call that is suspended, with the code that it goes on with.
    Suspended(Vec<Arc<CompiledModule>>),
    /// Nothing: the call has returned these results.
    Ended(Vec<Val>),
    /// Nothing: a reactor is ready once it is initialised.
    Nothing,
}

/// Whether a module is a command or a reactor.
pub fn kind(module: &CompiledModule) -> EntryKind {
    match module.code().export("_start") {
        Some((ExternKind::Func, _)) => EntryKind::Command,
        _ => EntryKind::Reactor,
    }
}

/// The type of the function that a module exports under a name.
fn exported_type(module: &CompiledModule, name: &str) -> Result<FuncType, Failure> {
    let code = module.code();
    match code.export(name) {
        Some((ExternKind::Func, index)) => code
            .function_type(index)
            .and_then(|ty| code.func_type(ty))
            .ok_or_else(|| Failure::new("the code file is damaged")),
        Some((kind, _)) => Err(Failure::new(format_args!(
            "export `{name}` is a {}, not a function",
            format!("{kind:?}").to_lowercase()
        ))),
        None => {
            Err(Failure::new(format_args!("the module has no export `{name}`{}", suggest(module))))
        }
    }
}

/// The exported functions, for one who misspelt a name.
fn suggest(module: &CompiledModule) -> String {
    const MOST: usize = 8;
    let functions = module.code().exports().filter(|(_, kind, _)| *kind == ExternKind::Func);
    let names: Vec<&str> = functions.map(|(name, ..)| name).take(MOST + 1).collect();
    match names.len() {
        0 => "; it exports no functions".to_owned(),
        n if n > MOST => format!("; it exports the functions {}, ...", names[..MOST].join(", ")),
        _ => format!("; it exports the functions {}", names.join(", ")),
    }
}

impl Entry {
    /// What `--invoke` and the arguments ask of a module.
    ///
    /// # Errors
    /// When there is no such function, or the arguments do not fit its type.
    pub fn plan(
        module: &CompiledModule,
        invoke: Option<&str>,
        args: &[String],
    ) -> Result<Self, Failure> {
        match (invoke, kind(module)) {
            (Some(name), _) => {
                let ty = exported_type(module, name)?;
                // A function without parameters leaves the arguments to WASI.
                let args = if ty.params.is_empty() { &[] } else { args };
                let args = values::parse_arguments(name, &ty, args).map_err(Failure::usage)?;
                Ok(Self::Export(name.to_owned(), args))
            }
            (None, EntryKind::Command) => {
                check_niladic(module, "_start")?;
                Ok(Self::Start)
            }
            (None, EntryKind::Reactor | EntryKind::Call) => Ok(Self::Nothing),
        }
    }
}

fn check_niladic(module: &CompiledModule, name: &str) -> Result<(), Failure> {
    let ty = exported_type(module, name)?;
    match ty.params.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format_args!(
            "export `{name}` is called without arguments, but its type is {ty}"
        ))),
    }
}

/// The linker of every guest: WASI, and the preloaded modules as they come.
pub fn linker() -> Linker {
    let mut linker = Linker::new();
    executor_wasi::add_to_linker(&mut linker);
    executor_wasi::add_checkpoint_to_linker(&mut linker);
    linker
}

/// The limits that the options set.
///
/// # Errors
/// When a limit is beyond what this machine can address.
pub fn config(args: &GuestArgs) -> Result<StoreConfig, Failure> {
    let mut config = StoreConfig::default();
    if let Some(max) = args.max_memory {
        config.max_memory = max;
    }
    if let Some(max) = args.max_stack {
        config.max_stack =
            usize::try_from(max).map_err(|e| Failure::usage(format_args!("--max-stack: {e}")))?;
    }
    Ok(config)
}

impl Guest {
    /// Instantiates the modules and initialises them: `_initialize` of reactors, then the exports
    /// of the main module that are named.
    ///
    /// # Errors
    /// When an import is missing, an export of `init` is missing or takes arguments, or the guest
    /// traps or exits.
    pub fn instantiate(
        engine: &NativeEngine,
        modules: &Modules,
        init: &[String],
        config: StoreConfig,
        wasi: WasiCtx,
        timeout: &mut Timeout,
    ) -> Result<Self, Stop> {
        for name in init {
            check_niladic(&modules.main, name)?;
        }
        let mut store = Store::new(engine, linker(), config).map_err(Failure::new)?;
        store.set_data(wasi);
        let main = timeout.watch(store.interrupter(), || {
            for (name, module) in &modules.preload {
                let instance = instantiate(&mut store, module)?;
                store.linker_mut().instance(name, instance);
            }
            let main = instantiate(&mut store, &modules.main)?;
            for name in init {
                call_export(&mut store, main, name, &[])?;
            }
            Ok::<_, Stop>(main)
        })?;
        Ok(Self { store, main })
    }

    /// What the guest has observed of the world, or changed in it, since the last time.
    pub fn take_observations(&mut self) -> Observations {
        self.store.data_mut::<WasiCtx>().map(WasiCtx::take_observations).unwrap_or_default()
    }

    /// Initialises it further: calls exports of the main instance.
    ///
    /// # Errors
    /// As [`Self::instantiate`].
    pub fn initialise(&mut self, init: &[String], timeout: &mut Timeout) -> Result<(), Stop> {
        let Self { store, main } = self;
        timeout.watch(store.interrupter(), || {
            init.iter().try_for_each(|name| call_export(store, *main, name, &[]).map(drop))
        })
    }

    /// Runs a hook of the guest's instances, where they have it.
    ///
    /// # Errors
    /// When it is no function without parameters and results, or does not return. The guest is then
    /// of no more use.
    pub fn run_hook(&mut self, hook: Hook, timeout: &mut Timeout) -> Result<(), Failure> {
        let interrupter = self.store.interrupter();
        timeout.watch(interrupter, || hook.run(&mut self.store)).map_err(|error| {
            let code = match error {
                HookError::Call { source: CallError::Trap(_), .. } => EXIT_TRAP,
                _ => EXIT_FAILURE,
            };
            let time = timeout.passed().map(|line| line + ": ").unwrap_or_default();
            Failure { message: format!("{time}{error}"), code }
        })
    }

    /// Calls the entry; returns its results.
    ///
    /// # Errors
    /// When the guest traps or exits.
    pub fn call(&mut self, entry: &Entry, timeout: &mut Timeout) -> Result<Vec<Val>, Stop> {
        let (name, args) = match entry {
            Entry::Start => ("_start", &[][..]),
            Entry::Export(name, args) => (name.as_str(), &args[..]),
            Entry::Suspended(code) => {
                let (code, store) = (code.clone(), &mut self.store);
                return Ok(timeout.watch(store.interrupter(), || store.resume(code))?);
            }
            Entry::Ended(results) => return Ok(results.clone()),
            Entry::Nothing => return Ok(Vec::new()),
        };
        let Self { store, main } = self;
        timeout.watch(store.interrupter(), || call_export(store, *main, name, args))
    }

    /// Calls the entry until it returns or gets to a point, where it stays suspended.
    ///
    /// # Errors
    /// When the guest traps or exits, or cannot be suspended at the point.
    pub fn call_until(
        &mut self,
        entry: &Entry,
        point: Point,
        timeout: &mut Timeout,
    ) -> Result<Reached, Stop> {
        let Self { store, main } = self;
        let main = *main;
        timeout.watch(store.interrupter(), || {
            let (name, args) = match entry {
                Entry::Start => ("_start", &[][..]),
                Entry::Export(name, args) => (name.as_str(), &args[..]),
                Entry::Suspended(code) => {
                    return Ok(store.resume_until(code.clone(), point.reached())?);
                }
                Entry::Ended(results) => return Ok(Reached::End(results.clone())),
                Entry::Nothing => {
                    return Err(Stop::Failure(Failure::usage(
                        "--at is a point inside a call, and a reactor has no `_start`: name the \
                         export to call with --invoke",
                    )));
                }
            };
            let func = function(store, main, name)?;
            Ok(store.call_until(func, args, point.reached())?)
        })
    }
}

/// Instantiates one module, and initialises it if it is a reactor.
fn instantiate(store: &mut Store, module: &Arc<CompiledModule>) -> Result<InstanceId, Stop> {
    let instance = store.instantiate(module).map_err(|error| match error {
        InstantiateError::Call(error) => Stop::from(error),
        error => Failure::new(error).into(),
    })?;
    if kind(module) == EntryKind::Reactor
        && matches!(module.code().export("_initialize"), Some((ExternKind::Func, _)))
    {
        check_niladic(module, "_initialize")?;
        call_export(store, instance, "_initialize", &[])?;
    }
    Ok(instance)
}

fn call_export(
    store: &mut Store,
    instance: InstanceId,
    name: &str,
    args: &[Val],
) -> Result<Vec<Val>, Stop> {
    let func = function(store, instance, name)?;
    Ok(store.call(func, args)?)
}

fn function(store: &Store, instance: InstanceId, name: &str) -> Result<FuncRef, Failure> {
    let func = store.exported_func(instance, name);
    func.ok_or_else(|| Failure::new(format_args!("the module has no function `{name}`")))
}
