//! The runtime of a command, and what it says while it works.
//!
//! Invariant: what a command can do without is a warning: a store that cannot be used, for a run of a file.

use crate::{
    args::{StoreArgs, StoreDirArgs},
    code_args::CodeArgs,
    error::{EXIT_TRAP, Failure},
    print::{self, say},
    progress::Progress,
    report::{Destination, Exit},
    store_dir, units, warn,
};
use executor::{Event, Features, Runtime, RuntimeBuilder, SnapshotPolicy, Work};
use std::sync::{Arc, Mutex, PoisonError};

/// What a command says of its work.
#[derive(Debug, Clone, Default)]
pub struct Talk {
    /// Whether it says what happens.
    pub verbose: bool,
    /// Where it reports a guest that cannot be stopped.
    pub report: Option<Arc<Destination>>,
}

fn builder(code: &CodeArgs, talk: &Talk) -> RuntimeBuilder {
    let progress = Mutex::new(None);
    let talk = talk.clone();
    Runtime::builder()
        .features(code.features(Features::default()))
        .opt_level(code.opt_level)
        .max_compile_memory(code.max_compile_memory)
        .max_compile_time(code.max_compile_time)
        .on_event(move |event| tell(event, &talk, &progress))
}

/// The runtime of a command that cannot do without a store.
///
/// # Errors
/// When there is none to be had.
pub fn with_store(store: &StoreDirArgs, code: &CodeArgs, talk: &Talk) -> Result<Runtime, Failure> {
    in_store(builder(code, talk), store)
}

/// A runtime with a store.
fn in_store(builder: RuntimeBuilder, store: &StoreDirArgs) -> Result<Runtime, Failure> {
    let dir = store_dir::directory(store.store.as_deref())?;
    let trust = store_dir::is_trusted(store.trust_store)?;
    Ok(builder.store(dir).trust_store(trust).build()?)
}

/// Whether the store can be used and has a function of this name.
pub fn has_function(store: &StoreDirArgs, name: &str) -> bool {
    let runtime = with_store(store, &CodeArgs::default(), &Talk::default());
    runtime.is_ok_and(|runtime| runtime.has_function(name))
}

/// The runtime of a command that can do without a store.
///
/// # Errors
/// When the machine lacks something that the engine needs.
pub fn with_store_if_usable(
    store: &StoreDirArgs,
    code: &CodeArgs,
    talk: &Talk,
) -> Result<Runtime, Failure> {
    in_store_if_usable(|| builder(code, talk), store)
}

fn in_store_if_usable(
    builder: impl Fn() -> RuntimeBuilder,
    store: &StoreDirArgs,
) -> Result<Runtime, Failure> {
    match in_store(builder(), store) {
        Ok(runtime) => Ok(runtime),
        Err(failure) => {
            warn(failure.line());
            Ok(builder().build()?)
        }
    }
}

/// The runtime of a run: of a stored function, which needs the store, or of a file.
///
/// # Errors
/// When it cannot be had.
pub fn of_run(
    function: Option<&str>,
    store: &StoreArgs,
    code: &CodeArgs,
    talk: &Talk,
) -> Result<Runtime, Failure> {
    let builder = || builder(code, talk).verify_snapshots(store.verify);
    match (function, store.no_store) {
        (Some(name), true) => Err(Failure::usage(format_args!(
            "`{name}` is no file, and with --no-store there are no stored functions"
        ))),
        (Some(_), false) => in_store(builder(), &store.dir),
        (None, true) => Ok(builder().build()?),
        (None, false) => in_store_if_usable(builder, &store.dir),
    }
}

/// Says what happens; a guest that cannot be stopped ends the process.
fn tell(event: Event<'_>, talk: &Talk, progress: &Mutex<Option<Progress>>) {
    let verbose = talk.verbose;
    let progress = || progress.lock().unwrap_or_else(PoisonError::into_inner);
    match event {
        Event::Began(work) => {
            *progress() = Some(Progress::new(match work {
                Work::Compile { frame_maps: true } => "compiling with frame maps",
                Work::Snapshot => "snapshotting",
                _ => "compiling",
            }));
        }
        Event::Progress { done, total } => {
            if let Some(progress) = &*progress() {
                progress.report(done, total);
            }
        }
        Event::Ended => *progress() = None,
        Event::Compiled { module, functions } if verbose => {
            say(format_args!("compiled {module} ({functions} functions)"));
        }
        Event::Simplified { module, function, name, len, more } => {
            let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
            let others = match more {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            warn(format_args!(
                "{module}: function {function}{name}, {} of WebAssembly,{others} too large to \
                 optimise; compiled without",
                units::show_size(len)
            ));
        }
        Event::NoSnapshot { reasons, policy, at } => {
            let line = format!("took no snapshot: {}", reasons.join("; "));
            match (policy, at) {
                (SnapshotPolicy::Always, _) => warn(line),
                // The user asked for it.
                (_, Some(_)) => {
                    warn(format_args!("{line} (to take it all the same: --snapshot always)"))
                }
                (_, None) if verbose => say(line),
                (_, None) => {}
            }
        }
        Event::Warning(what) => warn(what),
        Event::Overdue { limit } => {
            let error = format!("the timeout of {limit:?} passed, in a call of the host");
            print::error(&error);
            if let Some(report) = &talk.report {
                let exit = Exit { code: EXIT_TRAP, trap: None, error: Some(error) };
                report.write(&executor::Report::default(), exit);
            }
            std::process::exit(EXIT_TRAP);
        }
        _ => {}
    }
}
