//! Starting a module with an automatic snapshot: one is restored, or an instance is initialised and one
//! is taken of it on the way.
//!
//! Invariant: a snapshot that cannot be used or taken is a reason and at most a warning: the instance is
//! there all the same, and is the same.

mod conditions;
mod uninitialised;

use crate::{
    Error, Event, Instance, Report, Snapshot, Source,
    function::{
        Kept, Place, Plan, State, Trust, WasmModules,
        acquire::{Request, acquire},
        manifest, plan_methods, write,
    },
    given::{Given, GivenOptions, Written, given_methods},
    instance::Entry,
    report::Capture,
    runtime::{Code, Runtime},
};
use executor_runtime::Reached;
use executor_snapshot::{
    Catalogue, Defaults, Hook, SnapshotId,
    catalogue::{AutoEntry, AutoKey, Conditions, MAX_ENTRIES},
    check_after_restore,
};
use executor_wasi::{Observations, WasiCtx};

/// When automatic snapshots are taken and used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SnapshotPolicy {
    /// Where that cannot change what the guest answers.
    #[default]
    Auto,
    /// Whatever initialisation observed.
    Always,
    /// Not at all.
    Never,
}

/// Starts a module: see [`Runtime::launch`].
#[derive(Debug)]
#[must_use]
pub struct Launch {
    runtime: Runtime,
    module: Source,
    policy: SnapshotPolicy,
    given: GivenOptions,
    plan: Plan,
}

/// A launch that has begun.
struct Launching {
    runtime: Runtime,
    policy: SnapshotPolicy,
    given: Given,
    plan: Plan,
}

impl Launch {
    pub(crate) fn new(runtime: Runtime, module: Source) -> Self {
        let (policy, given) = (SnapshotPolicy::default(), GivenOptions::default());
        Self { runtime, module, policy, given, plan: Plan::default() }
    }

    given_methods!();
    plan_methods!();

    /// Sets when automatic snapshots are taken and used.
    pub fn snapshots(mut self, policy: SnapshotPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Makes the instance, which [`Instance::run`] then calls.
    ///
    /// # Errors
    /// When the module cannot be compiled, what it is to be given cannot be had, or its initialisation
    /// does not return.
    pub fn start(self) -> Result<Instance, Error> {
        let mut report = Report::default();
        let instance = self.start_with(&mut report)?;
        Ok(instance.with_report(report))
    }

    /// As [`Self::start`], telling `report` what is done, also where it fails.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(self, report: &mut Report) -> Result<Instance, Error> {
        let initialises = !self.plan.init.is_empty();
        let mut instance = self.make(report)?;
        // Of a reactor, what was asked for may have been its initialisation.
        if let Entry::Nothing = instance.entry {
            let starts = instance.module()?.info()?.start.is_some();
            if starts || initialises {
                instance.entry = Entry::Ended(Vec::new());
            }
        }
        Ok(instance)
    }

    fn make(self, report: &mut Report) -> Result<Instance, Error> {
        report.phases.resume();
        let Self { runtime, module, policy, given, plan } = self;
        let modules = plan.open(&runtime, &module)?;
        let shared = &runtime.shared;
        let name = module.file_name();
        let given = given.settle(&name, &Defaults::default(), shared.limits, &shared.listener)?;
        report.phases.end("resolve");
        Launching { runtime, policy, given, plan }.start(&modules, report)
    }
}

impl Launching {
    /// Makes the instance.
    fn start(&self, modules: &WasmModules, report: &mut Report) -> Result<Instance, Error> {
        let key = conditions::key(self.policy, modules, &self.given, &self.plan);
        let why = match self.find(&key, report)? {
            Err(why) => why,
            Ok(snapshot) => match self.restore(snapshot, modules, report) {
                Ok(instance) => {
                    report.capture.reasons.push("the run restored one".to_owned());
                    return Ok(instance);
                }
                // It is there: the guest itself is at fault.
                Err(error) if report.start.is_some() => return Err(error),
                Err(error) if is_about_call(&error) => return Err(error),
                Err(error) => {
                    let line = one_line(&error);
                    self.runtime.shared.listener.warn(format_args!("{line}; initialising again"));
                    "the automatic snapshot cannot be restored".to_owned()
                }
            },
        };
        self.initialise(modules, &key, &why, report)
    }

    /// Restores an automatic snapshot.
    fn restore(
        &self,
        snapshot: Snapshot,
        modules: &WasmModules,
        report: &mut Report,
    ) -> Result<Instance, Error> {
        let Self { runtime, given, plan, .. } = self;
        let call = plan.call.as_ref().filter(|_| snapshot.file().call().is_none());
        let kept =
            Kept::open(runtime, Code::Plain, snapshot, Trust::Own, &modules.modules, report)?;
        let state = State::Kept(Box::new(kept));
        let why = "automatic snapshot";
        acquire(Request { runtime, state: &state, given, init: &[], call, why }, report)
    }

    /// Initialises an instance, and takes a snapshot of it where that may be.
    fn initialise(
        &self,
        opened: &WasmModules,
        key: &AutoKey,
        why: &str,
        report: &mut Report,
    ) -> Result<Instance, Error> {
        let Self { runtime, given, plan, .. } = self;
        let listener = &runtime.shared.listener;
        // Frame maps are worth their price only where a snapshot can come of it.
        let at = plan.at.as_ref().filter(|_| self.keeps_snapshots().is_ok());
        let code = if at.is_some() { Code::WithFrameMaps } else { Code::Plain };
        let mut state = match self.uninitialised(opened, report) {
            Some(kept) => State::Kept(Box::new(kept)),
            None => State::Fresh(opened.compile(runtime, code, report)?),
        };
        check_after_restore(state.main_module(), &plan.after_restore)?;
        let (init, call) = (&plan.init[..], plan.call.as_ref());
        let mut ready = acquire(Request { runtime, state: &state, given, init, call, why }, report);
        if let (State::Kept(_), Err(error)) = (&state, &ready)
            && report.start.is_none()
            && !is_about_call(error)
        {
            listener.warn(format_args!("{}; instantiating afresh", one_line(error)));
            state = State::Fresh(opened.compile(runtime, code, report)?);
            ready = acquire(Request { runtime, state: &state, given, init, call, why }, report);
        }
        if ready.is_err() && report.start.is_some() {
            report.capture.reasons.push("initialisation did not end well".to_owned());
        }
        let mut instance = ready?;
        if let Some(point) = at {
            let reached = instance.run_until(point.clone());
            report.phases.end("call");
            if !matches!(reached, Ok(Reached::Point) | Err(Error::NothingToCall { .. })) {
                let reason = format!("the call ended before it reached the point {point}");
                listener.warn(format_args!("took no snapshot: {reason}"));
                report.capture.reasons.push(reason);
            }
            if let Reached::End(results) = reached? {
                instance.entry = Entry::Ended(results);
                return Ok(instance);
            }
        }
        let catalogue = match self.keeps_snapshots() {
            Ok(catalogue) => catalogue.clone(),
            Err(why) => {
                report.capture.reasons.push(why.to_owned());
                return Ok(instance);
            }
        };
        instance.run_hook(Hook::BeforeSnapshot)?;
        self.take_snapshot(&catalogue, &mut instance, &state, opened, key, report);
        if let (State::Fresh(modules), None) = (&state, &report.capture.id) {
            self.keep_uninitialised(opened, modules);
        }
        if instance.store.suspended().is_some() {
            // The code that later runs need, now that there is time for it.
            opened.compile(runtime, Code::Plain, report)?;
            let sites = instance.store.suspended_sites();
            let shared = &runtime.shared;
            let code = shared.continuations(Code::Plain, sites, &opened.modules, report)?;
            instance.entry = Entry::Suspended(code);
        }
        // The guest goes on as every later one will.
        instance.after_restore(&plan.after_restore)?;
        Ok(instance)
    }

    /// Where automatic snapshots are kept, or why there are none.
    fn keeps_snapshots(&self) -> Result<&Catalogue, &'static str> {
        match (self.policy, self.runtime.shared.catalogue()) {
            (SnapshotPolicy::Never, _) => Err("automatic snapshots are never to be taken"),
            (_, None) => Err("no store"),
            (_, Some(catalogue)) => Ok(catalogue),
        }
    }

    /// The automatic snapshot that may be used, or why there is none.
    fn find(&self, key: &AutoKey, report: &mut Report) -> Result<Result<Snapshot, String>, Error> {
        let listener = &self.runtime.shared.listener;
        let catalogue = match self.keeps_snapshots() {
            Ok(catalogue) => catalogue,
            Err(why) => return Ok(Err(why.to_owned())),
        };
        let mut why = "there is no automatic snapshot of it yet".to_owned();
        let entries = catalogue.auto(key).unwrap_or_else(|error| {
            listener.warn(error);
            Vec::new()
        });
        let dirs = self.given.wasi(&Written::default())?;
        for entry in entries {
            if let Some(difference) = self.given.differs(&entry.conditions, &dirs) {
                why = format!("the automatic snapshot is of another world: {difference}");
                continue;
            }
            match catalogue.snapshot(entry.snapshot) {
                Ok(Some(file)) => {
                    report.phases.end("open");
                    return Ok(Ok(Snapshot::new(file)));
                }
                Ok(None) => why = "the automatic snapshot was removed".to_owned(),
                Err(error) => {
                    listener.warn(format_args!("{error}; initialising again"));
                    why = "the automatic snapshot cannot be read".to_owned();
                }
            }
        }
        report.phases.end("open");
        Ok(Err(why))
    }

    /// Takes an automatic snapshot, where that is asked for and cannot change any run's answer. The
    /// guest goes on without it, so what goes wrong is a reason and at most a warning.
    fn take_snapshot(
        &self,
        catalogue: &Catalogue,
        instance: &mut Instance,
        state: &State,
        opened: &WasmModules,
        key: &AutoKey,
        report: &mut Report,
    ) {
        let listener = &self.runtime.shared.listener;
        let observations = instance.take_observations();
        let taken = self.conditions(instance, &observations).and_then(|conditions| {
            self.publish(catalogue, instance, state, opened, key, conditions, observations)
                .map_err(|error| vec![one_line(&error)])
        });
        report.capture = match taken {
            Ok(capture) => capture,
            Err(reasons) => {
                if let Some(start) = &mut report.start {
                    let reasons = reasons.join("; ");
                    start.why = format!("an automatic snapshot of it cannot be taken: {reasons}");
                }
                let (policy, at) = (self.policy, self.plan.at.as_ref());
                listener.tell(Event::NoSnapshot { reasons: &reasons, policy, at });
                Capture { id: None, reasons }
            }
        };
        report.phases.end("snapshot");
    }

    fn conditions(
        &self,
        instance: &Instance,
        observations: &Observations,
    ) -> Result<Conditions, Vec<String>> {
        let Some(wasi) = instance.store.data::<WasiCtx>() else { return Ok(Conditions::default()) };
        match self.policy {
            SnapshotPolicy::Auto if !observations.blockers().is_empty() => {
                Err(observations.blockers())
            }
            SnapshotPolicy::Auto => self.given.conditions(wasi, observations),
            // The program itself is among the arguments of a call that has begun.
            _ if self.plan.at.is_some() => self.given.conditions(wasi, observations),
            _ => Ok(Conditions::default()),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "all that a snapshot is made of")]
    fn publish(
        &self,
        catalogue: &Catalogue,
        instance: &mut Instance,
        state: &State,
        opened: &WasmModules,
        key: &AutoKey,
        conditions: Conditions,
        observations: Observations,
    ) -> Result<Capture, Error> {
        let Plan { init, at, options, .. } = &self.plan;
        let listener = &self.runtime.shared.listener;
        let mut manifest =
            manifest(instance, state.names(), init, options, at.as_ref(), observations)?;
        manifest.after_restore.clone_from(&self.plan.after_restore);
        let reasons = manifest.observations.clone();
        let adding = catalogue.add()?;
        let full = catalogue.auto(key).is_ok_and(|entries| entries.len() >= MAX_ENTRIES);
        let mut places = [Place::Store(&adding, &opened.modules)];
        let written = write(instance, manifest, &[], None, &mut places, listener)?;
        let snapshot: SnapshotId = written.id;
        adding.insert_auto(key, AutoEntry { conditions, snapshot })?;
        drop(adding);
        if full {
            // The new entry took the place of an old one, whose snapshot nothing may need now.
            catalogue.sweep()?;
        }
        written.warnings.iter().for_each(|warning| listener.warn(warning));
        Ok(Capture { id: Some(snapshot), reasons })
    }
}

/// Whether an error is of what is to be called, which no other instance would mend.
fn is_about_call(error: &Error) -> bool {
    matches!(
        error,
        Error::NoExport { .. }
            | Error::NotAFunction { .. }
            | Error::TakesArguments { .. }
            | Error::Arguments(_)
    )
}

/// An error in one line.
fn one_line(error: &Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}
