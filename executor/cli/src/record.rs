//! `--record`: what a snapshot inside a call goes on to write to, found by going on with a copy once.
//!
//! Invariant: the guest that is kept is not touched; what the copy writes to its streams is thrown away.
//! What it does to files and sockets that it was given, it does.

use crate::{
    args::GuestArgs,
    capture::{self, Place},
    engine::Host,
    error::{Context, Failure},
    guest::{Entry, Guest, Stop},
    restore::{Trust, restore},
    source::Sources,
    timeout::Timeout,
    warn,
    world::World,
};
use executor_model::{CallError, InstanceId};
use executor_snapshot::{Hook, Manifest, SnapshotFile};
use executor_wasi::{Input, Output};
use std::{
    env, fs,
    ops::Range,
    path::Path,
    sync::{Arc, Mutex},
};

/// For each instance and each of its memories, runs of pages.
type WorkingSet = Vec<Vec<Vec<Range<u64>>>>;

/// What a copy of a guest needs.
pub struct Recorder<'a> {
    /// The engine without frame maps, as runs have it.
    pub host: &'a mut Host,
    /// The guest's arguments and environment.
    pub world: &'a World,
    /// What else it is given.
    pub options: &'a GuestArgs,
    /// The files of its modules, where they may not be in the store.
    pub sources_at_hand: Option<&'a Sources>,
}

impl Recorder<'_> {
    /// Goes on with a copy of a suspended guest, with a file as its standard input; returns which pages
    /// it wrote to.
    ///
    /// # Errors
    /// When the file cannot be read or the copy not be made. How the copy ends is no error.
    pub fn record(
        self,
        guest: &Guest,
        manifest: Manifest,
        input: &Path,
    ) -> Result<WorkingSet, Failure> {
        let input = fs::read(input).context(format_args!("--record {}", input.display()))?;
        let Self { host, world, options, sources_at_hand } = self;
        let file = copy(guest, manifest)?;
        let mut timeout = Timeout::new(options.timeout)?;
        let mut wasi = world.wasi(options, &file.manifest().directories, &timeout)?;
        let nowhere = || Output::Capture(Arc::new(Mutex::new(Vec::new())));
        wasi.stdin(Input::Bytes(input.into())).stdout(nowhere()).stderr(nowhere());
        let mut copy = restore(host, world, options, &file, wasi, Trust::Own)?;
        let code = match sources_at_hand {
            Some(sources) => host.continuations_of(&copy.store, sources)?,
            None => host.continuations(&copy.store)?,
        };
        copy.run_hook(Hook::AfterRestore, &mut timeout)?;
        match copy.call(&Entry::Suspended(code), &mut timeout) {
            Ok(_) | Err(Stop::Ended(CallError::Exit(0))) => {}
            Err(Stop::Ended(error)) => {
                warn(format_args!("--record: the recorded run ended with: {error}"));
            }
            Err(Stop::Failure(failure)) => return Err(failure),
        }
        let instances = (0..copy.store.instance_count()).map(InstanceId::from_position);
        let sets = instances.map(|id| copy.store.working_set(id)).collect::<Result<_, _>>();
        // The process ends soon: unmapping gigabytes piece by piece would only take time.
        std::mem::forget(copy);
        sets.context("--record: /proc/self/pagemap")
    }
}

/// A snapshot of a guest in a file that has no name any more.
fn copy(guest: &Guest, manifest: Manifest) -> Result<SnapshotFile, Failure> {
    let dir = tempfile::tempdir().context(env::temp_dir().display())?;
    let path = dir.path().join("record.snap");
    capture::write(guest, manifest, &[], &[Place::File(&path)])?;
    SnapshotFile::open(&path).map_err(Failure::new)
}
