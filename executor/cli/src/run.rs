//! `executor run`: a guest is restored or instantiated, and called.
//!
//! Invariant: a run that restores reads no module, starts no compiler and writes nothing; what it
//! does is proportional to the number of instances, never to their size.

use crate::{
    args::{RunArgs, SnapshotPolicy, StoreArgs},
    engine::{self, Talk},
    error::Failure,
    given::{Given, give, plan},
    out,
    outputs::{Named, refuse_inputs},
    print::{self, say},
    report::{Destination, Exit},
    suggest::did_you_mean,
    target::{self, inputs},
};
use executor::{
    Base, CallError, CatalogueError, Entropy, Error, Instance, Outcome, Runtime, Source,
};
use std::{ffi::OsStr, path::Path, sync::Arc};

/// Runs the target and returns the exit code.
///
/// # Errors
/// When the host's side fails; what the guest does is an exit code.
pub fn run(args: &RunArgs) -> Result<i32, Failure> {
    let mut report = executor::Report::default();
    let (target, rest) = args.split()?;
    let StoreArgs { dir, no_store, .. } = &args.store;
    let stored = |name: &str| !no_store && engine::has_function(dir, name);
    let base = target::named(target, stored)?;
    let destination = match &args.report {
        None => None,
        Some(path) => {
            let output = Named { option: Some("--report"), path: Path::new(path) };
            refuse_inputs(output, inputs(&base, target, &args.guest))?;
            Some(Arc::new(Destination::open(target, path)?))
        }
    };
    let function = match &base {
        Base::Function(name) => Some(name.as_str()),
        Base::Module(_) | Base::Snapshot(_) => None,
    };
    let verbose = args.guest.verbose;
    let talk = Talk { verbose, report: destination.clone() };
    let runtime = engine::of_run(function, &args.store, &args.code, &talk)?;
    let given = Given::of(&args.guest, &rest)?;
    report.phases.end("engine");
    let ended = match start(args, &runtime, base, target, given, &rest, &mut report) {
        Ok(instance) => complete(instance, verbose, &mut report),
        Err(failed) => Err(failed),
    };
    let (exit, failure) = match ended {
        Ok(code) => (Exit { code, ..Exit::default() }, None),
        Err(Stop::Failure(failure)) => {
            let exit = Exit { code: failure.code, error: Some(failure.line()), trap: None };
            (exit, Some(failure))
        }
        Err(Stop::Ended(error)) => (describe(error), None),
    };
    let code = exit.code;
    if let Some(destination) = destination {
        destination.write(&report, exit);
    }
    failure.map_or(Ok(code), Err)
}

/// Why a guest did not get ready, or did not return.
enum Stop {
    /// The host's side failed, or a hook of the guest's.
    Failure(Failure),
    /// The guest trapped, exited or was interrupted.
    Ended(Error),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        let call = match &error {
            Error::TimedOut { source, .. } => source,
            error => error,
        };
        match call {
            Error::Call(CallError::Usage(_)) => Self::Failure(error.into()),
            Error::Call(_) => Self::Ended(error),
            _ => Self::Failure(error.into()),
        }
    }
}

/// Gets the guest ready.
fn start(
    args: &RunArgs,
    runtime: &Runtime,
    base: Base,
    target: &OsStr,
    given: Given<'_>,
    rest: &[String],
    report: &mut executor::Report,
) -> Result<Instance, Stop> {
    let function = match base {
        Base::Module(module) => return launch(args, runtime, module, given, rest, report),
        Base::Function(name) => {
            refuse_initialisation(args, target)?;
            runtime.function_with(&name, report).map_err(|error| match error {
                Error::Store(CatalogueError::UnknownFunction { name }) => {
                    let known = runtime.functions().unwrap_or_default();
                    let alike = did_you_mean(&name, known.iter().map(|(name, _)| name.as_str()));
                    Failure::new(format_args!(
                        "`{name}` is neither a file nor a stored function (to store one: executor \
                         snapshot create --name {name} FILE){alike}"
                    ))
                }
                error => error.into(),
            })?
        }
        Base::Snapshot(path) => {
            refuse_initialisation(args, target)?;
            runtime.open_snapshot_with(path, &[], report)?
        }
    };
    let mut builder = give!(function.instance(), given);
    if let Some(export) = &args.invoke {
        builder = builder.call_text(export, rest.iter());
    }
    Ok(builder.start_with(report)?)
}

/// Starts a module, with an automatic snapshot where that is asked for.
fn launch(
    args: &RunArgs,
    runtime: &Runtime,
    module: Source,
    given: Given<'_>,
    rest: &[String],
    report: &mut executor::Report,
) -> Result<Instance, Stop> {
    let policy = match args.snapshot {
        SnapshotPolicy::Auto => executor::SnapshotPolicy::Auto,
        SnapshotPolicy::Always => executor::SnapshotPolicy::Always,
        SnapshotPolicy::Never => executor::SnapshotPolicy::Never,
    };
    let launch = runtime.launch(module).snapshots(policy);
    let launch = plan!(launch, &args.guest, &args.capture, &args.invoke, rest.iter());
    Ok(give!(launch, given).start_with(report)?)
}

/// A snapshot has been initialised already.
fn refuse_initialisation(args: &RunArgs, target: &OsStr) -> Result<(), Failure> {
    let given = [
        (!args.guest.init.is_empty(), "--init"),
        (!args.guest.after_restore.is_empty(), "--after-restore"),
        (!args.guest.preload.is_empty(), "--preload"),
        (args.capture.strict, "--strict"),
        (args.capture.entropy != Entropy::Keep, "--entropy"),
        (args.capture.at.is_some(), "--at"),
    ];
    match given.into_iter().find(|(given, _)| *given) {
        None => Ok(()),
        Some((_, option)) => Err(Failure::usage(format_args!(
            "{option} belongs to `snapshot create`: `{}` is initialised already",
            target.display()
        ))),
    }
}

/// Calls the guest and prints its results.
fn complete(
    mut instance: Instance,
    verbose: bool,
    report: &mut executor::Report,
) -> Result<i32, Stop> {
    if verbose {
        say_how(report);
    }
    report.phases.resume();
    let outcome = instance.run();
    report.phases.end("call");
    report.collections = instance.collections();
    // The process ends soon: unmapping gigabytes piece by piece would only take time.
    std::mem::forget(instance);
    match outcome? {
        Outcome::Exited(code) => Ok(code),
        Outcome::Returned(results) => {
            let lines: String = results.iter().map(|value| format!("{value}\n")).collect();
            out(format_args!("{lines}"))?;
            Ok(0)
        }
    }
}

/// Says how the guest got ready.
fn say_how(report: &executor::Report) {
    if let Some(snapshot) = report.start.as_ref().and_then(|start| start.restored.as_ref()) {
        say(format_args!("restored snapshot {}", snapshot.id()));
    } else if let Some(id) = &report.capture.id {
        say(format_args!("took snapshot {id}"));
    }
}

/// How the guest ended, said on standard error where it was not by an exit.
fn describe(error: Error) -> Exit {
    let trap = error.trap().map(|trap| trap.code.message());
    match error.call() {
        Some(CallError::Exit(code)) => return Exit { code: *code, ..Exit::default() },
        Some(CallError::Closed(code)) => return Exit { code: *code as i32, ..Exit::default() },
        _ => {}
    }
    let failure = Failure::from(error);
    print::error(&failure);
    let error = trap.is_none().then(|| failure.line());
    Exit { code: failure.code, trap, error }
}
