//! Making an instance: the one place where every instance comes from.
//!
//! Invariant: a fresh instance and a restored one are the same to whoever calls them; initialisation has
//! run exactly once in the life of their state. An instance of a file that anyone may have written is
//! checked whole before it runs.

use super::{
    Kept, Modules, State, Trust, exported_type,
    modules::{check_init, check_niladic, kind, program},
};
use crate::{
    Error, Instance, Limits, Report,
    given::{Given, Written},
    instance::{Call, Entry, call_export},
    report::{Phases, Start},
    runtime::{Code, Runtime},
    stop::{Clock, Stop},
};
use executor_model::{ExternKind, InstanceId};
use executor_runtime::{CompiledModule, Image, InstantiateError, Store, StoreConfig};
use executor_snapshot::{EntryKind, Hook, SnapshotError, after_restore};
use executor_wasi::{WasiCtx, WasiCtxBuilder};
use std::sync::{Arc, atomic::Ordering::Relaxed};

/// What an instance is made of.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) state: &'a State,
    pub(crate) given: &'a Given,
    /// The exports that initialise a fresh instance.
    pub(crate) init: &'a [String],
    /// What it is made for, where that is not said by the module.
    pub(crate) call: Option<&'a Call>,
    /// Why it is fresh, or restored from this snapshot.
    pub(crate) why: &'a str,
}

/// Makes an instance.
pub(crate) fn acquire(request: Request<'_>, report: &mut Report) -> Result<Instance, Error> {
    let Request { runtime, state, given, init, call, why } = request;
    let entry = plan(state, call)?;
    let stop = Stop::new(given.timeout, given.cancellation.as_ref());
    let written = Written::default();
    let wasi = given.wasi(&written)?;
    let mut clock = Clock::new(given.timeout, stop.clone(), &runtime.shared.listener);
    let attach = |store: &Store| {
        if let Some(stop) = &stop {
            stop.attach(store.interrupter());
        }
    };
    let restored = match state {
        State::Kept(kept) => Some(kept.snapshot.clone()),
        State::Fresh(_) => None,
    };
    let start = Start { restored, why: why.to_owned() };
    let (store, main) = match state {
        State::Kept(kept) if kept.uninitialised => {
            let main = kept.main_module();
            init.iter().try_for_each(|name| check_init(main, name))?;
            let mut store = kept.restore(runtime, given, wasi, attach)?;
            report.phases.end("restore");
            // To whoever asks it is fresh: what it restored is the module's own.
            report.start = Some(Start { restored: None, ..start });
            let initialised = clock.run(|| {
                initialise(&mut store, main, kept.main)?;
                call_inits(&mut store, kept.main, init)
            });
            report.phases.end("initialise");
            initialised?;
            (store, kept.main)
        }
        State::Kept(kept) => {
            let mut store = kept.restore(runtime, given, wasi, attach)?;
            report.phases.end("restore");
            report.start = Some(start);
            clock.run(|| {
                Hook::AfterRestore.run(&mut store)?;
                let names = &kept.snapshot.file().manifest().after_restore;
                Ok(after_restore(&mut store, kept.main, names)?)
            })?;
            (store, kept.main)
        }
        State::Fresh(modules) => {
            for name in init {
                check_init(&modules.main, name)?;
            }
            let wasi = wasi.build()?;
            let prepare = |store: &mut Store| {
                store.set_data_counted(wasi, WasiCtx::held);
                attach(store);
            };
            report.start = Some(start);
            let made = clock.run(|| match modules.image(runtime, given)? {
                Some(image) => {
                    let mut store = image.acquire_with(prepare).map_err(InstantiateError::from)?;
                    report.phases.end("instantiate");
                    let main = InstanceId::from_position(0);
                    initialise(&mut store, &modules.main, main)?;
                    call_inits(&mut store, main, init)?;
                    Ok((store, main))
                }
                None => {
                    let mut store = runtime.new_store(given)?;
                    if given.attribute {
                        store.attribute_writes();
                    }
                    prepare(&mut store);
                    let main = modules.instantiate(&mut store, init, &mut report.phases)?;
                    Ok((store, main))
                }
            });
            report.phases.end("initialise");
            made?
        }
    };
    Ok(Instance::new(store, main, entry, clock, written))
}

/// What is to be called.
fn plan(state: &State, call: Option<&Call>) -> Result<Entry, Error> {
    let main = state.main_module();
    match (state, call) {
        (State::Kept(kept), call) if kept.snapshot.file().call().is_some() => match call {
            Some(_) => Err(Error::InsideCall),
            None => Ok(Entry::Suspended(kept.continuations.clone())),
        },
        (_, Some(Call { export, args })) => {
            let ty = exported_type(main, export)?;
            Ok(Entry::Export(export.clone(), args.of(export, &ty)?))
        }
        (_, None) => match program(main) {
            Some(name) => {
                check_niladic(main, name)?;
                Ok(Entry::Export(name.to_owned(), Vec::new()))
            }
            None => Ok(Entry::Nothing),
        },
    }
}

impl Runtime {
    /// An empty store.
    pub(crate) fn new_store(&self, given: &Given) -> Result<Store, Error> {
        let engine = self.shared.engine(Code::Plain)?;
        Ok(Store::new(engine, self.linker.clone(), given.limits.into())?)
    }
}

impl Kept {
    /// Makes the image of the state; of a file that anyone may have written all of it is checked.
    pub(crate) fn image(&self, runtime: &Runtime, limits: Limits) -> Result<Image, Error> {
        let mut modules = self.modules.iter();
        // They are asked for in the order of the instances, as they were found.
        let code = |_| modules.next().cloned().ok_or(Error::NoMainInstance);
        let (engine, linker) = (runtime.shared.engine(Code::Plain)?, runtime.linker.clone());
        let (config, file) = (StoreConfig::from(limits), self.snapshot.file());
        match self.trust {
            Trust::Own => executor_snapshot::image(engine, linker, config, file, code),
            Trust::Nobody => executor_snapshot::image_untrusted(engine, linker, config, file, code),
        }
    }

    /// Restores the store and its WASI state.
    fn restore(
        &self,
        runtime: &Runtime,
        given: &Given,
        mut wasi: WasiCtxBuilder,
        attach: impl FnOnce(&Store),
    ) -> Result<Store, Error> {
        let file = self.snapshot.file();
        let make = || self.image(runtime, given.limits);
        let fail = |error| SnapshotError::restore(file.path())(error).into();
        let mut store = self.images.store(given.limits, make, fail, |store| attach(store))?;
        let Some(state) = &self.wasi else {
            store.set_data_counted(wasi.build()?, WasiCtx::held);
            return Ok(store);
        };
        given.adopt(state, &mut wasi)?;
        let differences = wasi.differences(state);
        if !differences.is_empty() {
            runtime.shared.listener.warn(differences.join("; "));
        }
        store.set_data_counted(wasi.restore(state)?, WasiCtx::held);
        state.refill(&mut store).map_err(Error::Random)?;
        Ok(store)
    }
}

impl Modules {
    /// Instantiates the modules and initialises them: `_initialize` of reactors, then the exports of the
    /// main module that are named. Returns the main instance.
    fn instantiate(
        &self,
        store: &mut Store,
        init: &[String],
        phases: &mut Phases,
    ) -> Result<InstanceId, Error> {
        for (name, module) in &self.preload {
            let instance = instantiate(store, module, phases)?;
            store.linker_mut().instance(name, instance);
        }
        let main = instantiate(store, &self.main, phases)?;
        call_inits(store, main, init)?;
        Ok(main)
    }

    /// The image of the module alone, from the second instance on: a process that makes one has
    /// no use for it. A module that is linked to others has none.
    fn image(&self, runtime: &Runtime, given: &Given) -> Result<Option<&Image>, Error> {
        let usual =
            given.limits == runtime.shared.limits && self.preload.is_empty() && !given.attribute;
        if !usual || !self.used.swap(true, Relaxed) {
            return Ok(None);
        }
        if self.image.get().is_none() {
            let (engine, linker) = (runtime.shared.engine(Code::Plain)?, runtime.linker.clone());
            let image = Image::of_module(engine, linker, given.limits.into(), &self.main)?;
            // Another thread may have been first.
            let _ = self.image.set(image);
        }
        Ok(self.image.get())
    }
}

/// Calls the exports of the main module that are named.
fn call_inits(store: &mut Store, main: InstanceId, init: &[String]) -> Result<(), Error> {
    init.iter().try_for_each(|name| call_export(store, main, name, &[]).map(drop))
}

/// Instantiates one module, and initialises it if it is a reactor.
fn instantiate(
    store: &mut Store,
    module: &Arc<CompiledModule>,
    phases: &mut Phases,
) -> Result<InstanceId, Error> {
    let instance = store.instantiate(module)?;
    phases.end("instantiate");
    initialise(store, module, instance)?;
    phases.end("initialise");
    Ok(instance)
}

/// Initialises the instance of a module that is a reactor.
fn initialise(
    store: &mut Store,
    module: &Arc<CompiledModule>,
    instance: InstanceId,
) -> Result<(), Error> {
    if kind(module) == EntryKind::Reactor
        && matches!(module.code().export("_initialize"), Some((ExternKind::Func, _)))
    {
        check_niladic(module, "_initialize")?;
        call_export(store, instance, "_initialize", &[])?;
    }
    Ok(())
}
