//! From an initialised guest to a snapshot in a file or in the store.
//!
//! Invariant: what cannot be captured is refused before anything is written.

use crate::{
    args::CaptureArgs,
    auto,
    error::Failure,
    guest::{self, Guest},
    progress::Progress,
    source::Sources,
};
use executor_snapshot::{
    Capture, EntryKind, InstanceNames, Manifest, SnapshotId, catalogue::Adding,
};
use executor_wasi::{CaptureOptions, Observations, Point, WasiCtx, WasiState, WasiStateError};
use std::{ops::Range, path::Path};

/// The WASI state of a manifest.
///
/// # Errors
/// When it cannot be read.
pub fn wasi_state(manifest: &Manifest) -> Result<Option<WasiState>, Failure> {
    manifest.wasi.as_deref().map(WasiState::decode).transpose().map_err(Failure::new)
}

/// What a snapshot of a guest says about itself.
///
/// # Errors
/// When the guest has something of WASI's that cannot be captured, or is not to be.
pub fn manifest(
    guest: &Guest,
    names: Vec<InstanceNames>,
    init: &[String],
    options: &CaptureArgs,
    at: Option<&Point>,
    mut observations: Observations,
) -> Result<Manifest, Failure> {
    let entry = match (guest.store.suspended(), guest.store.module(guest.main)) {
        (Some(_), _) => EntryKind::Call,
        (None, Some(module)) => guest::kind(module),
        (None, None) => EntryKind::Reactor,
    };
    let mut manifest = Manifest::new(guest.main, entry, names);
    manifest.inits = init.to_vec();
    let at = at.filter(|_| entry == EntryKind::Call);
    manifest.at = at.map(Point::to_string);
    manifest.backtrace = guest.store.suspended_backtrace().to_string();
    manifest.observations = auto::describe(&observations);
    if let Some(wasi) = guest.store.data::<WasiCtx>() {
        let CaptureArgs { strict, entropy, at: _ } = options;
        let options = CaptureOptions { strict: *strict, entropy: entropy.clone() };
        let memory = |instance, memory| guest.store.memory(instance, memory);
        let state = wasi.state(memory, &options).map_err(refused)?;
        manifest.warnings.extend(entropy_warning(&state)?);
        manifest.wasi = Some(state.encode());
        // The ledger knows more of it.
        observations.random = false;
    }
    let warning =
        |what| format!("{what} by the initialisation: every run of the snapshot sees the same");
    manifest.warnings.extend(observations.blockers().into_iter().map(warning));
    Ok(manifest)
}

/// What to do about a state that is not captured.
fn refused(error: WasiStateError) -> Failure {
    match error {
        WasiStateError::Entropy(_) => Failure::new(format_args!(
            "{error}; --entropy=keep allows it, --entropy=refill draws the bytes anew at each restore"
        )),
        error => Failure::new(error),
    }
}

/// What restores share of the random bytes that were drawn.
fn entropy_warning(state: &WasiState) -> Result<Option<String>, Failure> {
    let ledger = state.entropy().map_err(Failure::new)?;
    let draws = ledger.draws.len() as u64 + ledger.more;
    let refilled = state.refill.len() as u64;
    if draws == refilled {
        return Ok(None);
    }
    let times = |n: u64| if n == 1 { "once".to_owned() } else { format!("{n} times") };
    let again = match refilled {
        0 => String::new(),
        n => format!(" (the bytes of {n} of these draws are drawn anew at each restore)"),
    };
    Ok(Some(format!(
        "the initialisation drew random bytes {}{again}: what it made of them is the same in every \
         restore; `executor snapshot inspect` shows where, --entropy says what is done about it",
        times(draws)
    )))
}

/// A snapshot that was written.
pub struct Written {
    /// Its identity.
    pub id: SnapshotId,
    /// The length of its file.
    pub len: u64,
}

/// Where a snapshot goes.
pub enum Place<'a> {
    /// A file.
    File(&'a Path),
    /// The store, with the modules that it may lack.
    Store(&'a Adding<'a>, Option<&'a Sources>),
}

/// Captures a guest and writes it to each place.
///
/// # Errors
/// When the state cannot be captured, or a file cannot be written.
pub fn write(
    guest: &Guest,
    manifest: Manifest,
    working_set: &[Vec<Vec<Range<u64>>>],
    places: &[Place<'_>],
) -> Result<Written, Failure> {
    let state = guest.store.capture().map_err(Failure::new)?;
    let progress = Progress::new("snapshotting");
    let report = |done: u64, total: u64| progress.report(done, total);
    let capture = Capture::with_working_set(&state, manifest, working_set, &report);
    let capture = capture.map_err(Failure::new)?;
    for place in places {
        match place {
            Place::File(path) => capture.publish(path, &report).map_err(Failure::new)?,
            Place::Store(adding, sources) => {
                adding.put_snapshot(&capture, &report).map_err(Failure::new)?;
                for source in sources.iter().flat_map(|sources| sources.all()) {
                    adding.put_module(source.hash(), &source.bytes()?).map_err(Failure::new)?;
                }
            }
        }
    }
    Ok(Written { id: capture.id(), len: capture.file_len() })
}
