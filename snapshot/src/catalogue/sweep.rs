//! Removal of functions, of automatic snapshots and of files that nothing refers to.
//!
//! Invariant: with the lock held exclusively nobody is adding, so what no function and no automatic
//! entry leads to is garbage: left by a removal, by an entry that was replaced, or by a crash.
//!
//! A snapshot that another has pages of is needed as long as that one is.
//!
//! Code goes with its module: when a sweep takes a module, it takes the module's code, unless a file
//! that was run or compiled is known to hold the module too (see `stamp`). Code of a module that was
//! never kept here is never taken: that is what `executor compile` leaves for runs to come.

use super::{
    AUTO, AutoKey, Catalogue, CatalogueError, FUNCTIONS, INDEX, MODULES, SNAPSHOTS, Target,
    auto::{entries, key_of_name},
    id_of_name, module_of_name, stamp, target,
};
use executor_code::CodeCache;
use executor_files::{PrivateDir, is_temporary};
use executor_model::ModuleHash;
use std::{collections::HashSet, ffi::OsStr};

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many files.
    pub files: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

impl Catalogue {
    /// Removes a function, and every file that nothing refers to any more.
    ///
    /// # Errors
    /// When there is no such function, or a file cannot be removed.
    pub fn remove(&self, name: &str) -> Result<Swept, CatalogueError> {
        Self::check_name(name)?;
        let unknown = || CatalogueError::UnknownFunction { name: name.to_owned() };
        let store = self.store()?.ok_or_else(unknown)?;
        let functions = store.sub(FUNCTIONS)?.ok_or_else(unknown)?;
        let _lock = store.lock_exclusively()?;
        functions.remove(name)?.ok_or_else(unknown)?;
        // Or a crash could bring back the link after its snapshot has gone.
        functions.sync()?;
        self.sweep_locked(&store)
    }

    /// Removes the automatic snapshots of some keys, or all where none is named, and every file that
    /// nothing refers to any more. What is not there is not an error.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove_auto(&self, keys: &[AutoKey]) -> Result<Swept, CatalogueError> {
        let Some(store) = self.store()? else { return Ok(Swept::default()) };
        let _lock = store.lock_exclusively()?;
        let mut swept = Swept::default();
        if let Some(auto) = store.sub(AUTO)? {
            for name in auto.names()? {
                let named = key_of_name(&name).is_some_and(|key| keys.contains(&key));
                if keys.is_empty() || named {
                    swept.remove(&auto, &name)?;
                }
            }
            auto.sync()?;
        }
        let rest = self.sweep_locked(&store)?;
        Ok(Swept { files: swept.files + rest.files, bytes: swept.bytes + rest.bytes })
    }

    /// Removes every snapshot and module that no function and no automatic entry leads to, and what
    /// crashes left behind.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file cannot be removed.
    pub fn sweep(&self) -> Result<Swept, CatalogueError> {
        let Some(store) = self.store()? else { return Ok(Swept::default()) };
        let _lock = store.lock_exclusively()?;
        self.sweep_locked(&store)
    }

    fn sweep_locked(&self, store: &PrivateDir) -> Result<Swept, CatalogueError> {
        let mut swept = Swept::default();
        // What a snapshot needs that cannot be read now is not known: then all that it may need is kept.
        let mut modules = Some(HashSet::new());
        let mut snapshots = HashSet::new();
        let mut bases = Some(HashSet::new());
        let mut need = |file: Option<super::SnapshotFile>| match file {
            Some(file) => {
                if let Some(modules) = &mut modules {
                    modules.extend(file.modules());
                }
                if let Some(bases) = &mut bases {
                    bases.extend(file.bases().iter().map(|base| base.id));
                }
            }
            None => (modules, bases) = (None, None),
        };
        // Those of the directories in it are found below.
        for name in store.names()?.into_iter().filter(|name| is_temporary(name)) {
            swept.remove(store, &name)?;
        }
        swept.each(store, FUNCTIONS, |functions, name| {
            match name.to_str().map(|name| target(functions, name)) {
                Some(Ok(Some(Target::Link(id)))) => drop(snapshots.insert(id)),
                // In a copy of the store that was made without links.
                Some(Ok(Some(Target::File(file)))) => need(Some(*file)),
                Some(Ok(None)) => {}
                Some(Err(_)) | None => need(None),
            }
            Ok(true)
        })?;
        swept.each(store, AUTO, |auto, name| {
            match key_of_name(name).map(|key| entries(auto, &key.to_string())) {
                Some(Ok(entries)) => snapshots.extend(entries.iter().map(|e| e.snapshot)),
                None | Some(Err(CatalogueError::Damaged { .. })) => return Ok(false),
                Some(Err(e)) => return Err(e),
            }
            Ok(true)
        })?;
        for id in &snapshots {
            match self.snapshot_in(store, *id, self.snapshot_path(*id)) {
                // Nothing is needed for what is gone.
                Ok(None) => {}
                Ok(file) => need(file),
                Err(_) => need(None),
            }
        }
        swept.each(store, SNAPSHOTS, |_, name| {
            let needed = |id| match &bases {
                Some(bases) => snapshots.contains(&id) || bases.contains(&id),
                None => true,
            };
            Ok(id_of_name(name).is_some_and(needed))
        })?;
        swept.each(store, INDEX, |_, _| Ok(true))?;
        let mut lost = HashSet::new();
        swept.each(store, MODULES, |_, name| {
            let Some(hash) = module_of_name(name) else { return Ok(false) };
            let keep = modules.as_ref().is_none_or(|needed| needed.contains(&hash));
            if !keep {
                lost.insert(hash);
            }
            Ok(keep)
        })?;
        if !lost.is_empty() {
            match stamp::indexed(store)? {
                Some(indexed) => lost.retain(|module: &ModuleHash| !indexed.contains(module)),
                None => lost.clear(),
            }
        }
        for len in CodeCache::sweep(store, |module| lost.contains(module))? {
            swept.count(len);
        }
        Ok(swept)
    }
}

impl Swept {
    /// Removes from a directory what is temporary, and what `keep` does not keep.
    fn each(
        &mut self,
        store: &PrivateDir,
        dir: &str,
        mut keep: impl FnMut(&PrivateDir, &OsStr) -> Result<bool, CatalogueError>,
    ) -> Result<(), CatalogueError> {
        let Some(dir) = store.sub(dir)? else { return Ok(()) };
        for name in dir.names()? {
            if is_temporary(&name) || !keep(&dir, &name)? {
                self.remove(&dir, &name)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, dir: &PrivateDir, name: &OsStr) -> Result<(), CatalogueError> {
        if let Some(len) = dir.remove(name)? {
            self.count(len);
        }
        Ok(())
    }

    fn count(&mut self, len: u64) {
        self.files += 1;
        self.bytes += len;
    }
}
