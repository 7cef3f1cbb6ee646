//! From a snapshot file to a guest.
//!
//! Invariant: a guest of a file that anyone may have written is checked whole before it runs.

use crate::{
    args::GuestArgs,
    capture,
    engine::Host,
    error::Failure,
    guest::{self, Guest},
    warn,
    world::World,
};
use executor_model::{InstanceId, ModuleHash};
use executor_snapshot::{SnapshotError, SnapshotFile};
use executor_wasi::{WasiCtxBuilder, WasiError};

/// Who may have written a snapshot file.
#[derive(Debug, Clone, Copy)]
pub enum Trust {
    /// This user's store: its checked header is enough.
    Own,
    /// Anyone: every byte and every reference is checked.
    Nobody,
}

/// Restores a snapshot's store and its WASI state.
///
/// # Errors
/// When the snapshot or its code cannot be had, or it needs what the guest is not given.
pub fn restore(
    host: &mut Host,
    world: &World,
    options: &GuestArgs,
    file: &SnapshotFile,
    mut wasi: WasiCtxBuilder,
    trust: Trust,
) -> Result<Guest, Failure> {
    let manifest = file.manifest();
    let main = InstanceId::new(manifest.main)
        .ok_or_else(|| Failure::new("the snapshot has no main instance"))?;
    let state = capture::wasi_state(manifest)?;
    let config = guest::config(options)?;
    let (engine, linker) = (host.engine.clone(), guest::linker());
    host.phases.end("link");
    let code = |hash: ModuleHash| host.code_of_hash(hash);
    let mut store = match trust {
        Trust::Own => executor_snapshot::restore(&engine, linker, config, file, code),
        Trust::Nobody => executor_snapshot::restore_untrusted(&engine, linker, config, file, code),
    }?;
    match state {
        Some(state) => {
            world.adopt(&state, &mut wasi);
            let differences = wasi.differences(&state);
            if !differences.is_empty() {
                warn(differences.join("; "));
            }
            store.set_data(wasi.restore(&state).map_err(not_given)?);
            state.refill(&mut store).map_err(|errno| {
                Failure::new(format_args!("random bytes cannot be drawn: {errno:?}"))
            })?;
        }
        None => store.set_data(wasi.build().map_err(Failure::new)?),
    }
    host.phases.end("restore");
    host.say(|| format!("restored snapshot {}", file.id()));
    Ok(Guest { store, main })
}

/// What to do about a state that needs what this run does not give.
fn not_given(error: WasiError) -> Failure {
    match &error {
        WasiError::MissingPreopen(guest) => {
            Failure::new(format_args!("{error}; give it with --dir HOST::{guest}"))
        }
        WasiError::MissingListener(_) => {
            Failure::new(format_args!("{error}; give them with --listen ADDR:PORT"))
        }
        _ => Failure::new(error),
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        Self::new(error)
    }
}
