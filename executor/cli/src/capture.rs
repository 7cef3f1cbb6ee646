//! From an initialised guest to a snapshot in a file or in the store.
//!
//! Invariant: what cannot be captured is refused before anything is written.

use crate::{
    error::{Context, Failure},
    guest::{self, Guest, Modules},
    progress::Progress,
    source::Sources,
};
use executor_snapshot::{Capture, Manifest, SnapshotId, catalogue::Adding};
use executor_wasi::{WasiCtx, WasiState};
use std::path::Path;

/// How the WASI state is encoded in a manifest.
const ENCODING: bincode::config::Configuration = bincode::config::standard();

/// The WASI state of a manifest.
///
/// # Errors
/// When it is not as [`manifest`] encodes it.
pub fn wasi_state(manifest: &Manifest) -> Result<Option<WasiState>, Failure> {
    let Some(bytes) = &manifest.wasi else { return Ok(None) };
    match bincode::serde::decode_from_slice(bytes, ENCODING) {
        Ok((state, len)) if len == bytes.len() => Ok(Some(state)),
        _ => Err(Failure::new("the snapshot's WASI state is damaged; create it again")),
    }
}

/// What a snapshot of a guest says about itself.
///
/// # Errors
/// When the guest has something of WASI's that cannot be captured.
pub fn manifest(
    guest: &Guest,
    modules: &Modules,
    init: &[String],
    observations: Vec<String>,
    warnings: Vec<String>,
) -> Result<Manifest, Failure> {
    let entry = guest::kind(&modules.main);
    let wasi = match guest.store.data::<WasiCtx>() {
        Some(wasi) => {
            let state = wasi.state().map_err(Failure::new)?;
            Some(bincode::serde::encode_to_vec(&state, ENCODING).context("WASI state")?)
        }
        None => None,
    };
    let inits = init.to_vec();
    let manifest = Manifest::new(guest.main, entry, modules.names());
    Ok(Manifest { inits, observations, warnings, wasi, ..manifest })
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
    /// The store, with the modules it needs.
    Store(&'a Adding<'a>, &'a Sources),
}

/// Captures a guest and writes it to each place.
///
/// # Errors
/// When the state cannot be captured, or a file cannot be written.
pub fn write(guest: &Guest, manifest: Manifest, places: &[Place<'_>]) -> Result<Written, Failure> {
    let state = guest.store.capture().map_err(Failure::new)?;
    let progress = Progress::new("snapshotting");
    let report = |done: u64, total: u64| progress.report(done, total);
    let capture = Capture::new(&state, manifest, &report).map_err(Failure::new)?;
    for place in places {
        match place {
            Place::File(path) => capture.publish(path, &report).map_err(Failure::new)?,
            Place::Store(adding, sources) => {
                adding.put_snapshot(&capture, &report).map_err(Failure::new)?;
                for source in sources.all() {
                    adding.put_module(source.hash(), &source.bytes()?).map_err(Failure::new)?;
                }
            }
        }
    }
    Ok(Written { id: capture.id(), len: capture.file_len() })
}
