//! Instances: what is called.
//!
//! Invariant: an instance owns all that its guest can change; dropping it leaves nothing behind but what
//! the guest did to directories and sockets that it was given.

mod builder;
mod call;
mod memory;
mod objects;
mod typed;

pub use builder::InstanceBuilder;
pub(crate) use call::{Args, Call};
pub use typed::TypedFunc;

use crate::{
    Error, Report,
    function::{check_init, exported_functions},
    given::{Captured, Written},
    stop::Clock,
};
use executor_model::{CallError, FuncRef, FuncType, InstanceId, Val};
use executor_runtime::{CompiledModule, Reached, Store};
use executor_snapshot::{EntryKind, Hook, after_restore};
use executor_wasi::{Observations, Point, WasiCtx};
use std::sync::{Arc, PoisonError};

/// An instance of a [`Function`](crate::Function), used by one thread at a time.
///
/// A call that traps leaves the instance as it is at the trap, as the specification has it, so it is
/// best dropped then: another is made in microseconds.
#[derive(Debug)]
pub struct Instance {
    pub(crate) store: Store,
    /// The instance in the store that calls go to.
    pub(crate) main: InstanceId,
    /// What [`Self::run`] calls.
    pub(crate) entry: Entry,
    clock: Clock,
    written: Written,
    report: Report,
}

/// What there is to call.
#[derive(Debug)]
pub(crate) enum Entry {
    /// An export, with its arguments.
    Export(String, Vec<Val>),
    /// The call that is suspended, with the code that it goes on with.
    Suspended(Vec<Arc<CompiledModule>>),
    /// Nothing: the call has returned these results.
    Ended(Vec<Val>),
    /// Nothing: a reactor is ready once it is initialised.
    Nothing,
}

/// How a program ended that did not trap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The call returned these results.
    Returned(Vec<Val>),
    /// The guest exited with this code.
    Exited(i32),
}

impl Outcome {
    /// The exit code: 0 where the call returned.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Returned(_) => 0,
            Self::Exited(code) => *code,
        }
    }
}

impl Instance {
    pub(crate) fn new(
        store: Store,
        main: InstanceId,
        entry: Entry,
        clock: Clock,
        written: Written,
    ) -> Self {
        Self { store, main, entry, clock, written, report: Report::default() }
    }

    /// Calls an exported function.
    ///
    /// # Errors
    /// [`Error::NoExport`] and [`Error::NotAFunction`]; [`Error::Call`] when the arguments do not
    /// fit, or the call ends otherwise than by returning; [`Error::TimedOut`].
    ///
    /// # Panics
    /// With the panic of a host function that panics.
    pub fn call(&mut self, export: &str, params: &[Val]) -> Result<Vec<Val>, Error> {
        let func = self.func(export)?;
        let Self { store, clock, .. } = self;
        clock.run(|| Ok(store.call(func, params)?))
    }

    /// Finds an exported function and checks its type, once: calls of the result allocate nothing. `P`
    /// and `R` are numbers or tuples of numbers.
    ///
    /// # Errors
    /// [`Error::NoExport`], [`Error::NotAFunction`], and [`Error::Type`] when it is of another type.
    pub fn typed<P: crate::HostValues, R: crate::HostValues>(
        &self,
        export: &str,
    ) -> Result<TypedFunc<P, R>, Error> {
        let func = self.func(export)?;
        match self.store.takes::<P, R>(func) {
            true => Ok(TypedFunc::new(func)),
            false => Err(Error::Type {
                name: export.to_owned(),
                ty: self.store.func_type(func).unwrap_or_default(),
                wanted: FuncType { params: P::TYPES.to_vec(), results: R::TYPES.to_vec() },
            }),
        }
    }

    /// Does what the instance is for: runs `_start` of a command, goes on with the call that its snapshot
    /// is inside of, or calls the export that it was made for ([`InstanceBuilder::call`]). A call is made
    /// once; after it there is nothing left to run.
    ///
    /// # Errors
    /// [`Error::NothingToCall`]; otherwise as [`Self::call`]. An exit is none, but an [`Outcome`].
    ///
    /// # Panics
    /// As [`Self::call`].
    pub fn run(&mut self) -> Result<Outcome, Error> {
        match self.enter() {
            Err(Error::Call(CallError::Exit(code))) => Ok(Outcome::Exited(code)),
            returned => Ok(Outcome::Returned(returned?)),
        }
    }

    fn enter(&mut self) -> Result<Vec<Val>, Error> {
        let Self { store, main, clock, .. } = self;
        match std::mem::replace(&mut self.entry, Entry::Nothing) {
            Entry::Export(name, args) => clock.run(|| call_export(store, *main, &name, &args)),
            Entry::Suspended(code) => clock.run(|| Ok(store.resume(code)?)),
            Entry::Ended(results) => Ok(results),
            Entry::Nothing => Err(self.nothing_to_call()),
        }
    }

    fn nothing_to_call(&self) -> Error {
        let functions = self.module().map(|module| exported_functions(module));
        Error::NothingToCall { functions: functions.unwrap_or_default() }
    }

    /// What [`Self::run`] does: [`EntryKind::Reactor`] where that is nothing.
    #[must_use]
    pub fn kind(&self) -> EntryKind {
        match &self.entry {
            Entry::Suspended(_) => EntryKind::Call,
            Entry::Export(..) | Entry::Ended(_) => EntryKind::Command,
            Entry::Nothing => EntryKind::Reactor,
        }
    }

    /// What the guest has written to standard output since the last time, where that is captured.
    pub fn take_stdout(&mut self) -> Vec<u8> {
        take(&self.written.stdout)
    }

    /// What the guest has written to standard error since the last time, where that is captured.
    pub fn take_stderr(&mut self) -> Vec<u8> {
        take(&self.written.stderr)
    }

    /// What was done to get the instance.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    pub(crate) fn with_report(mut self, report: Report) -> Self {
        self.report = report;
        self
    }

    /// The module of the instance that calls go to.
    pub(crate) fn module(&self) -> Result<&Arc<CompiledModule>, Error> {
        self.store.module(self.main).ok_or(Error::NoMainInstance)
    }

    fn func(&self, export: &str) -> Result<FuncRef, Error> {
        func(&self.store, self.main, export)
    }

    /// What the guest has observed of the world, or changed in it, since the last time.
    pub(crate) fn take_observations(&mut self) -> Observations {
        self.store.data_mut::<WasiCtx>().map(WasiCtx::take_observations).unwrap_or_default()
    }

    /// Calls exports of the main instance to initialise it further.
    pub(crate) fn initialise(&mut self, init: &[String]) -> Result<(), Error> {
        let module = self.module()?;
        init.iter().try_for_each(|name| check_init(module, name))?;
        let Self { store, main, clock, .. } = self;
        clock
            .run(|| init.iter().try_for_each(|name| call_export(store, *main, name, &[]).map(drop)))
    }

    /// Runs a hook of the guest's instances, where they have it.
    pub(crate) fn run_hook(&mut self, hook: Hook) -> Result<(), Error> {
        let Self { store, clock, .. } = self;
        clock.run(|| Ok(hook.run(store)?))
    }

    /// Calls what is to be called after each restore.
    pub(crate) fn after_restore(&mut self, names: &[String]) -> Result<(), Error> {
        self.run_hook(Hook::AfterRestore)?;
        let Self { store, main, clock, .. } = self;
        clock.run(|| Ok(after_restore(store, *main, names)?))
    }

    /// Does what the instance is for until that returns or gets to a point, where it stays suspended.
    pub(crate) fn run_until(&mut self, point: Point) -> Result<Reached, Error> {
        let Self { store, main, clock, .. } = self;
        match std::mem::replace(&mut self.entry, Entry::Nothing) {
            Entry::Export(name, args) => clock.run(|| {
                let func = func(store, *main, &name)?;
                Ok(store.call_until(func, &args, point.reached())?)
            }),
            Entry::Suspended(code) => clock.run(|| Ok(store.resume_until(code, point.reached())?)),
            Entry::Ended(results) => Ok(Reached::End(results)),
            Entry::Nothing => Err(self.nothing_to_call()),
        }
    }
}

fn take(captured: &Captured) -> Vec<u8> {
    std::mem::take(&mut *captured.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Calls an export of an instance.
pub(crate) fn call_export(
    store: &mut Store,
    instance: InstanceId,
    name: &str,
    args: &[Val],
) -> Result<Vec<Val>, Error> {
    let func = func(store, instance, name)?;
    Ok(store.call(func, args)?)
}

fn func(store: &Store, instance: InstanceId, export: &str) -> Result<FuncRef, Error> {
    if let Some(func) = store.exported_func(instance, export) {
        return Ok(func);
    }
    let module = store.module(instance).ok_or(Error::NoMainInstance)?;
    crate::function::exported_type(module, export)?;
    Err(Error::NoMainInstance)
}
