//! From an initialised instance to a snapshot in a file, in the store or in memory.
//!
//! Invariant: what cannot be captured, or read, is refused before anything is written.

use super::kind;
use crate::{
    Error, Instance, Snapshot,
    event::{Event, Listener, Work},
    runtime::WasmModule,
};
use executor_snapshot::{
    Capture, EntryKind, InstanceNames, Layers, Manifest, SnapshotFile, SnapshotId,
    catalogue::Adding,
};
use executor_wasi::{CaptureOptions, Observations, Point, WasiCtx, WasiState};
use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

/// What a snapshot of an instance says about itself.
pub(crate) fn manifest(
    instance: &Instance,
    names: Vec<InstanceNames>,
    init: &[String],
    options: &CaptureOptions,
    at: Option<&Point>,
    mut observations: Observations,
) -> Result<Manifest, Error> {
    let store = &instance.store;
    let entry = match store.suspended() {
        Some(_) => EntryKind::Call,
        None => kind(instance.module()?),
    };
    let mut manifest = Manifest::new(instance.main, entry, names);
    manifest.inits = init.to_vec();
    let at = at.filter(|_| entry == EntryKind::Call);
    manifest.at = at.map(Point::to_string);
    manifest.backtrace = store.suspended_backtrace().to_string();
    manifest.observations = describe(&observations);
    if let Some(wasi) = store.data::<WasiCtx>() {
        let state = wasi.state(|instance, memory| store.memory(instance, memory), options)?;
        manifest.warnings.extend(entropy_warning(&state)?);
        manifest.wasi = Some(state.encode());
        // The ledger knows more of it.
        observations.random = false;
    }
    let shared = observations.shared();
    if !shared.is_empty() {
        let warning = "every run of the snapshot sees what its initialisation saw";
        manifest.warnings.push(format!("{warning}: {}", shared.join(", ")));
    }
    Ok(manifest)
}

/// All that initialisation observed, in words.
fn describe(observations: &Observations) -> Vec<String> {
    let Observations { args, env, preopens, files_read, .. } = observations;
    let mut words = Vec::new();
    let named = [
        (*args, "the arguments were read"),
        (*env, "the environment was read"),
        (*preopens, "the preopened directories were listed"),
    ];
    words.extend(named.into_iter().filter(|(seen, _)| *seen).map(|(_, word)| word.to_owned()));
    words.extend(files_read.iter().map(|file| format!("file `{}` was read", file.path)));
    words.extend(observations.blockers());
    words
}

/// What restores share of the random bytes that were drawn.
fn entropy_warning(state: &WasiState) -> Result<Option<String>, Error> {
    let ledger = state.entropy()?;
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its identity.
    pub id: SnapshotId,
    /// The length of its file in bytes.
    pub len: u64,
    /// What is to be known of it: what every instance shares that may not be meant to be.
    pub warnings: Vec<String>,
}

/// Where a snapshot goes.
pub(crate) enum Place<'a> {
    /// A file.
    File(&'a Path),
    /// The store, with the modules that it may lack.
    Store(&'a Adding<'a>, &'a [WasmModule]),
    /// Memory.
    Memory(&'a mut Option<SnapshotFile>),
}

/// Captures an instance and writes it to each place, without the pages that are in `base` already.
pub(crate) fn write(
    instance: &mut Instance,
    manifest: Manifest,
    working_set: &[Vec<Vec<Range<u64>>>],
    base: Option<&Snapshot>,
    places: &mut [Place<'_>],
    listener: &Listener,
) -> Result<Created, Error> {
    let mut warnings = manifest.warnings.clone();
    instance.store.prepare_capture();
    let instance = &*instance;
    let state = instance.store.capture()?;
    listener.work(Work::Snapshot, || {
        let report = |done: u64, total: u64| listener.tell(Event::Progress { done, total });
        let layers = base.map(|base| Layers::find(&state, base.file())).transpose()?;
        if let (Some(base), Some(true)) = (base, layers.as_ref().map(Layers::is_empty)) {
            let path = base.path().display();
            warnings.push(format!("it has no page in common with {path}, and stands alone"));
        }
        let layers = layers.unwrap_or_default();
        let capture = Capture::layered(&state, manifest, working_set, &layers, &report)?;
        // All of the state has been read now.
        instance.ensure_intact()?;
        keep(&capture, places, &report)?;
        Ok(Created { id: capture.id(), len: capture.file_len(), warnings })
    })
}

/// Writes a snapshot to each place.
pub(crate) fn keep(
    capture: &Capture<'_>,
    places: &mut [Place<'_>],
    report: &dyn Fn(u64, u64),
) -> Result<(), Error> {
    for place in places {
        match place {
            Place::File(path) => capture.publish(path, report)?,
            Place::Store(adding, modules) => {
                let mut needed = capture.file_len();
                for module in *modules {
                    if !adding.has_module(module.hash)? {
                        needed += module.bytes()?.len() as u64;
                    }
                }
                adding.make_room(needed)?;
                adding.put_snapshot(capture, report)?;
                for module in *modules {
                    adding.put_module(module.hash, &module.bytes()?)?;
                }
            }
            Place::Memory(file) => **file = Some(in_memory(capture, report)?),
        }
    }
    Ok(())
}

/// Writes a snapshot to a file that has no name and lives as long as it is open.
fn in_memory(capture: &Capture<'_>, report: &dyn Fn(u64, u64)) -> Result<SnapshotFile, Error> {
    let failed = |source: io::Error| Error::System { what: "keep a snapshot in memory", source };
    let mut file = File::from(
        memfd_create("executor-snapshot", MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?,
    );
    // What others could write to is not restored.
    fchmod(&file, Mode::RUSR | Mode::WUSR).map_err(|e| failed(e.into()))?;
    capture.write_to(&mut file, report).map_err(failed)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let opened = File::open(&path).map_err(failed)?;
    Ok(capture.opened(opened, path)?)
}
