//! What a snapshot inside a call goes on to write to, found by going on with a copy once.
//!
//! Invariant: the instance that is kept is not touched; what the copy writes to its streams is thrown
//! away. What it does to files and sockets that it was given, it does.

use super::{
    Kept, Place, State, Trust,
    acquire::{Request, acquire},
    capture,
};
use crate::{
    Error, Instance, Report, Snapshot, Stdin,
    given::Given,
    runtime::{Code, Runtime, WasmModule},
};
use executor_model::{CallError, InstanceId};
use executor_snapshot::Manifest;
use std::ops::Range;

/// For each instance and each of its memories, runs of pages.
pub(super) type WorkingSet = Vec<Vec<Vec<Range<u64>>>>;

/// What a copy of an instance needs.
pub(super) struct Recorder<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) given: &'a Given,
    /// The files of its modules, where they may not be in the store.
    pub(super) modules: &'a [WasmModule],
}

impl Recorder<'_> {
    /// Goes on with a copy of a suspended instance, with `input` as its standard input; returns which
    /// pages it wrote to. How the copy ends is no error.
    pub(super) fn record(
        &self,
        instance: &mut Instance,
        manifest: Manifest,
        input: &[u8],
        report: &mut Report,
    ) -> Result<WorkingSet, Error> {
        let Self { runtime, given, modules } = *self;
        let listener = &runtime.shared.listener;
        let mut file = None;
        capture::write(instance, manifest, &[], None, &mut [Place::Memory(&mut file)], listener)?;
        let file = file.ok_or(Error::NoMainInstance)?;
        let kept =
            Kept::open(runtime, Code::Plain, Snapshot::new(file), Trust::Own, modules, report)?;
        let given = given.copy(Stdin::Bytes(input.to_vec()))?;
        let state = State::Kept(Box::new(kept));
        let why = "what it goes on to write to is to be known";
        let request = Request { runtime, state: &state, given: &given, init: &[], call: None, why };
        let mut copy = acquire(request, report)?;
        match copy.run() {
            Ok(outcome) if outcome.exit_code() == 0 => {}
            Ok(outcome) => {
                let error = CallError::Exit(outcome.exit_code());
                listener.warn(format_args!("the recorded run ended with: {error}"));
            }
            Err(Error::TimedOut { source, .. }) if source.ends_guest() => {
                listener.warn(format_args!("the recorded run ended with: {source}"));
            }
            Err(error) if error.ends_guest() => {
                listener.warn(format_args!("the recorded run ended with: {error}"));
            }
            Err(error) => return Err(error),
        }
        let instances = (0..copy.store.instance_count()).map(InstanceId::from_position);
        let sets = instances.map(|id| copy.store.working_set(id)).collect::<Result<_, _>>();
        sets.map_err(|source| Error::File { path: "/proc/self/pagemap".into(), source })
    }
}
