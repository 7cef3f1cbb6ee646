//! The machine code in an archive.
//!
//! Invariant: machine code from elsewhere runs as this user, and nothing about it can be proved. It is taken in only
//! where the user trusts who made it, as what a run looks for on this machine, and whole. What this store compiled
//! itself is never replaced by it, and it goes again when the function does not come in.

use super::{ArchiveError, import::Blob};
use crate::{
    Error, Report, Runtime, Snapshot,
    function::{Kept, Trust, sites},
    runtime::{Code, Shared},
};
use executor_code::{
    CodeCache, CodeKey, CodeKind, CpuFeatures,
    file::{CallSite, CodeFile, CodeFileError},
};
use executor_files::FileError;
use executor_model::{EngineError, ModuleHash};
use executor_snapshot::SnapshotFile;
use std::collections::BTreeMap;

/// The code files that runs of a snapshot use on this machine, by the texts of their keys. What is not there is
/// compiled.
pub(super) fn of_snapshot(
    runtime: &Runtime,
    snapshot: &Snapshot,
) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let (snapshot, report) = (snapshot.clone(), &mut Report::default());
    let kept = Kept::open(runtime, Code::Plain, snapshot, Trust::Nobody, &[], report)?;
    let mut files = BTreeMap::new();
    for module in kept.modules.iter().chain(&kept.continuations) {
        let bytes = module.code().without_mac();
        let checked = CodeFile::new(&bytes[..]).and_then(|file| {
            file.verify()?;
            Ok(CodeKey(file.header().key).to_string())
        });
        // It was right when it was opened, and may have been cut since.
        let key = checked.map_err(|error| {
            let (module, reason) = (module.hash(), error.to_string());
            Error::Engine(EngineError::DamagedCode { module, reason })
        })?;
        files.insert(key, bytes);
    }
    Ok(files)
}

/// A code file that runs of a snapshot look for.
struct Wanted {
    module: ModuleHash,
    sites: Vec<CallSite>,
}

impl Wanted {
    /// All that runs of a snapshot look for on this machine, by the texts of their keys.
    fn of(file: &SnapshotFile) -> BTreeMap<String, (CodeKey, Self)> {
        let plain = file.modules().map(|module| Self { module, sites: Vec::new() });
        let continuations = sites(file).into_iter().map(|(module, sites)| Self { module, sites });
        let keyed = plain.chain(continuations).map(|wanted| {
            let continuations = (!wanted.sites.is_empty()).then_some(&wanted.sites[..]);
            let kind = CodeKind { continuations, ..CodeKind::default() };
            let key = CodeKey::new(&wanted.module, kind, CpuFeatures::host());
            (key.to_string(), (key, wanted))
        });
        keyed.collect()
    }

    /// Checks that a code file is whole and of the shape that is wanted. What its code does is not known.
    fn check(&self, key: &CodeKey, bytes: &[u8]) -> Result<(), CodeFileError> {
        let file = CodeFile::new(bytes)?;
        file.verify()?;
        file.info()?;
        let header = file.header();
        let sites = file.continuations().iter().map(|record| record.site());
        let same = header.key == key.0
            && file.module() == self.module
            && (header.listeners, header.frame_maps) == (0, 0)
            && sites.eq(self.sites.iter().copied());
        if same { Ok(()) } else { Err(CodeFileError::Misnamed) }
    }
}

/// Code files that were put into the store, and go again unless they are kept.
pub(super) struct TakenIn<'a> {
    shared: &'a Shared,
    cache: CodeCache,
    files: Vec<(CodeKey, ModuleHash)>,
}

impl<'a> TakenIn<'a> {
    /// Puts the code files that runs of a snapshot look for into the store. All are checked before the first is.
    /// Returns also how many were left out, because this build does not look for them on this machine.
    pub(super) fn of(
        blobs: BTreeMap<String, Blob>,
        file: &SnapshotFile,
        shared: &'a Shared,
        cache: CodeCache,
        failed: &dyn Fn(ArchiveError) -> Error,
    ) -> Result<(Self, usize), Error> {
        let mut wanted = Wanted::of(file);
        let (mut checked, mut left_out) = (Vec::new(), 0);
        for (name, mut blob) in blobs {
            let Some((key, wanted)) = wanted.remove(&name) else {
                left_out += 1;
                continue;
            };
            let bytes = blob.bytes().map_err(|error| failed(error.into()))?;
            wanted.check(&key, &bytes).map_err(|error| {
                let (module, reason) = (wanted.module.to_string(), error.to_string());
                failed(ArchiveError::Code { module, reason })
            })?;
            checked.push((key, wanted.module, blob));
        }
        let mut taken = Self { shared, cache, files: Vec::new() };
        for (key, module, mut blob) in checked {
            let store = |error: FileError| Error::Store(error.into());
            if taken.cache.open(&key).map_err(store)?.is_some_and(|own| own.is_whole()) {
                continue;
            }
            let bytes = blob.bytes().map_err(|error| failed(error.into()))?;
            taken.files.push((key, module));
            taken.cache.insert(&key, &bytes).map_err(store)?;
        }
        Ok((taken, left_out))
    }

    /// Leaves them in the store.
    pub(super) fn keep(mut self) {
        self.files.clear();
    }
}

impl Drop for TakenIn<'_> {
    fn drop(&mut self) {
        for (key, module) in &self.files {
            // What stays is code of a module that the store has not, which it sweeps.
            let _ = self.cache.remove(key);
            if let Ok(engine) = self.shared.engine(Code::Plain) {
                engine.forget(module);
            }
        }
    }
}
