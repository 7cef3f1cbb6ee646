//! The store through a snapshot file and back.
//!
//! Invariant: the store is replaced only by one that was restored from a file and then checked
//! whole; after a refusal or an error it is as it was.

use crate::Snapshot;
use executor_model::{EngineError, InstanceId, ModuleHash};
use executor_runtime::{NativeEngine, Store, StoreConfig, StoreState};
use executor_snapshot::{
    Capture, EntryKind, InstanceNames, Manifest, SnapshotFile, restore_untrusted,
};
use std::{error::Error, sync::Arc};
use tempfile::NamedTempFile;

/// Captures `store` into a file and replaces it by what is restored from there, as from a file
/// of unknown origin, so that every check there is runs.
pub(crate) fn round_trip(
    engine: &NativeEngine,
    store: &mut Store,
    config: StoreConfig,
) -> Result<Snapshot, String> {
    store.prepare_capture();
    let file = match store.capture() {
        Ok(state) => write(&state).map_err(|e| format!("cannot write a snapshot: {e}"))?,
        Err(refusal) => return Ok(Snapshot::Refused(refusal.to_string())),
    };
    let restored = read(engine, store, config, &file);
    *store = restored.map_err(|e| format!("cannot restore a snapshot: {e}"))?;
    Ok(Snapshot::Restored)
}

fn write(state: &StoreState<'_>) -> Result<NamedTempFile, Box<dyn Error>> {
    let names = vec![InstanceNames::default(); state.instances.len()];
    let last = InstanceId::from_position(names.len() - 1);
    let manifest = Manifest::new(last, EntryKind::Reactor, names);
    // Not published: the file need not outlive a crash, and thousands are written.
    let mut file = NamedTempFile::new()?;
    Capture::new(state, manifest, &|_, _| ())?.write_to(&mut file, &|_, _| ())?;
    Ok(file)
}

/// Names in the linker are by instance id, and ids are kept, so the linker is taken over.
fn read(
    engine: &NativeEngine,
    store: &Store,
    config: StoreConfig,
    file: &NamedTempFile,
) -> Result<Store, Box<dyn Error>> {
    let file = SnapshotFile::open(file.path())?;
    let code = |module: ModuleHash| -> Result<_, Box<dyn Error>> {
        let ids = (0..store.instance_count()).filter_map(|at| store.instance_at(at));
        let code = ids.filter_map(|id| store.module(id)).find(|code| code.hash() == module);
        Ok(Arc::clone(code.ok_or(EngineError::NotCompiled(module))?))
    };
    restore_untrusted(engine, store.linker().clone(), config, &file, code)
}
