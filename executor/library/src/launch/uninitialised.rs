//! The state of a reactor before its initialisation, for launches that run that each time.
//!
//! Invariant: no code of the guest has run in such a state, so it is the same for every run of the module. It only
//! saves copying the module's data: where it cannot be had, the module is instantiated.
//!
//! An automatic snapshot is not taken of a guest whose initialisation draws randomness, say. Each run
//! instantiates it, and for a module with megabytes of data that is mostly copying them, page by page. Restored, they
//! are mapped.

use super::{Launching, SnapshotPolicy};
use crate::{
    Error, Instance, Report, Snapshot,
    function::{Kept, Modules, Place, Trust, WasmModules, kind, manifest, write},
    given::Written,
    instance::Entry,
    runtime::Code,
    stop::Clock,
};
use executor_model::{DataMode, ModuleHash};
use executor_snapshot::{
    Catalogue, EntryKind,
    catalogue::{AutoEntry, AutoKey, Conditions},
};
use executor_wasi::{CaptureOptions, Observations};

/// How many bytes of data a module has at least whose state is worth a file. Copying them takes half a
/// millisecond.
const WORTH: u64 = 1 << 20;

fn key(module: ModuleHash) -> AutoKey {
    AutoKey::new(module, &[], &[], b"uninitialised")
}

impl Launching {
    /// The state of the module before its initialisation, if the store has it.
    pub(super) fn uninitialised(&self, opened: &WasmModules, report: &mut Report) -> Option<Kept> {
        let catalogue = self.keeps_uninitialised(opened)?;
        let entry = catalogue.auto(&key(opened.main().hash)).ok()?.pop()?;
        let file = catalogue.snapshot(entry.snapshot).ok()??;
        let (snapshot, modules) = (Snapshot::new(file), &opened.modules);
        let kept =
            Kept::open(&self.runtime, Code::Plain, snapshot, Trust::Own, modules, report).ok()?;
        Some(Kept { uninitialised: true, ..kept })
    }

    /// Keeps the state of the module before its initialisation, where that is worth it.
    pub(super) fn keep_uninitialised(&self, opened: &WasmModules, modules: &Modules) {
        if let Err(error) = self.try_keep_uninitialised(opened, modules) {
            self.runtime.shared.listener.warn(error);
        }
    }

    fn try_keep_uninitialised(&self, opened: &WasmModules, modules: &Modules) -> Result<(), Error> {
        let Some(catalogue) = self.keeps_uninitialised(opened) else { return Ok(()) };
        let main = &modules.main;
        let info = main.info()?;
        let active =
            info.data.iter().filter(|segment| matches!(segment.mode, DataMode::Active { .. }));
        let data: u64 = active.map(|segment| segment.range.end - segment.range.start).sum();
        if data < WORTH || info.start.is_some() || kind(main) != EntryKind::Reactor {
            return Ok(());
        }
        let mut store = self.runtime.new_store(&self.given)?;
        let instance = store.instantiate(main)?;
        let listener = &self.runtime.shared.listener;
        let clock = Clock::new(None, None, listener);
        let mut instance =
            Instance::new(store, instance, Entry::Nothing, clock, Written::default());
        let (options, seen) = (CaptureOptions::default(), Observations::default());
        let manifest = manifest(&instance, modules.names(), &[], &options, None, seen)?;
        let adding = catalogue.add()?;
        let mut places = [Place::Store(&adding, &opened.modules)];
        let snapshot = write(&mut instance, manifest, &[], None, &mut places, listener)?.id;
        let entry = AutoEntry { conditions: Conditions::default(), snapshot };
        adding.insert_auto(&key(main.hash()), entry)?;
        Ok(())
    }

    fn keeps_uninitialised(&self, opened: &WasmModules) -> Option<&Catalogue> {
        let plain = self.policy == SnapshotPolicy::Auto
            && self.plan.at.is_none()
            && opened.modules.len() == 1;
        self.keeps_snapshots().ok().filter(|_| plain)
    }
}
