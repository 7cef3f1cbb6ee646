//! `executor run`: a guest is restored or instantiated, and called.
//!
//! Invariant: a run that restores reads no module, starts no compiler and writes nothing; what it
//! does is proportional to the number of instances, never to their size.

use crate::{
    args::{GuestArgs, RunArgs, SnapshotPolicy},
    auto,
    capture::{self, Place},
    engine::Host,
    error::{EXIT_FAILURE, EXIT_TRAP, Failure},
    guest::{self, Entry, Guest, Modules, Stop},
    out,
    report::{Exit, Instance, Phases, Report, Snapshot},
    restore::{Trust, restore},
    source::{Sources, Target},
    store_dir,
    timeout::Timeout,
    values, warn,
    world::World,
};
use executor_model::CallError;
use executor_runtime::Reached;
use executor_snapshot::{
    Catalogue, CatalogueError, GivenDirectory, Hook, Manifest, SnapshotFile, SnapshotId,
    catalogue::{AutoEntry, AutoKey, Conditions, MAX_ENTRIES},
};
use executor_wasi::{Entropy, Observations, WasiCtx, WasiCtxBuilder};
use std::{ffi::OsStr, path::Path};

/// A run in progress.
struct Run<'a> {
    args: &'a RunArgs,
    target: &'a OsStr,
    /// The arguments after the target.
    rest: Vec<String>,
    world: World,
    host: Host,
    timeout: Timeout,
    instance: Instance,
    snapshot: Snapshot,
}

/// Runs the target and returns the exit code.
///
/// # Errors
/// When the host's side fails; what the guest does is an exit code.
pub fn run(args: &RunArgs) -> Result<i32, Failure> {
    let mut phases = Phases::begin();
    let (name, rest) = args.split()?;
    let target = Target::classify(name)?;
    let catalogue = match target {
        Target::Function(name) => Some(store_dir::open_for_function(&args.store, name)?),
        Target::Snapshot(_) | Target::Module(_) => store_dir::open_for_file(&args.store),
    };
    let world = World::of(&args.guest, name, &rest)?;
    phases.end("store");
    let mut run = Run {
        args,
        target: name,
        rest,
        world,
        host: Host::new(catalogue, &args.code, args.guest.verbose, phases)?,
        timeout: Timeout::new(args.guest.timeout),
        instance: Instance::default(),
        snapshot: Snapshot::default(),
    };
    let ended = run.complete(target);
    let (exit, failure) = match ended {
        Ok(()) => (Exit::default(), None),
        Err(Stop::Ended(error)) => (run.describe(error), None),
        Err(Stop::Failure(failure)) => {
            let exit = Exit { code: failure.code, error: Some(failure.line()), trap: None };
            (exit, Some(failure))
        }
    };
    let code = exit.code;
    let written = match &args.report {
        Some(to) => run.report(exit).write(to),
        None => Ok(()),
    };
    match failure {
        Some(failure) => Err(failure),
        None => written.map(|()| code),
    }
}

impl Run<'_> {
    /// Gets the guest ready, calls it and prints its results.
    fn complete(&mut self, target: Target<'_>) -> Result<(), Stop> {
        let (mut guest, entry) = match target {
            Target::Function(name) => self.function(name)?,
            Target::Snapshot(path) => self.snapshot_file(path)?,
            Target::Module(path) => self.module(path)?,
        };
        if let Entry::Nothing = entry {
            self.host.say(|| "a reactor is ready; to call an export, name it with --invoke".into());
        }
        let results = guest.call(&entry, &mut self.timeout);
        self.host.phases.end("call");
        // The process ends soon: unmapping gigabytes piece by piece would only take time.
        std::mem::forget(guest);
        let lines: String = results?.iter().map(|value| values::show(value) + "\n").collect();
        Ok(out(format_args!("{lines}"))?)
    }

    /// Restores a stored function.
    fn function(&mut self, name: &str) -> Result<(Guest, Entry), Stop> {
        self.refuse_initialisation(name)?;
        let Some(catalogue) = &self.host.catalogue else {
            return Err(Failure::new(format_args!("no store holds `{name}`")).into());
        };
        let file = catalogue.open_function(name).map_err(|error| match error {
            CatalogueError::UnknownFunction { name } => Failure::new(format_args!(
                "`{name}` is neither a file nor a stored function (to store one: executor snapshot \
                 create --name {name} FILE)"
            )),
            error => Failure::new(error),
        })?;
        self.host.phases.end("open");
        let wasi = self.wasi(&file.manifest().directories)?;
        let guest = self.restore(&file, wasi, Trust::Own)?;
        self.instance = Instance::restored(self.reported_id(&file), format!("function `{name}`"));
        Ok(self.resume(guest)?)
    }

    /// Restores a snapshot from a file that anyone may have made.
    fn snapshot_file(&mut self, path: &Path) -> Result<(Guest, Entry), Stop> {
        self.refuse_initialisation(&path.display().to_string())?;
        let file = SnapshotFile::open(path).map_err(Failure::new)?;
        self.host.phases.end("open");
        // Whoever made the file does not say what this user's guests are given.
        let wasi = self.wasi(&[])?;
        let guest = self.restore(&file, wasi, Trust::Nobody)?;
        let why = format!("snapshot file {}", path.display());
        self.instance = Instance::restored(self.reported_id(&file), why);
        Ok(self.resume(guest)?)
    }

    /// The identity of a snapshot, for the report. Without one it is not worth its hashing.
    fn reported_id(&self, file: &SnapshotFile) -> Option<String> {
        self.args.report.as_ref().map(|_| file.id().to_string())
    }

    /// Makes a restored guest ready for what the command line asks of it.
    fn resume(&mut self, mut guest: Guest) -> Result<(Guest, Entry), Failure> {
        let module = guest.store.module(guest.main).ok_or_else(|| {
            Failure::new("the snapshot names a main instance that it does not have")
        })?;
        let invoke = self.args.invoke.as_deref();
        let entry = match guest.store.suspended() {
            None => Entry::plan(module, invoke, &self.rest)?,
            Some(_) if invoke.is_some() && self.args.capture.at.is_none() => {
                return Err(Failure::usage(
                    "--invoke: the snapshot is inside a call already, which goes on",
                ));
            }
            Some(_) => Entry::Suspended(self.host.continuations(&guest.store)?),
        };
        guest.run_hook(Hook::AfterRestore, &mut self.timeout)?;
        Ok((guest, entry))
    }

    /// A snapshot has been initialised already.
    fn refuse_initialisation(&self, name: &str) -> Result<(), Failure> {
        let given = [
            (!self.args.guest.init.is_empty(), "--init"),
            (!self.args.guest.preload.is_empty(), "--preload"),
            (self.args.capture.strict, "--strict"),
            (self.args.capture.entropy != Entropy::Keep, "--entropy"),
            (self.args.capture.at.is_some(), "--at"),
        ];
        match given.into_iter().find(|(given, _)| *given) {
            None => Ok(()),
            Some((_, option)) => Err(Failure::usage(format_args!(
                "{option} belongs to `snapshot create`: `{name}` is initialised already"
            ))),
        }
    }

    /// Restores a module from its automatic snapshot, or instantiates it and takes one.
    fn module(&mut self, path: &Path) -> Result<(Guest, Entry), Stop> {
        let args = self.args;
        let sources = Sources::open(self.host.catalogue.as_ref(), &args.guest.preload, path)?;
        self.host.phases.end("resolve");
        let mut wasi = self.wasi(&[])?;
        let (module, preloads) = (sources.main.hash(), sources.preload_hashes());
        let call = args.invoke.iter().chain(self.rest.iter().filter(|_| args.invoke.is_some()));
        let call = call.map(String::as_str);
        let key = auto::key(args.snapshot, module, &preloads, &args.guest, &args.capture, call);

        let why = match self.find(&key, &wasi) {
            Err(why) => why,
            Ok(file) => match self.restore(&file, wasi, Trust::Own) {
                Ok(guest) => {
                    let id = self.reported_id(&file);
                    self.instance = Instance::restored(id, "automatic snapshot");
                    self.snapshot.reasons.push("the run restored one".to_owned());
                    return Ok(self.resume(guest)?);
                }
                Err(failure) => {
                    warn(format_args!("{}; initialising again", failure.line()));
                    wasi = self.wasi(&[])?;
                    "the automatic snapshot cannot be restored".to_owned()
                }
            },
        };

        // Frame maps are worth their price only where a snapshot can come of it.
        let at = args.capture.at.clone().filter(|_| self.keeps_snapshots().is_ok());
        let mut mapped = at.as_ref().map(|_| self.host.with_frame_maps()).transpose()?;
        let host = mapped.as_mut().unwrap_or(&mut self.host);
        let modules = Modules::compile(host, &sources)?;
        let engine = host.engine.clone();
        let mut entry = Entry::plan(&modules.main, args.invoke.as_deref(), &self.rest)?;
        let wasi = wasi.build().map_err(Failure::new)?;
        let (config, init) = (guest::config(&args.guest)?, &args.guest.init);
        self.instance = Instance::instantiated(why);
        let ready = Guest::instantiate(&engine, &modules, init, config, wasi, &mut self.timeout);
        self.host.phases.end("instantiate");
        if ready.is_err() {
            self.snapshot.reasons.push("initialisation did not end well".to_owned());
        }
        let mut guest = ready?;
        if let Some(point) = at {
            let reached = guest.call_until(&entry, point.clone(), &mut self.timeout);
            self.host.phases.end("call");
            if !matches!(reached, Ok(Reached::Point)) {
                let reason = format!("the call ended before it reached the point {point}");
                warn(format_args!("took no snapshot: {reason}"));
                self.snapshot.reasons.push(reason);
            }
            match reached? {
                Reached::End(results) => return Ok((guest, Entry::Ended(results))),
                Reached::Point => {}
            }
        }
        match self.keeps_snapshots() {
            Err(why) => self.snapshot.reasons.push(why.to_owned()),
            Ok(_) => {
                guest.run_hook(Hook::BeforeSnapshot, &mut self.timeout)?;
                self.take_snapshot(&mut guest, &modules, &sources, &key);
                if guest.store.suspended().is_some() {
                    // The code that later runs need, now that there is time for it.
                    Modules::compile(&mut self.host, &sources)?;
                    entry = Entry::Suspended(self.host.continuations_of(&guest.store, &sources)?);
                }
                // The guest goes on as every later run will.
                guest.run_hook(Hook::AfterRestore, &mut self.timeout)?;
            }
        }
        Ok((guest, entry))
    }

    /// Where automatic snapshots are kept, or why there are none.
    fn keeps_snapshots(&self) -> Result<&Catalogue, &'static str> {
        match (self.args.snapshot, &self.host.catalogue) {
            (SnapshotPolicy::Never, _) => Err("--snapshot never"),
            (_, None) => Err("no store"),
            (_, Some(catalogue)) => Ok(catalogue),
        }
    }

    /// The automatic snapshot that may be used, or why there is none.
    fn find(&mut self, key: &AutoKey, dirs: &WasiCtxBuilder) -> Result<SnapshotFile, String> {
        let catalogue = self.keeps_snapshots()?.clone();
        let mut why = "there is no automatic snapshot of it yet".to_owned();
        let entries = catalogue.auto(key).unwrap_or_else(|error| {
            warn(format_args!("{error}"));
            Vec::new()
        });
        for entry in entries {
            if let Some(difference) = self.world.differs(&entry.conditions, dirs) {
                why = format!("the automatic snapshot is of another world: {difference}");
                continue;
            }
            match catalogue.snapshot(entry.snapshot) {
                Ok(Some(file)) => {
                    self.host.phases.end("open");
                    return Ok(file);
                }
                Ok(None) => why = "the automatic snapshot was removed".to_owned(),
                Err(error) => {
                    warn(format_args!("{error}; initialising again"));
                    why = "the automatic snapshot cannot be read".to_owned();
                }
            }
        }
        self.host.phases.end("open");
        Err(why)
    }

    /// Takes an automatic snapshot, where that is asked for and cannot change any run's answer. The
    /// run goes on without it, so what goes wrong is a reason and at most a warning.
    fn take_snapshot(
        &mut self,
        guest: &mut Guest,
        modules: &Modules,
        sources: &Sources,
        key: &AutoKey,
    ) {
        let observations = guest.take_observations();
        let taken = self.conditions(guest, &observations).and_then(|conditions| {
            self.publish(guest, modules, sources, key, conditions, observations)
                .map_err(|failure| vec![failure.line()])
        });
        match taken {
            Ok((id, manifest)) => {
                self.host.say(|| format!("took snapshot {id}"));
                manifest.warnings.iter().for_each(warn);
                self.snapshot = Snapshot {
                    taken: true,
                    id: Some(id.to_string()),
                    reasons: manifest.observations,
                };
            }
            Err(reasons) => {
                let line = || format!("took no snapshot: {}", reasons.join("; "));
                match self.args.snapshot {
                    SnapshotPolicy::Always => warn(line()),
                    // The user asked for it.
                    _ if self.args.capture.at.is_some() => warn(format_args!(
                        "{} (to take it all the same: --snapshot always)",
                        line()
                    )),
                    SnapshotPolicy::Auto | SnapshotPolicy::Never => self.host.say(line),
                }
                self.snapshot.reasons = reasons;
            }
        }
        self.host.phases.end("snapshot");
    }

    fn conditions(
        &self,
        guest: &Guest,
        observations: &Observations,
    ) -> Result<Conditions, Vec<String>> {
        match (self.args.snapshot, guest.store.data::<WasiCtx>()) {
            (SnapshotPolicy::Auto, Some(wasi)) => self.world.conditions(wasi, observations),
            // The program itself is among the arguments of a call that has begun.
            (_, Some(wasi)) if self.args.capture.at.is_some() => {
                self.world.seen(wasi, observations)
            }
            _ => Ok(Conditions::default()),
        }
    }

    fn publish(
        &self,
        guest: &Guest,
        modules: &Modules,
        sources: &Sources,
        key: &AutoKey,
        conditions: Conditions,
        observations: Observations,
    ) -> Result<(SnapshotId, Manifest), Failure> {
        let catalogue = self.keeps_snapshots().map_err(Failure::new)?;
        let RunArgs { guest: GuestArgs { init, .. }, capture, .. } = self.args;
        let manifest = capture::manifest(
            guest,
            modules.names(),
            init,
            capture,
            capture.at.as_ref(),
            observations,
        )?;
        let adding = catalogue.add().map_err(Failure::new)?;
        let full = catalogue.auto(key).is_ok_and(|entries| entries.len() >= MAX_ENTRIES);
        let written = {
            let places = [Place::Store(&adding, Some(sources))];
            capture::write(guest, manifest.clone(), &[], &places)?
        };
        let entry = AutoEntry { conditions, snapshot: written.id };
        adding.insert_auto(key, entry).map_err(Failure::new)?;
        drop(adding);
        if full {
            // The new entry took the place of an old one, whose snapshot nothing may need now.
            catalogue.sweep().map_err(Failure::new)?;
        }
        Ok((written.id, manifest))
    }

    fn wasi(&self, kept: &[GivenDirectory]) -> Result<WasiCtxBuilder, Failure> {
        self.world.wasi(&self.args.guest, kept)
    }

    fn restore(
        &mut self,
        file: &SnapshotFile,
        wasi: WasiCtxBuilder,
        trust: Trust,
    ) -> Result<Guest, Failure> {
        restore(&mut self.host, &self.world, &self.args.guest, file, wasi, trust)
    }

    /// How the guest ended, said on standard error where it was not by an exit.
    fn describe(&self, error: CallError) -> Exit {
        let exit = |code| Exit { code, trap: None, error: None };
        match error {
            CallError::Exit(code) => exit(code),
            CallError::Closed(code) => exit(code as i32),
            CallError::Trap(trap) => {
                let time = self.timeout.passed().map(|line| line + "\n").unwrap_or_default();
                eprintln!("executor: error: {time}{trap}");
                Exit { trap: Some(trap.code.message()), ..exit(EXIT_TRAP) }
            }
            CallError::Exception(thrown) => {
                eprintln!("executor: error: {thrown}");
                Exit { error: Some(thrown.description), ..exit(EXIT_TRAP) }
            }
            error => {
                let message = error.to_string();
                eprint!("executor: error: {message}");
                if let CallError::Host { backtrace, .. } = error {
                    eprint!("\n{backtrace}");
                }
                eprintln!();
                Exit { error: Some(message), ..exit(EXIT_FAILURE) }
            }
        }
    }

    fn report(self, exit: Exit) -> Report {
        let Self { target, host: Host { code, phases, .. }, instance, snapshot, .. } = self;
        let target = target.display().to_string();
        Report { target, code, instance, snapshot, exit, phases }
    }
}
