//! Removal of functions, of automatic snapshots, of caches and of files that nothing refers to.
//!
//! Invariant: with the lock held exclusively nobody is adding, so what no function and no automatic
//! entry leads to is garbage: left by a removal, by an entry that was replaced, or by a crash. No function that a
//! user named is ever removed for room. A snapshot that another has pages of is needed as long as that one is.
//!
//! Code goes with its module: when a sweep takes a module, it takes the module's code, unless a file
//! that was run or compiled is known to hold the module too (see `stamp`). Code of a module that was
//! never kept here is never swept: that is what `executor compile` leaves for runs to come.

use super::{
    AutoKey, Catalogue, CatalogueError, FUNCTIONS,
    auto::key_of_name,
    survey::{Found, Kind, Survey},
    versions,
};
use executor_files::PrivateDir;
use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many files.
    pub files: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

/// What is collected beside garbage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collect {
    /// Caches that were not used for so long: code, and automatic snapshots.
    pub older_than: Option<Duration>,
    /// Caches, those first that were not used for longest, until all files of the store have no more bytes than this.
    pub max_size: Option<u64>,
    /// It is only said what would be removed.
    pub dry_run: bool,
}

/// What was collected, by why it went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Nothing referred to it, or a crash left it.
    pub garbage: Swept,
    /// Code that this build does not use on this machine, or that is of another store.
    pub other_code: Swept,
    /// Caches that were old.
    pub old: Swept,
    /// Caches that went for room.
    pub for_room: Swept,
    /// How many bytes the files have that are left.
    pub left: u64,
}

impl Catalogue {
    /// Removes a function with its versions, aliases and settings, or a version or an alias of one (`NAME@TAG`); and
    /// every file that nothing refers to any more.
    ///
    /// # Errors
    /// When there is no such function, something leads to the version, or a file cannot be removed.
    pub fn remove(&self, name: &str) -> Result<Swept, CatalogueError> {
        versions::split(name)?;
        let unknown = || versions::unknown(name);
        let store = self.store()?.ok_or_else(unknown)?;
        let functions = store.sub(FUNCTIONS)?.ok_or_else(unknown)?;
        let _lock = store.lock_exclusively()?;
        Self::remove_names(&functions, name)?;
        self.sweep_locked(&store, |_| false)
    }

    /// Removes the automatic snapshots of some keys, or all where none is named, and every file that
    /// nothing refers to any more. What is not there is not an error.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove_auto(&self, keys: &[AutoKey]) -> Result<Swept, CatalogueError> {
        let Some(store) = self.store()? else { return Ok(Swept::default()) };
        let _lock = store.lock_exclusively()?;
        self.sweep_locked(&store, |found| {
            let named = || key_of_name(&found.name).is_some_and(|key| keys.contains(&key));
            matches!(found.kind, Kind::Auto(_)) && (keys.is_empty() || named())
        })
    }

    /// Removes every snapshot and module that no function and no automatic entry leads to, and what
    /// crashes left behind.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file cannot be removed.
    pub fn sweep(&self) -> Result<Swept, CatalogueError> {
        let Some(store) = self.store()? else { return Ok(Swept::default()) };
        let _lock = store.lock_exclusively()?;
        self.sweep_locked(&store, |_| false)
    }

    /// Sweeps, and removes what is `dropped` too.
    pub(super) fn sweep_locked(
        &self,
        store: &PrivateDir,
        dropped: impl Fn(&Found) -> bool,
    ) -> Result<Swept, CatalogueError> {
        let survey = Survey::of(self, store)?;
        let garbage = survey.garbage(&survey.positions(dropped));
        survey.remove(store, &garbage)?;
        Ok(swept(&survey, &garbage))
    }

    /// Removes garbage, code that this build does not use here, and the caches that are named. A store that cannot be
    /// read and locked is left as it is.
    ///
    /// # Errors
    /// When a directory cannot be read, or a file cannot be removed.
    pub fn collect(&self, what: Collect) -> Result<Collected, CatalogueError> {
        let Some(store) = self.store()? else { return Ok(Collected::default()) };
        let _lock = match what.dry_run {
            true => None,
            false => Some(store.lock_exclusively()?),
        };
        let survey = Survey::of(self, &store)?;
        let mut dropped = HashSet::new();
        let garbage = survey.garbage(&dropped);
        dropped.extend(survey.positions(|f| matches!(f.kind, Kind::Code { usable: false, .. })));
        let with_other_code = survey.garbage(&dropped);
        if let Some(age) = what.older_than {
            let now = SystemTime::now();
            let old = |f: &Found| now.duration_since(f.used).is_ok_and(|unused| unused >= age);
            dropped.extend(survey.positions(|found| is_cache(found) && old(found)));
        }
        let with_old = survey.garbage(&dropped);
        let all = match what.max_size {
            Some(max) => for_room(&survey, &dropped, max),
            None => with_old.clone(),
        };
        if !what.dry_run {
            survey.remove(&store, &all)?;
        }
        let more = |than: &HashSet<usize>, all: &HashSet<usize>| {
            swept(&survey, &all.difference(than).copied().collect())
        };
        Ok(Collected {
            garbage: swept(&survey, &garbage),
            other_code: more(&garbage, &with_other_code),
            old: more(&with_other_code, &with_old),
            for_room: more(&with_old, &all),
            left: survey.bytes() - survey.bytes_of(&all),
        })
    }
}

fn is_cache(found: &Found) -> bool {
    matches!(found.kind, Kind::Code { .. } | Kind::Auto(_))
}

/// What goes with the caches at `dropped` positions and as few others, the longest unused first, as leave no
/// more than `max` bytes; all, where that is not enough.
fn for_room(survey: &Survey, dropped: &HashSet<usize>, max: u64) -> HashSet<usize> {
    let mut caches: Vec<usize> = survey.positions(is_cache).difference(dropped).copied().collect();
    caches.sort_unstable_by_key(|at| survey.found[*at].used);
    let with =
        |count: usize| survey.garbage(&dropped.iter().chain(&caches[..count]).copied().collect());
    let enough = |count: usize| survey.bytes() - survey.bytes_of(&with(count)) <= max;
    let (mut low, mut high) = (0, caches.len());
    while low < high {
        let middle = low.midpoint(high);
        match enough(middle) {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    with(low)
}

fn swept(survey: &Survey, positions: &HashSet<usize>) -> Swept {
    Swept { files: positions.len() as u64, bytes: survey.bytes_of(positions) }
}
