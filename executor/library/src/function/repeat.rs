//! Making a snapshot again, as it says that it was made.
//!
//! Invariant: nothing is kept, and nothing of the host is changed: directories are read only, and what the
//! guest prints is thrown away. What the snapshot cannot say of how it was made is a reason not to.

use super::{
    Place, capture,
    create::{Creating, Creation, Made, Origin, Plan},
    modules::WasmModules,
};
use crate::{
    Error, Explanation, Report, Runtime, Snapshot,
    given::{DirAccess, Given, GivenOptions},
    instance::Call,
    runtime::WasmModule,
};
use executor_snapshot::{EntryKind, SnapshotFile};
use executor_wasi::{CaptureOptions, Entropy, Point, WasiState};

impl Runtime {
    /// Makes a function's instance afresh, as its snapshot says that it was made: by the same exports, with
    /// what its runs are given, up to the same point. Its state is kept in memory.
    ///
    /// # Errors
    /// [`Error::NotRepeatable`] when the snapshot does not say all that was used, or it is not there any more;
    /// as for [`Self::function`].
    pub fn repeat(&self, name: &str) -> Result<Snapshot, Error> {
        let snapshot = self.snapshot_of(name)?;
        let (creating, origin) = begin(self, &snapshot, false)?;
        let mut made = creating.make(origin, &mut Report::default()).map_err(why)?;
        let Made { instance, manifest, .. } = &mut made;
        let (mut file, listener) = (None, &self.shared.listener);
        let places = &mut [Place::Memory(&mut file)];
        capture::write(instance, manifest.clone(), &[], None, places, listener)?;
        Ok(Snapshot::new(file.ok_or(Error::NoMainInstance)?))
    }
}

impl Runtime {
    /// Makes a function's instance afresh, as [`Self::repeat`] does, and tells which functions wrote the
    /// pages that its snapshot holds.
    ///
    /// # Errors
    /// As for [`Self::repeat`].
    pub fn explain(&self, name: &str) -> Result<Explanation, Error> {
        let snapshot = self.snapshot_of(name)?;
        let (creating, origin) = begin(self, &snapshot, true)?;
        let made = creating.make(origin, &mut Report::default()).map_err(why)?;
        Explanation::of(&made.instance.store)
    }
}

impl Creation {
    /// Makes the instance of a module, keeps nothing of it, and tells which functions wrote the pages that a
    /// snapshot of it would hold.
    ///
    /// # Errors
    /// As for [`Self::save`]; [`Error::NotRepeatable`] of what is no module.
    pub fn explain(self) -> Result<Explanation, Error> {
        let report = &mut Report::default();
        let (mut creating, origin) = self.begin(report)?;
        if matches!(origin, Origin::Snapshot(..)) {
            return refuse("a snapshot does not tell who wrote what is in it");
        }
        creating.given.attribute = true;
        let made = creating.make(origin, report)?;
        Explanation::of(&made.instance.store)
    }
}

/// A guest that does not get there, or is not given what it was.
pub(super) fn why(error: Error) -> Error {
    match error {
        error @ Error::NotRepeatable(_) => error,
        error => Error::NotRepeatable(error.to_string()),
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Error> {
    Err(Error::NotRepeatable(why.into()))
}

/// Finds all that a snapshot says that it was made of.
pub(super) fn begin(
    runtime: &Runtime,
    snapshot: &Snapshot,
    attribute: bool,
) -> Result<(Creating, Origin), Error> {
    let file = snapshot.file();
    let manifest = file.manifest();
    let wasi = manifest.wasi.as_deref().map(WasiState::decode).transpose()?.unwrap_or_default();
    if manifest.observations.iter().any(|what| what == "standard input was read") {
        return refuse("its initialisation read standard input, which nobody kept");
    }
    if wasi.listeners > 0 {
        return refuse("its initialisation was given sockets that listen");
    }
    let defaults = manifest.defaults.clone();
    let call = call(file, defaults.args.clone().unwrap_or_default(), runtime)?;
    let at = match &manifest.at {
        None => None,
        Some(at) => Some(at.parse::<Point>().or_else(|error| refuse(error.to_string()))?),
    };
    let entropy = match &*wasi.refill {
        [] => Entropy::Keep,
        ranges => Entropy::Refill(Some(ranges.iter().map(|range| range.address).collect())),
    };
    let plan = Plan {
        init: manifest.inits.clone(),
        after_restore: manifest.after_restore.clone(),
        call,
        at,
        options: CaptureOptions { strict: false, entropy },
        ..Plan::default()
    };
    // Its name is known where it was looked at, and matters to nobody else.
    let arg0 = wasi.args.iter().flatten().next().map_or("", String::as_str);
    let given = GivenOptions::default();
    let listener = &runtime.shared.listener;
    let given = given.settle(arg0, &defaults, runtime.shared.limits, listener).map_err(why)?;
    let mut given = Given { attribute, ..given };
    given.dirs.iter_mut().for_each(|dir| dir.access = DirAccess::ReadOnly);
    let origin = Origin::Modules(modules(runtime, file)?);
    let (runtime, name, over, output, record) = (runtime.clone(), None, None, None, None);
    let deployment = None;
    Ok((
        Creating { runtime, name, over, output, record, given, plan, defaults, deployment },
        origin,
    ))
}

/// The modules of a snapshot, which the store has to have.
fn modules(runtime: &Runtime, file: &SnapshotFile) -> Result<WasmModules, Error> {
    let manifest = file.manifest();
    let last = file.instances().len() - 1;
    let names = manifest.instances[..last].iter().map(|names| names.registered.clone());
    let Some(names) = names.collect::<Option<Vec<String>>>() else {
        return refuse("it has instances that no name was given to");
    };
    if manifest.main as usize != last + 1 {
        return refuse("it has instances that were made after the one that is called");
    }
    let stored = |hash| WasmModule::stored(&runtime.shared, hash);
    Ok(WasmModules { names, modules: file.modules().map(stored).collect::<Result<_, _>>()? })
}

/// The call that the snapshot is inside of, where it is not that of a program.
fn call(file: &SnapshotFile, args: Vec<String>, runtime: &Runtime) -> Result<Option<Call>, Error> {
    let (EntryKind::Call, Some(call)) = (file.manifest().entry, file.call()) else {
        return Ok(None);
    };
    let Some(outermost) = call.frames.first() else { return Ok(None) };
    let Some(instance) = file.instances().get(outermost.instance.position()) else {
        return Ok(None);
    };
    let declared = runtime.shared.declared(instance.module, &[])?;
    let export = declared.and_then(|declared| declared.exported_function(outermost.site.func));
    match export {
        Some(name) if name == "_start" || name.is_empty() => Ok(None),
        Some(export) => Ok(Some(Call::text(export, args))),
        None => refuse("the function that it is inside a call of is not exported"),
    }
}
