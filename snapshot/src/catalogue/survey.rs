//! What there is in a store, and what refers to what.
//!
//! Invariant: one look at every file, from which all that looks after a store is derived: what is garbage, how much
//! room things take, what is damaged. A file that goes meanwhile is not in it.

use super::{
    AUTO, Catalogue, CatalogueError, FUNCTIONS, INDEX, MODULES, SETTINGS, SNAPSHOTS, Target,
    auto::{entries, key_of_name},
    id_of_name, module_of_name, settings, stamp, target,
};
use crate::{SnapshotFile, SnapshotId};
use executor_code::{CodeCache, CodeEntry};
use executor_files::{FileError, Look, PrivateDir, is_temporary};
use executor_model::ModuleHash;
use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    time::SystemTime,
};

/// What a snapshot needs.
#[derive(Debug, Clone, Default)]
pub(super) struct Needs {
    modules: Vec<ModuleHash>,
    /// The snapshots that it has pages of, all of them: what these need is not needed for it.
    bases: Vec<SnapshotId>,
}

impl Needs {
    /// What a snapshot refers to: all that a store keeps because it keeps the snapshot.
    pub(super) fn of(file: &SnapshotFile) -> Self {
        let bases = file.bases().iter().map(|base| base.id).collect();
        Self { modules: file.modules().collect(), bases }
    }
}

/// What a function leads to.
#[derive(Debug)]
pub(super) enum Leads {
    /// A snapshot of the store.
    To(SnapshotId),
    /// It is the snapshot, in a copy of a store that was made without links.
    Is(Needs),
    /// A version that is not there: nothing.
    Nowhere,
    /// That cannot be told.
    Unknown,
}

/// What a file of a store is.
#[derive(Debug)]
pub(super) enum Kind {
    Function(Leads),
    /// Settings of a function; `None` where its name is none.
    Settings(Option<String>),
    /// Automatic snapshots; `None` where they cannot be read.
    Auto(Option<Vec<SnapshotId>>),
    /// A snapshot; `None` where its name is none.
    Snapshot(Option<SnapshotId>),
    /// A module; `None` where its name is none.
    Module(Option<ModuleHash>),
    Code {
        module: Option<ModuleHash>,
        usable: bool,
    },
    Marker {
        of: OsString,
    },
    Index,
    /// What is being written, or a crash left.
    Temporary,
    /// What the store needs for itself: locks, its key.
    Own,
}

/// A file of a store.
#[derive(Debug)]
pub(super) struct Found {
    /// Its directory; empty for the store's own.
    pub(super) dir: &'static str,
    pub(super) name: OsString,
    pub(super) len: u64,
    /// When it was last used, to a day.
    pub(super) used: SystemTime,
    pub(super) kind: Kind,
}

impl Found {
    /// The function that a file in `functions/` is of: all of its versions and aliases are, too.
    pub(super) fn function(&self) -> Option<&str> {
        self.name.to_str()?.split('@').next()
    }
}

/// All files of a store.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) found: Vec<Found>,
    /// What the snapshots need that something leads to; `None` for those that cannot be read.
    needs: HashMap<SnapshotId, Option<Needs>>,
    /// The modules that files held when last looked at; `None` where that is not known.
    indexed: Option<HashSet<ModuleHash>>,
}

impl Survey {
    /// Looks at a store. Nothing is removed meanwhile where it is locked.
    pub(super) fn of(catalogue: &Catalogue, store: &PrivateDir) -> Result<Self, CatalogueError> {
        let mut survey = Self::default();
        survey.each(store, FUNCTIONS, |dir, name| {
            let leads = match name.to_str().map(|name| target(dir, name)) {
                Some(Ok(Some(Target::Link(id)))) => Leads::To(id),
                Some(Ok(Some(Target::File(file)))) => Leads::Is(Needs::of(&file)),
                Some(Ok(Some(Target::Gone))) => Leads::Nowhere,
                // Removed since.
                Some(Ok(None)) => return Ok(None),
                Some(Err(_)) | None => Leads::Unknown,
            };
            Ok(Some(Kind::Function(leads)))
        })?;
        survey.each(store, SETTINGS, |_, name| {
            Ok(Some(Kind::Settings(settings::function_of_name(name).map(str::to_owned))))
        })?;
        survey.each(store, AUTO, |dir, name| {
            Ok(Some(Kind::Auto(
                match key_of_name(name).map(|key| entries(dir, &key.to_string())) {
                    Some(Ok(entries)) => Some(entries.iter().map(|e| e.snapshot).collect()),
                    None | Some(Err(CatalogueError::Damaged { .. })) => None,
                    Some(Err(error)) => return Err(error),
                },
            )))
        })?;
        survey.each(store, SNAPSHOTS, |_, name| Ok(Some(Kind::Snapshot(id_of_name(name)))))?;
        survey.each(store, MODULES, |_, name| Ok(Some(Kind::Module(module_of_name(name)))))?;
        survey.each(store, INDEX, |_, _| Ok(Some(Kind::Index)))?;
        for code in CodeCache::list(store)? {
            let kind = match code.what {
                CodeEntry::Code { module, usable } => Kind::Code { module, usable },
                CodeEntry::Marker { of } => Kind::Marker { of },
                CodeEntry::Temporary => Kind::Temporary,
                CodeEntry::Other => Kind::Own,
            };
            let (name, len, used) = (code.name, code.len, code.used);
            survey.found.push(Found { dir: CodeCache::DIR, name, len, used, kind });
        }
        for name in store.names()? {
            let is_dir = [FUNCTIONS, SETTINGS, AUTO, SNAPSHOTS, MODULES, INDEX, CodeCache::DIR]
                .iter()
                .any(|dir| name == *dir);
            if let Some(Look { len, written }) = store.look(&name)?.filter(|_| !is_dir) {
                let kind = if is_temporary(&name) { Kind::Temporary } else { Kind::Own };
                survey.found.push(Found { dir: "", name, len, used: written, kind });
            }
        }
        survey.indexed = stamp::indexed(store)?;
        survey.read_needs(catalogue, store);
        Ok(survey)
    }

    fn each(
        &mut self,
        store: &PrivateDir,
        dir: &'static str,
        mut kind: impl FnMut(&PrivateDir, &OsStr) -> Result<Option<Kind>, CatalogueError>,
    ) -> Result<(), CatalogueError> {
        let Some(opened) = store.sub(dir)? else { return Ok(()) };
        for name in opened.names()? {
            // Removed since.
            let Some(Look { len, written }) = opened.look(&name)? else { continue };
            let kind = match is_temporary(&name) {
                true => Some(Kind::Temporary),
                false => kind(&opened, &name)?,
            };
            if let Some(kind) = kind {
                self.found.push(Found { dir, name, len, used: written, kind });
            }
        }
        Ok(())
    }

    /// Opens all snapshots that something leads to.
    fn read_needs(&mut self, catalogue: &Catalogue, store: &PrivateDir) {
        let mut open: Vec<SnapshotId> = Vec::new();
        for found in &self.found {
            match &found.kind {
                Kind::Function(Leads::To(id)) => open.push(*id),
                Kind::Auto(Some(ids)) => open.extend(ids),
                _ => {}
            }
        }
        for id in open {
            self.needs.entry(id).or_insert_with(|| {
                match catalogue.snapshot_in(store, id, catalogue.snapshot_path(id)) {
                    // Nothing is needed for what is gone.
                    Ok(None) => Some(Needs::default()),
                    Ok(Some(file)) => Some(Needs::of(&file)),
                    Err(_) => None,
                }
            });
        }
    }

    /// All that is needed by what these files lead to, without the files of functions and automatic snapshots
    /// themselves.
    pub(super) fn needed_by<'a>(&'a self, roots: impl IntoIterator<Item = &'a Found>) -> Needed {
        let mut needed = Needed::default();
        for root in roots {
            match &root.kind {
                Kind::Function(Leads::To(id)) => needed.add(*id, self.needs.get(id)),
                Kind::Function(Leads::Is(needs)) => needed.extend(needs),
                Kind::Function(Leads::Unknown) => needed.unknown = true,
                Kind::Auto(ids) => {
                    ids.iter().flatten().for_each(|id| needed.add(*id, self.needs.get(id)));
                }
                _ => {}
            }
        }
        needed
    }

    /// The positions of what nothing refers to and what crashes left, with the files at `dropped`
    /// positions, and what nothing refers to without them. Code goes with its module, and markers with code.
    pub(super) fn garbage(&self, dropped: &HashSet<usize>) -> HashSet<usize> {
        let kept = || self.found.iter().enumerate().filter(|(at, _)| !dropped.contains(at));
        let needed = self.needed_by(kept().map(|(_, found)| found));
        let functions: HashSet<&str> = kept()
            .filter(|(_, found)| matches!(found.kind, Kind::Function(_)))
            .filter_map(|(_, found)| found.function())
            .collect();
        let mut garbage = dropped.clone();
        let mut lost = HashSet::new();
        for (at, found) in kept() {
            let goes = match &found.kind {
                Kind::Auto(entries) => entries.is_none(),
                Kind::Snapshot(Some(_)) => !needed.unknown && !needed.has(found),
                Kind::Module(Some(hash)) => {
                    let goes = !needed.unknown && !needed.has(found);
                    let indexed = self.indexed.as_ref();
                    if goes && indexed.is_some_and(|indexed| !indexed.contains(hash)) {
                        lost.insert(*hash);
                    }
                    goes
                }
                Kind::Settings(of) => of.as_ref().is_none_or(|of| !functions.contains(&**of)),
                Kind::Snapshot(None) | Kind::Module(None) | Kind::Temporary => true,
                Kind::Function(_)
                | Kind::Code { .. }
                | Kind::Marker { .. }
                | Kind::Index
                | Kind::Own => false,
            };
            if goes {
                garbage.insert(at);
            }
        }
        for (at, found) in kept() {
            if let Kind::Code { module: Some(module), .. } = &found.kind
                && lost.contains(module)
            {
                garbage.insert(at);
            }
        }
        let code: HashSet<&OsStr> = self
            .found
            .iter()
            .enumerate()
            .filter(|(at, found)| matches!(found.kind, Kind::Code { .. }) && !garbage.contains(at))
            .map(|(_, found)| &*found.name)
            .collect();
        for (at, found) in self.found.iter().enumerate() {
            if let Kind::Marker { of } = &found.kind
                && !code.contains(&**of)
            {
                garbage.insert(at);
            }
        }
        garbage
    }

    /// The positions of the files that are as is asked for.
    pub(super) fn positions(&self, is: impl Fn(&Found) -> bool) -> HashSet<usize> {
        self.found.iter().enumerate().filter(|(_, found)| is(found)).map(|(at, _)| at).collect()
    }

    /// The length of the snapshot of an identity; 0 where it is not there.
    pub(super) fn len_of(&self, id: SnapshotId) -> u64 {
        let is = |found: &&Found| matches!(found.kind, Kind::Snapshot(Some(at)) if at == id);
        self.found.iter().find(is).map_or(0, |found| found.len)
    }

    /// How many bytes the files have together.
    pub(super) fn bytes(&self) -> u64 {
        self.found.iter().map(|found| found.len).sum()
    }

    /// How many bytes the files at these positions have.
    pub(super) fn bytes_of(&self, positions: &HashSet<usize>) -> u64 {
        positions.iter().map(|at| self.found[*at].len).sum()
    }

    /// Removes the files at these positions, in an order in which a crash leaves nothing that leads to what is
    /// gone.
    pub(super) fn remove(
        &self,
        store: &PrivateDir,
        positions: &HashSet<usize>,
    ) -> Result<(), FileError> {
        let in_dir = |dir: &'static str| {
            let at = positions.iter().map(|at| &self.found[*at]);
            at.filter(move |found| found.dir == dir).map(|found| &*found.name)
        };
        for name in in_dir("") {
            store.remove(name)?;
        }
        for dir in [FUNCTIONS, SETTINGS, AUTO, SNAPSHOTS, MODULES, INDEX] {
            let mut names = in_dir(dir).peekable();
            if names.peek().is_none() {
                continue;
            }
            let Some(opened) = store.sub(dir)? else { continue };
            for name in names {
                opened.remove(name)?;
            }
            if dir == AUTO {
                opened.sync()?;
            }
        }
        CodeCache::remove_all(store, in_dir(CodeCache::DIR)).map(drop)
    }
}

/// All that some functions and automatic snapshots need.
#[derive(Debug, Default)]
pub(super) struct Needed {
    snapshots: HashSet<SnapshotId>,
    modules: HashSet<ModuleHash>,
    /// There is more, and it is not known what.
    unknown: bool,
}

impl Needed {
    fn extend(&mut self, needs: &Needs) {
        self.modules.extend(&needs.modules);
        self.snapshots.extend(&needs.bases);
    }

    /// Adds a snapshot and what it needs.
    fn add(&mut self, id: SnapshotId, needs: Option<&Option<Needs>>) {
        self.snapshots.insert(id);
        match needs {
            Some(Some(needs)) => self.extend(needs),
            // What a snapshot needs that cannot be read now is not known.
            Some(None) => self.unknown = true,
            None => {}
        }
    }

    /// Whether a file is one of those that are needed.
    pub(super) fn has(&self, found: &Found) -> bool {
        match &found.kind {
            Kind::Snapshot(Some(id)) => self.snapshots.contains(id),
            Kind::Module(Some(hash)) => self.modules.contains(hash),
            _ => false,
        }
    }
}
